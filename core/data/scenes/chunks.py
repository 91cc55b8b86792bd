"""Rendered samples on disk, in files of 64, safe to share between processes.

A file is written beside its place and renamed into it, so whoever comes second replaces equal bytes. It is
read with a checksum: a damaged file counts as none.
"""

import contextlib
import logging
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np

from core.data.scenes.records import Records, record_type

CHUNK = 64
"""Samples in a file."""

_MAGIC = b"WTSCENE1"
_CHECKSUM_BYTES = 4

logger = logging.getLogger(__name__)


def read_chunk(path: Path, resolution: int) -> Records | None:
    """The samples [64] of a file, or None where there is none, or none that is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head = len(_MAGIC) + _CHECKSUM_BYTES
    kind = record_type(resolution)
    payload = memoryview(content)[head:]
    checksum = zlib.crc32(payload).to_bytes(_CHECKSUM_BYTES, "little")
    if len(payload) != CHUNK * kind.itemsize or content[:head] != _MAGIC + checksum:
        logger.warning("%s is damaged; its samples are rendered again", path)
        return None
    return np.frombuffer(payload, dtype=kind)


def write_chunk(path: Path, records: Records) -> None:
    """Keep samples [64] in a file, whole or not at all; a full disk costs time later, never the samples."""
    payload = records.tobytes()
    checksum = zlib.crc32(payload).to_bytes(_CHECKSUM_BYTES, "little")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, _MAGIC + checksum + payload)
    except OSError as error:
        logger.warning("cannot keep rendered samples in %s: %s", path, error)


def _replace(path: Path, content: bytes) -> None:
    """Write a file through a temporary neighbour."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
