"""The general format `windthrow`: a folder or tar shards described by a `dataset.json`, so that no code is needed."""

from core.data.folders.general.finding import find_windthrow

__all__ = ["find_windthrow"]
