"""Opening a data set in a folder, and describing it without decoding it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from core.data.folders.checking import Check, check_samples, load_check, save_check
from core.data.folders.dataset import FolderDataset
from core.data.folders.errors import DatasetChangedError, FolderError
from core.data.folders.fingerprint import Fingerprint, compare, fingerprint_of, known_fingerprint
from core.data.folders.folder import Folder
from core.data.folders.formats import find
from core.data.folders.inventory import Progress
from core.data.folders.reader import SampleReader
from core.data.folders.stored import cache_folder
from core.data.folders.threads import Pool, thread_count
from core.errors import InvalidError
from core.tasks import Task

OnBad = Literal["error", "skip"]

MAX_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Description:
    """What can be said of a data set without decoding it.

    Attributes:
        name: what it calls itself.
        splits: number of samples by split, bad ones included.
        image_shape: channels, height and width of the first sample.
    """

    format: str
    name: str
    title: str
    tasks: tuple[Task, ...]
    splits: dict[str, int]
    image_shape: tuple[int, int, int]


def describe(form: str, root: Path | str) -> Description:
    """Splits, tasks and the first image's shape; of all samples only that one is decoded.

    Raises:
        FolderError: there is no such format, or no data set of it under the root.
        SampleError: its first sample is bad.
    """
    folder = find(form, root)
    readers = {split: _reader(folder, split, index=None) for split in folder.splits}
    shape = next(iter(readers.values())).sample(0).image.shape
    return Description(
        format=form,
        name=folder.name,
        title=folder.title,
        tasks=folder.tasks,
        splits={split: len(reader) for split, reader in readers.items()},
        image_shape=(shape[0], shape[1], shape[2]),
    )


def open_folder(
    form: str,
    root: Path | str,
    split: str = "test",
    *,
    cache: Path | None = None,
    size: tuple[int, int] | None = None,
    on_bad: OnBad = "error",
    threads: int | None = None,
    version: str | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> FolderDataset:
    """Open one split of a data set in a folder.

    The data set's `version` is its fingerprint's (see `core.data.folders.fingerprint`), followed by "-skip<n>" where n
    bad samples are left out, for then positions mean other samples.

    Args:
        form: one of `core.data.folders.FORMATS`.
        root: the data set's folder.
        split: "train", "validation" or "test".
        cache: where digests, indexes and checks are kept, else $WINDTHROW_CACHE, else ~/.cache/windthrow.
        size: height and width to resize to: images bilinear and antialiased, labels nearest; by default their own.
        on_bad: "error" raises when a bad sample is read; "skip" leaves bad samples out, for which every sample is
            read once and the outcome kept.
        threads: how many decode a batch, by default as many as there are cores, at most 8.
        version: the version that the files must have, without "-skip<n>".
        name: what the data set is called, else as it calls itself.
        progress: told how many bytes were read for the fingerprint, and how many are to be.

    Raises:
        DatasetChangedError: the files have another version; the message says which files changed, if it can be known.
        FolderError: there is no such data set or split, or every sample of it is bad.
        InvalidError: an argument is out of range.
    """
    _check_arguments(size, on_bad)
    workers = thread_count(threads)
    folder = find(form, root)
    if split not in folder.splits:
        raise FolderError(
            f"{folder.name} has no split {split!r}; it has {', '.join(folder.splits)}", field="split"
        )
    found = fingerprint_of(folder, cache=cache, threads=threads, progress=progress)
    if version not in (None, found.version):
        raise _changed(version or "", found, cache)
    kept = cache_folder(cache) / "versions" / found.version
    reader = _reader(folder, split, index=kept / f"{split}.index.npz")
    check = _checked(reader, kept / f"{split}.check.json", workers) if on_bad == "skip" else None
    return FolderDataset(
        reader,
        name=name or folder.name,
        version=found.version,
        size=size,
        threads=workers,
        without=check,
    )


def _check_arguments(size: tuple[int, int] | None, on_bad: str) -> None:
    if on_bad not in get_args(OnBad):
        raise InvalidError(f"on_bad must be error or skip; got {on_bad!r}", field="on_bad")
    if size is not None and not (len(size) == 2 and all(1 <= side <= MAX_SIDE for side in size)):
        raise InvalidError(f"size must be (height, width) from 1 to {MAX_SIDE}; got {size}", field="size")


def _checked(reader: SampleReader, path: Path, threads: int) -> Check:
    """Which samples of a split are bad, from the check that was kept, else from one made now.

    Raises:
        FolderError: all are.
    """
    check = load_check(path)
    if check is None or (check.split, check.samples) != (reader.split, len(reader)):
        check = check_samples(reader, Pool(threads))
        save_check(path, check)
    if len(check.bad) == check.samples:
        raise FolderError(f"every sample of {reader.split} is bad: {check.reasons}", field="split")
    return check


def _reader(folder: Folder, split: str, *, index: Path | None) -> SampleReader:
    """The reader of a split that has samples."""
    rows = folder.splits[split].rows(index)
    if not len(rows):
        raise FolderError(f"{split} has no samples", field=f"splits.{split}")
    return SampleReader(split, folder.tasks, folder.parts, folder.compose, rows)


def _changed(version: str, found: Fingerprint, cache: Path | None) -> DatasetChangedError:
    """What to say when the files have another version."""
    known = known_fingerprint(version, cache=cache)
    which = f" ({compare(known.files, found.files)})" if known is not None else ""
    return DatasetChangedError(
        f"the files are of version {found.version}, not {version}{which}", field="version"
    )
