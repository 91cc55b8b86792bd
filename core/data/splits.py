"""Checks that every data set makes of what it is asked for."""

from collections.abc import Sequence

from core.datasets import DatasetInfo
from core.errors import InvalidError


def check_split(info: DatasetInfo, split: str) -> str:
    """The split itself.

    Raises:
        InvalidError: the data set has no such split; the message lists those it has.
    """
    if split not in info.splits:
        raise InvalidError(
            f"data set {info.name!r} has no split {split!r}; it has {', '.join(info.splits)}", field="split"
        )
    return split


def check_indices(indices: Sequence[int], size: int) -> list[int]:
    """The indices as plain integers.

    Raises:
        IndexError: one is outside 0..size-1.
    """
    plain = [int(index) for index in indices]
    for index in plain:
        if not 0 <= index < size:
            raise IndexError(f"sample {index} is outside 0..{size - 1}")
    return plain
