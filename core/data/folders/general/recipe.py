"""From a manifest's encodings to the parts of a sample and to its labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.folders.arrays import read_npy, read_number
from core.data.folders.errors import RefusedError, blame
from core.data.folders.folder import Part
from core.data.folders.general.manifest import Encoding, Manifest
from core.data.folders.images import read_image, read_mask_png, read_png
from core.data.folders.labels import (
    Bools,
    class_map,
    depth_map,
    image_of,
    mask_map,
    matches,
    normal_map,
    regression_map,
)
from core.data.folders.samples import Sample
from core.tasks import Task

Array = npt.NDArray[Any]

MASK = ".mask"
IMAGE_ENDINGS = {"png8": ("png",), "jpeg": ("jpg", "jpeg"), "npy": ("npy",)}
ENDINGS = {"png8": ("png",), "png16": ("png",), "npy": ("npy",), "text": ("txt",), "value": ()}


def parts_of(manifest: Manifest) -> tuple[Part, ...]:
    """The parts of every sample: image, labels in the tasks' order, masks."""
    image = manifest.image
    return (
        Part("image", _decoder(image) if image.kind == "npy" else read_image),
        *(Part(task.name, _label_decoder(task, manifest.labels[task.name])) for task in manifest.tasks),
        *(
            Part(name + MASK, read_mask_png if encoding.kind == "png8" else _decoder(encoding))
            for name, encoding in manifest.masks.items()
        ),
    )


def endings_of(manifest: Manifest) -> dict[str, str]:
    """By the ending of a member's name in a shard, the part that it holds."""
    endings = {f"image.{ending}": "image" for ending in IMAGE_ENDINGS[manifest.image.kind]}
    for name, encoding in manifest.labels.items():
        endings |= {f"{name}.{ending}": name for ending in ENDINGS[encoding.kind]}
    for name, encoding in manifest.masks.items():
        endings |= {f"{name}{MASK}.{ending}": name + MASK for ending in ENDINGS[encoding.kind]}
    return endings


def _label_decoder(task: Task, encoding: Encoding) -> Any:
    if encoding.kind == "png8":
        return partial(
            read_png, channels=3 if task.channels == 3 and task.kind in ("normals", "regression") else 1
        )
    if encoding.kind == "png16":
        return partial(read_png, channels=1, bits=16)
    return _decoder(encoding)


def _decoder(encoding: Encoding) -> Any:
    if encoding.kind in ("value", "text"):
        return read_number
    return read_npy if encoding.axes == "hwc" else read_planes


def read_planes(data: bytes) -> Array:
    """A `.npy` file with its channels first, as [H, W, channels].

    Raises:
        RefusedError: as `read_npy`.
    """
    values = read_npy(data)
    return np.moveaxis(values, 0, 2) if values.ndim == 3 else values


@dataclass(frozen=True, slots=True)
class Recipe:
    """Puts a sample of the general format together."""

    tasks: tuple[Task, ...]
    image: Encoding
    labels: Mapping[str, Encoding]
    size: tuple[int, int] | None

    def __call__(self, arrays: Mapping[str, Array]) -> Sample:
        """The parts' raw arrays to a sample.

        Raises:
            RefusedError: a part is not as the manifest says.
        """
        with blame("image"):
            image = image_of(
                arrays["image"], scale=self.image.scale, offset=self.image.offset, order=self.image.order
            )
            if self.size is not None and image.shape[1:] != self.size:
                raise RefusedError(
                    "size", f"it is {list(image.shape[1:])}; the manifest says {list(self.size)}"
                )
        labels: dict[str, Array] = {}
        masks: dict[str, Bools] = {}
        for task in self.tasks:
            with blame(task.name):
                labels[task.name], valid = _label(task, self.labels[task.name], arrays[task.name])
            if (raw := arrays.get(task.name + MASK)) is not None:
                with blame(task.name + MASK):
                    valid = mask_map(raw) if valid is None else valid & mask_map(raw)
            if valid is not None:
                masks[task.name] = valid
        return Sample(image, labels, masks)


def _label(task: Task, how: Encoding, raw: Array) -> tuple[Array, Bools | None]:
    """A label, and where it counts if the label itself does not say so."""
    if task.kind in ("segmentation", "classification"):
        raw = raw.reshape(()) if task.kind == "classification" and raw.size == 1 else raw
        return class_map(raw, classes=task.channels, ignore=how.ignore, offset=int(how.offset)), None
    if task.kind == "depth":
        return depth_map(raw, scale=how.scale, offset=how.offset, ignore=how.ignore)
    if task.kind == "normals":
        ignored = _all_channels(matches(raw, how.ignore)) if how.ignore and raw.ndim == 3 else None
        return normal_map(raw, ignored=ignored, scale=how.scale, offset=how.offset, order=how.order)
    channels = task.channels
    return (
        regression_map(raw, channels=channels, scale=how.scale, offset=how.offset, ignore=how.ignore),
        None,
    )


def _all_channels(found: Bools) -> Bools:
    """[H, W]: where every channel was found."""
    every: Bools = np.logical_and.reduce(found, axis=-1)
    return every
