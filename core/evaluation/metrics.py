"""Metrics over a whole split, from summed statistics, with NumPy. What a task reports, `core.tasks` says.

Values that nothing defines (no valid pixel, no class present) are None, never 0 and never NaN.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.tasks import MetricRules, Task

Totals = Mapping[str, NDArray[np.float64]]
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


def _segmentation(totals: Totals, rules: MetricRules) -> MetricValues:
    intersection = totals["intersection"]
    union = totals["labelled"] + totals["predicted"] - intersection
    counted = intersection > 0 if rules == "paper" else union > 0
    overlap = intersection[counted] / union[counted]
    values: MetricValues = {
        "miou": 100 * float(overlap.mean()) if counted.any() else None,
        "pixel_accuracy": _share(intersection.sum(), totals["labelled"].sum()),
        "cross_entropy": None,
    }
    if "loss_sum" in totals:
        values["cross_entropy"] = _mean(totals["loss_sum"], totals["weight_sum"])
    return values


def _normals(totals: Totals, rules: MetricRules) -> MetricValues:
    del rules
    valid, histogram = totals["valid"], totals["angle_histogram"]
    below = np.concatenate([[0.0], np.cumsum(histogram)])

    def within(degrees: float) -> float | None:
        return _share(below[round(degrees / DEGREES_PER_BIN)], valid)

    return {
        "mean": _mean(totals["angle_sum"], valid),
        "median": _median_angle(below),
        "within_11.25": within(11.25),
        "within_22.5": within(22.5),
        "within_30": within(30),
        "cosine": _mean(totals["cosine_sum"], valid),
    }


def _median_angle(below: NDArray[np.float64]) -> float | None:
    """The angle with half the pixels below it, linear inside its quarter-degree bin."""
    total = below[-1]
    if total == 0:
        return None
    upper = int(np.searchsorted(below, total / 2, side="left"))
    inside = below[upper] - below[upper - 1]
    return float((upper - 1 + (total / 2 - below[upper - 1]) / inside) * DEGREES_PER_BIN)


def _depth(totals: Totals, rules: MetricRules) -> MetricValues:
    del rules
    valid, relative = totals["valid"], totals["relative_valid"]
    return {
        "abs_error": _mean(totals["abs_sum"], valid),
        "rel_error": _mean(totals["rel_sum"], relative),
        "within_1.25": _share(totals["within"][0], relative),
        "within_1.25^2": _share(totals["within"][1], relative),
        "within_1.25^3": _share(totals["within"][2], relative),
    }


def _regression(totals: Totals, rules: MetricRules) -> MetricValues:
    del rules
    return {"abs_error": _mean(totals["abs_sum"], totals["valid"])}


def _classification(totals: Totals, rules: MetricRules) -> MetricValues:
    del rules
    return {
        "accuracy": _share(totals["correct"], totals["valid"]),
        "cross_entropy": _mean(totals["loss_sum"], totals["valid"]),
    }


def _mean(total: NDArray[np.float64] | float, count: NDArray[np.float64] | float) -> float | None:
    return float(total) / float(count) if count > 0 else None


def _share(part: NDArray[np.float64] | float, whole: NDArray[np.float64] | float) -> float | None:
    return 100 * float(part) / float(whole) if whole > 0 else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
