"""Files on their way in, under a lock each. What has arrived of them and is safe, the rows of `uploads` say."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from core.errors import WindthrowError
from core.store.blobs.files import sync_directory

SUFFIX = ".part"
READ_BYTES = 2**20


class PartBusyError(WindthrowError):
    """Somebody else writes to the file."""

    code = "upload_busy"


class Part:
    """A file on its way in, locked until it is closed; the lock is the kernel's and dies with the process.

    Args:
        path: where it lies.
        descriptor: it, opened and locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def cut(self, size: int) -> None:
        """Forget what comes after the first `size` bytes."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write at the end: at most 1,024 pieces.

        Raises:
            OSError: some of it could not be written; `size` is what could.
        """
        left = [memoryview(piece) for piece in pieces]
        while left:
            written = os.pwritev(self._descriptor, left, self.size)
            self.size += written
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]

    def sync(self) -> None:
        """Make what was written before survive a crash of the machine."""
        os.fdatasync(self._descriptor)

    def hash_into(self, hashed: "hashlib._Hash", size: int) -> None:
        """Feed the first `size` bytes to a hash."""
        buffer = bytearray(READ_BYTES)
        view, position = memoryview(buffer), 0
        while position < size:
            count = os.preadv(self._descriptor, [view[: size - position]], position)
            if not count:
                raise EOFError(f"{self.path} ends at {position}")
            hashed.update(view[:count])
            position += count

    def close(self) -> None:
        """Let somebody else have it; where there is nothing in it, delete it."""
        if not self.size:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


class Staging:
    """A directory of parts, one for each upload that has begun. Every process that touches uploads shares it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def hold(self, upload_id: UUID) -> Part:
        """The upload's part, made if there is none.

        Raises:
            PartBusyError: it is held.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.root / f"{upload_id}{SUFFIX}"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise PartBusyError(f"another request is sending upload {upload_id}") from None
            if _leads_to(path, descriptor):
                break
            os.close(descriptor)  # deleted between the two calls, or already a blob
        part = Part(path, descriptor)
        if not part.size:
            sync_directory(self.root)
        return part

    def drop(self, upload_id: UUID) -> bool:
        """Delete the upload's part; False if it is held, for whoever holds it to do."""
        try:
            part = self.hold(upload_id)
        except PartBusyError:
            return False
        part.cut(0)
        part.close()
        return True

    def left(self, *, older_than: float) -> Iterator[UUID]:
        """The uploads whose parts were not written to for so many seconds."""
        latest = time.time() - older_than
        for path in self.root.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError, ValueError):
                if path.stat().st_mtime < latest:
                    yield UUID(path.stem)

    def free(self) -> int:
        """Bytes that may still be written to the disk."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize


def _leads_to(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
