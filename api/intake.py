"""Bytes of one request on their way to disk: written, hashed and made safe while more of them come."""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from core.store.staging import Part

BATCH_BYTES = 2**20
BATCH_PIECES = 256
"""Hostile senders send single bytes, and each piece costs some memory of its own."""

BATCHES = 4
"""How many may wait for the disk; no more is read from the connection before one is done."""

SAFE_BYTES = 64 * 2**20
SAFE_SECONDS = 1.0
"""What a crash of the machine costs: what came in the last second or two, and at most twice so many bytes."""


class UploadGoneError(Exception):
    """The upload is not open any more: it was abandoned, or its bytes came another way."""


class Intake:
    """Takes bytes for a part. Memory does not grow with the file, and disk and connection work at the same time.

    One thread writes and hashes batch after batch. Another now and then makes safe what was written by then, and
    notes how much that is; meanwhile the first goes on.

    Args:
        part: where the bytes go, behind those that it has.
        hashing: whether the whole file is to be hashed, what the part has now included.
        note: is told how many bytes are safe, in a thread; False says that no more are wanted.
    """

    def __init__(self, part: Part, *, hashing: bool, note: Callable[[int], bool]) -> None:
        self._part = part
        self._hash = hashlib.sha256() if hashing else None
        self._note = note
        self._writer = ThreadPoolExecutor(1, "upload-write")
        self._keeper = ThreadPoolExecutor(1, "upload-keep")
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._handed_at = time.monotonic()
        self._writing: deque[Future[None]] = deque()
        self._keeping: Future[None] | None = None
        self._safe_at = time.monotonic()
        self._broken = False
        self.safe = part.size
        if self._hash is not None and part.size:
            self._writing.append(self._writer.submit(part.hash_into, self._hash, part.size))

    async def take(self, piece: bytes) -> None:
        """Take bytes; waits while the disk is behind.

        Raises:
            UploadGoneError: no more are wanted.
            OSError: earlier bytes could not be written.
        """
        self._pieces.append(piece)
        self._bytes += len(piece)
        late = time.monotonic() - self._handed_at > SAFE_SECONDS
        if self._bytes < BATCH_BYTES and len(self._pieces) < BATCH_PIECES and not late:
            return
        while len(self._writing) >= BATCHES:
            await asyncio.shield(asyncio.wrap_future(self._writing[0]))  # or a cancelled request leaves a gap
            self._writing.popleft()
        self._hand_over()

    def finish(self) -> str | None:
        """Wait until all that was taken is safe and noted; its digest, where it was hashed.

        Raises:
            UploadGoneError: the upload is not open any more.
            OSError: not all could be written. Then the part has what was safe before, and nothing else.
        """
        try:
            self._hand_over()
            for writing in self._writing:
                writing.result()
            if self._keeping is not None:
                self._keeping.result()
            if self.safe != self._part.size:
                self._keep(self._part.size)
        except OSError:
            self._forget_unsafe()
            raise
        finally:
            self._close()
        return None if self._hash is None else self._hash.hexdigest()

    def _hand_over(self) -> None:
        pieces, self._pieces, self._bytes = self._pieces, [], 0
        self._handed_at = time.monotonic()
        self._writing.append(self._writer.submit(self._write, pieces))

    def _write(self, pieces: list[bytes]) -> None:
        if self._broken:
            return  # behind a gap, bytes are worth nothing
        self._broken = True
        self._part.append(pieces)
        if self._hash is not None:
            for piece in pieces:
                self._hash.update(piece)
        self._keep_if_due()
        self._broken = False

    def _keep_if_due(self) -> None:
        unsafe = self._part.size - self.safe
        if self._keeping is not None and (self._keeping.done() or unsafe > 2 * SAFE_BYTES):
            self._keeping.result()
            self._keeping = None
        due = unsafe > SAFE_BYTES or time.monotonic() - self._safe_at > SAFE_SECONDS
        if self._keeping is None and due:
            self._keeping = self._keeper.submit(self._keep, self._part.size)

    def _keep(self, size: int) -> None:
        """Make the first `size` bytes safe."""
        self._part.sync()
        if not self._note(size):
            raise UploadGoneError
        self.safe, self._safe_at = size, time.monotonic()

    def _forget_unsafe(self) -> None:
        """Free the room that the rest takes. Should that fail, the next request cuts it off."""
        self._close()
        with suppress(OSError):
            self._part.cut(self.safe)

    def _close(self) -> None:
        self._writer.shutdown()
        self._keeper.shutdown()
