"""In which order the samples of a split are taken: the data set's own, or one drawn with a seed.

The draw is pinned for ever: the first 64 samples of a seed are the same ones in every version, so results of one stay
results of the next. NumPy's own `permutation` may change its stream.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from core.data.batch import Batch, Dataset
from core.data.splits import check_indices
from core.tasks import Task

Words = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]

ORDERS_KEPT = 4

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def in_order(dataset: Dataset, shuffle: int | None) -> Dataset:
    """The data set in an order drawn with a seed, whatever order it was in; with None as it is."""
    return dataset if shuffle is None else Shuffled(whole_of(dataset), shuffle)


def whole_of(dataset: Dataset) -> Dataset:
    """The data set in its own order."""
    return dataset.whole if isinstance(dataset, Shuffled) else dataset


def shuffle_of(dataset: Dataset) -> int | None:
    """The seed of the order that a data set is in; None in its own."""
    return dataset.seed if isinstance(dataset, Shuffled) else None


@lru_cache(maxsize=ORDERS_KEPT)
def drawn_order(seed: int, samples: int) -> Positions:
    """Which sample of a split comes first, second, and so on: [samples], each position of the split once.

    Every sample has a key of 64 bits, SplitMix64's output number `index` of a stream that the seed begins, and they
    are taken by ascending keys. No two are equal, as for one seed the keys are a bijection of the indices. A sample's
    key depends on nothing else, so samples that are added to a split come in between and change no order of the others.
    """
    begin = _mixed(np.array([seed], np.uint64))
    keys = _mixed(begin + (np.arange(samples, dtype=np.uint64) + np.uint64(1)) * _GOLDEN)
    order = np.argsort(keys).astype(np.int64, copy=False)
    order.flags.writeable = False  # it is shared
    return order


def _mixed(words: Words) -> Words:
    """SplitMix64's output function (Steele, Lea and Flood 2014, mix64variant13): a bijection of [N] 64-bit words."""
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        words = (words ^ (words >> shift)) * factor
    return words ^ (words >> _SHIFTS[-1])


class Shuffled:
    """A data set whose first, second, ... sample is that of an order drawn with a seed.

    Its batches keep the samples' own positions in the data set as `Batch.indices`, which key their random numbers: what
    an attack draws for a sample does not depend on when it is taken.
    """

    def __init__(self, whole: Dataset, seed: int) -> None:
        self.whole = whole
        self.seed = seed

    @property
    def name(self) -> str:
        """That of the data set."""
        return self.whole.name

    @property
    def version(self) -> str:
        """That of the data set."""
        return self.whole.version

    @property
    def split(self) -> str:
        """That of the data set."""
        return self.whole.split

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Those of the data set."""
        return self.whole.tasks

    def __len__(self) -> int:
        return len(self.whole)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at these positions of the drawn order.

        Raises:
            IndexError: a position is outside 0..len-1.
        """
        places = check_indices(indices, len(self))
        return self.whole.batch(drawn_order(self.seed, len(self))[places].tolist())
