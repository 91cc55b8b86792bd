"""One sample: its parts' numbers put together, resized, and many of them stacked into a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from core.data.batch import Batch
from core.data.folders.errors import FolderError, RefusedError
from core.data.folders.labels import Bools, Floats
from core.tasks import Task

Array = npt.NDArray[Any]

IMAGE = "image"
"""The part that every sample has; the others are named after their tasks, masks `<task>.mask`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An image [3, H, W] with its labels by task and masks [H, W], as in a `Batch` but for the first dimension."""

    image: Floats
    labels: Mapping[str, Array]
    masks: Mapping[str, Bools] = field(default_factory=dict)


Compose = Callable[[Mapping[str, Array]], Sample]
"""The parts' raw arrays, all of one height and width, to a sample. Raises `RefusedError`."""


def check_sizes(arrays: Mapping[str, Array]) -> None:
    """See that every map is as high and wide as the image; a number has no size.

    Raises:
        RefusedError: one is not.
    """
    size = arrays[IMAGE].shape[:2]
    for part, array in arrays.items():
        if array.ndim >= 2 and array.shape[:2] != size:
            raise RefusedError("size", f"it is {_size(array.shape)}; the image is {_size(size)}", part=part)


def check_shapes(sample: Sample, tasks: Sequence[Task]) -> None:
    """See that a label has as many dimensions as its task says: a number is no map.

    Raises:
        RefusedError: one has not.
    """
    for task in tasks:
        dimensions = {"classification": 0, "segmentation": 2}.get(task.kind, 3)
        shape = sample.labels[task.name].shape
        if len(shape) != dimensions:
            raise RefusedError("kind", f"{list(shape)} is no {task.kind} label", part=task.name)


def resize(sample: Sample, size: tuple[int, int] | None) -> Sample:
    """The sample at [height, width]: its image bilinear and antialiased, its labels and masks nearest."""
    if size is None or sample.image.shape[1:] == size:
        return sample
    image = F.interpolate(
        torch.from_numpy(sample.image)[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return replace(
        sample,
        image=image[0].clamp(0.0, 1.0).numpy(),
        labels={name: nearest(label, size) for name, label in sample.labels.items()},
        masks={name: nearest(mask, size) for name, mask in sample.masks.items()},
    )


def nearest(values: Array, size: tuple[int, int]) -> Array:
    """[..., H, W] to [..., height, width] by row floor(i * H / height), columns likewise, as losses resize labels."""
    if values.ndim < 2:
        return values
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, values.shape[-2:], strict=True))
    return values[..., rows[:, None], columns]


def stack(samples: Sequence[Sample], tasks: Sequence[Task], rows: Sequence[int]) -> Batch:
    """A batch of samples of one size.

    Raises:
        FolderError: they are of several sizes.
    """
    indices = torch.tensor(rows, dtype=torch.int64)
    if not samples:
        return _empty(tasks)
    for row, sample in zip(rows, samples, strict=True):
        if sample.image.shape != samples[0].image.shape:
            mine, first = (_size(one.image.shape[1:]) for one in (sample, samples[0]))
            raise FolderError(
                f"samples {rows[0]} and {row} are {first} and {mine}; open the data set with a size",
                field="size",
            )
    labels = {task.name: _stacked([one.labels[task.name] for one in samples]) for task in tasks}
    masked = [task.name for task in tasks if task.name in samples[0].masks]
    masks = {name: _stacked([one.masks[name] for one in samples]) for name in masked}
    return Batch(_stacked([one.image for one in samples]), labels, masks, indices)


def _stacked(arrays: Sequence[Array]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))


def _empty(tasks: Sequence[Task]) -> Batch:
    shapes = {"classification": (0,), "segmentation": (0, 0, 0)}
    labels = {
        task.name: torch.zeros(
            shapes.get(task.kind, (0, task.channels, 0, 0)),
            dtype=torch.int64 if task.kind in shapes else torch.float32,
        )
        for task in tasks
    }
    return Batch(torch.zeros(0, 3, 0, 0), labels)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"
