"""`DigitsDataset`: two scanned 8 x 8 digits side by side, a task for each, out of scikit-learn."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from core.data.batch import Batch
from core.data.splits import check_indices, check_split
from core.datasets import DATASETS
from core.errors import InvalidError
from core.tasks import Task, profile

INFO = DATASETS["digits"]

Bytes = npt.NDArray[np.uint8]

_SHARES = {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}
_SIDE = 24
_JITTER = 4
_SEED = 11


class DigitsDataset:
    """Pairs of digits: images [N, 3, 32, 64], grey, in steps of 1/255; labels `left` and `right` [N], 0..9.

    The scans are dealt out to the splits once and for all, so no scan appears in two of them. Which two scans
    a sample shows, and where in its half each stands, depends on the split and the index only.

    Args:
        split: "train", "validation" or "test".

    Raises:
        InvalidError: there is no such split.
    """

    name = INFO.name
    version = INFO.version
    tasks: tuple[Task, ...] = profile(INFO.profile).tasks

    def __init__(self, split: str = "test") -> None:
        self.split = check_split(INFO, split)

    def __len__(self) -> int:
        return INFO.splits[self.split]

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at these positions, in this order.

        Raises:
            IndexError: a position is outside 0..len-1.
        """
        rows = check_indices(indices, len(self))
        scans, classes = scaled_digits()
        pairs, offsets = sample_plan(self.split)
        images = np.zeros((len(rows), 1, *INFO.image_shape[1:]), dtype=np.uint8)
        for place, row in enumerate(rows):
            for half in (0, 1):
                down, across = offsets[row, half]
                left = half * INFO.image_shape[2] // 2 + across
                images[place, 0, down : down + _SIDE, left : left + _SIDE] = scans[pairs[row, half]]
        grey = torch.from_numpy(images).to(torch.float32).div(255.0)
        chosen = torch.from_numpy(classes[pairs[rows]])
        labels = {task.name: chosen[:, half].contiguous() for half, task in enumerate(self.tasks)}
        return Batch(
            grey.expand(-1, 3, -1, -1).contiguous(), labels, indices=torch.tensor(rows, dtype=torch.int64)
        )


def scans_of(split: str) -> npt.NDArray[np.int64]:
    """Positions in scikit-learn's data of the scans that a split draws from."""
    count = len(scaled_digits()[1])
    order = np.random.Generator(np.random.Philox(_SEED)).permutation(count)
    first, last = (round(share * count) for share in _SHARES[split])
    return order[first:last]


@cache
def sample_plan(split: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For every sample of a split: its two scans [size, 2], and their places [size, 2, 2] (down, across)."""
    scans = scans_of(split)
    numbers = np.stack([_numbers(split, index) for index in range(INFO.splits[split])])
    pairs = scans[(numbers[:, :2] * len(scans)).astype(np.int64)]
    room = INFO.image_shape[1] - _SIDE
    offsets = room // 2 + np.floor((numbers[:, 2:] * 2.0 - 1.0) * (_JITTER + 0.5) + 0.5).astype(np.int64)
    return pairs, np.clip(offsets, 0, room).reshape(-1, 2, 2)


def _numbers(split: str, index: int) -> npt.NDArray[np.float64]:
    """Six random numbers in [0, 1) that belong to one sample."""
    sequence = np.random.SeedSequence(_SEED, spawn_key=(list(_SHARES).index(split), index))
    return np.random.Generator(np.random.Philox(sequence)).random(6)


@cache
def scaled_digits() -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Every scan at 24 x 24 in 0..255, smoothly enlarged, and its class."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - only this data set needs scikit-learn

    data = load_digits()
    small = torch.from_numpy(np.asarray(data.images, dtype=np.float32) / np.float32(16.0))[:, None]
    large = torch.nn.functional.interpolate(small, size=(_SIDE, _SIDE), mode="bicubic", align_corners=False)
    values = (large[:, 0].clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return values.numpy(), np.asarray(data.target, dtype=np.int64)


def open_digits(split: str, _cache: Path | None, resolution: int | None) -> DigitsDataset:
    """As the registry opens it: nothing is cached, and there is one resolution.

    Raises:
        InvalidError: there is no such split, or another resolution was asked for.
    """
    if resolution not in (None, INFO.image_shape[1]):
        raise InvalidError(
            f"digits are {INFO.image_shape[1]} pixels high; got {resolution}", field="resolution"
        )
    return DigitsDataset(split)
