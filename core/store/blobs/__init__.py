"""Files by the SHA-256 of their bytes, on disk or in S3. A blob is whole or absent; here nobody knows its meaning."""

from core.store.blobs.contract import BlobStore
from core.store.blobs.errors import (
    BlobNotFoundError,
    BlobStoreUnavailableError,
    BlobUrlError,
    CorruptBlobError,
    DigestMismatchError,
)
from core.store.blobs.files import FileBlobs
from core.store.blobs.urls import open_blobs

__all__ = [
    "BlobNotFoundError",
    "BlobStore",
    "BlobStoreUnavailableError",
    "BlobUrlError",
    "CorruptBlobError",
    "DigestMismatchError",
    "FileBlobs",
    "open_blobs",
]
