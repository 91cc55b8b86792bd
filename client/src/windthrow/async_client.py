"""The client for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from windthrow._calls import BACKOFF_SECONDS, RETRIES, TIMEOUT_SECONDS, Calls, Patience
from windthrow._operations import Operations
from windthrow._transports import AsyncTransport
from windthrow.credentials import credentials

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class AsyncClient(Operations):
    """A running service, as the holder of an API key sees it. Close it, or use it as a context manager.

    Args:
        url: where the service is; with `key`, what `windthrow login` stored unless said.
        key: the API key, `wt_…`.
        timeout: seconds without an answer after which a call is given up.
        retries: how often a call is repeated when the service cannot be reached, or asks to come back later.
        backoff: seconds before the first repetition, twice as many before each next.
        on_retry: hears of each repetition, a sentence.

    Raises:
        RequestError: the URL is none.
        AuthError: there is no key, or it cannot be one.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        backoff: float = BACKOFF_SECONDS,
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        found = credentials(url, key)
        transport = AsyncTransport(found.url, found.key, timeout)
        super().__init__(Calls(transport, Patience(retries, backoff, on_retry)), found.url)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
