"""What a step of each attack costs over the least it could: forward and input-gradient passes of the same model.

The bare pass has parameters frozen, eval mode and fixed cotangents for every output; SINGLE is compared with
the bare pass of its own branch. Attacks run on the prepared model, as they do in the service, and are compared with
the bare pass of the prepared model and of the model as given. SIGNTOTAL and Auto-SAGE, which need each task's
gradient by itself, are compared with as many bare forward and backward passes as they need. Bare and attacked steps
alternate in one run, and ratios are medians over rounds. With one thread it is CPU time that is measured, so that
other programs disturb less. Also what metrics take beside the attack whose images they are of.
Run as `python bench/attack_step.py`.
"""

import argparse
import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.attacks import AttackSpec, attacked_tasks, run_attack
from core.data.batch import Batch
from core.evaluation import take_statistics
from core.models import TreeModel, build_model
from core.models.prepare import prepare
from core.tasks import Task, profile

STEP_TARGET = 1.03
"""Most that a step of PGD, MIM or APGD may cost, in bare passes of the prepared model."""

SEVERAL_TARGET = 1.1
"""Most that SIGNTOTAL and Auto-SAGE may cost, in the bare passes that they need."""

GIVEN_TARGET = 0.68
"""Most that a step may cost in bare passes of deeplab_resnet34 as given."""

METRICS_TARGET = 0.05
"""Largest share of an attack's time that measuring its images may take."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of glibc's mallopt."""

SIDE = 64
EPS = 8 / 255


@dataclass(frozen=True, slots=True)
class Case:
    """A model to attack, on how many images at once; a quick one is measured several times as often."""

    backbone: str
    profile: str
    batch_size: int
    single: str
    repeat: int = 1


CASES = (
    Case("deeplab_resnet34", "nyuv2", 2, "depth"),
    Case("sapling", "scenes", 32, "depth", repeat=4),
)


def keep_freed_memory() -> None:
    """Let glibc keep what is freed; else page faults, a fifth of a step and haphazard, drown what is measured."""
    if sys.platform != "linux":
        return
    c = ctypes.CDLL(None)
    if hasattr(c, "gnu_get_libc_version"):
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1)):
            c.mallopt(option, value)


def random_batch(tasks: tuple[Task, ...], samples: int) -> Batch:
    """Random images and labels; the time of a step does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    labels: dict[str, Tensor] = {}
    for task in tasks:
        if task.kind == "segmentation":
            labels[task.name] = torch.randint(task.channels, (samples, SIDE, SIDE), generator=generator)
        else:
            labels[task.name] = torch.rand(samples, task.channels, SIDE, SIDE, generator=generator) + 0.1
    return Batch(torch.rand(samples, 3, SIDE, SIDE, generator=generator), labels)


@dataclass(frozen=True, slots=True)
class Passes:
    """Forward and backward passes that a step needs; backward passes each of one task's branch where `by_task`."""

    forwards: int = 1
    by_task: bool = False
    joint: int = 1


def bare_step(model: nn.Module, images: Tensor, only: set[str], passes: Passes) -> Callable[[], object]:
    """The passes that a step cannot do without, as a function to be timed."""
    with torch.no_grad():
        cotangents = [torch.rand_like(prediction) for prediction in model(images, only=only).values()]

    def forward() -> tuple[Tensor, list[Tensor]]:
        leaf = images.detach().requires_grad_()
        return leaf, list(model(leaf, only=only).values())

    def step() -> object:
        leaf, outputs = forward()
        if not passes.by_task:
            return torch.autograd.grad(outputs, leaf, cotangents)
        found = [
            torch.autograd.grad(output, leaf, cotangent, retain_graph=True)[0]
            for output, cotangent in zip(outputs, cotangents, strict=True)
        ]
        for _ in range(passes.forwards - 1):
            leaf, outputs = forward()
            found.append(torch.autograd.grad(outputs, leaf, cotangents)[0])
        return found

    return step


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one call with one thread, wall clock with more."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    run()
    return clock() - started


def paired(first: Callable[[], object], *others: Callable[[], object], rounds: int) -> list[float]:
    """Median seconds of the first, and median ratios of the others to it, measured turn by turn."""
    runs = (first, *others)
    for run in runs:
        run()
    took: list[list[float]] = []
    for turn in range(rounds):
        ordered = runs if turn % 2 == 0 else runs[::-1]
        measured = {run: seconds(run) for run in ordered}
        took.append([measured[run] for run in runs])
    return [
        statistics.median(row[0] for row in took),
        *(statistics.median(row[0] / row[place] for row in took) for place in range(1, len(runs))),
    ]


ATTACKS: tuple[tuple[str, str, Passes], ...] = (
    ("pgd", "single", Passes()),
    ("pgd", "total", Passes()),
    ("pgd", "gb_mta", Passes()),
    ("mim", "gb_mta", Passes()),
    ("apgd", "gb_mta", Passes()),
    ("pgd", "sign_total", Passes(by_task=True)),
    ("auto_sage", "gb_mta", Passes(forwards=2, by_task=True)),
)


def bench(case: Case, *, rounds: int, steps: int) -> bool:
    """Print one case's lines; whether every target was met."""
    tasks = profile(case.profile).tasks
    torch.manual_seed(0)
    given = build_model(case.backbone, "all-shared", tasks).eval().requires_grad_(False)
    batch = random_batch(tasks, case.batch_size)
    prepared = prepare(given, batch.images).module
    print(f"{case.backbone}, {len(tasks)} tasks, all-shared, {case.batch_size} images of {SIDE}x{SIDE}")
    met = True
    for algorithm, family, passes in ATTACKS:
        objective = f"single:{case.single}" if family == "single" else family
        spec = AttackSpec(algorithm=algorithm, objective=objective, eps=EPS, steps=steps)  # type: ignore[arg-type]
        only = {task.name for task in attacked_tasks(spec, tasks)}

        def repeated(step: Callable[[], object]) -> Callable[[], object]:
            return lambda: [step() for _ in range(steps)]

        def attack(spec: AttackSpec = spec) -> object:
            return run_attack(prepared, batch, tasks, spec)

        took, over_prepared, over_given = paired(
            attack,
            repeated(bare_step(prepared, batch.images, only, passes)),
            repeated(bare_step(given, batch.images, only, passes)),
            rounds=rounds * case.repeat,
        )
        target = SEVERAL_TARGET if passes.by_task else STEP_TARGET
        missed = over_prepared > target
        missed_given = (
            case.backbone == "deeplab_resnet34" and not passes.by_task and over_given > GIVEN_TARGET
        )
        met = met and not (missed or missed_given)
        print(
            f"  {algorithm:9s} {objective:13s} {1000 * took / steps:8.2f} ms a step, "
            f"{over_prepared:5.3f} x bare prepared (target {target}){'  MISSED' if missed else ''}, "
            f"{over_given:5.3f} x bare as given{'  MISSED' if missed_given else ''}"
        )
    return bench_metrics(given, prepared, batch, steps=steps, rounds=rounds * case.repeat) and met


def bench_metrics(given: TreeModel, prepared: nn.Module, batch: Batch, *, steps: int, rounds: int) -> bool:
    """Print the share of a PGD attack's time that statistics of its images take; whether the target was met."""
    spec = AttackSpec(algorithm="pgd", eps=EPS, steps=2 * steps)
    with torch.no_grad():
        predictions = given(batch.images)

    def attack() -> object:
        return run_attack(prepared, batch, given.tasks, spec)

    def measure() -> object:
        return [take_statistics(given.tasks, predictions, batch, {}) for _ in range(2)]

    _, ratio = paired(measure, attack, rounds=rounds)
    missed = ratio > METRICS_TARGET
    print(
        f"  statistics, as they are and rounded: {100 * ratio:.1f} % of PGD with {2 * steps} steps "
        f"(target {100 * METRICS_TARGET:.0f} %){'  MISSED' if missed else ''}"
    )
    return not missed


def main() -> int:
    """Measure every case; 1 with `--check` when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind, paired")
    parser.add_argument("--steps", type=int, default=10, help="steps per measurement")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    met = [bench(case, rounds=options.rounds, steps=options.steps) for case in CASES]
    return 1 if options.check and not all(met) else 0


if __name__ == "__main__":
    sys.exit(main())
