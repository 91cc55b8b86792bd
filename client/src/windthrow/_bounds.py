"""What an answer may take, whatever sends it: so many bytes, also of what they inflate to, and so many seconds."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

from windthrow.errors import ServiceError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_BYTES = 64 << 20
"""Of a whole answer."""
TRANSFER_SECONDS = 120.0
"""Beyond the seconds in which something must come, for all of it to come."""
AT_LEAST_SECONDS = 1.0
"""What is asked for after a deadline may still take so long."""
ENCODING = "gzip"
"""What answers may be encoded as. They are inflated here, where it is seen how large they get."""


class Limit:
    """The moment until which an exchange may last.

    Args:
        patience: seconds in which something must come.
        transfer: seconds beyond that.
        deadline: when, on the monotonic clock, nobody waits for it any more.
    """

    def __init__(self, patience: float, transfer: float, deadline: float) -> None:
        self._seconds = patience + transfer
        self._deadline = max(deadline, time.monotonic() + AT_LEAST_SECONDS)
        self.renew()

    def renew(self) -> None:
        """Begin anew, for something went on; the deadline stays."""
        self._until = min(time.monotonic() + self._seconds, self._deadline)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._until - time.monotonic()

    def end(self) -> None:
        """Have none left: nobody waits any more."""
        self._until = self._deadline = float("-inf")

    def check(self) -> None:
        """Go on if there is time.

        Raises:
            Unavailable: there is none.
        """
        if self.left <= 0:
            raise self.passed()

    def passed(self) -> Unavailable:
        """What to raise once it has."""
        return Unavailable("no whole answer came in time")


def check_plain(headers: Mapping[str, str]) -> None:
    """Take a stream that is not encoded, as was asked for.

    Raises:
        ServiceError: it is encoded.
    """
    if headers.get("content-encoding", "identity") != "identity":
        raise ServiceError("this is no plain stream")


class Body:
    """An answer's body as it comes.

    Raises:
        ServiceError: it is encoded in a way that was not asked for.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", ENCODING):
            raise ServiceError(f"the answer makes no sense: nobody asked for the encoding {encoding[:50]!r}")
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == ENCODING else None
        self._bytes = bytearray()
        self._begun = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            ServiceError: they are too many, or no gzip.
        """
        self._begun = True
        self._bytes += chunk if self._inflate is None else self._inflated(chunk)
        if len(self._bytes) > ANSWER_BYTES:
            raise ServiceError(
                f"the answer is larger than {ANSWER_BYTES >> 20} MiB; is this the URL of a Windthrow service?"
            )

    def whole(self) -> bytes:
        """All of it.

        Raises:
            Unavailable: it broke off.
        """
        if self._inflate is not None and self._begun and not self._inflate.eof:
            raise Unavailable("the answer broke off")
        return bytes(self._bytes)

    def _inflated(self, chunk: bytes) -> bytes:
        assert self._inflate is not None
        if chunk and self._inflate.eof:
            raise ServiceError("the answer makes no sense: it goes on after its end")
        try:
            return self._inflate.decompress(chunk, ANSWER_BYTES - len(self._bytes) + 1)
        except zlib.error as error:
            raise ServiceError("the answer makes no sense: it is no gzip, and says that it is") from error
