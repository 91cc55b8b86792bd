"""A forward and an input-gradient pass of prepared models over the same of the models as given.

Both alternate in one run, and ratios are medians over rounds. With one thread it is CPU time that is measured,
so that other programs disturb less. Run as `python -m bench.prepared`.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.attack_step import keep_freed_memory, seconds
from core.models import build_model
from core.models.prepare import precision_context, prepare
from core.specs.precision import Precision
from core.tasks import profile

TARGET = 0.65
"""Most that preparing may leave of a float32 pass of the large model."""


PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Case:
    """A model and the images it is given; `passes` of them take some tenths of a second."""

    name: str
    build: Callable[[], nn.Module]
    samples: int
    side: int
    passes: int
    target: float | None = None


class Classifier(nn.Module):
    """Convolution, batch norm and ReLU, six times."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 32, 64, 64, 128, 128)
        layers: list[nn.Module] = []
        for number, (incoming, outgoing) in enumerate(pairwise(widths)):
            stride = 2 if number in (2, 4) else 1
            convolution = nn.Conv2d(incoming, outgoing, 3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outgoing), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.out = nn.Linear(widths[-1], 10)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[N, 3, H, W] to [N, 10]."""
        return {"class": self.out(self.features(images).mean((2, 3)))}


def sapling(layout: str, tasks: int) -> Case:
    """The demo's backbone on its scenes."""
    return Case(
        f"sapling, {tasks} tasks, {layout}",
        lambda: build_model("sapling", layout, profile("scenes").tasks[:tasks]),
        samples=32,
        side=64,
        passes=6 if layout == "all-shared" else 2,
    )


CASES = (
    Case(
        "deeplab_resnet34, 3 tasks, all-shared",
        lambda: build_model("deeplab_resnet34", "all-shared", profile("nyuv2").tasks),
        samples=2,
        side=64,
        passes=1,
        target=TARGET,
    ),
    sapling("all-shared", 3),
    sapling("independent", 3),
    sapling("all-shared", 5),
    sapling("independent", 5),
    Case("classifier, six convolutions", Classifier, samples=32, side=32, passes=4),
)


def passes(model: nn.Module, images: Tensor, precision: Precision, *, count: int) -> Callable[[], object]:
    """So many forward and backward passes to the images, as a function to be timed."""
    with torch.no_grad():
        cotangents = [torch.rand_like(prediction) for prediction in model(images).values()]

    def run() -> None:
        leaf = images.detach().requires_grad_()
        with precision_context(precision):
            for _ in range(count):
                torch.autograd.grad(list(model(leaf).values()), leaf, cotangents)

    return run


def bench(case: Case, *, rounds: int) -> bool:
    """Print one case's line; whether its target was met."""
    torch.manual_seed(0)
    model = case.build().eval().requires_grad_(False)
    images = torch.rand(case.samples, 3, case.side, case.side)
    prepared = {precision: prepare(model, images, precision=precision) for precision in PRECISIONS}
    given = passes(model, images, "float32", count=case.passes)
    runs = {name: passes(ready.module, images, name, count=case.passes) for name, ready in prepared.items()}
    for run in (given, *runs.values()):
        run()
    before: list[float] = []
    ratios: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(rounds):
        before.append(seconds(given))
        for precision, run in runs.items():
            ratios[precision].append(seconds(run) / before[-1])
    medians = {precision: statistics.median(values) for precision, values in ratios.items()}
    columns = "  ".join(
        f"{precision} {ratio:.3f} x (differs by {prepared[precision].difference:.0e})"
        for precision, ratio in medians.items()
    )
    met = case.target is None or medians["float32"] <= case.target
    bound = "" if case.target is None else f"  target {case.target}" + ("" if met else "  MISSED")
    milliseconds = 1000 * statistics.median(before) / case.passes
    print(f"{case.name:38s} given {milliseconds:7.1f} ms  {columns}{bound}", flush=True)
    return met


def main() -> int:
    """Measure every case; 1 with `--check` when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each kind, paired")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    met = [bench(case, rounds=options.rounds) for case in CASES]
    return 1 if options.check and not all(met) else 0


if __name__ == "__main__":
    sys.exit(main())
