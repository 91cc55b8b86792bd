"""Samples in tar shards, as WebDataset writes them, read at random places by an index; nothing is ever extracted."""

import tarfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from core.data.folders.errors import FolderError, RefusedError
from core.data.folders.names import Names, NamesBuilder, first_repeated
from core.data.folders.roots import check_name, place, read_range
from core.data.folders.stored import load_arrays, save_arrays

MAX_HEADER_BYTES = 2**20
"""A tar header that asks for more is refused: it would be read into memory whole."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardRows:
    """The samples of some shards.

    Attributes:
        parts: names of the parts, in the order of the columns below.
        shard: [N] in which of `shards` a sample lies.
        offsets, sizes: [N, parts] where its parts' bytes are; size -1 where a part is missing.
    """

    root: str
    shards: tuple[str, ...]
    parts: tuple[str, ...]
    keys: Names
    shard: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        """The sample's key."""
        return self.keys[index]

    def file(self, index: int, part: str) -> str:
        """The shard and the member in it, without its ending."""
        return f"{self.shards[int(self.shard[index])]}:{self.keys[index]}.{part}"

    def read(self, index: int, part: str) -> bytes:
        """The bytes of a member."""
        column = self.parts.index(part)
        size = int(self.sizes[index, column])
        if size < 0:
            raise RefusedError("missing", "the shard has no such member")
        shard = self.shards[int(self.shard[index])]
        return read_range(self.root, shard, int(self.offsets[index, column]), size)


@dataclass(frozen=True, slots=True)
class ShardSplit:
    """A split whose samples lie in tar shards.

    Attributes:
        shards: their names below the root, in the samples' order.
        endings: by what follows a sample's key in a member's name, the part it holds.
        field: where the manifest lists the shards.
    """

    root: str
    shards: tuple[str, ...]
    endings: Mapping[str, str]
    field: str

    def files(self) -> Iterator[str]:
        """The shards."""
        yield from self.shards

    def rows(self, index: Path | None) -> ShardRows:
        """The samples by the index in that file, which is made first where there is none.

        Raises:
            FolderError: a shard is missing, no plain tar, or holds what a shard may not.
        """
        parts = tuple(dict.fromkeys(self.endings.values()))
        if index is not None and (kept := load_arrays(index)) is not None:
            return _rows_of(self.root, self.shards, parts, kept)
        scan = _Scan(parts)
        for number, name in enumerate(self.shards):
            for key, part, offset, size in members(self.root, name, self.endings, field=self.field):
                scan.add(number, key, part, offset=offset, size=size, field=self.field)
        found = scan.arrays()
        rows = _rows_of(self.root, self.shards, parts, found)
        if (twin := first_repeated(rows.keys)) is not None:
            raise FolderError(f"the key {twin!r} occurs in two places", field=self.field)
        if index is not None:
            save_arrays(index, found)
        return rows


class _Scan:
    """An index as it grows."""

    def __init__(self, parts: Sequence[str]) -> None:
        self._places = {part: column for column, part in enumerate(parts)}
        self._keys = NamesBuilder()
        self._shard = array("q")
        self._offsets = array("q")
        self._sizes = array("q")
        self._current: tuple[int, str] | None = None

    def add(self, shard: int, key: str, part: str, *, offset: int, size: int, field: str) -> None:
        """One member; those of a sample follow each other."""
        if self._current != (shard, key):
            self._current = (shard, key)
            self._keys.add(key)
            self._shard.append(shard)
            self._offsets.extend([-1] * len(self._places))
            self._sizes.extend([-1] * len(self._places))
        at = len(self._sizes) - len(self._places) + self._places[part]
        if self._sizes[at] >= 0:
            raise FolderError(f"the sample {key!r} has its {part} twice", field=field)
        self._offsets[at], self._sizes[at] = offset, size

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The index as arrays."""
        keys, width = self._keys.done(), len(self._places)
        return {
            "letters": np.frombuffer(keys.letters, dtype=np.uint8),
            "ends": keys.ends,
            "shard": np.array(self._shard, dtype=np.int64),
            "offsets": np.array(self._offsets, dtype=np.int64).reshape(-1, width),
            "sizes": np.array(self._sizes, dtype=np.int64).reshape(-1, width),
        }


def _rows_of(
    root: str, shards: tuple[str, ...], parts: tuple[str, ...], index: Mapping[str, npt.NDArray[np.generic]]
) -> ShardRows:
    keys = Names(index["letters"].tobytes(), index["ends"].astype(np.int64))
    shard, offsets, sizes = (index[name].astype(np.int64) for name in ("shard", "offsets", "sizes"))
    return ShardRows(root, shards, parts, keys, shard, offsets, sizes)


def members(
    root: str, name: str, endings: Mapping[str, str], *, field: str
) -> Iterator[tuple[str, str, int, int]]:
    """Key, part, offset and size of every member of a shard that some part claims.

    A key is the name up to the first dot after its last slash, as WebDataset has it.

    Raises:
        FolderError: the shard is missing, no plain tar, or holds a link, a device or a name that leads out of it.
    """
    with _about(name, field):
        path = Path(place(root, name))
        with path.open("rb") as file:
            for member in _walk(file, path.stat().st_size):
                if not member.isreg() or member.issparse():
                    raise FolderError(f"{member.name!r} is a link or no regular file")
                folder, slash, last = check_name(member.name, field=field).rpartition("/")
                stem, _, ending = last.partition(".")
                if ending in endings:
                    yield folder + slash + stem, endings[ending], member.offset_data, member.size


@contextmanager
def _about(name: str, field: str) -> Iterator[None]:
    """Name the shard in whatever goes wrong inside."""
    try:
        yield
    except FolderError as error:
        raise FolderError(f"{name}: {error}", field=field) from error
    except FileNotFoundError as error:
        raise FolderError(f"{name}: there is no such file", field=field) from error
    except (RefusedError, OSError, tarfile.TarError, ValueError, ArithmeticError, RecursionError) as error:
        raise FolderError(f"{name}: it is not a plain, uncompressed tar: {error}", field=field) from error


def _walk(file: IO[bytes], size: int) -> Iterator[tarfile.TarInfo]:
    """The members of a tar, one at a time and always forwards."""
    behind = -1
    with tarfile.TarFile(fileobj=cast(IO[bytes], _Bounded(file))) as tar:
        while (member := tar.next()) is not None:
            cast(Any, tar).members.clear()  # else it remembers them all
            if member.offset <= behind or member.size < 0 or member.offset_data + member.size > size:
                raise tarfile.ReadError(f"{member.name!r} lies outside the file")
            behind = member.offset
            if not member.isdir():
                yield member


class _Bounded:
    """A file of which only small pieces can be read at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        """At most 1 MiB."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes is too long")
        return self._file.read(size)
