"""The only place that does input and output: one transport that blocks, one that does not, with the same methods.

Everything else is written once, as coroutines over a `Transport`. The blocking one's methods never suspend, so
`complete` runs such a coroutine to its end without an event loop.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx

from windthrow._files import FilePart
from windthrow._http import Answer, Request
from windthrow._version import __version__
from windthrow.errors import AuthError, RequestError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
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

    `send` and `stream` raise Unavailable when nobody answers or the answer breaks off.
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
        body = _read(request.body) if isinstance(request.body, FilePart) else request.body
        with _reached(self._http.base_url):
            found = self._http.request(content=body, **_arguments(request, self._http.timeout))
        return Answer(found.status_code, found.headers, found.content)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """The answer to a request, its body as it comes."""
        with _reached(self._http.base_url):
            opened = self._http.stream(**_arguments(request, self._http.timeout))
            with opened as found:
                body = b"" if found.status_code == httpx.codes.OK else found.read()
                yield Stream(Answer(found.status_code, found.headers, body), _each(found.iter_bytes()))

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
        body = _read_aside(request.body) if isinstance(request.body, FilePart) else request.body
        with _reached(self._http.base_url):
            found = await self._http.request(content=body, **_arguments(request, self._http.timeout))
        return Answer(found.status_code, found.headers, found.content)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """The answer to a request, its body as it comes."""
        with _reached(self._http.base_url):
            opened = self._http.stream(**_arguments(request, self._http.timeout))
            async with opened as found:
                body = b"" if found.status_code == httpx.codes.OK else await found.aread()
                yield Stream(Answer(found.status_code, found.headers, body), found.aiter_bytes())

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
    headers = {"Authorization": f"Bearer {key}", "User-Agent": agent, "Accept": "application/json, */*"}
    limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
    return {"base_url": url, "headers": headers, "timeout": limits}


def _arguments(request: Request, timeout: httpx.Timeout) -> dict[str, Any]:
    headers: Mapping[str, str] = request.headers
    if isinstance(request.body, FilePart):
        headers = {**headers, "Content-Length": str(request.body.length)}
    left = max(1.0, request.deadline - time.monotonic())
    patience = min(left, request.patience or timeout.read or left)
    return {
        "method": request.method,
        "url": request.path,
        "params": request.params,
        "headers": headers,
        "timeout": httpx.Timeout(patience, connect=timeout.connect, write=timeout.write),
    }


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
    except httpx.HTTPError as error:
        why = "nothing came for too long" if isinstance(error, httpx.TimeoutException) else str(error)
        at = str(url).rstrip("/")
        raise Unavailable(f"{at} cannot be reached: {why or type(error).__name__}") from error


async def _each(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _read(part: FilePart) -> Iterator[bytes]:
    sent = 0
    for chunk in part.chunks():
        yield chunk
        sent += len(chunk)
        part.tell(sent)


async def _read_aside(part: FilePart) -> AsyncIterator[bytes]:
    """The same, each chunk read in a thread."""
    chunks, sent = part.chunks(), 0
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
        sent += len(chunk)
        part.tell(sent)
