"""The random numbers of one sample: a counter-based stream keyed by seed, split and index."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from core.errors import InvalidError

SPLIT_KEYS = {"train": 0, "validation": 1, "test": 2}
"""The split is part of the key, so the streams of two splits cannot overlap."""

_POOL = 256

Item = TypeVar("Item")


def check_seed(seed: int) -> int:
    """The seed itself.

    Raises:
        InvalidError: it is out of range.
    """
    if not 0 <= seed < 2**64:
        raise InvalidError(f"a seed is in 0..2^64-1; got {seed}", field="seed")
    return seed


class Draws:
    """Random numbers that depend on (seed, split, index) and on nothing else.

    Attributes:
        unit: draws a number in [0, 1).

    Raises:
        InvalidError: the split is unknown, or the seed or the index is out of range.
    """

    def __init__(self, seed: int, split: str, index: int) -> None:
        if split not in SPLIT_KEYS:
            raise InvalidError(f"no split {split!r}; there are {', '.join(SPLIT_KEYS)}", field="split")
        if not 0 <= index < 2**32:
            raise InvalidError(f"an index is in 0..2^32-1; got {index}", field="index")
        sequence = np.random.SeedSequence(check_seed(seed), spawn_key=(SPLIT_KEYS[split], index))
        self._generator = np.random.Generator(np.random.Philox(sequence))
        self.unit = self._units().__next__

    def _units(self) -> Iterator[float]:
        """Numbers in [0, 1), drawn by the pool, each pool from its end."""
        while True:
            yield from reversed(self._generator.random(_POOL).tolist())

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def integer(self, low: int, high: int) -> int:
        """A whole number in low..high, both included."""
        return low + int((high - low + 1) * self.unit())

    def chance(self, probability: float) -> bool:
        """Whether an event of this probability happens."""
        return self.unit() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items, all equally likely."""
        return items[int(len(items) * self.unit())]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in random order (Fisher-Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.integer(0, last)
            order[last], order[other] = order[other], order[last]
        return order

    def noise(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Nearly normal noise of mean 0 and standard deviation 1: the sum of four random bytes, scaled."""
        count = int(np.prod(shape))
        words = np.frombuffer(self._generator.bytes(4 * count), dtype=np.uint8).reshape(4, *shape)
        total = np.add.reduce(words, axis=0, dtype=np.uint16).astype(np.float32)
        noise: npt.NDArray[np.float32] = (total - np.float32(510.0)) * np.float32(1.0 / 147.8)
        return noise
