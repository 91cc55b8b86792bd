"""Checkpoint files for the tests, made byte by byte where torch would not write them."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.checkpoint_files import Hints, convert
from core.checkpoint_files.identity import NO_HINTS
from core.errors import InvalidError
from core.models import TreeModel, weights_of
from tests.core.synthetic import NYUV2, small_model

FULL = 2**32 - 1
HEADER_BYTES = 30
"""Of a zip entry's own header, without its name."""


def model() -> TreeModel:
    """A small model that a checkpoint alone identifies: NYUv2's tasks on the small backbone, all shared."""
    return small_model(NYUV2)


def saved(path: Path, value: object, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def refusal(path: Path, *, hints: Hints = NO_HINTS) -> InvalidError:
    """The error that a file is refused with; nothing appears beside it, and the message fits a line."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(InvalidError) as caught:
        convert(path, path.with_name("out.safetensors"), hints=hints)
    assert sorted(path.parent.iterdir()) == before
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    return caught.value


def same_tensors(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        value.dtype == second[name].dtype and torch.equal(value, second[name])
        for name, value in first.items()
    )


def torch_zip(pickled: bytes, storages: Mapping[str, bytes] | None = None, **more: bytes) -> bytes:
    """A file as torch.save writes it, with any pickle in it."""
    entries = {"weights/data.pkl": pickled, "weights/byteorder": b"little", "weights/version": b"3\n"}
    entries |= {f"weights/data/{key}": block for key, block in (storages or {}).items()}
    entries |= {f"weights/{name}": content for name, content in more.items()}
    return zip_of(entries.items())


def zip_of(
    entries: Iterable[tuple[str | zipfile.ZipInfo, bytes]], *, method: int = zipfile.ZIP_STORED
) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function = function
        self.args = args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


def calling(function: Any, *args: Any, protocol: int = 2) -> bytes:
    return pickle.dumps({"state_dict": Calls(function, *args)}, protocol)


def touching(canary: Path) -> str:
    """A shell command that leaves a trace."""
    return f"touch {os.fspath(canary)}"


def state_dict(**changes: Tensor | None) -> dict[str, Tensor]:
    """The model's weights, some changed, added or, where None, left out; `__` in a name stands for a dot."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in {**weights_of(model()), **named}.items() if value is not None}


def write_after_hole(path: Path, entries: Mapping[str, bytes], *, hole: int) -> None:
    """A zip file as torch writes large ones: first an entry of so many zeros, which takes no space on the disk."""
    folder = next(iter(entries)).partition("/")[0]
    directory = b""
    with path.open("wb") as file:
        for name, content in {f"{folder}/hole": b"", **entries}.items():
            header, raw = file.tell(), name.encode()
            size = len(content) or hole
            file.write(struct.pack("<4s5H3L2H", b"PK\x03\x04", 0, 8, 0, 0, 0, 0, 0, 0, len(raw), 0) + raw)
            if content:
                file.write(content)
            else:
                file.seek(size, os.SEEK_CUR)
            file.write(struct.pack("<4sL2Q", b"PK\x07\x08", 0, size, size))
            wide = struct.pack("<2H3Q", 1, 24, size, size, header)
            record = (b"PK\x01\x02", 0, 0, 8, 0, 0, 0, 0, FULL, FULL, len(raw), len(wide), 0, 0, 0, 0, FULL)
            directory += struct.pack("<4s6H3L5H2L", *record) + raw + wide
        begin, count = file.tell(), len(entries) + 1
        end = (b"PK\x06\x06", 44, 0, 0, 0, 0, count, count, len(directory), begin)
        file.write(directory + struct.pack("<4sQ2H2L4Q", *end))
        file.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, begin + len(directory), 1))
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, FULL, FULL, 0))
