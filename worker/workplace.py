"""What the tasks of a pool process have in common: its connections, and how they survive signals and short outages."""

import importlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import cast

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.jobs.leases import LeaseState
from core.settings import Settings
from core.store.blobs import BlobStore, open_blobs
from core.store.database import Database
from worker.contract import Execution
from worker.heartbeat import Heartbeat

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a pool process keeps from task to task."""

    settings: Settings
    database: Database
    blobs: BlobStore
    execution: Execution
    name: str


@cache
def workplace() -> Workplace:
    """This pool process's connections, and the module that computes: importing it may import torch."""
    settings = Settings()
    return Workplace(
        settings=settings,
        database=Database(settings.database_url, pool_size=2),
        blobs=open_blobs(settings),
        execution=cast(Execution, importlib.import_module(settings.execution_module)),
        name=f"{socket.gethostname()}:{os.getpid()}",
    )


def heartbeat(place: Workplace, renew: Callable[[Session], LeaseState], *, what: str) -> Heartbeat:
    """What keeps a lease of this worker's alive; see `Heartbeat`."""
    settings = place.settings
    return Heartbeat(
        place.database,
        renew,
        what=what,
        interval=settings.heartbeat_seconds,
        lease_seconds=settings.lease_seconds,
    )


def describe(error: BaseException) -> str:
    """An unexpected error in one line; its traceback stays in the log."""
    return f"{type(error).__name__}: {error}"


@contextmanager
def exits_unmasked() -> Iterator[None]:
    """Raise SystemExit where a library's clean-up after it failed and the failure took its place.

    SIGTERM may come at any line. SQLAlchemy, interrupted while it pings a connection, cannot reset it and says so
    instead: a worker that is only asked to stop would fail its shard, or its job.
    """
    try:
        yield
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None and not isinstance(behind, SystemExit):
            behind = behind.__cause__ or behind.__context__
        if behind is None:
            raise
        raise SystemExit(behind.code) from error


def patiently(write: Callable[[], bool], *, seconds: float) -> bool:
    """Write a result even if the database is away for a moment: minutes of work hang on it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return write()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            log.warning("the database is away; trying again", exc_info=True)
            time.sleep(RETRY_SECONDS)
