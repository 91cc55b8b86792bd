"""A data set found under a root, before any sample is decoded: its tasks, its parts, where each split's files are."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from core.data.folders.errors import FolderError, RefusedError
from core.data.folders.names import Names
from core.data.folders.roots import check_name, read_file
from core.data.folders.samples import Compose
from core.tasks import Task

SPLIT_OF = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
"""What a listing calls a split, and what it opens as; splits of other names are left alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of every sample: "image", a task, or "<task>.mask", and how its bytes become numbers."""

    name: str
    decode: Callable[[bytes], npt.NDArray[Any]]


class Rows(Protocol):
    """The samples of one split, by position."""

    def __len__(self) -> int: ...

    def key(self, index: int) -> str:
        """The sample's name, for people."""
        ...

    def file(self, index: int, part: str) -> str:
        """The file that holds a part, relative to the root."""
        ...

    def read(self, index: int, part: str) -> bytes:
        """The bytes of a part. Raises `RefusedError` where there are none."""
        ...


class Split(Protocol):
    """Where the samples of one split are to be found."""

    def files(self) -> Iterator[str]:
        """Every file that holds some of its samples, relative to the root."""
        ...

    def rows(self, index: Path | None) -> Rows:
        """Its samples; what is costly to find is kept in the file `index`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FileRows:
    """Samples in a file of their own per part: a `Split` and its `Rows` in one.

    Attributes:
        columns: by part, the name of each sample's file.
        keys: the samples' names, if not those of their images.
        inline: parts whose columns hold the label itself instead of a file's name.
    """

    root: str
    columns: Mapping[str, Names]
    keys: Names | None = None
    inline: AbstractSet[str] = frozenset()

    def __len__(self) -> int:
        return len(self.columns["image"])

    def key(self, index: int) -> str:
        """The sample's name."""
        return (self.keys or self.columns["image"])[index]

    def file(self, index: int, part: str) -> str:
        """The name of the part's file."""
        return "the listing" if part in self.inline else self.columns[part][index]

    def read(self, index: int, part: str) -> bytes:
        """The bytes of the part's file, or the label that the listing holds."""
        name = self.columns[part][index]
        return name.encode() if part in self.inline else read_file(self.root, name)

    def files(self) -> Iterator[str]:
        """The names of all files."""
        for part, names in self.columns.items():
            if part not in self.inline:
                yield from names

    def rows(self, _index: Path | None) -> "FileRows":
        """Itself: nothing was costly to find."""
        return self


@dataclass(frozen=True, slots=True)
class Folder:
    """A data set in a folder.

    Attributes:
        format: its format in `core.data.folders.FORMATS`.
        root: absolute, without links.
        name: what it calls itself.
        parts: image first, then labels and masks.
        compose: the parts' numbers to a sample.
        splits: by name, out of "train", "validation" and "test".
        listings: files that say which samples there are, or how to read them.
    """

    format: str
    root: str
    name: str
    title: str
    tasks: tuple[Task, ...]
    parts: tuple[Part, ...]
    compose: Compose
    splits: Mapping[str, Split]
    listings: tuple[str, ...] = field(default=())

    def files(self) -> Iterator[str]:
        """Every file that decides what the samples are, relative to the root; some more than once."""
        yield from self.listings
        for split in self.splits.values():
            yield from split.files()


def read_listing(root: str, name: str) -> bytes:
    """A file that the data set cannot do without.

    Raises:
        FolderError: it is missing, cannot be read or is too large.
    """
    try:
        return read_file(root, check_name(name, field="root"))
    except RefusedError as error:
        raise FolderError(f"{name}: {error}", field="root") from error
