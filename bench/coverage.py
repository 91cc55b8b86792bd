"""How often 95 % intervals hold the truth: several ways to make them, where the truth is known.

A population of scenes has been evaluated, and its numbers are the truth. Few scenes are drawn from it again and again,
evaluated as ever, and every interval is compared with the truth. One population is what a shipped model makes of
rendered scenes; the other is made up, and more skewed: rare classes, a few hard scenes, heavy tails of error.
Run from the repository root: `python bench/coverage.py [--repeats 1000]`.
"""

import argparse
import os
import sys
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from statistics import NormalDist

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

from core.data import open_dataset
from core.evaluation import Statistics, all_metrics, average_relative_performance, evaluate_shard
from core.evaluation.bootstrap import ReplicateTotals, Resampler, take_replicates
from core.intervals import LEVEL, Stored, interval
from core.models import load_checkpoint
from core.specs.attack import AttackSpec
from core.tasks import profile
from worker.demo.models import DEMO_MODELS

Array = NDArray[np.generic]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Tables = dict[str, dict[str, Array]]
Bounds = tuple[float, float]

TASKS = profile("scenes").tasks[:3]
DIRECTIONS = {task.name: task.directions for task in TASKS}
SAMPLES = (48, 100, 400)
SCENES = 4000
PIXELS = 1000
NORMAL = NormalDist()

SHOWN = (
    "segmentation.miou",
    "segmentation.pixel_accuracy",
    "normals.mean",
    "normals.median",
    "depth.abs_error",
    "depth.rel_error",
    "depth.abs_error, less clean",
    "ARP segmentation",
    "ARP normals",
    "ARP depth",
    "ARP",
)
"""Metrics under attack, one of them also as a paired difference; ARP by task; ARP."""


def rendered() -> tuple[Tables, Tables]:
    """Statistics of a shipped model on the rendered test scenes before and after an attack."""
    demo = next(model for model in DEMO_MODELS if model.name == "scenes-branched")
    manifest = demo.manifest
    model = load_checkpoint(
        demo.weights, backbone=manifest.backbone, layout=manifest.layout, tasks=manifest.task_list
    )
    dataset = open_dataset("scenes", "test")
    attack = AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=5)
    clean, attacked = (
        evaluate_shard(model, dataset, range(len(dataset)), spec, tasks=TASKS, batch_size=32)[0].tasks
        for spec in (None, attack)
    )
    return clean, attacked


def made_up() -> tuple[Tables, Tables]:
    """Statistics of scenes that never were, before and after an attack."""
    generator = np.random.default_rng(1)
    hardness = generator.standard_normal((SCENES, 1))
    presence = generator.random((SCENES, 13)) < np.geomspace(1, 0.05, 13)
    presence[:, 0] = True
    shares = presence * generator.gamma(0.7, 1, presence.shape)
    labelled = generator.multinomial(PIXELS, shares / shares.sum(1, keepdims=True))
    skill = generator.normal(np.linspace(2, -0.5, 13), 0.8, presence.shape) - hardness
    scale = 8 * np.exp(0.5 * hardness + generator.normal(0, 0.3, hardness.shape))
    error = 0.3 * np.exp(0.5 * hardness + generator.normal(0, 0.3, hardness.shape))[:, 0]
    harm = generator.gamma(3, 0.4, (SCENES, 1))
    clean, attacked = (
        {
            "segmentation": _segmentation(labelled, skill - strength * harm, generator),
            "normals": _normals(scale * np.exp(strength * 0.4 * harm), generator),
            "depth": _depth(error * np.exp(strength * 0.5 * harm[:, 0]), generator),
        }
        for strength in (0.0, 1.0)
    )
    return clean, attacked


def _segmentation(labelled: Counts, skill: Floats, generator: np.random.Generator) -> dict[str, Array]:
    intersection = generator.binomial(labelled, 1 / (1 + np.exp(-skill)))
    wrong = generator.multinomial((labelled - intersection).sum(1), labelled.mean(0) / labelled.mean(0).sum())
    return {"labelled": labelled, "predicted": intersection + wrong, "intersection": intersection}


def _normals(scale: Floats, generator: np.random.Generator) -> dict[str, Array]:
    angles = generator.gamma(2, scale, (SCENES, PIXELS)).clip(0, 179.9)
    keys = np.arange(SCENES)[:, None] * 720 + (4 * angles).astype(np.int64)
    return {
        "valid": np.full(SCENES, PIXELS),
        "angle_sum": angles.sum(1),
        "cosine_sum": np.cos(np.radians(angles)).sum(1),
        "angle_histogram": np.bincount(keys.ravel(), minlength=720 * SCENES).reshape(SCENES, 720),
    }


def _depth(error: Floats, generator: np.random.Generator) -> dict[str, Array]:
    valid = generator.binomial(PIXELS, generator.beta(8, 2, SCENES))
    within = [generator.binomial(valid, np.exp(-error / width)) for width in (1.0, 2.0, 4.0)]
    return {
        "valid": valid,
        "relative_valid": valid,
        "abs_sum": valid * error,
        "rel_sum": valid * error / generator.gamma(6, 0.5, SCENES),
        "within": np.stack(within, 1),
    }


def taken(tables: Tables, rows: Counts) -> Statistics:
    """Some scenes of a population, as the samples of a data set."""
    return Statistics(
        np.arange(len(rows)),
        {task: {name: values[rows] for name, values in table.items()} for task, table in tables.items()},
    )


def numbers(clean: Statistics, attacked: Statistics) -> dict[str, float]:
    """What an evaluation says, by name."""
    before, after = (
        all_metrics(TASKS, {task.name: table.totals(task.name) for task in TASKS})
        for table in (clean, attacked)
    )
    arp = average_relative_performance(before, after, DIRECTIONS)
    said = {f"{task}.{name}": value for task, metrics in after.items() for name, value in metrics.items()}
    said |= {f"ARP {task}": value for task, value in arp.tasks.items()} | {"ARP": arp.overall}
    defined = {name: value for name, value in said.items() if value is not None}
    rise = defined["depth.abs_error"] - (before["depth"]["abs_error"] or 0.0)
    return defined | {"depth.abs_error, less clean": rise}


def resampled(clean: Statistics, attacked: Statistics, *, seed: int) -> dict[str, Stored]:
    """Replicates of the same, by name."""
    resampler = Resampler(seed)
    before, after = ReplicateTotals(resampler), ReplicateTotals(resampler)
    before.add(clean)
    after.add(attacked)
    base = take_replicates(before, TASKS, dataset="population")
    drawn = take_replicates(after, TASKS, dataset="population", clean=base)
    said = {
        f"{task}.{name}": values
        for task, metrics in drawn.metrics.items()
        for name, values in metrics.items()
    }
    said |= {f"ARP {task}": values for task, values in drawn.tasks.items()} | {"ARP": drawn.of()}
    rise = drawn.of("depth", "abs_error") - base.of("depth", "abs_error")
    return said | {"depth.abs_error, less clean": rise}


def chosen(replicates: Stored, estimate: float, samples: int) -> Bounds:
    """What the library does: BC, with Student's quantile."""
    found = interval(replicates, estimate, samples=samples)
    assert found is not None
    return found.low, found.high


def another(*, bias: bool, skew: bool, student: bool) -> Callable[[Stored, float, int], Bounds]:
    """Percentiles, on request corrected for bias, for skewness, and widened for few samples; both of the first: BCa."""

    def bounds(replicates: Stored, estimate: float, samples: int) -> Bounds:
        values = replicates[~np.isnan(replicates)].astype(np.float64)
        shift = NORMAL.inv_cdf(float(np.mean(values < estimate).clip(0.001, 0.999))) if bias else 0.0
        centred = values - values.mean()
        slope = float((centred**3).mean() / centred.std() ** 3) / 6 if skew else 0.0
        z = NORMAL.inv_cdf((1 + LEVEL) / 2)
        reach = (z + (z**3 + z) / (4 * samples - 4)) * sqrt(samples / (samples - 1)) if student else z
        ranks = [
            NORMAL.cdf(shift + (shift + side) / (1 - slope * (shift + side))) for side in (-reach, reach)
        ]
        low, high = np.quantile(values, ranks)
        return float(low), float(high)

    return bounds


WAYS: dict[str, Callable[[Stored, float, int], Bounds]] = {
    "percentile": another(bias=False, skew=False, student=False),
    "BC": another(bias=True, skew=False, student=False),
    "BCa": another(bias=True, skew=True, student=False),
    "percentile+t": another(bias=False, skew=False, student=True),
    "BCa+t": another(bias=True, skew=True, student=True),
    "chosen": chosen,
}


def coverage(clean: Tables, attacked: Tables, *, samples: int, repeats: int) -> tuple[Floats, Floats]:
    """How often the truth was below, and above, each way's interval of each number: shares [numbers, ways]."""
    scenes = len(clean["depth"]["valid"])
    truth = numbers(taken(clean, np.arange(scenes)), taken(attacked, np.arange(scenes)))
    generator = np.random.default_rng(samples)
    below, above = np.zeros((2, len(SHOWN), len(WAYS)))
    for repeat in range(repeats):
        rows = generator.integers(scenes, size=samples)
        before, after = taken(clean, rows), taken(attacked, rows)
        estimates, replicates = numbers(before, after), resampled(before, after, seed=repeat)
        for row, name in enumerate(SHOWN):
            for column, way in enumerate(WAYS.values()):
                low, high = way(replicates[name], estimates[name], samples)
                below[row, column] += truth[name] < low
                above[row, column] += truth[name] > high
    return below / repeats, above / repeats


def main() -> None:
    """Print a table for every population and number of samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    asked = parser.parse_args()
    for make in (rendered, made_up):
        clean, attacked = make()
        for samples in SAMPLES:
            below, above = coverage(clean, attacked, samples=samples, repeats=asked.repeats)
            held = 100 * (1 - below - above)
            print(f"\n{make.__name__}, {samples} samples: % of {asked.repeats} intervals that hold the truth")
            print(
                f"{'':28s}" + "".join(f"{way:>14s}" for way in WAYS) + "   misses of the last: below, above"
            )
            for name, row, low, high in zip(SHOWN, held, below[:, -1], above[:, -1], strict=True):
                cells = "".join(f"{value:14.1f}" for value in row)
                print(f"{name:28s}{cells}   {100 * low:.1f}, {100 * high:.1f}")
            print(
                f"{'mean distance from 95':28s}"
                + "".join(f"{value:14.2f}" for value in abs(held - 95).mean(0))
            )


if __name__ == "__main__":
    main()
