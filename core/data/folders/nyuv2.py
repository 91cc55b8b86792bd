"""NYUv2 as AdaShare and TreeMTL have it: `nyu_v2_3task.json`, PNG images, segmentations and normals, `.npy` depths."""

from collections.abc import Mapping
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.folders.arrays import read_npy
from core.data.folders.errors import FolderError, blame
from core.data.folders.folder import Folder, Part
from core.data.folders.images import read_image, read_png
from core.data.folders.labels import class_map, depth_map, image_of, normal_map
from core.data.folders.listing import read_rows
from core.data.folders.samples import Sample
from core.tasks import IGNORE_VALUE, profile

Array = npt.NDArray[Any]

LISTING = "nyu_v2_3task.json"
TASKS = profile("nyuv2").tasks
PARTS = (
    Part("image", read_image),
    Part("segmentation", partial(read_png, channels=1)),
    Part("normals", partial(read_png, channels=3)),
    Part("depth", read_npy),
)


def find_treemtl(root: Path) -> Folder:
    """The data set under this root.

    Raises:
        FolderError: there is none.
    """
    if not (root / LISTING).is_file():
        raise FolderError(f"there is no {LISTING} in {root}", field="root")
    return Folder(
        format="nyuv2_treemtl",
        root=str(root),
        name="nyuv2",
        title="NYUv2, 40 classes, as TreeMTL has it",
        tasks=TASKS,
        parts=PARTS,
        compose=compose,
        splits=read_rows(root, LISTING, [part.name for part in PARTS]),
        listings=(LISTING,),
    )


def compose(arrays: Mapping[str, Array]) -> Sample:
    """A sample as the authors' models see it.

    Their loader takes a normal's bytes, which OpenCV reads in the order blue, green, red, for the vector itself,
    without mapping 0..255 to -1..1; a pixel with a 255 does not count. So do we, or no angle would be theirs.
    """
    with blame("segmentation"):
        segmentation = class_map(arrays["segmentation"], classes=TASKS[0].channels)
    with blame("normals"):
        unknown = reduce(np.maximum, np.moveaxis(arrays["normals"], 2, 0)) == IGNORE_VALUE
        normals, known = normal_map(arrays["normals"], ignored=unknown, order="bgr")
    with blame("depth"):
        depth, measured = depth_map(arrays["depth"])
    labels: dict[str, Array] = {"segmentation": segmentation, "normals": normals, "depth": depth}
    return Sample(image_of(arrays["image"]), labels, {"normals": known, "depth": measured})
