"""What kind of file a checkpoint is, by its content; names and extensions say nothing."""

import re
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from core.checkpoint_files.archive import entry_names
from core.checkpoint_files.errors import ZipError
from core.checkpoint_files.refusals import (
    BarePickleError,
    CompressedFileError,
    EmptyFileError,
    ExportedProgramError,
    Hdf5Error,
    LegacyTorchError,
    NumpyFileError,
    OnnxError,
    OtherZipError,
    RefusedFormatError,
    TarFileError,
    TorchScriptError,
)

HEAD_BYTES = 512


class Format(StrEnum):
    """The kinds of file that are read."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"


LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
ZIP, EMPTY_ZIP = b"PK\x03\x04", b"PK\x05\x06"
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c")
TEXT_PICKLE = re.compile(rb"[(\]}]?[(dlt]*(p\d+\n|c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n)")
ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42\x72]")
"""A protobuf message whose first field is a small version, followed by one of a model's other fields."""

_SIGNS: tuple[tuple[Callable[[bytes], object], type[RefusedFormatError]], ...] = (
    (lambda head: not head, EmptyFileError),
    (lambda head: head.startswith(b"\x80") and b"\x8a\x0a" + LEGACY_MAGIC in head[:32], LegacyTorchError),
    (lambda head: re.match(rb"\x80[\x00-\x05]", head) or TEXT_PICKLE.match(head), BarePickleError),
    (lambda head: head[TAR_MAGIC_AT:].startswith(TAR_MAGIC), TarFileError),
    (lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"), Hdf5Error),
    (lambda head: head.startswith(b"\x93NUMPY"), NumpyFileError),
    (lambda head: head.startswith(COMPRESSED), CompressedFileError),
    (lambda head: head.startswith(EMPTY_ZIP), OtherZipError),
    (ONNX.match, OnnxError),
)


def recognise(source: Path | BinaryIO) -> Format:
    """The kind of a file that can be read, by its first bytes and for an archive its directory.

    Raises:
        RefusedFormatError: a kind that is not, with a way to convert it.
        ZipError: a zip archive whose directory cannot be read.
        TruncatedCheckpointError: a zip archive without an end.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return recognise(file)
    source.seek(0)
    head = source.read(HEAD_BYTES)
    if head.startswith(ZIP):
        return _zip_format(source)
    if head[8:9] == b"{":
        return Format.SAFETENSORS
    for is_kind, refusal in _SIGNS:
        if is_kind(head):
            raise refusal
    raise RefusedFormatError


def _zip_format(file: BinaryIO) -> Format:
    names = entry_names(file)
    inside = {name.partition("/")[2] for name in names}
    if "archive_format" in inside or _has(names, "serialized_exported_program.json", "models/model.json"):
        raise ExportedProgramError
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise TorchScriptError
    if "data.pkl" in inside:
        return Format.TORCH
    if _has(names, "model.weights.h5"):
        raise Hdf5Error
    if names and all(name.endswith(".npy") for name in names):
        raise NumpyFileError
    if _has(names, "data.pkl"):
        raise ZipError("the archive's data.pkl does not lie in a folder, as torch.save puts it")
    raise OtherZipError


def _has(names: Collection[str], *endings: str) -> bool:
    return any(name == ending or name.endswith("/" + ending) for name in names for ending in endings)
