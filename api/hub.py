"""`EventHub`: one LISTEN connection that wakes every long poll and event stream of this process."""

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress

import psycopg

from core.jobs.events import EVENTS_CHANNEL

logger = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
BLIND_SECONDS = 1.0
"""While the connection is down, waiters look for themselves this often."""


class EventHub:
    """Wakes waiters when something happens to their job. Waking is a hint: a waiter reads the tables itself."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url.replace("postgresql+psycopg://", "postgresql://")
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen, in the background."""
        self._task = asyncio.create_task(self._listen_for_ever())

    async def stop(self) -> None:
        """Stop listening and wake everybody."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._wake_all()

    async def wait(self, job_id: str, timeout: float) -> None:  # noqa: ASYNC109 - waking early is no error
        """Return when something happened to the job, or after `timeout` seconds, or for no reason at all."""
        event = asyncio.Event()
        self._waiters[job_id].add(event)
        try:
            limit = timeout if self._listening else min(timeout, BLIND_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), limit)
        finally:
            self._waiters[job_id].discard(event)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                logger.warning("lost the event connection: %s", error)
            self._listening = False
            self._wake_all()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute(f"LISTEN {EVENTS_CHANNEL}")
            self._listening = True
            self._wake_all()
            async for notice in connection.notifies():
                for event in self._waiters.get(notice.payload, ()):
                    event.set()

    def _wake_all(self) -> None:
        for events in self._waiters.values():
            for event in events:
                event.set()
