"""Error bars out of bootstrap replicates: intervals, and paired differences of two results. NumPy only.

How replicates are made, `core.evaluation.bootstrap` says; this much the API needs, which has no torch.
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InvalidError

Stored = NDArray[np.float32]

LEVEL = 0.95
"""How often an interval should hold the value that all samples of this kind would give."""

MOST_UNDEFINED = 0.05
"""Share of replicates without a value above which there is no interval."""

_NORMAL = NormalDist()


class UnpairedError(InvalidError):
    """Two results are not on the same samples, or not resampled alike, so that their difference has no interval."""

    code = "unpaired"


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a number lies, in its own unit."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Origin:
    """What replicates were drawn from; two of the same origin are paired, one by one.

    Attributes:
        seed: of the draws.
        replicates: how many.
        samples: how many samples the result is on.
        digest: SHA-256 of which samples of which data set these are.
    """

    seed: int
    replicates: int
    samples: int
    digest: str

    @classmethod
    def of(cls, dataset: str, indices: NDArray[np.int64], *, seed: int, replicates: int) -> "Origin":
        """The origin of replicates of some samples.

        Args:
            dataset: whatever tells the data set and its version from every other.
            indices: [N], positions in the data set, in any order.
            seed: of the draws.
            replicates: how many were drawn.
        """
        digest = hashlib.sha256(dataset.encode() + b"\0" + np.sort(indices).astype("<i8").tobytes())
        return cls(seed, replicates, len(indices), digest.hexdigest())


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """What each replicate says: arrays [R] of float32, NaN where it leaves a value undefined.

    Attributes:
        origin: what they were drawn from.
        metrics: by task and metric.
        tasks: ARP by task; empty for a clean pass.
        overall: ARP; None for a clean pass.
    """

    origin: Origin
    metrics: dict[str, dict[str, Stored]]
    tasks: dict[str, Stored] = field(default_factory=dict)
    overall: Stored | None = None

    def of(self, task: str | None = None, metric: str | None = None) -> Stored:
        """Replicates [R] of a task's metric, of a task's ARP, or with neither of ARP.

        Raises:
            InvalidError: there are none, such as of the ARP of a clean pass.
        """
        found = self.overall
        if task is not None:
            found = self.tasks.get(task) if metric is None else self.metrics.get(task, {}).get(metric)
        if found is None:
            name = ".".join(part for part in (task, metric or "arp") if part)
            raise InvalidError(f"there are no replicates of {name}", field=name)
        return found

    def interval(
        self,
        estimate: float | None,
        *,
        task: str | None = None,
        metric: str | None = None,
        level: float = LEVEL,
    ) -> Interval | None:
        """`interval` of a number, named as in `of`."""
        return interval(self.of(task, metric), estimate, samples=self.origin.samples, level=level)

    def to_bytes(self) -> bytes:
        """The replicates as a compressed NumPy archive."""
        arrays: dict[str, NDArray[np.generic]] = {"origin": np.array(json.dumps(asdict(self.origin)))}
        arrays |= {
            f"metrics/{task}/{metric}": values
            for task, metrics in self.metrics.items()
            for metric, values in metrics.items()
        }
        arrays |= {f"tasks/{task}": values for task, values in self.tasks.items()}
        if self.overall is not None:
            arrays["overall"] = self.overall
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Replicates":
        """Read what `to_bytes` wrote."""
        metrics: dict[str, dict[str, Stored]] = {}
        tasks: dict[str, Stored] = {}
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            for key in archive.files:
                match key.split("/"):
                    case ["metrics", task, metric]:
                        metrics.setdefault(task, {})[metric] = archive[key]
                    case ["tasks", task]:
                        tasks[task] = archive[key]
            origin = Origin(**json.loads(str(archive["origin"])))
            return cls(origin, metrics, tasks, archive["overall"] if "overall" in archive.files else None)


def stored(values: ArrayLike) -> Stored:
    """Replicates as they are kept: float32, NaN for what is not finite in it."""
    with np.errstate(over="ignore"):
        kept = np.asarray(values).astype(np.float32)
    kept[~np.isfinite(kept)] = np.nan
    return kept


def interval(
    replicates: Stored, estimate: float | None, *, samples: int, level: float = LEVEL
) -> Interval | None:
    """The interval of a number: its replicates' percentiles, corrected for bias and widened for few samples.

    Which percentiles follows Efron's BC (a replicate lacks some rare classes, which biases mIoU) with Student's
    quantile in place of the normal one (Hesterberg 2015); `bench/coverage.py` measures what either is worth.

    Args:
        replicates: [R], NaN where one leaves the number undefined.
        estimate: the number itself.
        samples: how many samples it is on.
        level: how often the interval should hold the number that all samples of their kind would give.

    Returns:
        None where the number is not defined, on fewer than 2 samples, or where more than 5 % of the replicates
        leave it undefined.
    """
    defined = replicates[~np.isnan(replicates)]
    if estimate is None or samples < 2 or len(defined) < (1 - MOST_UNDEFINED) * len(replicates):
        return None
    centre, reach = 2 * _bias(defined, estimate), _reach(level, samples)
    ranks = [_NORMAL.cdf(centre - reach), _NORMAL.cdf(centre + reach)]
    low, high = np.quantile(defined.astype(np.float64), ranks)
    return Interval(float(low), float(high))


def _bias(replicates: Stored, estimate: float) -> float:
    """How many standard errors the estimate is above the replicates' median, at most 1 either way."""
    kept = stored(estimate)
    below = (np.mean(replicates < kept) + np.mean(replicates <= kept)) / 2
    return _NORMAL.inv_cdf(min(max(float(below), _NORMAL.cdf(-1)), _NORMAL.cdf(1)))


def _reach(level: float, samples: int) -> float:
    """How many standard errors an interval reaches to either side.

    Student's quantile, by the first terms of its expansion about the normal one, for a standard error that
    resampling finds too small by sqrt(1 - 1/n).
    """
    z, freedom = _NORMAL.inv_cdf((1 + level) / 2), samples - 1
    student = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return student * sqrt(samples / freedom)


def paired_difference(
    one: Replicates,
    other: Replicates,
    estimate: float | None,
    *,
    task: str | None = None,
    metric: str | None = None,
    level: float = LEVEL,
) -> Interval | None:
    """The interval of one result's number less another's, both on the same samples.

    Samples that are hard for both cancel, so it is narrower than the two numbers' own intervals suggest.

    Args:
        one, other: replicates of the two results.
        estimate: the difference of the two numbers, `one` less `other`.
        task, metric: of which number, as in `Replicates.of`.
        level: as in `interval`.

    Raises:
        UnpairedError: the results are of different samples, or were resampled differently.
        InvalidError: one of them has no such number.
    """
    check_paired(one, other)
    differences = one.of(task, metric) - other.of(task, metric)
    return interval(differences, estimate, samples=one.origin.samples, level=level)


def check_paired(one: Replicates, other: Replicates) -> None:
    """Refuse replicates that do not belong to each other one by one.

    Raises:
        UnpairedError: see there.
    """
    mine, theirs = one.origin, other.origin
    if mine.digest != theirs.digest:
        raise UnpairedError(
            f"the results are on different samples ({mine.samples} and {theirs.samples}) or took them in another"
            " order, so their difference has no interval; evaluate both on the same ones, shuffled alike"
        )
    if mine != theirs:
        raise UnpairedError(
            f"the results were resampled differently (seed {mine.seed}, {mine.replicates} times, and"
            f" seed {theirs.seed}, {theirs.replicates} times), so their difference has no interval"
        )
