"""Batches for training, the next one loaded while the last is worked on."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Loaded = TypeVar("Loaded")


def ahead(load: Callable[[int], Loaded], iterations: Iterable[int]) -> Generator[Loaded, None, None]:
    """What `load` makes of each iteration, in order, one of them in advance, in a thread of the feed's own.

    Close it (`contextlib.closing`) to wait for the thread's last load. What `load` raises is raised here when
    its turn has come.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
        upcoming: Future[Loaded] | None = None
        for iteration in iterations:
            following = pool.submit(load, iteration)
            if upcoming is not None:
                yield upcoming.result()
            upcoming = following
        if upcoming is not None:
            yield upcoming.result()
