"""Files by the SHA-256 of their bytes. A blob is whole or absent; nothing here knows what the bytes mean."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from core.errors import WindthrowError

DIGEST = re.compile(r"[0-9a-f]{64}")


class DigestMismatchError(WindthrowError):
    """The bytes that arrived are not the bytes that were announced."""

    code = "digest_mismatch"


class BlobNotFoundError(WindthrowError):
    """There is no blob of that digest."""

    code = "blob_not_found"


class BlobWriter:
    """A blob being written: hashed on the way, invisible until `commit`."""

    def __init__(self, store: "BlobStore", file: IO[bytes]) -> None:
        self._store = store
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def commit(self, expected: str | None = None) -> str:
        """Keep what was written, durably, and return its digest.

        Raises:
            DigestMismatchError: the digest is not `expected`; nothing is kept.
        """
        digest = self._hash.hexdigest()
        if expected is not None and digest != expected:
            raise DigestMismatchError(f"the bytes hash to {digest}, not to the announced {expected}")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._store.adopt(Path(self._file.name), digest)
        return digest


class BlobStore:
    """A directory of blobs: `ab/cdef…`, with unfinished ones under `tmp/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the blob of that digest lies, or would.

        Raises:
            BlobNotFoundError: it is no SHA-256 digest in lower-case hex.
        """
        if not DIGEST.fullmatch(digest):
            raise BlobNotFoundError(f"{digest!r} is not a SHA-256 digest: 64 lower-case hex digits")
        return self.root / digest[:2] / digest[2:]

    def exists(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self.path(digest).is_file()

    def read(self, digest: str) -> bytes:
        """The whole blob.

        Raises:
            BlobNotFoundError: it is not here.
        """
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise BlobNotFoundError(f"there is no blob {digest}") from None

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest."""
        digest = hashlib.sha256(data).hexdigest()
        if self.exists(digest):
            return digest
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """A blob to be streamed in; without `commit`, nothing of it stays."""
        drafts = self.root / "tmp"
        drafts.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=drafts, delete=False) as file:
            try:
                yield BlobWriter(self, file)
            finally:
                with suppress(FileNotFoundError):
                    Path(file.name).unlink()

    def adopt(self, draft: Path, digest: str) -> None:
        """Move a finished, synced file to its place; a blob that is already there has the same bytes."""
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.chmod(0o444)
        draft.replace(target)
        _sync_directory(target.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
