"""The paper's authors' own code against Windthrow's on one model: time per attack step, and the damage done.

The model is an all-shared deeplab_resnet34 with the three NYUv2 heads, random weights, two images of 64x64; both
sides take the same steps of eps/steps (the `paper` preset), and Windthrow attacks the model prepared. Their
attacks are called as their scripts call them, through `Attacker.gen_adv`, on the same model behind their calling
convention. They alternate with Windthrow's and with bare steps (one forward and one input-gradient pass of the
model as it is); ratios are medians over rounds. `damage` is the mean over tasks and samples of how much the
loss grew, in units of the clean loss, measured here on the images that came out.

Nothing of their code is here. Get it, and say where it is:

    git clone https://github.com/zhanglijun95/MTLAttack-DGBA ../dgba
    DGBA_PATH=../dgba OMP_NUM_THREADS=1 python -m bench.authors --check

What they import is torch and NumPy. The one thing adapted is `Tensor.cuda`, which their depth loss calls whatever
the device and which does nothing here.
"""

import argparse
import importlib
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn

from bench.attack_step import random_batch
from bench.libraries import BALL_SLACK, alternating, bare_steps, outside, ratio
from core.attacks import AttackSpec, run_attack
from core.data import Batch
from core.losses import BatchLosses
from core.models import TreeModel, build_model
from core.models.prepare import prepare
from core.specs.algorithms import Algorithm
from core.tasks import Task, profile

PATH_VARIABLE = "DGBA_PATH"
EPS = 8 / 255

THEIR_NAMES = {"segmentation": "segment_semantic", "normals": "normal", "depth": "depth_zbuffer"}
"""Their names of our tasks."""


@dataclass(frozen=True, slots=True)
class Case:
    """An attack on both sides, by their name and by ours, and how many times as fast ours must be."""

    version: str
    algorithm: Algorithm
    objective: str
    target: float | None = None


CASES = (
    Case("IFGSM_Ori", "pgd", "total"),
    Case("IFGSM_MTL", "pgd", "gb_mta", 4.0),
    Case("AA_MTL", "apgd", "gb_mta", 4.8),
    Case("AS_Ori", "auto_sage", "total", 4.0),
    Case("AS_MTL", "auto_sage", "gb_mta", 4.0),
)


class TheirConvention(nn.Module):
    """A model that is called as theirs are: `model(x)` for all tasks, `model(x, task=name)` for one's prediction."""

    def __init__(self, model: TreeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, task: str | None = None) -> Tensor | dict[str, Tensor]:
        """[N, 3, H, W] to one prediction or to {task: prediction}, by their names."""
        if task is None:
            return {THEIR_NAMES[name]: prediction for name, prediction in self.model(images).items()}
        ours = next(name for name, theirs in THEIR_NAMES.items() if theirs == task)
        return cast("Tensor", self.model(images, only={ours})[ours])


class Authors:
    """Their attacks on a model and a batch.

    Args:
        path: of a checkout of their repository.
    """

    def __init__(self, path: Path, model: TreeModel, batch: Batch) -> None:
        sys.path.insert(0, str(path.resolve()))
        criterion = importlib.import_module("data.pixel2pixel_loss").NYUCriterions
        names = list(THEIR_NAMES.values())
        self._means = {name: criterion(name) for name in names}
        self._samples = {name: criterion(name, reduction="none") for name in names}
        self._images = batch.images
        self._labels = {THEIR_NAMES[name]: label for name, label in batch.labels.items()}
        self._labels["segment_semantic"] = self._labels["segment_semantic"][:, None]
        clean = {
            THEIR_NAMES[name]: {"loss": float(loss.mean())} for name, loss in losses(model, batch).items()
        }
        self._attacker: Any = importlib.import_module("main_r.Attacker").Attacker(
            TheirConvention(model), names, None, self._means, self._samples, None, clean, None
        )
        self._attacker.device = torch.device("cpu")

    def attack(self, version: str, *, steps: int) -> Tensor:
        """Adversarial images; `version` is their name of an attack."""
        criteria = self._means if version.endswith("_Ori") else self._samples
        images = self._images.clone()  # they set requires_grad on what they are given
        with mock.patch.object(torch.Tensor, "cuda", lambda tensor, *_: tensor):
            return cast(
                "Tensor",
                self._attacker.gen_adv(version, EPS, steps, 0.0, 1.0, images, self._labels, criteria, None),
            )


def windthrow(model: nn.Module, batch: Batch, tasks: Sequence[Task], spec: AttackSpec) -> Tensor:
    """Adversarial images of Windthrow's attack."""
    return run_attack(model, batch, tasks, spec).images


def losses(model: TreeModel, batch: Batch) -> dict[str, Tensor]:
    """Each task's losses [N]."""
    with torch.no_grad():
        values = BatchLosses(model.tasks, batch)(model(batch.images))
    return dict(zip((task.name for task in model.tasks), values, strict=True))


def damage(model: TreeModel, batch: Batch, images: Tensor) -> float:
    """Mean over tasks and samples of how much the loss grew, in units of the clean loss."""
    clean, attacked = losses(model, batch), losses(model, Batch(images, batch.labels))
    return float(torch.stack([attacked[name] / clean[name] - 1 for name in clean]).mean())


def compare(case: Case, runs: Mapping[str, Callable[[], object]], *, steps: int, rounds: int) -> bool:
    """Print one attack's times; whether Windthrow met its target."""
    took = alternating(runs, rounds=rounds)
    theirs, ours = (ratio(took[name], took["bare"]) for name in ("theirs", "ours"))
    speed = ratio(took["theirs"], took["ours"])
    missed = case.target is not None and speed < case.target
    print(
        f"{case.algorithm:10s}{case.objective:8s} bare {1000 * statistics.median(took['bare']) / steps:7.1f} ms/step"
        f"  theirs {theirs:5.2f} x bare  ours {ours:5.2f} x bare  speed-up {speed:5.2f}"
        + (f" (target {case.target})" if case.target else "")
        + ("  MISSED" if missed else ""),
        flush=True,
    )
    return not missed


def bench(path: Path, *, steps: int, rounds: int) -> bool:
    """Print every attack's lines; whether all targets were met by images inside the ball."""
    tasks = profile("nyuv2").tasks
    torch.manual_seed(0)
    model = build_model("deeplab_resnet34", "all-shared", tasks).eval()
    batch = random_batch(tasks, 2)
    authors = Authors(path, model, batch)
    prepared = prepare(model, batch.images).module
    bare = bare_steps(lambda images: list(model(images).values()), batch.images, steps=steps)
    met = True
    for case in CASES:
        spec = AttackSpec(
            algorithm=case.algorithm, objective=case.objective, eps=EPS, steps=steps, preset="paper"
        )
        runs: dict[str, Callable[[], Tensor]] = {
            "bare": bare,
            "theirs": partial(authors.attack, case.version, steps=steps),
            "ours": partial(windthrow, prepared, batch, tasks, spec),
        }
        images = {name: run() for name, run in runs.items()}
        met &= compare(case, runs, steps=steps, rounds=rounds)
        for name in ("theirs", "ours"):
            stray = outside(images[name], batch.images, eps=EPS)
            met &= name == "theirs" or stray <= BALL_SLACK
            grown = damage(model, batch, images[name])
            print(f"{'':18s} {name:6s} damage {grown:.4e}, {stray:.1e} outside the ball")
    return met


def main() -> int:
    """Measure every attack; 1 with `--check` when a target was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side, paired")
    parser.add_argument("--steps", type=int, default=10, help="steps of each attack")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    options = parser.parse_args()
    if not (path := os.environ.get(PATH_VARIABLE)):
        print(
            f"set {PATH_VARIABLE} to a checkout of https://github.com/zhanglijun95/MTLAttack-DGBA to compare with it"
        )
        return 0
    torch.set_num_threads(options.threads)
    met = bench(Path(path), steps=options.steps, rounds=options.rounds)
    return 1 if options.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
