"""Numbers that keep their bootstrap replicates, so that differences and means of them have intervals, too.

All of a study's models are measured on the same samples, which every replicate counts alike: whatever is done to the
numbers is done to their replicates one by one, and samples that are hard for all models cancel out of a difference.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.intervals import Interval, Stored, interval, stored

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A number and what each replicate says of it.

    Attributes:
        replicates: [R], NaN where one leaves the number undefined; None where there are none.
        samples: how many samples it is on.
    """

    value: float
    replicates: Stored | None
    samples: int

    @property
    def interval(self) -> Interval | None:
        """95 %; None without replicates, or where they leave it undefined."""
        if self.replicates is None:
            return None
        return interval(self.replicates, self.value, samples=self.samples)

    def __sub__(self, other: "Quantity") -> "Quantity":
        drawn = None
        if self.replicates is not None and other.replicates is not None:
            drawn = self.replicates - other.replicates
        return Quantity(self.value - other.value, drawn, self.samples)

    def to_json(self) -> Json:
        """`{"value": …, "interval": [low, high] or null}`."""
        found = self.interval
        return estimate(self.value, None if found is None else (found.low, found.high))


def mean(quantities: Iterable[Quantity]) -> Quantity | None:
    """The mean of some numbers, replicate by replicate; None of none."""
    listed = list(quantities)
    if not listed:
        return None
    arrays = [quantity.replicates for quantity in listed if quantity.replicates is not None]
    drawn = stored(np.mean(arrays, axis=0, dtype=np.float64)) if len(arrays) == len(listed) else None
    value = sum(quantity.value for quantity in listed) / len(listed)
    return Quantity(value, drawn, listed[0].samples)


def difference(one: Quantity | None, other: Quantity | None) -> Quantity | None:
    """One number less another; None where one is not there."""
    return None if one is None or other is None else one - other


def estimate(value: float | None, interval: Sequence[float] | None = None) -> Json:
    """A number and its interval as JSON values."""
    return {"value": value, "interval": None if interval is None else list(interval)}


def shown(quantity: Quantity | None) -> Json:
    """`Quantity.to_json`, of a number that may not be there."""
    return estimate(None) if quantity is None else quantity.to_json()
