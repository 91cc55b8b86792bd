"""A data set's fingerprint: one digest of everything that decides its samples, and what changed when it differs."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.data.folders.errors import DatasetChangedError, FolderError
from core.data.folders.folder import Folder
from core.data.folders.formats import FORMATS, find
from core.data.folders.inventory import Inventory, Progress, Seen, take_inventory
from core.data.folders.roots import check_root
from core.data.folders.stored import cache_folder, load_arrays, save_arrays
from core.data.folders.threads import thread_count

SHOWN = 5
"""Files that a message names before it only counts."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a data set's samples are made of.

    Attributes:
        format: the data set's format.
        reader: version of the reader of that format; raised whenever it makes other samples of the same bytes.
        digest: SHA-256 in hex, over format, reader, and every file's name, size and SHA-256.
        files: what it was taken over.
    """

    format: str
    reader: int
    digest: str
    files: Inventory = field(repr=False, compare=False)

    @property
    def version(self) -> str:
        """What a data set of this fingerprint calls its version."""
        return f"{self.reader}-{self.digest[:16]}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it was. Names below the root, in order."""

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.new)

    def __str__(self) -> str:
        parts = (("changed", self.changed), ("missing", self.missing), ("new", self.new))
        return "; ".join(f"{word}: {_some(names)}" for word, names in parts if names) or "nothing changed"


def _some(names: tuple[str, ...]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def fingerprint(
    form: str,
    root: Path | str,
    *,
    cache: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Fingerprint:
    """The fingerprint of the data set under a root. A second time only files that were touched are read.

    Args:
        form: one of `FORMATS`.
        root: the data set's folder.
        cache: where digests are kept, else as `core.data.paths.cache_root` says.
        threads: how many files are read at a time, by default as many as there are cores, at most 8.
        progress: told how many bytes were read, and how many are to be.

    Raises:
        FolderError: there is no such data set, or one of its files cannot be read.
    """
    return fingerprint_of(find(form, root), cache=cache, threads=threads, progress=progress)


def fingerprint_of(
    folder: Folder, *, cache: Path | None, threads: int | None, progress: Progress | None
) -> Fingerprint:
    """The fingerprint of a folder that was found."""
    seen = _seen(folder.format, folder.root, cache)
    files = _inventory(seen, folder.root, folder.files(), threads, progress)
    reader = FORMATS[folder.format].version
    found = Fingerprint(folder.format, reader, _digest(folder.format, reader, files), files)
    kept = _kept(found.version, cache)
    if not kept.exists():
        form, full = np.array(folder.format), np.array(found.digest)
        save_arrays(kept, {**files.arrays(), "format": form, "reader": np.array(reader), "digest": full})
    return found


def known_fingerprint(version: str, *, cache: Path | None = None) -> Fingerprint | None:
    """The fingerprint of a version that this machine has seen, or None."""
    if not version.replace("-", "").isalnum() or not version.isascii():
        return None
    kept = load_arrays(_kept(version, cache))
    if kept is None:
        return None
    return Fingerprint(str(kept["format"]), int(kept["reader"]), str(kept["digest"]), Inventory.of(kept))


def verify(
    root: Path | str,
    expected: Fingerprint | str,
    *,
    cache: Path | None = None,
    reread: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Difference:
    """Which files are not as a fingerprint says; false where all are.

    Args:
        root: the data set's folder, which may be another one than the fingerprint was taken of.
        expected: a fingerprint, or the version of one that this machine has seen.
        reread: read every file, also those that look untouched: finds what a disk lost by itself.
        cache: as in `fingerprint`, like the rest.

    Raises:
        DatasetChangedError: this machine has not seen that version.
        FolderError: a file cannot be read.
    """
    known = known_fingerprint(expected, cache=cache) if isinstance(expected, str) else expected
    if known is None:
        raise DatasetChangedError(f"this machine has not seen version {expected}", field="version")
    base = str(check_root(root))
    names = {*known.files.names, *_listed(known.format, base)}
    seen = None if reread else _seen(known.format, base, cache)
    return compare(known.files, _inventory(seen, base, names, threads, progress))


def _listed(form: str, root: str) -> Iterator[str]:
    """The files that the folder lists now, if its listing can be read; if not, that is a change already."""
    try:
        folder = find(form, root)
    except FolderError:
        return
    yield from folder.files()


def compare(before: Inventory, now: Inventory) -> Difference:
    """From one inventory to another: a missing file counts as none."""
    old = {name: (size, digest) for name, size, digest in before.entries() if size >= 0}
    changed, new = [], []
    for name, size, digest in now.entries():
        if size < 0:
            continue
        if name not in old:
            new.append(name)
        elif old.pop(name) != (size, digest):
            changed.append(name)
    return Difference(tuple(changed), tuple(old), tuple(new))


def _inventory(
    path: Path | None, root: str, files: Iterable[str], threads: int | None, progress: Progress | None
) -> Inventory:
    """An inventory that remembers in the file `path` what it saw the time before."""
    kept = load_arrays(path) if path is not None else None
    before = Seen.of(kept) if kept is not None else None
    seen = take_inventory(root, files, before=before, threads=thread_count(threads), progress=progress)
    if path is not None:
        save_arrays(path, seen.arrays())
    return seen.inventory


def _seen(form: str, root: str, cache: Path | None) -> Path:
    mark = hashlib.sha256(f"{form}\0{root}".encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_folder(cache) / "seen" / f"{mark}.npz"


def _digest(form: str, reader: int, files: Inventory) -> str:
    digest = hashlib.sha256(f"windthrow data set\0{form}\0{reader}\n".encode())
    for name, size, content in files.entries():
        digest.update(f"{name}\0{size}\0{content.hex()}\n".encode())
    return digest.hexdigest()


def _kept(version: str, cache: Path | None) -> Path:
    return cache_folder(cache) / "versions" / version / "files.npz"
