"""ARP, average relative performance: how far an attack moves every metric the wrong way (paper Eq. 10).

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import InvalidError
from core.tasks import Direction


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
    directions: Mapping[str, Mapping[str, Direction]],
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
    undefined: list[str] = []
    tasks: dict[str, float | None] = {}
    for task, metrics in directions.items():
        changes: list[float] = []
        for metric, direction in metrics.items():
            change = _relative_drop(_value(clean, task, metric), _value(attacked, task, metric), direction)
            if change is None:
                undefined.append(f"{task}.{metric}")
            else:
                changes.append(change)
        tasks[task] = 100 * sum(changes) / len(changes) if changes else None
    defined = [value for value in tasks.values() if value is not None]
    overall = sum(defined) / len(defined) if defined else None
    return Arp(tasks, overall, tuple(undefined))


def _value(values: Mapping[str, Mapping[str, float | None]], task: str, metric: str) -> float | None:
    try:
        return values[task][metric]
    except KeyError:
        raise InvalidError(f"no value of {task}.{metric}", field=f"{task}.{metric}") from None


def _relative_drop(before: float | None, after: float | None, direction: Direction) -> float | None:
    if direction not in ("higher", "lower"):
        raise InvalidError(f"a direction is 'higher' or 'lower'; got {direction!r}")
    if before is None or after is None or before == 0:
        return None
    change = (after - before) / abs(before)  # a cosine may be negative; worse is worse then too
    return -change if direction == "higher" else change
