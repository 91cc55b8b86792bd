"""The formats that folders come in, by name, and how a data set is found in a folder without decoding it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.data.folders.errors import FolderError
from core.data.folders.folder import Folder
from core.data.folders.general.finding import find_windthrow
from core.data.folders.mtan import find_cityscapes, find_cityscapes_7, find_nyuv2
from core.data.folders.nyuv2 import find_treemtl
from core.data.folders.roots import check_root
from core.data.folders.taskonomy import find_adashare


@dataclass(frozen=True, slots=True)
class Format:
    """A way in which data sets lie in folders.

    Attributes:
        version: raised whenever the reader makes other samples of the same bytes.
        tasks: where the tasks come from, for people.
        splits: likewise the splits.
    """

    name: str
    title: str
    version: int
    tasks: str
    splits: str
    find: Callable[[Path], Folder]


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format(
            name="nyuv2_treemtl",
            title="NYUv2 as TreeMTL and AdaShare have it (nyu_v2_3task.json)",
            version=1,
            tasks="segmentation (40 classes), normals, depth: the profile nyuv2",
            splits="the lists train, val (as validation) and test of nyu_v2_3task.json",
            find=find_treemtl,
        ),
        Format(
            name="nyuv2_mtan",
            title="NYUv2 as MTAN has it (train/ and val/ of .npy files)",
            version=1,
            tasks="segmentation (13 classes), normals, depth",
            splits="train/ as train, val/ as test",
            find=find_nyuv2,
        ),
        Format(
            name="cityscapes_mtan",
            title="Cityscapes as MTAN has it, 19 classes (label_19/)",
            version=1,
            tasks="segmentation (19 classes), depth (inverse): the profile cityscapes",
            splits="train/ as train, val/ as test",
            find=find_cityscapes,
        ),
        Format(
            name="cityscapes_mtan_7",
            title="Cityscapes as MTAN has it, 7 classes (label_7/)",
            version=1,
            tasks="segmentation (7 classes), depth (inverse)",
            splits="train/ as train, val/ as test",
            find=find_cityscapes_7,
        ),
        Format(
            name="taskonomy_adashare",
            title="Tiny-Taskonomy as AdaShare has it (taskonomy.json)",
            version=1,
            tasks="segmentation (17 classes, weighted), normals, depth, keypoints, edges: the profile taskonomy",
            splits="the lists train, val (as validation) and test of taskonomy.json",
            find=find_adashare,
        ),
        Format(
            name="windthrow",
            title="Any data, described by a dataset.json, in files or tar shards",
            version=1,
            tasks="as its dataset.json says",
            splits="as its dataset.json says",
            find=find_windthrow,
        ),
    )
}
"""By name."""


def find(form: str, root: Path | str) -> Folder:
    """The data set of that format under a root.

    Raises:
        FolderError: there is no such format, or no data set of it.
    """
    if form not in FORMATS:
        raise FolderError(f"no format {form!r}; there are {', '.join(FORMATS)}", field="format")
    return FORMATS[form].find(check_root(root))
