"""What is kept in the cache: files written beside their place and renamed into it, so they are whole or not there."""

import contextlib
import io
import logging
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.paths import cache_root

logger = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[Any]]


def cache_folder(cache: Path | None) -> Path:
    """Where things about users' data sets are kept; its number is raised whenever what is kept changes its form."""
    return cache_root(cache) / "folders-1"


def load_arrays(path: Path) -> Arrays | None:
    """The arrays of a file, or None where there is none, or none that can be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        logger.warning("%s is damaged and is made again: %s", path, error)
        return None


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Keep arrays in a file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    save_bytes(path, buffer.getbuffer())


def save_bytes(path: Path, content: bytes | memoryview) -> None:
    """Keep bytes in a file, whole or not at all; a full or read-only disk costs time later, never the samples."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        logger.warning("cannot keep %s: %s", path, error)
