"""Which files a data set has, and the SHA-256 of each: taken in parallel, and only of files touched since last time."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from core.data.folders.errors import FolderError, RefusedError
from core.data.folders.names import Names
from core.data.folders.roots import Looker, place
from core.data.folders.stored import Arrays

BLOCK = 2**20
GROUP = 1024
"""Files handed to the threads at a time."""

MISSING = -1
DIGEST_BYTES = 32
RACE_NS = 2 * 10**9
"""A file changed less than this before it was looked at may change again within the clock's grain: it is read again."""

Progress = Callable[[int, int], None]
"""Bytes read so far, and bytes to read in all; called from several threads, but never from two at once."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Look = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Inventory:
    """Files by name, in order.

    Attributes:
        sizes: [N] bytes, -1 for a file that is missing.
        digests: [N, 32] SHA-256 of the bytes, zeros for a file that is missing.
    """

    names: Names
    sizes: npt.NDArray[np.int64]
    digests: npt.NDArray[np.uint8]

    def entries(self) -> Iterator[tuple[str, int, bytes]]:
        """Name, size and digest of every file."""
        for name, size, digest in zip(self.names, self.sizes, self.digests, strict=True):
            yield name, int(size), digest.tobytes()

    def arrays(self) -> Arrays:
        """As arrays, to be kept."""
        letters = np.frombuffer(self.names.letters, dtype=np.uint8)
        return {"letters": letters, "ends": self.names.ends, "sizes": self.sizes, "digests": self.digests}

    @classmethod
    def of(cls, arrays: Arrays) -> "Inventory":
        """From arrays that were kept."""
        return cls(Names(arrays["letters"].tobytes(), arrays["ends"]), arrays["sizes"], arrays["digests"])


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """An inventory with what the file system said when it was taken.

    Attributes:
        looks: [N, 3] size, time of the last change in nanoseconds, inode.
        taken_ns: the clock before the first look.
    """

    inventory: Inventory
    looks: Look
    taken_ns: int

    def arrays(self) -> Arrays:
        """As arrays, to be kept."""
        taken = np.array(self.taken_ns, dtype=np.int64)
        return {**self.inventory.arrays(), "looks": self.looks, "taken": taken}

    @classmethod
    def of(cls, arrays: Arrays) -> "Seen":
        """From arrays that were kept."""
        return cls(Inventory.of(arrays), arrays["looks"], int(arrays["taken"]))


def take_inventory(
    root: str, files: Iterable[str], *, before: Seen | None, threads: int, progress: Progress | None = None
) -> Seen:
    """Look at every file, and read those that changed since `before`.

    Raises:
        FolderError: a file leads out of the root, cannot be read, or changes while it is read.
    """
    taken = time.time_ns()
    names = Names.of(sorted(set(files)))
    with ThreadPoolExecutor(threads) as pool:
        looks = _looks(pool, root, names)
        digests = _known(names, looks, before)
        unread = np.flatnonzero((looks[:, 0] >= 0) & ~digests.any(axis=1)).tolist()
        counter = _Counter(int(looks[unread, 0].sum()), progress)

        def read(row: int) -> bytes:
            return _digest(root, names[row], looks[row], counter)

        for row, digest in zip(unread, _grouped(pool, read, unread), strict=True):
            digests[row] = np.frombuffer(digest, dtype=np.uint8)
    return Seen(Inventory(names, looks[:, 0].copy(), digests), looks, taken)


def _grouped(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Like `pool.map`, but without queueing every item at once."""
    rest = iter(items)
    while group := list(islice(rest, GROUP)):
        yield from pool.map(work, group)


def _looks(pool: ThreadPoolExecutor, root: str, names: Names) -> Look:
    """[N, 3]: size, time of change and inode of every file."""
    groups = [range(begin, min(begin + GROUP, len(names))) for begin in range(0, len(names), GROUP)]

    def look(group: range) -> Look:
        looker = Looker(root)
        return np.array([_look(looker, names[row]) for row in group], dtype=np.int64).reshape(-1, 3)

    return np.concatenate([np.zeros((0, 3), dtype=np.int64), *pool.map(look, groups)])


def _look(looker: Looker, name: str) -> tuple[int, int, int]:
    try:
        found = looker.stat(name)
    except RefusedError as error:
        if error.reason == "missing":
            return MISSING, 0, 0
        raise FolderError(f"{name}: {error}", field="root") from error
    return found.st_size, found.st_mtime_ns, found.st_ino & (2**63 - 1)


def _known(names: Names, looks: Look, before: Seen | None) -> npt.NDArray[np.uint8]:
    """The digests of files that look as they did, zeros for the rest; both lists are in order."""
    digests = np.zeros((len(names), DIGEST_BYTES), dtype=np.uint8)
    if before is None:
        return digests
    older = enumerate(before.inventory.names)
    row, old = next(older, (0, None))
    for new, name in enumerate(names):
        while old is not None and old < name:
            row, old = next(older, (0, None))
        settled = looks[new, 1] < before.taken_ns - RACE_NS
        if old == name and settled and (looks[new] == before.looks[row]).all():
            digests[new] = before.inventory.digests[row]
    return digests


def _digest(root: str, name: str, look: Look, counter: "_Counter") -> bytes:
    """The SHA-256 of a file that stays as it looked."""
    digest = hashlib.sha256()
    try:
        with Path(place(root, name)).open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                counter.add(len(block))
            found = os.fstat(file.fileno())
    except (OSError, RefusedError) as error:
        raise FolderError(f"{name}: it cannot be read: {error}", field="root") from error
    if (found.st_size, found.st_mtime_ns) != (int(look[0]), int(look[1])):
        raise FolderError(f"{name} changed while it was read; try again", field="root")
    return digest.digest()


class _Counter:
    """Counts bytes for a progress bar."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Some more bytes."""
        if self._progress is None:
            return
        with self._lock:
            self._done += count
            self._progress(self._done, self._total)
