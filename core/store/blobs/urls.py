"""Which store a URL names."""

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from core.settings import Settings
from core.store.blobs.contract import BlobStore
from core.store.blobs.errors import BlobUrlError
from core.store.blobs.files import FileBlobs

S3_OPTIONS = {"endpoint_url", "region"}


def open_blobs(settings: Settings) -> BlobStore:
    """The store at `settings.blob_url`: `file:///directory`, or `s3://bucket/prefix?endpoint_url=…&region=…`.

    Raises:
        BlobUrlError: the URL is neither, or the package for S3 is not installed.
    """
    if not settings.blob_url:
        return FileBlobs(settings.blob_dir)
    url = urlsplit(settings.blob_url)
    if url.scheme == "file":
        return FileBlobs(_directory(url))
    if url.scheme == "s3":
        return _s3(url, settings)
    raise BlobUrlError(f"WINDTHROW_BLOB_URL is file:///… or s3://…; got {url.scheme or 'no scheme'!r}")


def _directory(url: SplitResult) -> Path:
    path = Path(unquote(url.path))
    if url.netloc or url.query or not path.is_absolute():
        raise BlobUrlError("a file URL is file:// and the absolute path of a directory: file:///srv/blobs")
    return path


def _s3(url: SplitResult, settings: Settings) -> BlobStore:
    if find_spec("obstore") is None:
        raise BlobUrlError('blobs in S3 need a package more: `pip install "windthrow-server[s3]"`')
    from core.store.blobs.s3 import S3Blobs  # noqa: PLC0415 - an optional dependency

    options = parse_qs(url.query, keep_blank_values=True)
    if unknown := sorted(options.keys() - S3_OPTIONS):
        raise BlobUrlError(f"an S3 URL may say {', '.join(sorted(S3_OPTIONS))}; got {', '.join(unknown)}")
    if not url.hostname or "@" in url.netloc or ":" in url.netloc:
        raise BlobUrlError(
            "an S3 URL is s3://bucket/prefix; credentials come from AWS_ACCESS_KEY_ID and the like"
        )
    return S3Blobs(
        url.netloc,
        unquote(url.path).strip("/"),
        endpoint=options.get("endpoint_url", [None])[-1],
        region=options.get("region", [None])[-1],
        cache_dir=settings.blob_cache,
        cache_bytes=settings.blob_cache_bytes,
    )
