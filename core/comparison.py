"""One model's numbers against another's on the same samples, with paired intervals. NumPy only.

What the numbers are taken from (rows of a database, results of the library) is the caller's business.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.ara import ara_replicates, average_relative_accuracy
from core.arp import Directions, relative_drop
from core.intervals import LEVEL, Interval, Replicates, check_paired, interval, paired_difference, stored
from core.specs.attack import AttackSpec
from core.tasks import METRICS, Direction, Task

Metrics = Mapping[str, Mapping[str, float | None]]
Pair = tuple[Replicates | None, Replicates | None]
"""Replicates of one result and of another; None where none were kept."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its interval; None where there is none."""

    value: float | None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class AraEstimates:
    """ARA with intervals, see `core.ara.Ara`."""

    overall: Estimate
    tasks: Mapping[str, Estimate]
    undefined: tuple[str, ...]


def directions_of(tasks: Sequence[Task], metrics: Metrics) -> Directions:
    """The directions of those metrics of the tasks that have been measured."""
    return {
        task.name: {
            metric.name: metric.direction
            for metric in METRICS[task.kind]
            if metric.name in metrics[task.name]
        }
        for task in tasks
    }


def ara(
    model: Metrics, baseline: Metrics, directions: Directions, pair: Pair, *, level: float = LEVEL
) -> AraEstimates:
    """ARA of a model's clean pass against a baseline's (paper Eq. 6).

    Args:
        model, baseline: {task: {metric: value}} of the clean passes.
        directions: which values are better; its entries are the ones that count.
        pair: replicates of the model's pass and of the baseline's.
        level: of the intervals.

    Raises:
        UnpairedError: the passes are of different samples, or were resampled differently.
        InvalidError: a task or metric of `directions` is missing from the values.
    """
    found = average_relative_accuracy(model, baseline, directions)
    mine, theirs = pair
    drawn = None if mine is None or theirs is None else ara_replicates(mine, theirs, directions)

    def estimate(value: float | None, task: str | None = None) -> Estimate:
        return Estimate(value, None if drawn is None else drawn.interval(value, task=task, level=level))

    tasks = {task: estimate(value, task) for task, value in found.tasks.items()}
    return AraEstimates(estimate(found.overall), tasks, found.undefined)


def difference(
    one: float | None,
    other: float | None,
    pair: Pair,
    *,
    task: str | None = None,
    metric: str | None = None,
    level: float = LEVEL,
) -> Estimate:
    """One result's number less another's; which number, `task` and `metric` say as in `Replicates.of`.

    The interval is at `level`.

    Raises:
        UnpairedError: the results are of different samples, or were resampled differently.
    """
    mine, theirs = pair
    if one is None or other is None:
        return Estimate(None)
    value = one - other
    if mine is None or theirs is None:
        return Estimate(value)
    check_paired(mine, theirs)
    return Estimate(value, paired_difference(mine, theirs, value, task=task, metric=metric, level=level))


def percent_worse(
    model: float | None,
    baseline: float | None,
    direction: Direction,
    pair: Pair,
    *,
    task: str,
    metric: str,
    level: float = LEVEL,
) -> Estimate:
    """By how many percent of the baseline's value a metric is worse than the baseline's; negative is better.

    There is none where the baseline's value is 0. The interval is at `level`.

    Raises:
        UnpairedError: the results are of different samples, or were resampled differently.
    """
    if model is None or baseline is None or baseline == 0:
        return Estimate(None)
    value = 100 * float(relative_drop(np.array(baseline), np.array(model), direction))
    mine, theirs = pair
    if mine is None or theirs is None:
        return Estimate(value)
    check_paired(mine, theirs)
    drawn = stored(100 * relative_drop(theirs.of(task, metric), mine.of(task, metric), direction))
    return Estimate(value, interval(drawn, value, samples=mine.origin.samples, level=level))


def attack_key(attack: Mapping[str, Any]) -> str:
    """What tells an attack, as it is stored, from every other: two jobs may write the same one differently."""
    return json.dumps(AttackSpec(**attack).resolved().to_json(), sort_keys=True)
