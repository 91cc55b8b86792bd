"""ARP, average relative performance: how far an attack moves every metric the wrong way (paper Eq. 10).

NumPy only; one split's numbers and arrays of many splits' numbers go through the same formula.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidError
from core.tasks import Direction

Floats = NDArray[np.float64]
Numbers = NDArray[np.float64] | NDArray[np.float32]
Directions = Mapping[str, Mapping[str, Direction]]


@dataclass(frozen=True, slots=True)
class Arp:
    """Average relative performance drop in percent; higher is a stronger attack, negative one that helped.

    Attributes:
        tasks: by task, the mean over its metrics; None where none of them is defined.
        overall: the mean over tasks that have one; None where none has.
        undefined: "task.metric" of every metric left out of its task's mean, because its clean value is 0
            (no relative change exists) or because it has no value before or after the attack.
    """

    tasks: dict[str, float | None]
    overall: float | None
    undefined: tuple[str, ...] = ()


def average_relative_performance(
    clean: Mapping[str, Mapping[str, float | None]],
    attacked: Mapping[str, Mapping[str, float | None]],
    directions: Directions,
) -> Arp:
    """ARP of an attack: the mean over tasks of the mean over metrics of the relative change for the worse.

    Args:
        clean: {task: {metric: value}} before the attack.
        attacked: the same after it.
        directions: {task: {metric: "higher" | "lower"}}, which values are better; its entries
            are the ones that count.

    Raises:
        InvalidError: a task or metric of `directions` is missing from the values, or a direction is neither.
    """
    drops = {
        task: {
            metric: relative_drop(_value(clean, task, metric), _value(attacked, task, metric), direction)
            for metric, direction in metrics.items()
        }
        for task, metrics in directions.items()
    }
    tasks, overall = _means(drops)
    undefined = tuple(
        f"{task}.{metric}"
        for task, metrics in drops.items()
        for metric, drop in metrics.items()
        if np.isnan(drop)
    )
    return Arp({task: _number(value) for task, value in tasks.items()}, _number(overall), undefined)


def arp_arrays(
    clean: Mapping[str, Mapping[str, Numbers]],
    attacked: Mapping[str, Mapping[str, Numbers]],
    directions: Directions,
) -> tuple[dict[str, Floats], Floats]:
    """ARP of many splits at once, by task and overall: `average_relative_performance` element by element.

    Args:
        clean: {task: {metric: [...]}}, NaN where a metric is not defined.
        attacked: the same after the attack.
        directions: as there; every task and metric of it has arrays.
    """
    return _means(
        {
            task: {
                metric: relative_drop(clean[task][metric], attacked[task][metric], direction)
                for metric, direction in metrics.items()
            }
            for task, metrics in directions.items()
        }
    )


def relative_drop(before: Numbers, after: Numbers, direction: Direction) -> Floats:
    """The relative change for the worse, [...]; NaN where `before` is 0 or either is NaN.

    Raises:
        InvalidError: the direction is neither "higher" nor "lower".
    """
    if direction not in ("higher", "lower"):
        raise InvalidError(f"a direction is 'higher' or 'lower'; got {direction!r}")
    drop = np.full(np.broadcast_shapes(np.shape(before), np.shape(after)), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        change = np.subtract(after, before, dtype=np.float64)
        # a cosine may be negative; worse is worse then too
        np.divide(change, np.abs(before), out=drop, where=np.not_equal(before, 0))
    return drop if direction == "lower" else -drop


def mean_of_defined(values: Sequence[Numbers], *, unit: float = 1) -> Floats:
    """Element by element `unit` times the mean of those that are not NaN, [...]; NaN where all are."""
    shape = np.broadcast_shapes(*(value.shape for value in values))
    total, count, mean = np.zeros(shape), np.zeros(shape), np.full(shape, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        for value in values:
            defined = ~np.isnan(value)
            np.add(total, value, out=total, where=defined)
            count += defined
        np.divide(unit * total, count, out=mean, where=count > 0)
    return mean


def _means(drops: Mapping[str, Mapping[str, Floats]]) -> tuple[dict[str, Floats], Floats]:
    tasks = {task: mean_of_defined(list(metrics.values()), unit=100) for task, metrics in drops.items()}
    return tasks, mean_of_defined(list(tasks.values()))


def _value(values: Mapping[str, Mapping[str, float | None]], task: str, metric: str) -> Floats:
    try:
        value = values[task][metric]
    except KeyError:
        raise InvalidError(f"no value of {task}.{metric}", field=f"{task}.{metric}") from None
    return np.array(np.nan if value is None else value)


def _number(value: Floats) -> float | None:
    return None if np.isnan(value) else float(value)
