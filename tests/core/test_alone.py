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
from core.evaluation import evaluate
from core.models import build_model

dataset = open_dataset("scenes", cache=__import__("pathlib").Path(sys.argv[1]), resolution=32)
model = build_model("sapling", "all-shared", dataset.tasks)
result = evaluate(model, dataset, [AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=2)], limit=4)
print(result.table())
"""


def test_an_evaluation_imports_nothing_else(tmp_path: Path) -> None:
    arguments = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "pgd/gb_mta/eps=8" in done.stdout
