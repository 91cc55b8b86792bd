"""The directory of a zip archive, read strictly enough that every reader sees the same entries in it.

`zipfile` forgives what attackers use: bytes before the archive, overlapping entries, names that differ between
an entry and the directory, duplicates. Here each byte up to the directory belongs to one entry, which is stored
as it is. Nothing is ever unpacked; the CRCs are not compared, because torch.save can be told to leave them out.
"""

import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from core.checkpoint_files.errors import (
    ZipCompressedError,
    ZipDuplicateError,
    ZipEncryptedError,
    ZipError,
    ZipLinkError,
    ZipMismatchError,
    ZipNameError,
    ZipOverlapError,
)
from core.checkpoint_files.zip_records import (
    DESCRIBED_LATER,
    ENCRYPTED,
    LONGEST_DESCRIPTOR,
    Record,
    local_header,
    read_records,
)

MAX_NAME = 512
ABSOLUTE = re.compile(r"/|[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored file inside the archive: `size` bytes from `begin` on."""

    name: str
    begin: int
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """The entries of a checked archive, by their name below the one folder that they share."""

    entries: dict[str, Entry]

    def read(self, file: BinaryIO, name: str, *, limit: int) -> bytes | None:
        """The whole of a small entry, or None if there is none of that name.

        Raises:
            ZipError: the entry is larger than `limit`.
        """
        if (entry := self.entries.get(name)) is None:
            return None
        if entry.size > limit:
            raise ZipError(f"{name} has {entry.size} bytes, more than {limit}", field=name)
        file.seek(entry.begin)
        return file.read(entry.size)


def entry_names(file: BinaryIO) -> list[str]:
    """The names in the directory of a zip file, in its order, before anything else is checked."""
    return [record.name for record in read_records(file)[0]]


def open_archive(file: BinaryIO) -> Archive:
    """The archive's entries, each of them checked.

    Raises:
        ZipError: of the kind that says what is wrong.
        TruncatedCheckpointError: there is no directory at the file's end.
    """
    records, directory = read_records(file)
    _check_names(records)
    for record in records:
        _check_record(record)
    entries = tuple(_placed(file, records, directory))
    root = {entry.name.partition("/")[0] for entry in entries if "/" in entry.name}
    if len(root) != 1 or not all("/" in entry.name for entry in entries):
        raise ZipError("the archive's entries do not lie in one folder, as torch.save puts them")
    return Archive({entry.name.partition("/")[2]: entry for entry in entries})


def _check_names(records: Sequence[Record]) -> None:
    for record in records:
        name = record.name
        plain = name.isprintable() and "\\" not in name and 0 < len(name) <= MAX_NAME
        if not plain or ABSOLUTE.match(name) or ".." in name.split("/"):
            raise ZipNameError(f"the archive has an entry named {name[:80]!a}, which may not be")
    if len({record.name for record in records}) != len(records):
        raise ZipDuplicateError("the archive has two entries of the same name")


def _check_record(record: Record) -> None:
    name = record.name
    if record.flags & ENCRYPTED:
        raise ZipEncryptedError(f"{name} is encrypted", field=name)
    if stat.S_IFMT(record.mode) not in (0, stat.S_IFREG) or name.endswith("/"):
        raise ZipLinkError(f"{name} is a link or a folder; only files belong there", field=name)
    if record.method != 0 or record.stored != record.size:
        raise ZipCompressedError(
            f"{name} is compressed; torch.save never does: save the weights again, do not zip them",
            field=name,
        )


def _placed(file: BinaryIO, records: Sequence[Record], directory: int) -> Iterator[Entry]:
    """Where each entry's bytes are; the entries follow each other from the file's start to the directory."""
    position = slack = 0
    for record in sorted(records, key=lambda record: record.header):
        if record.header < position:
            raise ZipOverlapError(f"{record.name} shares bytes with another entry", field=record.name)
        if record.header > position + slack:
            raise ZipError(f"{record.name} does not follow the entry before it", field=record.name)
        local = local_header(file, record)
        if not local.agrees_with(record):
            raise ZipMismatchError(
                f"{record.name} is described differently by its own header and the directory",
                field=record.name,
            )
        position = local.end + record.size
        slack = LONGEST_DESCRIPTOR if record.flags & DESCRIBED_LATER else 0
        if position > directory:
            raise ZipOverlapError(f"{record.name} reaches into the directory", field=record.name)
        yield Entry(record.name, local.end, record.size)
    if directory > position + slack:
        raise ZipError("the archive has bytes that belong to no entry")
