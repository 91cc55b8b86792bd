"""Blobs in a bucket of S3, or of what speaks its protocol, through obstore."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from core.store.blobs.cache import BlobCache
from core.store.blobs.errors import BlobNotFoundError, BlobStoreUnavailableError, checked
from core.store.blobs.files import synced_digest

MIB = 2**20
PIECE_BYTES = 8 * MIB
PIECES_AT_ONCE = 3
MAX_PIECES = 9_000
"""S3 takes at most 10,000 pieces of an object."""

HEADER_BYTES = 256 * 1024
"""How much is fetched at least where little is asked for: a checkpoint's header mostly fits."""


class S3Blobs:
    """Objects `<prefix>/ab/cdef…` of one bucket. An object appears when all of it is there.

    Args:
        bucket: its name.
        prefix: what all keys begin with, or "".
        endpoint: the server's URL; None is Amazon's.
        region: None is what AWS_REGION says.
        cache_dir: where `local` keeps its copies.
        cache_bytes: how many bytes of them.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None,
        region: str | None,
        cache_dir: Path,
        cache_bytes: int,
    ) -> None:
        place = {"endpoint": endpoint, "region": region}
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            client_options={
                "allow_http": endpoint is not None and endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(seconds=120),
            },
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=30)},
            **{name: value for name, value in place.items() if value is not None},  # type: ignore[arg-type]
        )
        self._cache = BlobCache(cache_dir, cache_bytes, self._pieces)

    def size(self, digest: str) -> int | None:
        """Its bytes, or None if it is not there."""
        try:
            with _told(digest):
                return obstore.head(self._store, _key(digest))["size"]
        except BlobNotFoundError:
            checked(digest)
            return None

    def exists(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self.size(digest) is not None

    def read(self, digest: str) -> bytes:
        """The whole blob."""
        with _told(digest):
            return bytes(obstore.get(self._store, _key(digest)).bytes())

    def open(self, digest: str) -> BinaryIO:
        """The blob as a file whose parts are fetched as they are read."""
        size = self.size(digest)
        if size is None:
            raise BlobNotFoundError.of(digest)
        return io.BufferedReader(_RangedFile(self, digest, size), HEADER_BYTES)

    def local(self, digest: str) -> AbstractContextManager[Path]:
        """A copy of the blob in the cache."""
        return self._cache.local(digest)

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.exists(digest):
            with _told(digest):
                obstore.put(self._store, _key(digest), data)
        return digest

    def put_file(self, path: Path) -> str:
        """Send a file, delete it here, and return its digest."""
        digest = synced_digest(path)
        self.adopt(path, digest)
        return digest

    def adopt(self, draft: Path, digest: str) -> None:
        """Send a file in pieces, a few at once, and delete it here."""
        piece = max(PIECE_BYTES, draft.stat().st_size // MAX_PIECES + 1)
        if not self.exists(digest):
            with draft.open("rb") as file, _told(digest):
                obstore.put(self._store, _key(digest), file, chunk_size=piece, max_concurrency=PIECES_AT_ONCE)
        draft.unlink()

    def delete(self, digest: str) -> None:
        """Delete the object, if it is there; copies on machines go when their cache is full."""
        with suppress(BlobNotFoundError), _told(digest):
            obstore.delete(self._store, _key(digest))

    def sweep(self, *, older_than: float) -> int:
        """Nothing: pieces of objects that were never finished are what the bucket's lifecycle rules are for."""
        del older_than
        return 0

    def read_range(self, digest: str, begin: int, end: int) -> bytes:
        """The bytes from `begin` up to, not including, `end`, which must lie within the blob."""
        with _told(digest):
            return bytes(obstore.get_range(self._store, _key(digest), start=begin, end=end))

    def _pieces(self, digest: str) -> Iterator[bytes]:
        """The blob, piece by piece, so that one request never takes long."""
        size = self.size(digest)
        if size is None:
            raise BlobNotFoundError.of(digest)
        for begin in range(0, size, PIECE_BYTES):
            yield self.read_range(digest, begin, min(begin + PIECE_BYTES, size))


class _RangedFile(io.RawIOBase):
    """A blob as an unbuffered file."""

    def __init__(self, blobs: S3Blobs, digest: str, size: int) -> None:
        self._blobs = blobs
        self._digest = digest
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"a file has no position {origin + offset}")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = self._blobs.read_range(self._digest, self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _key(digest: str) -> str:
    name = checked(digest)
    return f"{name[:2]}/{name[2:]}"


@contextmanager
def _told(digest: str) -> Iterator[None]:
    """Errors of the library as ours."""
    try:
        yield
    except FileNotFoundError:
        raise BlobNotFoundError.of(digest) from None
    except BaseError as error:
        reason = str(error).split("\n", 1)[0]
        raise BlobStoreUnavailableError(f"the blob store did not do its part: {reason}") from error
