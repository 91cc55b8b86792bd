"""Listings of the kind {"train": [[file, ...], ...], "test": [...]}, a row at a time: Tiny-Taskonomy's fills memory."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from core.data.folders.errors import FolderError, RefusedError
from core.data.folders.folder import SPLIT_OF, FileRows
from core.data.folders.names import NamesBuilder
from core.data.folders.roots import check_name, stat_file

CHUNK = 2**20
MAX_ROW = 2**16

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


def read_rows(root: Path, name: str, parts: Sequence[str], *, by_split: bool = False) -> dict[str, FileRows]:
    """The splits of a listing, their rows as columns of file names.

    Args:
        root: the folder.
        name: the listing's file name.
        parts: what a row's columns hold.
        by_split: rows may be relative to a folder named after their list; the first row says whether they are.

    Raises:
        FolderError: there is no such listing, or it is not as this says.
    """
    found: dict[str, _Columns] = {}
    try:
        stat_file(str(root), name)
        for listed, row in stream_rows(root / name):
            split = SPLIT_OF.get(listed)
            if split is None:
                continue
            if split not in found:
                below = _folder_of(root, listed, row) if by_split else ""
                found[split] = _Columns(parts, listed=f"{name}.{listed}", below=below)
            found[split].add(row, listed=f"{name}.{listed}")
    except FolderError:
        raise
    except (RefusedError, OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{name} cannot be read: {error}", field="root") from error
    if not found:
        raise FolderError(f"{name} lists no samples", field=name)
    return {split: columns.rows(str(root)) for split, columns in found.items()}


class _Columns:
    """One split's file names, column by column, as they come in."""

    def __init__(self, parts: Sequence[str], *, listed: str, below: str) -> None:
        self._columns = {part: NamesBuilder() for part in parts}
        self._listed = listed
        self._below = below
        self._count = 0

    def add(self, row: object, *, listed: str) -> None:
        """Take one row of names."""
        field = f"{listed}[{self._count}]"
        if listed != self._listed:
            raise FolderError(f"{listed} and {self._listed} open as one split", field=listed)
        if not isinstance(row, list) or len(row) != len(self._columns):
            wanted = ", ".join(self._columns)
            raise FolderError(f"{field}: a row is [{wanted}], files below the root", field=field)
        for builder, name in zip(self._columns.values(), row, strict=True):
            builder.add(self._below + check_name(name, field=field))
        self._count += 1

    def rows(self, root: str) -> FileRows:
        """What came in."""
        return FileRows(root, {part: builder.done() for part, builder in self._columns.items()})


def _folder_of(root: Path, listed: str, row: object) -> str:
    """The folder, if any, that a list's names are relative to."""
    match row:
        case [str(first), *_] if (root / listed / check_name(first, field=listed)).is_file():
            return f"{listed}/"
    return ""


def stream_rows(path: Path) -> Iterator[tuple[str, object]]:
    """Every row of a listing with the name of its list, in order; a list without rows gives none.

    Raises:
        ValueError: it is not such a listing.
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8") as file:
        text = _Text(file)
        text.take("{")
        follows = text.take("}") if text.peek() == "}" else ","
        while follows == ",":
            listed = str(text.value())
            text.take(":")
            for row in _items(text):
                yield listed, row
            follows = text.take(",}")
        if text.peek():
            raise ValueError("something follows the listing")


def _items(text: "_Text") -> Iterator[object]:
    text.take("[")
    follows = text.take("]") if text.peek() == "]" else ","
    while follows == ",":
        yield text.value()
        follows = text.take(",]")


class _Text:
    """JSON text read a chunk at a time, with a place in it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """The next letter that is no space, or "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, letters: str) -> str:
        """The next letter, which must be one of these."""
        found = self.peek()
        if not found or found not in letters:
            raise ValueError(f"expected one of {letters} instead of {found or 'its end'!r}")
        self._at += 1
        return found

    def value(self) -> object:
        """The next string or list, which is short."""
        if self.peek() not in ('"', "["):
            raise ValueError("expected a string or a list")
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if len(self._text) - self._at > MAX_ROW or not self._more():
                    raise
            else:
                return found

    def _more(self) -> bool:
        chunk = self._file.read(CHUNK)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)
