"""Tiny-Taskonomy as AdaShare and TreeMTL have it: `taskonomy.json`, six PNGs a sample, a file of class weights."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.folders.arrays import read_npy
from core.data.folders.errors import FolderError, RefusedError, blame
from core.data.folders.folder import Folder, Part, read_listing
from core.data.folders.images import read_image, read_png
from core.data.folders.labels import Floats, class_map, image_of, normal_map
from core.data.folders.listing import read_rows
from core.data.folders.samples import Sample
from core.tasks import Task, profile

Array = npt.NDArray[Any]

LISTING = "taskonomy.json"
PRIORS = "semseg_prior_factor.npy"
TASKS = profile("taskonomy").tasks

FULL = 2**16
FAR = 64500
"""A raw depth from here on is no measurement: neither depth nor normals count there."""

KEYPOINTS_TOP = 0.005
EDGES_TOP = 0.08

_GREY16 = partial(read_png, channels=1, bits=16)
PARTS = (
    Part("image", read_image),
    Part("segmentation", partial(read_png, channels=1)),
    Part("normals", partial(read_png, channels=3)),
    Part("depth", _GREY16),
    Part("keypoints", _GREY16),
    Part("edges", _GREY16),
)


def find_adashare(root: Path) -> Folder:
    """The data set under this root; a listing's names may be relative to it, or to `train/` and `test/` below it.

    Raises:
        FolderError: there is none.
    """
    if not (root / LISTING).is_file():
        raise FolderError(f"there is no {LISTING} in {root}", field="root")
    return Folder(
        format="taskonomy_adashare",
        root=str(root),
        name="taskonomy",
        title="Tiny-Taskonomy, five tasks, as AdaShare has it",
        tasks=(replace(TASKS[0], class_weights=read_priors(root, TASKS[0])), *TASKS[1:]),
        parts=PARTS,
        compose=compose,
        splits=read_rows(root, LISTING, [part.name for part in PARTS], by_split=True),
        listings=(LISTING, PRIORS),
    )


def read_priors(root: Path, task: Task) -> tuple[float, ...]:
    """The weight of each class in the segmentation loss.

    Raises:
        FolderError: the file is missing, or does not hold one finite number of at least 0 for each class.
    """
    try:
        weights = read_npy(read_listing(str(root), PRIORS))
    except RefusedError as error:
        raise FolderError(f"{PRIORS}: {error}", field="class_weights") from error
    wanted = weights.shape == (task.channels,) and bool((np.isfinite(weights) & (weights >= 0)).all())
    if not wanted:
        raise FolderError(
            f"{PRIORS} must hold {task.channels} numbers of at least 0; it is {list(weights.shape)} {weights.dtype}",
            field="class_weights",
        )
    return tuple(float(weight) for weight in weights)


def compose(arrays: Mapping[str, Array]) -> Sample:
    """A sample: class 0 is unlabelled and the others move down by one; depth is logarithmic, the rest in [-1, 1]."""
    near = arrays["depth"] < FAR
    with blame("segmentation"):
        classes = TASKS[0].channels
        segmentation = class_map(arrays["segmentation"], classes=classes, ignore=(0,), offset=-1)
    with blame("normals"):
        normals, known = normal_map(arrays["normals"], scale=2 / 255, offset=-1.0)
    labels: dict[str, Array] = {
        "segmentation": segmentation,
        "normals": normals,
        "depth": log_depths()[arrays["depth"]][None],
        "keypoints": stretched(KEYPOINTS_TOP)[arrays["keypoints"]][None],
        "edges": stretched(EDGES_TOP)[arrays["edges"]][None],
    }
    return Sample(image_of(arrays["image"]), labels, {"normals": known & near, "depth": near})


@cache
def log_depths() -> Floats:
    """[65536]: log(1 + raw) / log(2^16) for every raw depth."""
    return (np.log1p(np.arange(FULL)) / log(FULL)).astype(np.float32)


@cache
def stretched(top: float) -> Floats:
    """[65536]: raw / 2^16, clipped to [0, top] and stretched to [-1, 1], for every raw value."""
    return (np.clip(np.arange(FULL) / FULL, 0.0, top) / top * 2.0 - 1.0).astype(np.float32)
