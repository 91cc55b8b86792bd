"""`examples/backbone-package`, installed by pip and used by processes that know it from its entry point only."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/backbone-package"

WORKER = """
import json, sys
from pathlib import Path

import torch

torch.set_num_threads(1)
torch.manual_seed(0)

from core.attacks import AttackSpec, run_attack
from core.backbones import backbone
from core.data.batch import Batch
from core.models import build_model, load_checkpoint, save_checkpoint
from core.models.prepare import prepare
from core.tasks import profile

tasks, path = profile("nyuv2").tasks[1:], Path(sys.argv[1]) / "hazel.safetensors"
layout = [[[0, 1]], [[0, 1]], [[0], [1]], [[0], [1]]]
model = build_model("hazel", layout, tasks).eval()
save_checkpoint(model, path)
read = load_checkpoint(path, backbone="hazel", layout=layout, tasks=tasks)
images = torch.rand(2, 3, 32, 32)
expected, found = model(images), read(images)
labels = {"normals": torch.rand(2, 3, 8, 8), "depth": torch.rand(2, 1, 8, 8)}
attack = AttackSpec(algorithm="fgsm", objective="total", eps=0.03)
batch = Batch(images, labels, {}, torch.arange(2))
attacked = run_attack(read, batch, tasks, attack, bounds=(0.0, 1.0)).images
print(json.dumps({
    "same": all(torch.equal(found[name], value) for name, value in expected.items()),
    "shapes": {name: list(value.shape) for name, value in found.items()},
    "parameters": sum(parameter.numel() for parameter in read.stages.parameters()),
    "counted": read.layout.parameter_count("hazel", "torch"),
    "moved": round(float((attacked - images).abs().max()), 4),
    "folded": prepare(read, images).folded,
}))
"""

API = """
import json, sys

from api.routes.catalogue import list_backbones
from core.specs.manifests import ModelManifest

manifest = ModelManifest(backbone="hazel", layout="all-shared", profile="nyuv2")
print(json.dumps({
    "listed": [view.model_dump() for view in list_backbones(None)],
    "levels": len(manifest.tree.levels),
    "torch": "torch" in sys.modules,
}))
"""

OPEN = """
import json
from core.backbones import backbones
from core.backbones.plugins import plugins

print(json.dumps({"listed": list(backbones()), "problems": dict(plugins().problems)}))
"""


def run(*command: str, path: Path | None = None, cwd: Path = ROOT) -> str:
    environment = os.environ | (
        {} if path is None else {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
    )
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def say(program: str, *arguments: str, path: Path) -> Any:
    return json.loads(run("-W", "error", "-c", program, *arguments, path=path))


def install(source: Path, target: Path) -> Path:
    """What `pip install` does, into a folder of its own and without a network."""
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run("-m", "pip", "install", *options, "--target", str(target), str(source))
    return target


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, because building leaves files beside the source."""
    copy = tmp_path_factory.mktemp("example") / "package"
    return shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(source, tmp_path_factory.mktemp("installed"))


def test_a_worker_builds_saves_loads_and_attacks_the_installed_backbone(
    installed: Path, tmp_path: Path
) -> None:
    said = say(WORKER, str(tmp_path), path=installed)
    assert said["same"]
    assert said["shapes"] == {"normals": [2, 3, 8, 8], "depth": [2, 1, 8, 8]}
    assert said["parameters"] == said["counted"]
    assert said["moved"] == 0.03
    assert said["folded"] == 2 * (
        2 + 2 * 2
    )  # two norms in each of two shared levels and of two times two others


def test_the_api_lists_the_installed_backbone_and_takes_it_in_a_manifest_without_torch(
    installed: Path,
) -> None:
    said = say(API, path=installed)
    hazel = next(view for view in said["listed"] if view["name"] == "hazel")
    assert hazel["provider"] == "windthrow-hazel 0.1.0"
    assert (hazel["levels"], hazel["level_channels"]) == (4, [24, 48, 72, 96])
    assert said["levels"] == hazel["levels"]
    assert not said["torch"]


def test_a_description_that_imports_torch_is_refused_where_torch_was_not_loaded_yet(
    source: Path, tmp_path: Path
) -> None:
    heavy = shutil.copytree(source, tmp_path / "heavy")
    with (heavy / "src/hazel/__init__.py").open("a") as file:
        file.write("import hazel.network\n")
    said = say(OPEN, path=install(heavy, tmp_path / "target"))
    assert "hazel" not in said["listed"]
    assert "hazel.description:HAZEL imports torch" in said["problems"]["hazel"]
