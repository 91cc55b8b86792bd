"""Opening a data set by its name."""

from collections.abc import Callable
from pathlib import Path

from core.data.batch import Dataset
from core.data.digits import open_digits
from core.data.scenes.dataset import open_scenes
from core.errors import InvalidError

Opener = Callable[[str, Path | None, int | None], Dataset]
"""(split, cache directory, resolution) to an open data set."""

OPENERS: dict[str, Opener] = {"scenes": open_scenes, "digits": open_digits}


def open_dataset(
    name: str, split: str = "test", *, cache: Path | None = None, resolution: int | None = None
) -> Dataset:
    """Open one split of a data set.

    Args:
        name: one of `core.datasets.DATASETS`.
        split: "train", "validation" or "test".
        cache: where computed samples are kept, else $WINDTHROW_CACHE, else ~/.cache/windthrow.
        resolution: height and width in pixels, for a data set that can be had at any; else its own.

    Raises:
        InvalidError: there is no such data set or split, or it cannot be had at this resolution.
    """
    if name not in OPENERS:
        raise InvalidError(f"no data set {name!r}; there are {', '.join(OPENERS)}", field="name")
    return OPENERS[name](split, cache, resolution)
