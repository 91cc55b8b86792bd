"""Transferability: how much of the harm that SINGLE-X does to task X it also does to the others (paper Eq. 11).

NumPy only; what the attacks did comes in as ARP, and their error bars as replicates.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from core.arp import Arp, Numbers, mean_of_defined
from core.errors import InvalidError
from core.intervals import LEVEL, Interval, Replicates, interval, stored

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Transferability:
    """What every SINGLE-X did to every task, and how far it transferred.

    Attributes:
        tasks: the model's, in its order.
        matrix: {attacked task: {damaged task: ARP in percent}}, None where there is none.
        matrix_intervals: theirs; None where one is not defined.
        values: by attacked task, the mean over the other tasks of their ARP over its own; None where not defined.
        intervals: theirs; None where one is not defined.
        undefined: by attacked task without a value, why.
        unstable: attacked tasks whose value divides by an ARP that might as well be 0: its interval reaches there,
            or it has none.
    """

    tasks: tuple[str, ...]
    matrix: dict[str, dict[str, float | None]]
    matrix_intervals: dict[str, dict[str, Interval | None]]
    values: dict[str, float | None]
    intervals: dict[str, Interval | None]
    undefined: dict[str, str]
    unstable: tuple[str, ...] = ()

    def table(self) -> str:
        """Every task's ARP and the transferability, one line an attacked task, as plain text."""
        head = ["attacked", *(f"{task} ARP %" for task in self.tasks), "transferability"]
        rows = [[task, *self._cells(task)] for task in self.matrix]
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in [head, *rows]]
        return "\n".join([*lines, *(f"{task}: {reason}" for task, reason in self.undefined.items())])

    def _cells(self, attacked: str) -> list[str]:
        arps, intervals = self.matrix[attacked], self.matrix_intervals[attacked]
        value = _cell(self.values[attacked], self.intervals[attacked])
        mark = " unstable" if attacked in self.unstable else ""
        return [*(_cell(arps[task], intervals[task]) for task in self.tasks), value + mark]

    def to_json(self) -> dict[str, object]:
        """The fields as JSON values, an interval as {"low": …, "high": …}."""
        return asdict(self)


def transferability(
    arps: Mapping[str, Arp], replicates: Mapping[str, Replicates] | None = None, *, level: float = LEVEL
) -> Transferability:
    """Transferability of the SINGLE-X attacks on a model.

    A task without ARP (its clean metrics are 0, say) does not count among the others, as it does not in ARP.

    Args:
        arps: by attacked task, ARP under SINGLE-X.
        replicates: by attacked task, those of the same result; an attack without them has no intervals.
        level: of the intervals.

    Raises:
        InvalidError: there is no attack, or one on a task that was not measured.
    """
    tasks = tuple(next(iter(arps.values())).tasks) if arps else ()
    if not arps or not set(arps) <= set(tasks):
        measured = ", ".join(tasks) or "none"
        raise InvalidError(f"transferability needs a SINGLE attack on a task that is measured ({measured})")
    drawn = replicates or {}
    matrix = {attacked: dict(arp.tasks) for attacked, arp in arps.items()}
    matrix_intervals = {
        attacked: {task: _interval(drawn.get(attacked), task, value, level) for task, value in row.items()}
        for attacked, row in matrix.items()
    }
    undefined = {attacked: reason for attacked, row in matrix.items() if (reason := _reason(attacked, row))}
    values = {attacked: _value(attacked, row) for attacked, row in matrix.items()}
    intervals = {
        attacked: _ratio_interval(drawn.get(attacked), attacked, values[attacked], level) for attacked in arps
    }
    unstable = (
        attacked
        for attacked, row in matrix_intervals.items()
        if attacked in drawn and attacked not in undefined and _reaches_0(row[attacked])
    )
    return Transferability(tasks, matrix, matrix_intervals, values, intervals, undefined, tuple(unstable))


def transfer_ratio(attacked: str, arps: Mapping[str, Numbers]) -> Floats:
    """Paper Eq. 11, of many splits at once: [...], NaN where the attack does its own task no harm.

    Args:
        attacked: X, the task that SINGLE-X attacks.
        arps: by task, ARP under that attack, [...], NaN where there is none.
    """
    own = np.asarray(arps[attacked], np.float64)
    ratio = np.full(own.shape, np.nan)
    others = mean_of_defined([arp for task, arp in arps.items() if task != attacked])
    with np.errstate(over="ignore"):
        np.divide(others, own, out=ratio, where=own > 0)
    return ratio


def _reason(attacked: str, arps: Mapping[str, float | None]) -> str | None:
    """Why an attack's transferability is not defined, or None where it is."""
    own, others = arps[attacked], [arp for task, arp in arps.items() if task != attacked]
    if not others:
        return f"{attacked} is the only task, so there is none to transfer to"
    if own is None:
        return f"the attack on {attacked} has no ARP on it to compare with"
    if own <= 0:
        return (
            f"the attack on {attacked} did not harm it (ARP {own:.2f} %), so there is no harm to compare with"
        )
    if all(arp is None for arp in others):
        return f"no task besides {attacked} has an ARP"
    return None


def _value(attacked: str, arps: Mapping[str, float | None]) -> float | None:
    ratio = transfer_ratio(attacked, {task: np.array(arp, np.float64) for task, arp in arps.items()})
    return None if np.isnan(ratio) else float(ratio)


def _ratio_interval(
    replicates: Replicates | None, attacked: str, value: float | None, level: float
) -> Interval | None:
    if replicates is None:
        return None
    ratios = stored(transfer_ratio(attacked, replicates.tasks))
    return interval(ratios, value, samples=replicates.origin.samples, level=level)


def _interval(replicates: Replicates | None, task: str, value: float | None, level: float) -> Interval | None:
    return None if replicates is None else replicates.interval(value, task=task, level=level)


def _reaches_0(own: Interval | None) -> bool:
    return own is None or own.low <= 0


def _cell(value: float | None, bounds: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" + (f" [{bounds.low:.2f}, {bounds.high:.2f}]" if bounds else "")
