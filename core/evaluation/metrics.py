"""Metrics over a whole split, from summed statistics, with NumPy. What a task reports, `core.tasks` says.

Every formula takes totals with any leading axes, so that a thousand resampled splits are measured at once. Values
that nothing defines (no valid pixel, no class present) are NaN in arrays and None as numbers, never 0.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.tasks import MetricRules, Task

Floats = NDArray[np.float64]
Totals = Mapping[str, Floats]
MetricValues = dict[str, float | None]

DEGREES_PER_BIN = 0.25


def metric_values(task: Task, totals: Totals, *, rules: MetricRules = "standard") -> MetricValues:
    """Every metric the task reports.

    Args:
        task: says which metrics.
        totals: the statistics of `core.evaluation.statistics` summed over the split's samples.
        rules: "paper" leaves classes without one true positive out of mIoU, as the authors' code does;
            "standard" takes every class present in label or prediction, so that wiping a class out
            cannot raise it.
    """
    arrays = metric_arrays(task, totals, rules=rules)
    return {name: float(value) if np.isfinite(value) else None for name, value in arrays.items()}


def metric_arrays(task: Task, totals: Totals, *, rules: MetricRules = "standard") -> dict[str, Floats]:
    """Every metric the task reports, of many splits at once: [...], NaN where it is not defined.

    Args:
        task: says which metrics.
        totals: summed statistics with any leading axes, alike for all of them: [...] or [..., K].
        rules: as in `metric_values`.
    """
    compute = {
        "segmentation": _segmentation,
        "normals": _normals,
        "depth": _depth,
        "regression": _regression,
        "classification": _classification,
    }[task.kind]
    values = compute(totals, rules)
    return {metric.name: _finite(values[metric.name]) for metric in task.reported}


def all_metrics(
    tasks: Sequence[Task], totals: Mapping[str, Totals], *, rules: MetricRules = "standard"
) -> dict[str, MetricValues]:
    """`metric_values` of every task, by task name."""
    return {task.name: metric_values(task, totals[task.name], rules=rules) for task in tasks}


def _segmentation(totals: Totals, rules: MetricRules) -> dict[str, Floats]:
    intersection = totals["intersection"]
    union = totals["labelled"] + totals["predicted"] - intersection
    counted = intersection > 0 if rules == "paper" else union > 0
    values = {
        "miou": 100 * _mean_over(_ratio(intersection, union), counted),
        "pixel_accuracy": _share(intersection.sum(-1), totals["labelled"].sum(-1)),
    }
    if "loss_sum" in totals:
        values["cross_entropy"] = _ratio(totals["loss_sum"], totals["weight_sum"])
    return values


def _normals(totals: Totals, rules: MetricRules) -> dict[str, Floats]:
    del rules
    valid, histogram = totals["valid"], totals["angle_histogram"]
    below = np.zeros((*histogram.shape[:-1], histogram.shape[-1] + 1))
    np.cumsum(histogram, axis=-1, out=below[..., 1:])

    def within(degrees: float) -> Floats:
        return _share(below[..., round(degrees / DEGREES_PER_BIN)], valid)

    return {
        "mean": _ratio(totals["angle_sum"], valid),
        "median": _median_angle(below),
        "within_11.25": within(11.25),
        "within_22.5": within(22.5),
        "within_30": within(30),
        "cosine": _ratio(totals["cosine_sum"], valid),
    }


def _median_angle(below: Floats) -> Floats:
    """The angle with half the pixels below it, linear inside its quarter-degree bin.

    Args:
        below: [..., bins + 1], how many pixels are below each edge.
    """
    half = below[..., -1:] / 2
    upper = (below < half).sum(-1, keepdims=True).clip(min=1)
    start, end = np.take_along_axis(below, upper - 1, -1), np.take_along_axis(below, upper, -1)
    angle: Floats = (upper - 1 + _ratio(half - start, end - start)) * DEGREES_PER_BIN
    return angle[..., 0]


def _depth(totals: Totals, rules: MetricRules) -> dict[str, Floats]:
    del rules
    valid, relative, within = totals["valid"], totals["relative_valid"], totals["within"]
    return {
        "abs_error": _ratio(totals["abs_sum"], valid),
        "rel_error": _ratio(totals["rel_sum"], relative),
        "within_1.25": _share(within[..., 0], relative),
        "within_1.25^2": _share(within[..., 1], relative),
        "within_1.25^3": _share(within[..., 2], relative),
    }


def _regression(totals: Totals, rules: MetricRules) -> dict[str, Floats]:
    del rules
    return {"abs_error": _ratio(totals["abs_sum"], totals["valid"])}


def _classification(totals: Totals, rules: MetricRules) -> dict[str, Floats]:
    del rules
    return {
        "accuracy": _share(totals["correct"], totals["valid"]),
        "cross_entropy": _ratio(totals["loss_sum"], totals["valid"]),
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    """NaN where the whole is not above 0."""
    ratios = np.full(np.broadcast_shapes(np.shape(part), np.shape(whole)), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        np.divide(part, whole, out=ratios, where=np.greater(whole, 0))
    return ratios


def _share(part: Floats, whole: Floats) -> Floats:
    return _ratio(100 * part, whole)


def _mean_over(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    """Mean of the counted values along the last axis.

    Rows that count equally many are averaged together, so that a row's mean is the same, bit for bit, alone
    and among others.
    """
    counts = np.asarray(counted.sum(-1))
    means = np.full(counts.shape, np.nan)
    for count in np.unique(counts[counts > 0]):
        rows = counts == count
        means[rows] = values[rows][counted[rows]].reshape(-1, count).mean(-1)
    return means


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)
