"""Data sets at a URL: each machine keeps a copy of the files; their fingerprint tells whether it is the right one."""

import hashlib
import os
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import httpx

from core.data.folders import FORMATS
from core.data.folders.general.manifest import MANIFEST, read_manifest
from core.data.folders.roots import check_name
from core.errors import WindthrowError

REMOTE_FORMAT = "windthrow"
"""The other formats cannot say which files there are without listing folders."""

TIMEOUT = httpx.Timeout(30, connect=10)
CHUNK_BYTES = 2**20


class RemoteDatasetError(WindthrowError):
    """A data set at a URL cannot be fetched."""

    code = "remote_dataset"


def mirrored(url: str, *, cache: Path, refresh: bool = False) -> Path:
    """The folder with this machine's copy; files that are there already are not fetched again.

    Args:
        url: of the folder that has `dataset.json`.
        cache: where copies are kept.
        refresh: ask for every file whether it was modified.

    Raises:
        RemoteDatasetError: a file cannot be fetched.
        InvalidError: the data set is not of the general format.
    """
    base = url.rstrip("/")
    root = cache / "remote" / hashlib.sha256(base.encode()).hexdigest()[:24]
    root.mkdir(parents=True, exist_ok=True)
    with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as http:
        _fetch(http, base, MANIFEST, root)
        for name in _listings((root / MANIFEST).read_bytes()):
            _fetch(http, base, name, root)
        for name in sorted(set(FORMATS[REMOTE_FORMAT].find(root).files())):
            if refresh or not (root / name).exists():
                _fetch(http, base, name, root)
    return root


def _listings(manifest: bytes) -> Iterator[str]:
    """Files in which splits list their samples."""
    for split, node in read_manifest(manifest).splits.items():
        members = node.members(optional=("samples", "shards"))
        if "samples" in members and isinstance(members.at("samples").value, str):
            yield check_name(members.at("samples").value, field=f"splits.{split}.samples")


def _fetch(http: httpx.Client, base: str, name: str, root: Path) -> None:
    """Fetch a file, whole or not at all, unless the one that is here is as new."""
    path, url = root / name, f"{base}/{quote(name)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    headers = {}
    if path.exists():
        headers["If-Modified-Since"] = formatdate(path.stat().st_mtime, usegmt=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with http.stream("GET", url, headers=headers) as answer:
            if answer.status_code == httpx.codes.NOT_MODIFIED:
                return
            if answer.status_code != httpx.codes.OK:
                raise RemoteDatasetError(f"{url} answers {answer.status_code}")
            with part.open("xb") as file:
                for chunk in answer.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)
            modified = answer.headers.get("Last-Modified")
        if modified is not None:
            moment = parsedate_to_datetime(modified).timestamp()
            os.utime(part, (moment, moment))
        part.replace(path)
    except (httpx.HTTPError, ValueError) as error:
        raise RemoteDatasetError(f"{url} cannot be fetched: {error}") from error
    finally:
        part.unlink(missing_ok=True)
