"""Blobs in a directory."""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, BinaryIO

from core.store.blobs.errors import BlobNotFoundError, checked


class FileBlobs:
    """A directory of blobs: `ab/cdef…`, with unfinished ones under `tmp/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the blob of that digest lies, or would.

        Raises:
            BlobNotFoundError: it is no SHA-256 digest in lower-case hex.
        """
        name = checked(digest)
        return self.root / name[:2] / name[2:]

    def size(self, digest: str) -> int | None:
        """Its bytes, or None if it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def exists(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self.size(digest) is not None

    def read(self, digest: str) -> bytes:
        """The whole blob."""
        with self.open(digest) as file:
            return file.read()

    def open(self, digest: str) -> BinaryIO:
        """The blob as a file."""
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise BlobNotFoundError.of(digest) from None

    @contextmanager
    def local(self, digest: str) -> Iterator[Path]:
        """The blob where it lies."""
        if not self.exists(digest):
            raise BlobNotFoundError.of(digest)
        yield self.path(digest)

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.exists(digest):
            with self._draft() as (draft, path):
                draft.write(data)
                draft.flush()
                os.fsync(draft.fileno())
                self._place(path, digest)
        return digest

    def put_file(self, path: Path) -> str:
        """Move a file to its place, and return its digest."""
        digest = synced_digest(path)
        self.adopt(path, digest)
        return digest

    def adopt(self, draft: Path, digest: str) -> None:
        """Move a file to its place: by renaming it, or by a copy if it lies on another file system."""
        try:
            self._place(draft, digest)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with draft.open("rb") as source, self._draft() as (copy, path):
                shutil.copyfileobj(source, copy, 1 << 20)
                copy.flush()
                os.fsync(copy.fileno())
                self._place(path, digest)
            draft.unlink()

    def delete(self, digest: str) -> None:
        """Delete the blob, if it is here."""
        self.path(digest).unlink(missing_ok=True)

    def sweep(self, *, older_than: float) -> int:
        """Delete old files under `tmp/`."""
        oldest, count = time.time() - older_than, 0
        for path in (self.root / "tmp").glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    count += 1
        return count

    @contextmanager
    def _draft(self) -> Iterator[tuple[IO[bytes], Path]]:
        """A file that is gone afterwards unless it was moved to its place."""
        drafts = self.root / "tmp"
        drafts.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=drafts, delete=False) as file:
            path = Path(file.name)
            try:
                yield file.file, path
            finally:
                path.unlink(missing_ok=True)

    def _place(self, draft: Path, digest: str) -> None:
        """A blob that is already there has the same bytes."""
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.chmod(0o444)
        draft.replace(target)
        sync_directory(target.parent)


def synced_digest(path: Path) -> str:
    """The digest of a file whose bytes survive a crash of the machine from now on."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(path: Path) -> None:
    """Make sure that the names in a directory survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
