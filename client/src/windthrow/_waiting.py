"""Waiting for a job: its events as they happen, or where they cannot be streamed its changes by long polling."""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from windthrow._calls import Calls, record
from windthrow._events import EventReader
from windthrow._http import NOT_MODIFIED, Request
from windthrow.errors import RequestError, ServiceError, Unavailable, WaitTimeout
from windthrow.records import ENDED, Event, Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from windthrow._transports import Stream

    OnEvent = Callable[[Event], None]

SILENCE_SECONDS = 25.0
"""A stream that brings nothing for so long, not even the comment of every 15 s, is dead.

One that might be found dead only after the deadline is not begun, so that no wait is longer than was asked for.
"""
POLL_SECONDS = 30
SLACK_SECONDS = 15.0
"""Beyond the seconds that a long poll asks for."""
GRACE_SECONDS = 2.0
"""A long poll asks for whole seconds, so the last one may be answered a little after the deadline."""
EARLY_SECONDS = 0.5
"""A long poll that is answered sooner, and without a change, was none."""
BARREN_STREAMS = 2
"""Streams in a row that ended without an event: then it is polled."""


def job_path(job_id: str) -> str:
    """Where a job is."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


async def until_over(calls: Calls, job_id: str, *, timeout: float | None, on_event: OnEvent | None) -> Job:
    """A job at its end, however it ended.

    Raises:
        WaitTimeout: that takes longer than `timeout` seconds.
        ServiceError: the service is gone for longer than calls are repeated.
    """
    return await _Wait(calls, job_id, timeout, on_event).run()


class _Wait:
    """One wait, and what it has seen."""

    def __init__(self, calls: Calls, job_id: str, timeout: float | None, on_event: OnEvent | None) -> None:
        self._calls = calls
        self._path = job_path(job_id)
        self._timeout = timeout
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._on_event = on_event
        self._last_id = 0
        self._barren = 0
        self._ended = False
        self._etag = ""
        self._told: Job | None = None

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    async def run(self) -> Job:
        """Alternate between the stream and a look at the job until that is over."""
        while True:
            if self._barren < BARREN_STREAMS and self._left > SILENCE_SECONDS and not self._ended:
                await self._stream()
                job = await self._calls.record(Job.read, Request("GET", self._path, deadline=self._deadline))
            else:
                job = await self._poll()
            if job.over:
                return job
            if self._left <= 0:
                raise WaitTimeout(f"job {job.id} is {job.state} after {self._timeout:g} s; it goes on")

    async def _stream(self) -> None:
        """Tell of events until the stream ends, or the job's last is among them."""
        self._barren += 1
        began = time.monotonic()
        async with _closing(self._events()) as events:
            async for event in events:
                self._barren = 0
                self._tell(event)
                if event.type.startswith("job.") and event.type[4:] in ENDED:
                    self._ended = True
                    return
        if time.monotonic() - began > 2 * SILENCE_SECONDS:
            self._barren = 0  # it lived on comments: nothing happened to the job

    async def _events(self) -> AsyncGenerator[Event, None]:
        """Events until the stream breaks off, the deadline is near, or nothing sensible comes."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self._last_id)}
        request = Request(
            "GET",
            f"{self._path}/events",
            headers={**headers, "Accept-Encoding": "identity"},
            patience=SILENCE_SECONDS,
            deadline=self._deadline,
        )
        reader = EventReader(self._last_id)
        try:
            async with self._calls.transport.stream(request) as stream:
                _check_kind(stream)
                async for chunk in stream.chunks:
                    for event in reader.feed(chunk):
                        self._last_id = event.id
                        yield event
                    if self._left <= SILENCE_SECONDS:
                        return
        except Unavailable as error:
            await self._calls.pause(error, self._calls.patience.delay(self._barren), deadline=self._deadline)
        except (ServiceError, RequestError):
            self._barren = BARREN_STREAMS

    async def _poll(self) -> Job:
        """The job as it is; after that, once it has changed or some seconds later."""
        seconds = max(1, min(POLL_SECONDS, math.ceil(min(self._left, POLL_SECONDS))))
        headers = {"Prefer": f"wait={seconds}", "If-None-Match": self._etag} if self._etag else {}
        request = Request(
            "GET",
            self._path,
            headers=headers,
            patience=seconds + SLACK_SECONDS,
            deadline=self._deadline + GRACE_SECONDS,
        )
        began = time.monotonic()
        answer = await self._calls.answer(request)
        early = time.monotonic() - began < EARLY_SECONDS
        if answer.status == NOT_MODIFIED and self._told is not None:
            await self._breathe(early)
            return self._told
        job = record(Job.read, answer)
        etag = answer.headers.get("etag", "")
        self._etag = etag if etag.isascii() else ""
        unchanged = self._told is not None and job.document == self._told.document
        await self._breathe(not job.over and (not self._etag or (early and unchanged)))
        if not self._ended:
            self._tell(_change(self._told, job))
        self._told = job
        return job

    async def _breathe(self, needed: bool) -> None:
        """Leave the service alone for a moment where it does not make anybody wait."""
        if needed:
            await self._calls.transport.sleep(min(1.0, max(0.0, self._left)))

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)


def _check_kind(stream: Stream) -> None:
    kind = stream.answer.check().headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise ServiceError("this is no stream of events")


def _change(before: Job | None, job: Job) -> Event:
    """What a look at the job tells, as if it were an event."""
    progress = job.progress
    done = {"shards_done": progress.shards_done, "shards_total": progress.shards_total}
    changed = before is not None and before.state != job.state
    kind = f"job.{job.state}" if job.over or changed else "job.progress"
    return Event(0, kind, {**done, "work_done": progress.fraction, "work_total": 1.0})


@asynccontextmanager
async def _closing(events: AsyncGenerator[Event, None]) -> AsyncIterator[AsyncGenerator[Event, None]]:
    try:
        yield events
    finally:
        await events.aclose()
