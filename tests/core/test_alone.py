"""The science runs with torch and NumPy alone, on any machine that has these two."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys

FORBIDDEN = {
    "alembic", "celery", "fastapi", "kombu", "PIL", "psycopg", "pydantic", "pydantic_settings", "redis", "rich",
    "safetensors", "sklearn", "sqlalchemy", "starlette", "typer", "uvicorn",
}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"{name} is not to be imported here")


sys.meta_path.insert(0, Refuse())

import torch

torch.set_num_threads(1)

import core.training
from core.attacks import AttackSpec
from core.data import open_dataset
from core.evaluation import evaluate, evaluate_transferability
from core.models import build_model
from core.models.prepare import prepare

dataset = open_dataset("scenes", cache=__import__("pathlib").Path(sys.argv[1]), resolution=32)
model = build_model("sapling", "all-shared", dataset.tasks)
print("folded", prepare(model, dataset.batch([0]).images).folded)
attacks = [
    AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=2),
    AttackSpec(algorithm="auto_mta", eps=8, steps=100),
]
result = evaluate(model, dataset, attacks, limit=3)
print(result.table())
print("searched", result.attacks[1].cost.backwards != 3 * 100)  # which GB-MTA would take with the whole budget
print("probed", sorted(result.probe.facts))
print(evaluate_transferability({"m": model}, dataset, attacks[0], limit=2).pairs["m", "m"].table())
"""


def test_everything_that_measures_imports_nothing_else(tmp_path: Path) -> None:
    arguments = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "folded" in said
    assert "pgd/gb_mta/eps=8" in said
    assert "auto_mta/eps=8" in said
    assert "searched True" in said
    assert "full_range" in said
    assert "transferability" in said
