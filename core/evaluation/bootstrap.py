"""The bootstrap over samples, streamed: from statistics, shard by shard, to replicates of every metric and of ARP.

A replicate is the split with every sample counted Poisson(1) times instead of once. How often, only the seed and
the sample's position in the data set decide, so any two results on the same samples are paired. What intervals
follow from replicates, `core.intervals` says.
"""

from collections.abc import Iterator, Sequence
from math import exp, factorial, prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.arp import arp_arrays
from core.errors import InvalidError
from core.evaluation.metrics import Floats, metric_arrays
from core.intervals import Origin, Replicates, check_paired, stored
from core.tasks import MetricRules, Task

if TYPE_CHECKING:
    from core.evaluation.statistics import Statistics  # needs torch, which nothing here does

REPLICATES = 1000

CHUNK = 256
"""Samples that are weighted at a time."""

_STREAM = (0, 0, 1, 0)
"""Philox counter of the first draw; attacks draw with the same key, (seed, sample), but restarts in the last word."""

_Column = tuple[str, str, tuple[int, ...]]
"""A statistic's task, name, and shape for one sample."""

_Columns = tuple[_Column, ...]

_CACHED_BYTES = 64 * 2**20
_EXACT = 2**24
"""Up to here every integer is a float32."""


class Resampler:
    """How often each sample counts in each replicate: Poisson(1), from the seed and the sample's index alone.

    Drawn as 16-bit codes of raw Philox output through a table, which NumPy's own Poisson, free to change its
    stream with any version, would not keep reproducible: probabilities are right to 2^-17, the mean is exactly 1.
    What was drawn is kept, up to 64 MiB, for the attacks that are measured on the same samples.

    Raises:
        InvalidError: the seed is not between 0 and 2^63 - 1.
    """

    def __init__(self, seed: int = 0, *, replicates: int = REPLICATES) -> None:
        if not 0 <= seed < 2**63:
            raise InvalidError(f"seed must be between 0 and 2^63 - 1; got {seed}", field="seed")
        self.seed = seed
        self.replicates = replicates
        self._drawn: dict[bytes, NDArray[np.uint8]] = {}
        self._room = _CACHED_BYTES

    def weights(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """How often each sample counts in each replicate, [R, N]."""
        key = indices.tobytes()
        drawn = self._drawn.get(key)
        if drawn is None:
            drawn = self._draw(indices)
            if drawn.nbytes <= self._room:
                # kept for good: attacks come by in the same order, where a cache that evicts never hits
                self._drawn[key] = drawn
                self._room -= drawn.nbytes
        return drawn.astype(np.float32).T

    def _draw(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        words = np.empty((len(indices), -(-self.replicates // 4)), "<u8")
        for row, index in zip(words, indices.tolist(), strict=True):
            key = np.array([self.seed, index], np.uint64)
            row[:] = np.random.Philox(key=key, counter=_STREAM).random_raw(len(row))
        drawn: NDArray[np.uint8] = _COUNTS[words.view("<u2")[:, : self.replicates]]
        return drawn


class ReplicateTotals:
    """Summed statistics of a split and of its replicates, from tables in any order and cut anywhere.

    However they are cut, the same samples give the same bits: statistics that count are added up in integers, and
    those that are sums of real numbers, 8 bytes each a sample, are kept and added up in sample order at the end. All
    else takes the same memory for any number of samples.
    """

    def __init__(self, resampler: Resampler) -> None:
        self.resampler = resampler
        self._columns: tuple[_Columns, _Columns] | None = None
        self._counts = np.zeros(0)
        self._counted = np.zeros((resampler.replicates, 0))
        self._indices: list[NDArray[np.int64]] = []
        self._sums: list[Floats] = []

    def add(self, table: "Statistics") -> None:
        """Take in some samples.

        Raises:
            ValueError: the table has other statistics than those before it.
        """
        columns = _columns(table)
        if self._columns is None:
            self._columns = columns
            self._counts = np.zeros(sum(prod(shape) for _, _, shape in columns[0]))
            self._counted = np.zeros((self.resampler.replicates, len(self._counts)))
        if columns != self._columns:
            raise ValueError("two tables with different statistics are not of one split")
        counts, sums = (_beside(table, kind) for kind in columns)
        self._indices.append(table.indices)
        self._sums.append(sums)
        for rows in _chunks(len(table)):
            self._count(table.indices[rows], counts[rows])

    def _count(self, indices: NDArray[np.int64], counts: Floats) -> None:
        weights, total = self.resampler.weights(indices), counts.sum(0)
        exact = total.max(initial=0) * weights.max(initial=0) < _EXACT
        precision = np.float32 if exact else np.float64
        self._counts += total
        self._counted += weights.astype(precision, copy=False) @ counts.astype(precision, copy=False)

    @property
    def indices(self) -> NDArray[np.int64]:
        """[N], positions in the data set of the samples, ascending.

        Raises:
            ValueError: there are none, or one was added twice.
        """
        return self._in_order()[0]

    def totals(self) -> dict[str, dict[str, Floats]]:
        """By task and statistic the sum over the samples, [...], bit for bit that of `Statistics.totals`.

        Raises:
            ValueError: there are no samples, or one was added twice.
        """
        _, sums = self._in_order()
        with np.errstate(over="ignore", invalid="ignore"):
            return self._by_task(self._counts.copy(), np.ascontiguousarray(sums.T).sum(-1))

    def replicates(self) -> dict[str, dict[str, Floats]]:
        """By task and statistic the sum over every replicate's samples, [R, ...].

        Raises:
            ValueError: there are no samples, or one was added twice.
        """
        indices, sums = self._in_order()
        summed = np.zeros((self.resampler.replicates, sums.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):  # a model may predict NaN
            for rows in _chunks(len(indices)):
                summed += self.resampler.weights(indices[rows]).astype(np.float64) @ sums[rows]
        return self._by_task(self._counted.copy(), summed)

    def _in_order(self) -> tuple[NDArray[np.int64], Floats]:
        if not self._indices:
            raise ValueError("no statistics were added")
        indices = np.concatenate(self._indices)
        order = np.argsort(indices)
        indices = indices[order]
        if (indices[1:] == indices[:-1]).any():
            raise ValueError("a sample was added twice")
        return indices, np.concatenate(self._sums)[order]

    def _by_task(self, *values: Floats) -> dict[str, dict[str, Floats]]:
        """Counts and sums, columns along the last axis, under their tasks and names again."""
        named: dict[str, dict[str, Floats]] = {}
        for columns, table in zip(self._columns or (), values, strict=True):
            start = 0
            for task, name, shape in columns:
                end = start + prod(shape)
                named.setdefault(task, {})[name] = table[..., start:end].reshape((*table.shape[:-1], *shape))
                start = end
        return named


def take_replicates(
    totals: ReplicateTotals,
    tasks: Sequence[Task],
    *,
    dataset: str,
    clean: Replicates | None = None,
    rules: MetricRules = "standard",
) -> Replicates:
    """Replicates of every metric and, against the clean pass's, of ARP.

    Args:
        totals: one attack's, or those of the clean pass.
        tasks: say which metrics.
        dataset: whatever tells the data set and its version from every other.
        clean: replicates of the clean pass; None for the clean pass itself.
        rules: metric rules, see `metric_values`.

    Raises:
        ValueError: there are no samples, or one was added twice.
        UnpairedError: the clean pass is on other samples, or was resampled differently.
    """
    resampler, sums = totals.resampler, totals.replicates()
    origin = Origin.of(dataset, totals.indices, seed=resampler.seed, replicates=resampler.replicates)
    arrays = {task.name: metric_arrays(task, sums[task.name], rules=rules) for task in tasks}
    metrics = {
        task: {name: stored(values) for name, values in table.items()} for task, table in arrays.items()
    }
    measured = Replicates(origin, metrics)
    if clean is None:
        return measured
    check_paired(clean, measured)
    directions = {task.name: task.directions for task in tasks}
    by_task, overall = arp_arrays(clean.metrics, metrics, directions)
    return Replicates(
        origin, metrics, {task: stored(values) for task, values in by_task.items()}, stored(overall)
    )


def _columns(table: "Statistics") -> tuple[_Columns, _Columns]:
    """The statistics that count, and those that are sums of real numbers."""
    kinds: tuple[list[_Column], list[_Column]] = ([], [])
    for task, statistics in table.tasks.items():
        for name, values in statistics.items():
            kinds[values.dtype.kind == "f"].append((task, name, values.shape[1:]))
    return tuple(kinds[0]), tuple(kinds[1])


def _beside(table: "Statistics", columns: _Columns) -> Floats:
    """Statistics side by side, [N, columns]."""
    flat = [table.tasks[task][name].reshape(len(table), prod(shape)) for task, name, shape in columns]
    return np.concatenate([np.zeros((len(table), 0)), *flat], axis=1, dtype=np.float64)


def _chunks(samples: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, samples, CHUNK))


def _poisson_table() -> NDArray[np.uint8]:
    """Quantiles of Poisson(1) at the 2^16 codes."""
    shares = np.cumsum([exp(-1) / factorial(count) for count in range(12)])
    codes = np.round(2**16 * shares)
    return np.searchsorted(codes, np.arange(2**16), side="right").astype(np.uint8)


_COUNTS = _poisson_table()
