"""Reading every sample of a split once, to know the bad ones beforehand."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.data.folders.errors import SampleError
from core.data.folders.inventory import Progress
from core.data.folders.reader import SampleReader
from core.data.folders.stored import save_bytes
from core.data.folders.threads import Pool

GROUP = 256
"""Samples read between two words of progress."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that cannot be read.

    Attributes:
        index: its position among all of its split.
        field: "image", or the task at fault.
        reason: one of `core.data.folders.errors.REASONS`.
    """

    index: int
    key: str
    file: str
    field: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """What a pass over a split found."""

    split: str
    samples: int
    bad: tuple[BadSample, ...]

    @property
    def reasons(self) -> dict[str, int]:
        """How many samples are bad for each reason."""
        return dict(sorted(Counter(one.reason for one in self.bad).items()))

    def kept(self) -> npt.NDArray[np.int64]:
        """Positions of the samples that are not bad, in order."""
        good = np.ones(self.samples, dtype=np.bool_)
        good[[one.index for one in self.bad]] = False
        return np.flatnonzero(good)


def check_samples(reader: SampleReader, pool: Pool, *, progress: Progress | None = None) -> Check:
    """Decode every sample and say which are bad; nothing is kept of the others.

    `progress` is told how many samples were read, and how many there are.
    """

    def judge(row: int) -> BadSample | None:
        try:
            reader.sample(row)
        except SampleError as error:
            return BadSample(row, error.key, error.file, error.field, error.reason, error.detail)
        return None

    bad: list[BadSample] = []
    for begin in range(0, len(reader), GROUP):
        end = min(begin + GROUP, len(reader))
        bad += [found for found in pool.map(judge, range(begin, end)) if found is not None]
        if progress is not None:
            progress(end, len(reader))
    return Check(reader.split, len(reader), tuple(bad))


def load_check(path: Path) -> Check | None:
    """A check that was kept, or None where there is none, or none that can be read."""
    try:
        kept = json.loads(path.read_bytes())
        bad = tuple(BadSample(**entry) for entry in kept["bad"])
        return Check(str(kept["split"]), int(kept["samples"]), bad)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def save_check(path: Path, check: Check) -> None:
    """Keep a check."""
    save_bytes(path, json.dumps(asdict(check)).encode())
