"""How many threads read files, and a pool of them that survives pickling and forking."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from core.errors import InvalidError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 64
BY_DEFAULT = 8


def thread_count(asked: int | None) -> int:
    """The number asked for, else as many as there are cores, at most 8.

    Raises:
        InvalidError: it is not within 1..64.
    """
    if asked is None:
        return min(BY_DEFAULT, os.cpu_count() or 1)
    if not 1 <= asked <= MOST:
        raise InvalidError(f"threads must be from 1 to {MOST}; got {asked}", field="threads")
    return asked


class Pool:
    """Threads that are started when there is first something to do, in whatever process that is."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._running: tuple[int, ThreadPoolExecutor] | None = None

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results in the items' order; with one thread, in this one."""
        if self.threads == 1:
            return [work(item) for item in items]
        if self._running is None or self._running[0] != os.getpid():
            self._running = (os.getpid(), ThreadPoolExecutor(self.threads, thread_name_prefix="samples"))
        return list(self._running[1].map(work, items))

    def __getstate__(self) -> int:
        return self.threads

    def __setstate__(self, threads: int) -> None:
        self.threads, self._running = threads, None
