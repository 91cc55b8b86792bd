"""What every store of blobs can do."""

from collections.abc import Hashable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class BlobStore(Hashable, Protocol):
    """Blobs by digest. All methods may be called by several threads and processes at once.

    Each raises `BlobNotFoundError` for a digest that is none, and `BlobStoreUnavailableError` where the store is
    another machine that does not answer.
    """

    def size(self, digest: str) -> int | None:
        """Its bytes, or None if it is not here."""

    def exists(self, digest: str) -> bool:
        """Whether the blob is here."""

    def read(self, digest: str) -> bytes:
        """The whole blob.

        Raises:
            BlobNotFoundError: it is not here.
        """

    def open(self, digest: str) -> BinaryIO:
        """The blob as a file that can be sought in; only what is read of it is fetched.

        Raises:
            BlobNotFoundError: it is not here.
        """

    def local(self, digest: str) -> AbstractContextManager[Path]:
        """The blob as a file on this machine, which is read only and stays for as long as the context does.

        Raises:
            BlobNotFoundError: it is not here.
            CorruptBlobError: it was fetched, and hashes to something else.
        """

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest."""

    def put_file(self, path: Path) -> str:
        """Take over a finished file, and return its digest; its place is empty then."""

    def adopt(self, draft: Path, digest: str) -> None:
        """Take over a finished, synced file of that digest, for which the caller vouches; its place is empty then."""

    def delete(self, digest: str) -> None:
        """Delete the blob, if it is here; the caller vouches that nothing refers to it."""

    def sweep(self, *, older_than: float) -> int:
        """Delete drafts that a crash has left behind more than so many seconds ago; how many there were."""
