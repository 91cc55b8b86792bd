"""What a checkpoint file says before any tensor is read: its header, against the tensors a manifest needs.

Plain Python without torch, so that the API can refuse a foreign file at once; loading weights is
`core.models`' part.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import SEEK_END
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from core.backbones import Backbone
from core.backbones.layers import prefixed
from core.errors import InvalidError
from core.layouts import Layout
from core.tasks import Task

MAX_HEADER_BYTES = 8 * 2**20
MAX_NAME = 200
MAX_DIMENSIONS = 8
DTYPE_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
"""The dtypes that weights may have; they are computed with in float32."""

DTYPE_NAME = re.compile(r"[A-Z0-9_]{1,16}")

SAPLING_HIDDEN = 48
SAPLING_UPSCALE = 2
SAPLING_POOL = (2, 4)
DEEPLAB_HIDDEN = 1024
DEEPLAB_DILATIONS = (6, 12, 18, 24)

Shapes = dict[str, tuple[int, ...]]


class CheckpointError(InvalidError):
    """A checkpoint file that cannot be taken."""

    code = "invalid_checkpoint"


class TruncatedCheckpointError(CheckpointError):
    """The file ends before its tensors do."""

    code = "truncated_checkpoint"


class ForeignCheckpointError(CheckpointError):
    """The file is no safetensors file."""

    code = "not_safetensors"


class MismatchedCheckpointError(CheckpointError):
    """The file's tensors are not those of the backbone, layout and tasks it was said to be."""

    code = "checkpoint_mismatch"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's place in a safetensors file: `begin` and `end` count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(source: Path | BinaryIO) -> dict[str, TensorInfo]:
    """The tensors that a safetensors file holds, its layout checked to the last byte. Only its header is read.

    Raises:
        ForeignCheckpointError: it is not a safetensors file.
        TruncatedCheckpointError: it is one, and ends too early.
        CheckpointError: offsets overlap, leave gaps or do not fit the shapes.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_header(file)
    size = source.seek(0, SEEK_END)
    source.seek(0)
    length = int.from_bytes(source.read(8), "little")
    if size < 8 or not 2 <= length <= MAX_HEADER_BYTES:
        raise ForeignCheckpointError("not a safetensors file: it does not begin with the length of a header")
    if size < 8 + length:
        raise TruncatedCheckpointError(f"the file has {size} bytes; its header alone needs {8 + length}")
    raw = source.read(length)
    tensors = _parse_header(raw)
    _check_contiguous(tensors, data_bytes=size - 8 - length)
    return tensors


def _parse_header(raw: bytes) -> dict[str, TensorInfo]:
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise ForeignCheckpointError("not a safetensors file: its header is not JSON") from error
    if not isinstance(header, dict):
        raise ForeignCheckpointError("not a safetensors file: its header is not a JSON object")
    header.pop("__metadata__", None)
    return {name: _tensor_info(name, entry) for name, entry in header.items()}


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _tensor_info(name: str, entry: object) -> TensorInfo:
    shown = name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"
    if shown != name or not (name.isascii() and name.isprintable()):
        raise ForeignCheckpointError(f"not a safetensors file: {shown!r} is no tensor's name")
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if (
            DTYPE_NAME.fullmatch(dtype)
            and len(shape) <= MAX_DIMENSIONS
            and all(
                isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 2**31 for side in shape
            )
        ):
            return TensorInfo(dtype, tuple(shape), begin, end)
    raise ForeignCheckpointError(
        f"not a safetensors file: the header's entry for {name!r} has no dtype, shape and offsets"
    )


def _check_contiguous(tensors: Mapping[str, TensorInfo], *, data_bytes: int) -> None:
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != position or info.end < info.begin:
            raise CheckpointError(f"tensor {name!r} does not begin where the one before it ends", field=name)
        if info.dtype in DTYPE_BYTES and info.end - info.begin != prod(info.shape) * DTYPE_BYTES[info.dtype]:
            raise CheckpointError(
                f"tensor {name!r} takes another number of bytes than its shape says", field=name
            )
        position = info.end
    if position > data_bytes:
        raise TruncatedCheckpointError(
            f"the file holds {data_bytes} bytes of tensors; its header says {position}"
        )
    if position < data_bytes:
        raise CheckpointError(f"the file goes on for {data_bytes - position} bytes after its last tensor")


def check_tensors(tensors: Mapping[str, TensorInfo], expected: Shapes) -> None:
    """Compare a file's tensors with those that its model needs.

    Raises:
        MismatchedCheckpointError: one is missing, unknown, of another shape or of a dtype that holds no
            weights.
    """
    if missing := sorted(expected.keys() - tensors.keys()):
        raise MismatchedCheckpointError(_count("misses", missing, len(expected)), field=missing[0])
    if extra := sorted(tensors.keys() - expected.keys()):
        raise MismatchedCheckpointError(_count("has unknown", extra, len(expected)), field=extra[0])
    for name, shape in expected.items():
        info = tensors[name]
        if info.shape != shape:
            raise MismatchedCheckpointError(
                f"{name} must be {list(shape)}; it is {list(info.shape)}", field=name
            )
        if info.dtype not in DTYPE_BYTES:
            raise MismatchedCheckpointError(
                f"{name} must be one of {', '.join(DTYPE_BYTES)}; it is {info.dtype}", field=name
            )


def _count(verb: str, names: list[str], total: int) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    counted = f"{len(names)} tensors ({shown}); this layout has {total}"
    return f"the checkpoint {verb} {counted}: is it the right layout?"


def expected_tensors(backbone: Backbone, layout: Layout, tasks: tuple[Task, ...]) -> Shapes:
    """Name and shape of every tensor of a `core.models.TreeModel`, by level, group and task."""
    shapes: Shapes = {}
    for level, groups in enumerate(layout.canonical.levels):
        tensors = backbone.level_tensors(level)
        for group in range(len(groups)):
            shapes |= prefixed(f"stages.{level}.{group}.", tensors)
    for task in tasks:
        shapes |= prefixed(f"heads.{task.name}.", _head_tensors(backbone, task))
    return shapes


def _head_tensors(backbone: Backbone, task: Task) -> Shapes:
    width = backbone.feature_channels
    if task.kind == "classification":
        return _dense("out", (task.channels, width * prod(SAPLING_POOL)))
    if backbone.head == "sapling":
        out = task.channels * SAPLING_UPSCALE**2
        return _dense("hidden", (SAPLING_HIDDEN, width, 1, 1)) | _dense("out", (out, SAPLING_HIDDEN, 1, 1))
    shapes: Shapes = {}
    for branch in range(len(DEEPLAB_DILATIONS)):
        shapes |= _dense(f"branches.{branch}.conv1", (DEEPLAB_HIDDEN, width, 3, 3))
        shapes |= _dense(f"branches.{branch}.conv2", (DEEPLAB_HIDDEN, DEEPLAB_HIDDEN, 1, 1))
        shapes |= _dense(f"branches.{branch}.conv3", (task.channels, DEEPLAB_HIDDEN, 1, 1))
    return shapes


def _dense(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}
