"""NYUv2 and Cityscapes as MTAN has them: `train/` and `val/`, a folder per label, `{i}.npy` in each."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from core.data.folders.arrays import read_npy
from core.data.folders.errors import FolderError, blame
from core.data.folders.folder import FileRows, Folder, Part
from core.data.folders.labels import Bools, class_map, depth_map, image_of, normal_map
from core.data.folders.names import Names
from core.data.folders.samples import Sample
from core.tasks import Task, profile

Array = npt.NDArray[Any]

SPLITS = {"train": "train", "val": "test"}
"""MTAN's `val` is what its users report on: NYUv2's 654 test images, Cityscapes' official validation images."""

NYUV2_TASKS = (Task("segmentation", "segmentation", 13), *profile("nyuv2").tasks[1:])
CITYSCAPES_TASKS = profile("cityscapes").tasks
CITYSCAPES_7_TASKS = (Task("segmentation", "segmentation", 7), *CITYSCAPES_TASKS[1:])

IGNORE = -1


def find_nyuv2(root: Path) -> Folder:
    """NYUv2 under this root.

    Raises:
        FolderError: there is none.
    """
    folders = {"image": "image", "segmentation": "label", "normals": "normal", "depth": "depth"}
    return _find(root, "nyuv2_mtan", "NYUv2, 13 classes, as MTAN has it", NYUV2_TASKS, folders)


def find_cityscapes(root: Path) -> Folder:
    """Cityscapes with 19 classes under this root.

    Raises:
        FolderError: there is none.
    """
    folders = {"image": "image", "segmentation": "label_19", "depth": "depth"}
    title = "Cityscapes, 19 classes, as MTAN has it"
    return _find(root, "cityscapes_mtan", title, CITYSCAPES_TASKS, folders)


def find_cityscapes_7(root: Path) -> Folder:
    """Cityscapes with 7 classes under this root.

    Raises:
        FolderError: there is none.
    """
    folders = {"image": "image", "segmentation": "label_7", "depth": "depth"}
    title = "Cityscapes, 7 classes, as MTAN has it"
    return _find(root, "cityscapes_mtan_7", title, CITYSCAPES_7_TASKS, folders)


def _find(root: Path, form: str, title: str, tasks: tuple[Task, ...], folders: Mapping[str, str]) -> Folder:
    splits = {SPLITS[listed]: _rows(root, listed, folders) for listed in SPLITS if (root / listed).is_dir()}
    if not splits:
        raise FolderError(f"{root} has neither train/ nor val/", field="root")
    return Folder(
        format=form,
        root=str(root),
        name=form.partition("_")[0],
        title=title,
        tasks=tasks,
        parts=tuple(Part(part, read_npy) for part in folders),
        compose=partial(compose, tasks),
        splits=splits,
    )


def _rows(root: Path, listed: str, folders: Mapping[str, str]) -> FileRows:
    """The samples of one split in the order of their numbers, which need not be without gaps."""
    for folder in folders.values():
        if not (root / listed / folder).is_dir():
            raise FolderError(f"there is no {listed}/{folder} in {root}", field="root")
    names = [entry.name for entry in (root / listed / "image").iterdir() if entry.suffix == ".npy"]
    stems = [name.removesuffix(".npy") for name in names if not name.startswith(".")]
    if odd := sorted(stem for stem in stems if not stem.isdecimal() or stem != str(int(stem))):
        raise FolderError(f"{listed}/image/{odd[0]}.npy is not named by a number", field="root")
    if not stems:
        raise FolderError(f"{listed}/image holds no .npy file", field="root")
    stems.sort(key=int)
    columns = {
        part: Names.of(f"{listed}/{folder}/{stem}.npy" for stem in stems) for part, folder in folders.items()
    }
    return FileRows(str(root), columns, Names.of(stems))


def compose(tasks: Sequence[Task], arrays: Mapping[str, Array]) -> Sample:
    """A sample: label -1 is ignored, depth 0 (inverse depth in Cityscapes) and a normal of zeros do not count."""
    labels: dict[str, Array] = {}
    masks: dict[str, Bools] = {}
    with blame("segmentation"):
        classes = tasks[0].channels
        labels["segmentation"] = class_map(arrays["segmentation"], classes=classes, ignore=(IGNORE,))
    if "normals" in arrays:
        with blame("normals"):
            labels["normals"], masks["normals"] = normal_map(arrays["normals"])
    with blame("depth"):
        labels["depth"], masks["depth"] = depth_map(arrays["depth"])
    return Sample(image_of(arrays["image"]), labels, masks)
