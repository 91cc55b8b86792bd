"""The records of a zip file as they stand in it, ZIP64 included; `core.checkpoint_files.archive` judges them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from core.checkpoint_files.errors import ZipError, ZipNameError, ZipTooManyError
from core.checkpoints import TruncatedCheckpointError

MAX_ENTRIES = 10_000
MAX_DIRECTORY_BYTES = 16 * 2**20

ENCRYPTED = 0x0001 | 0x0040 | 0x2000
DESCRIBED_LATER = 0x0008
"""Flag of an entry whose sizes follow its bytes, in a descriptor; torch.save writes all of them so."""

UTF8 = 0x0800
LONGEST_DESCRIPTOR = 24

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_RECORD = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_EXTRA = struct.Struct("<2H")
_ZIP64 = 1
_SATURATED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Record:
    """One entry's record in the directory.

    Attributes:
        stored, size: bytes in the archive, and after decompression.
        header: where the entry's own header begins.
        mode: Unix file type and permissions, or 0.
    """

    name: str
    raw_name: bytes
    flags: int
    method: int
    stored: int
    size: int
    header: int
    mode: int


@dataclass(frozen=True, slots=True)
class LocalHeader:
    """What an entry's own header says; its bytes begin at `end`."""

    raw_name: bytes
    flags: int
    method: int
    stored: int
    size: int
    end: int

    def agrees_with(self, record: Record) -> bool:
        """Whether the directory says the same."""
        later = record.flags & DESCRIBED_LATER and (self.stored, self.size) == (0, 0)
        return (self.raw_name, self.flags, self.method) == (
            record.raw_name,
            record.flags,
            record.method,
        ) and (bool(later) or (self.stored, self.size) == (record.stored, record.size))


def read_records(file: BinaryIO) -> tuple[list[Record], int]:
    """The directory's records in its own order, and where the directory begins.

    Raises:
        TruncatedCheckpointError: the file does not end with a directory.
        ZipError: the directory is not where, or not as long as, its end says.
    """
    count, length, begin, end = _find_directory(file)
    if count > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
        raise ZipTooManyError(f"the archive has {count} entries; at most {MAX_ENTRIES} are read")
    if begin + length != end:
        raise ZipError("the archive's directory is not where its end says")
    file.seek(begin)
    records = list(_records(file.read(length)))
    if len(records) != count:
        raise ZipError(f"the archive's directory has {len(records)} entries; its end says {count}")
    return records, begin


def _find_directory(file: BinaryIO) -> tuple[int, int, int, int]:
    """Count of entries, length and beginning of the directory, and where its end record begins."""
    at = file.seek(0, 2) - _END.size
    if at < 0:
        raise TruncatedCheckpointError("the file is too short for a zip archive")
    magic, disk, first_disk, here, count, length, begin, comment = _unpacked(_END, file, at)
    if magic != b"PK\x05\x06" or comment:
        raise TruncatedCheckpointError(
            "the file does not end with a zip archive's directory: it was cut short, or something was appended"
        )
    if at >= _LOCATOR.size and (found := _find_directory64(file, at - _LOCATOR.size)):
        return found
    if (disk, first_disk, here) != (0, 0, count):
        raise ZipError("the archive is spread over several files")
    return count, length, begin, at


def _find_directory64(file: BinaryIO, at: int) -> tuple[int, int, int, int] | None:
    """The same out of the ZIP64 records before the end record, where there are any."""
    magic, _, place, _ = _unpacked(_LOCATOR, file, at)
    if magic != b"PK\x06\x07":
        return None
    if place != at - _END64.size:
        raise ZipError("the archive's ZIP64 record is not where its locator says")
    magic, _, _, _, disk, first_disk, here, count, length, begin = _unpacked(_END64, file, place)
    if magic != b"PK\x06\x06" or (disk, first_disk, here) != (0, 0, count):
        raise ZipError("the archive's ZIP64 record is damaged")
    return count, length, begin, place


def _records(directory: bytes) -> Iterator[Record]:
    at = 0
    while at < len(directory):
        if at + _RECORD.size > len(directory):
            raise ZipError("the archive's directory ends inside a record")
        fields = _RECORD.unpack_from(directory, at)
        magic, _, _, flags, method, _, _, _, stored, size = fields[:10]
        name_length, extra_length, comment_length, disk, _, attributes, header = fields[10:]
        at += _RECORD.size
        raw_name = directory[at : at + name_length]
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        if magic != b"PK\x01\x02" or disk or at > len(directory):
            raise ZipError("the archive's directory is damaged")
        size, stored, header = _widened(extra, size, stored, header)
        name = _decoded(raw_name, flags)
        yield Record(name, raw_name, flags, method, stored, size, header, mode=attributes >> 16)


def local_header(file: BinaryIO, record: Record) -> LocalHeader:
    """The entry's own header.

    Raises:
        ZipError: there is none where the directory says.
    """
    fields = _unpacked(_LOCAL, file, record.header)
    magic, _, flags, method, _, _, _, stored, size, name_length, extra_length = fields
    if magic != b"PK\x03\x04":
        raise ZipError(f"{record.name} does not begin where the directory says", field=record.name)
    raw_name, extra = file.read(name_length), file.read(extra_length)
    size, stored = _widened(extra, size, stored)
    end = record.header + _LOCAL.size + name_length + extra_length
    return LocalHeader(raw_name, flags, method, stored, size, end)


def _widened(extra: bytes, *values: int) -> tuple[int, ...]:
    """The values, those that do not fit 32 bits taken from the ZIP64 field, in the order they stand there."""
    if _SATURATED not in values:
        return values
    wide = _zip64_field(extra)
    places = [i for i, value in enumerate(values) if value == _SATURATED]
    if len(wide) < 8 * len(places):
        raise ZipError("an entry larger than 4 GiB lacks its ZIP64 field")
    found = list(values)
    for number, place in enumerate(places):
        found[place] = int.from_bytes(wide[8 * number : 8 * number + 8], "little")
    return tuple(found)


def _zip64_field(extra: bytes) -> bytes:
    at = 0
    while at + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        if kind == _ZIP64:
            return extra[at : at + length]
        at += length
    return b""


def _decoded(raw_name: bytes, flags: int) -> str:
    try:
        return raw_name.decode("utf-8" if flags & UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise ZipNameError("the archive has an entry whose name is no text") from error


def _unpacked(record: struct.Struct, file: BinaryIO, at: int) -> tuple[Any, ...]:
    file.seek(at)
    raw = file.read(record.size)
    if len(raw) < record.size:
        raise ZipError("the archive's records point outside the file")
    return record.unpack(raw)
