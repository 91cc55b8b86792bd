"""Copies of remote blobs on this machine: fetched once, checked, and the ones used longest ago deleted."""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from core.store.blobs.errors import CorruptBlobError, checked

FORGET_SECONDS = 86_400
"""A download that nobody has worked on for so long was left by a crash."""


class BlobCache:
    """A directory of at most so many bytes, apart from files in use, for any number of processes.

    A file that is in use has a shared lock, and is not deleted; a download has an exclusive one, so that a second
    process waits for the first instead of fetching the same blob again.

    Args:
        root: the directory; nothing else lies there.
        max_bytes: how large it may grow.
        fetch: the bytes of a blob, piece by piece.
    """

    def __init__(self, root: Path, max_bytes: int, fetch: Callable[[str], Iterable[bytes]]) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._fetch = fetch

    @contextmanager
    def local(self, digest: str) -> Iterator[Path]:
        """The blob as a file here, for as long as the context lasts.

        Raises:
            CorruptBlobError: what was fetched hashes to something else; it is not kept.
        """
        path = self._root / checked(digest)
        while (descriptor := _opened(path)) is None:
            self._download(digest, path)
        try:
            os.utime(path)
            yield path
        finally:
            os.close(descriptor)

    def _download(self, digest: str, path: Path) -> None:
        drafts = self._root / "tmp"
        drafts.mkdir(parents=True, exist_ok=True)
        draft = drafts / digest
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:  # noqa: PTH123
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() or not _names(draft, file.fileno()):
                return  # another process was faster; the caller looks again
            try:
                file.truncate(0)
                self._fill(file, digest)
                draft.chmod(0o444)
                draft.replace(path)
            except BaseException:
                draft.unlink()
                raise
        self._evict(keep=path)

    def _fill(self, file: BinaryIO, digest: str) -> None:
        hashed = hashlib.sha256()
        for piece in self._fetch(digest):
            file.write(piece)
            hashed.update(piece)
        file.flush()
        if hashed.hexdigest() != digest:
            raise CorruptBlobError(f"the store's bytes for {digest} hash to {hashed.hexdigest()}")

    def _evict(self, *, keep: Path) -> None:
        kept = sorted((path for path in self._root.iterdir() if path.is_file()), key=_used_at)
        total = sum(_size(path) for path in kept)
        for path in kept:
            if total <= self._max_bytes:
                break
            if path != keep and (size := _size(path)) and _deleted_unless_used(path):
                total -= size
        for draft in (self._root / "tmp").iterdir():
            if _used_at(draft) < time.time() - FORGET_SECONDS:
                _deleted_unless_used(draft)


def _opened(path: Path) -> int | None:
    """A descriptor with a shared lock on the file that has this name now; None if there is none."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _names(path, descriptor):
            return descriptor
        os.close(descriptor)  # deleted between the two calls


def _deleted_unless_used(path: Path) -> bool:
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _names(path, file.fileno()):
            path.unlink()
            return True
    return False


def _names(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to the opened file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _used_at(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
