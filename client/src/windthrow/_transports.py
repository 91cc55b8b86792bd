"""The only place that does input and output: one transport that blocks, one that does not, with the same methods.

Everything else is written once, as coroutines over a `Transport`. The blocking one's methods never suspend, so
`complete` runs such a coroutine to its end without an event loop.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx

from windthrow._bounds import ENCODING, TRANSFER_SECONDS, Body, Limit, check_plain
from windthrow._files import FilePart
from windthrow._http import Answer, Request
from windthrow._version import __version__
from windthrow.errors import AuthError, RequestError, ServiceError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Stream:
    """An answer whose body is still coming. `answer` has it whole where the status is not 200."""

    answer: Answer
    chunks: AsyncIterator[bytes]


class Transport(Protocol):
    """What the client needs of the world.

    `send` and `stream` raise Unavailable when nobody answers, or the answer breaks off or takes too long, and
    ServiceError where it is larger than answers are.
    """

    async def send(self, request: Request) -> Answer:
        """The answer to a request."""

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """The answer to a request, its body as it comes."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""

    async def run(self, function: Callable[[], T]) -> T:
        """Do what takes its time on the disk."""

    async def close(self) -> None:
        """Close the connections."""


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a blocking transport to its end."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("a blocking transport never suspends")


class BlockingTransport:
    """Over `httpx.Client`."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        with _understood(url):
            self._http = httpx.Client(**_settings(url, key, timeout))

    async def send(self, request: Request) -> Answer:
        """The answer to a request."""
        limit = _limit(request, self._http.timeout, TRANSFER_SECONDS)
        with _reached(self._http.base_url):
            return _aside(lambda: self._exchange(request, limit), limit)

    def _exchange(self, request: Request, limit: Limit) -> Answer:
        body = _read(request.body, limit) if isinstance(request.body, FilePart) else request.body
        with self._http.stream(content=body, **_arguments(request, self._http.timeout)) as found:
            return _whole(found, limit)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """The answer to a request, its body as it comes."""
        limit = _limit(request, self._http.timeout, 0.0)
        with _reached(self._http.base_url):
            asked = self._http.build_request(**_arguments(request, self._http.timeout))
            found = _aside(lambda: self._http.send(asked, stream=True), limit)
            try:
                if found.status_code == httpx.codes.OK:
                    yield Stream(Answer(found.status_code, found.headers, b""), _each(found, limit))
                else:
                    yield Stream(_aside(lambda: _whole(found, limit), limit), _of(()))
            finally:
                found.close()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await self.run(lambda: time.sleep(seconds))

    async def run(self, function: Callable[[], T]) -> T:
        """Do it here and now."""
        return function()

    async def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncTransport:
    """Over `httpx.AsyncClient`, on asyncio."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        with _understood(url):
            self._http = httpx.AsyncClient(**_settings(url, key, timeout))

    async def send(self, request: Request) -> Answer:
        """The answer to a request."""
        limit = _limit(request, self._http.timeout, TRANSFER_SECONDS)
        with _reached(self._http.base_url):
            return await _within(self._exchange(request, limit), limit)

    async def _exchange(self, request: Request, limit: Limit) -> Answer:
        body = _read_aside(request.body, limit) if isinstance(request.body, FilePart) else request.body
        async with self._http.stream(content=body, **_arguments(request, self._http.timeout)) as found:
            return await _whole_async(found)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """The answer to a request, its body as it comes."""
        limit = _limit(request, self._http.timeout, 0.0)
        with _reached(self._http.base_url):
            asked = self._http.build_request(**_arguments(request, self._http.timeout))
            found = await _within(self._http.send(asked, stream=True), limit)
            try:
                if found.status_code == httpx.codes.OK:
                    yield Stream(Answer(found.status_code, found.headers, b""), _each_async(found, limit))
                else:
                    yield Stream(await _within(_whole_async(found), limit), _of(()))
            finally:
                await found.aclose()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def run(self, function: Callable[[], T]) -> T:
        """Do it in a thread."""
        return await asyncio.to_thread(function)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _settings(url: str, key: str, timeout: float) -> dict[str, Any]:
    if not (key.isascii() and key.isprintable() and key):
        raise AuthError("an API key is one line of ASCII, wt_…; make one with windthrow-server keys create")
    agent = f"windthrow/{__version__}"
    headers = {
        "Authorization": f"Bearer {key}",
        "User-Agent": agent,
        "Accept": "application/json, */*",
        "Accept-Encoding": ENCODING,
    }
    limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
    return {"base_url": url, "headers": headers, "timeout": limits}


def _arguments(request: Request, timeout: httpx.Timeout) -> dict[str, Any]:
    headers: Mapping[str, str] = request.headers
    if isinstance(request.body, FilePart):
        headers = {**headers, "Content-Length": str(request.body.length)}
    patience = _limit(request, timeout, 0.0).left
    return {
        "method": request.method,
        "url": request.path,
        "params": request.params,
        "headers": headers,
        "timeout": httpx.Timeout(patience, connect=timeout.connect, write=timeout.write),
    }


def _limit(request: Request, timeout: httpx.Timeout, transfer: float) -> Limit:
    """How long a request may take; its body is not counted while it is being sent."""
    return Limit(request.patience or timeout.read or CONNECT_SECONDS, transfer, request.deadline)


@contextmanager
def _understood(url: str) -> Iterator[None]:
    """Refuse what is no URL of a service.

    Raises:
        RequestError: it has no host, or is not HTTP.
    """
    try:
        parsed = httpx.URL(url)
        whole = parsed.scheme in ("http", "https") and bool(parsed.host)
    except (httpx.InvalidURL, TypeError):
        whole = False
    if not whole:
        raise RequestError("this is no URL; it begins with http:// or https://", code="invalid_url")
    yield


@contextmanager
def _reached(url: httpx.URL) -> Iterator[None]:
    try:
        yield
    except httpx.InvalidURL as error:
        raise ServiceError(f"what the service names makes no URL: {error}") from error
    except httpx.HTTPError as error:
        why = "nothing came for too long" if isinstance(error, httpx.TimeoutException) else str(error)
        at = str(url).rstrip("/")
        raise Unavailable(f"{at} cannot be reached: {why or type(error).__name__}") from error


def _aside(work: Callable[[], T], limit: Limit) -> T:
    """Do what blocks in a thread, and leave it alone there when it takes too long or nobody waits for it any more.

    Neither the name of a host that is looked up nor headers that come letter by letter can be interrupted.

    Raises:
        Unavailable: it takes too long.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where it is waited for
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        while not done.done():
            limit.check()
            wait([done], timeout=max(0.0, limit.left))
        return done.result()
    finally:
        if not done.done():
            limit.end()


async def _within(work: Coroutine[Any, Any, T], limit: Limit) -> T:
    """Do it, and cancel it when it takes too long.

    Raises:
        Unavailable: it takes too long.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            limit.check()
            await asyncio.wait({task}, timeout=max(0.0, limit.left))
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _whole(found: httpx.Response, limit: Limit) -> Answer:
    body = Body(found.headers)
    for chunk in found.iter_raw():
        limit.check()
        body.feed(chunk)
    return Answer(found.status_code, found.headers, body.whole())


async def _whole_async(found: httpx.Response) -> Answer:
    body = Body(found.headers)
    async for chunk in found.aiter_raw():
        body.feed(chunk)
    return Answer(found.status_code, found.headers, body.whole())


async def _each(found: httpx.Response, limit: Limit) -> AsyncIterator[bytes]:
    """What comes, as long as something does."""
    check_plain(found.headers)
    chunks = found.iter_raw()
    while True:
        limit.renew()
        chunk = _aside(lambda: next(chunks, None), limit)
        if chunk is None:
            return
        yield chunk


async def _each_async(found: httpx.Response, limit: Limit) -> AsyncIterator[bytes]:
    check_plain(found.headers)
    chunks = found.aiter_raw()
    while True:
        limit.renew()
        chunk = await _within(_next(chunks), limit)
        if chunk is None:
            return
        yield chunk


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    async for chunk in chunks:
        return chunk
    return None


async def _of(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _read(part: FilePart, limit: Limit) -> Iterator[bytes]:
    sent = 0
    for chunk in part.chunks():
        limit.check()
        yield chunk
        limit.renew()
        sent += len(chunk)
        part.tell(sent)


async def _read_aside(part: FilePart, limit: Limit) -> AsyncIterator[bytes]:
    """The same, each chunk read in a thread."""
    chunks, sent = part.chunks(), 0
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
        limit.renew()
        sent += len(chunk)
        part.tell(sent)
