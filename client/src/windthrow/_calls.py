"""One call: repeated while the trouble may pass, and its answer read."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from secrets import SystemRandom
from typing import TYPE_CHECKING, TypeVar

from windthrow._documents import mapping, name
from windthrow._http import Answer, Request, nonsense
from windthrow.errors import ServiceError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from windthrow._transports import Transport
    from windthrow.records import Json

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
RETRIES = 8
BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 15.0
LONGEST_RETRY_AFTER_SECONDS = 120.0
"""A service that asks for more is unavailable as far as a waiting user is concerned."""

_random = SystemRandom()


@dataclass(frozen=True)
class Patience:
    """How often a call is repeated, and after how long.

    Attributes:
        retries: repetitions at most.
        backoff: seconds before the first one, twice as many before each next; less up to a half, by chance.
        notice: hears of each repetition beforehand, a sentence.
    """

    retries: int
    backoff: float
    notice: Callable[[str], None] | None = None

    def delays(self) -> Iterator[float]:
        """Seconds before each repetition."""
        for attempt in range(self.retries):
            yield self.delay(attempt)

    def delay(self, attempt: int) -> float:
        """Seconds before a repetition, counted from 0."""
        return min(LONGEST_BACKOFF_SECONDS, self.backoff * 2.0**attempt) * _random.uniform(0.5, 1.0)

    def tell(self, error: ServiceError, seconds: float) -> None:
        """Say that it will be tried again."""
        if self.notice is not None:
            self.notice(f"{error}; trying again in {seconds:.1f} s")


class Calls:
    """Calls over a transport; none is waited for or repeated beyond `deadline`, on the monotonic clock."""

    def __init__(self, transport: Transport, patience: Patience, deadline: float = math.inf) -> None:
        self.transport = transport
        self.patience = patience
        self.deadline = deadline

    def until(self, deadline: float) -> Calls:
        """Calls over the same connections that end by then."""
        return Calls(self.transport, self.patience, deadline)

    async def answer(self, request: Request) -> Answer:
        """The answer, once it is what was asked for.

        Raises:
            ServiceError: the trouble does not pass, or is none that passes.
            AuthError: the key is not accepted.
            RequestError: the service refuses the request.
            JobFailed: the job that it is about did.
        """
        request = replace(request, deadline=min(request.deadline, self.deadline))
        for delay in self.patience.delays() if request.repeatable else ():
            found = await self._attempt(request)
            if isinstance(found, Answer):
                return found
            await self.pause(found, delay, deadline=request.deadline)
        return (await self.transport.send(request)).check()

    async def _attempt(self, request: Request) -> Answer | Unavailable:
        try:
            return (await self.transport.send(request)).check()
        except Unavailable as error:
            too_long = (error.retry_after or 0.0) > LONGEST_RETRY_AFTER_SECONDS
            if too_long or time.monotonic() >= request.deadline:
                raise
            return error

    async def pause(self, error: Unavailable, delay: float, *, deadline: float = math.inf) -> None:
        """Wait for so long, or for as long as the service asks to if that is longer; never beyond a deadline."""
        asked = min(error.retry_after or 0.0, LONGEST_RETRY_AFTER_SECONDS)
        left = min(deadline, self.deadline) - time.monotonic()
        seconds = max(0.0, min(max(delay, asked), left))
        self.patience.tell(error, seconds)
        await self.transport.sleep(seconds)

    async def json(self, request: Request) -> Json:
        """The answer's document."""
        return (await self.answer(request)).json()

    async def record(self, read: Callable[[Json], T], request: Request) -> T:
        """The answer's document as a record."""
        return record(read, await self.answer(request))

    async def listed(
        self, read: Callable[[Json], T], path: str, *, limit: int, **wanted: str | None
    ) -> list[T]:
        """Records, newest first, from as many pages as it takes.

        Args:
            read: makes a record of an item.
            path: of the list.
            limit: records at most.
            wanted: filters; None filters nothing.
        """
        found: list[T] = []
        params = {name: value for name, value in wanted.items() if value is not None}
        while len(found) < limit:
            params["limit"] = str(min(200, limit - len(found)))
            items, cursor = await self.record(
                lambda page: _page(read, page), Request("GET", path, params=params)
            )
            found += items
            if cursor is None or not items:
                break
            params["cursor"] = cursor
        return found[:limit]


def record(read: Callable[[Json], T], answer: Answer) -> T:
    """An answer's document as a record.

    Raises:
        ServiceError: it is another kind of document.
    """
    document = answer.json()
    try:
        return read(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        nonsense(answer, error)


def _page(read: Callable[[Json], T], page: Json) -> tuple[list[T], str | None]:
    cursor = page["next_cursor"]
    return [read(mapping(item)) for item in page["items"]], None if cursor is None else name(cursor)
