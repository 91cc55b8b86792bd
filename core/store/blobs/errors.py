"""What may be wrong with a blob or its store, and what a digest looks like."""

import re

from core.errors import WindthrowError

DIGEST = re.compile(r"[0-9a-f]{64}")


class DigestMismatchError(WindthrowError):
    """The bytes that arrived are not the bytes that were announced."""

    code = "digest_mismatch"


class BlobNotFoundError(WindthrowError):
    """There is no blob of that digest."""

    code = "blob_not_found"

    @classmethod
    def of(cls, digest: str) -> "BlobNotFoundError":
        """The error for a blob that is not here."""
        return cls(f"there is no blob {digest}")


class CorruptBlobError(WindthrowError):
    """What the store gave out is not what it was given."""

    code = "corrupt_blob"


class BlobUrlError(WindthrowError):
    """WINDTHROW_BLOB_URL names no place where blobs can lie."""

    code = "invalid_blob_url"


class BlobStoreUnavailableError(ConnectionError):
    """The store does not answer. No `WindthrowError`: no user can change that, and workers try again."""


def checked(digest: str) -> str:
    """The digest.

    Raises:
        BlobNotFoundError: it is no SHA-256 digest in lower-case hex, so there cannot be a blob of it.
    """
    if not DIGEST.fullmatch(digest):
        raise BlobNotFoundError(f"{digest!r} is not a SHA-256 digest: 64 lower-case hex digits")
    return digest
