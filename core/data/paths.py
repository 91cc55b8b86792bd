"""Where data sets keep what they need not compute twice."""

import os
from pathlib import Path

CACHE_VARIABLE = "WINDTHROW_CACHE"


def cache_root(cache: Path | None = None) -> Path:
    """The directory given, else that of the environment variable WINDTHROW_CACHE, else ~/.cache/windthrow."""
    if cache is not None:
        return cache
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    return Path.home() / ".cache" / "windthrow"
