"""A checkpoint file as named tensors with their places in it, whichever of the formats it has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.checkpoint_files.archive import Archive, open_archive
from core.checkpoint_files.errors import (
    ByteOrderError,
    NoWeightsError,
    PickleLimitError,
    TensorRecordError,
    UnsupportedTensorError,
)
from core.checkpoint_files.formats import Format
from core.checkpoint_files.inert import TensorRef
from core.checkpoint_files.pickles import read_pickle
from core.checkpoint_files.weights import find_weights, without_prefixes
from core.checkpoints import DTYPE_BYTES, TensorInfo, read_header

MAX_PICKLE_BYTES = 32 * 2**20
COUNTER = "num_batches_tracked"
"""Batch norms count their batches in an integer that evaluation never reads; it is left out."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor's numbers are: element i of its storage, from its own first one on, at `begin` + i items.

    Attributes:
        begin: in bytes from the file's start.
        shape, stride: in elements.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    begin: int

    @property
    def item_bytes(self) -> int:
        """Bytes of one number."""
        return DTYPE_BYTES[self.dtype]

    @property
    def bytes(self) -> int:
        """Bytes of all the numbers, one after the other."""
        return math.prod(self.shape) * self.item_bytes

    @property
    def extent(self) -> int:
        """Elements of the storage from the first to the last that is the tensor's."""
        steps = ((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True))
        return 1 + sum(steps) if math.prod(self.shape) else 0

    @property
    def is_contiguous(self) -> bool:
        """Whether the numbers stand one after the other, in the order of their indices."""
        expected = contiguous_stride(self.shape)
        long = (place for place, side in enumerate(self.shape) if side != 1)
        return not math.prod(self.shape) or all(self.stride[place] == expected[place] for place in long)

    @property
    def info(self) -> TensorInfo:
        """Dtype and shape, for comparison with what a model needs."""
        return TensorInfo(self.dtype, self.shape, 0, 0)


@dataclass(frozen=True, slots=True)
class Source:
    """What a checkpoint file holds: its weights by name, and a layout object if it has one."""

    tensors: Mapping[str, StoredTensor]
    layout: object = None


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose numbers stand one after the other."""
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


def open_source(path: Path, kind: Format, *, field: str | None = None) -> Source:
    """The weights in a file of a recognised kind.

    Args:
        path: the file.
        kind: as `recognise` found it.
        field: dotted path of the state dict inside the file, where it is not found without.

    Raises:
        CheckpointError: of the kind that says what is wrong.
    """
    if kind is Format.SAFETENSORS:
        return _from_safetensors(path, field)
    with path.open("rb") as file:
        archive = open_archive(file)
        _check_byte_order(file, archive)
        found = find_weights(read_pickle(_pickle(file, archive)), field)
    stored = {
        name: _placed(name, tensor, archive) for name, tensor in found.tensors.items() if _is_weight(name)
    }
    return Source(stored, found.layout)


def _from_safetensors(path: Path, field: str | None) -> Source:
    if field:
        raise NoWeightsError(f"a safetensors file has no fields, so no {field!r} either", field="field")
    with path.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
    header = without_prefixes(read_header(path))
    for name, info in header.items():
        if _is_weight(name) and info.dtype not in DTYPE_BYTES:
            raise _unsupported(name, info.dtype)
    return Source(
        {
            name: StoredTensor(info.dtype, info.shape, contiguous_stride(info.shape), begin + info.begin)
            for name, info in header.items()
            if _is_weight(name)
        }
    )


def _check_byte_order(file: BinaryIO, archive: Archive) -> None:
    """Files without the mark are from before 2.1, when torch wrote little-endian ones wherever it ran."""
    if (archive.read(file, "byteorder", limit=16) or b"little") != b"little":
        raise ByteOrderError(
            "the file was written on a big-endian machine; save it again on a little-endian one"
        )


def _pickle(file: BinaryIO, archive: Archive) -> bytes:
    if archive.entries["data.pkl"].size > MAX_PICKLE_BYTES:
        raise PickleLimitError(
            f"the file describes its tensors in {archive.entries['data.pkl'].size} bytes; at most "
            f"{MAX_PICKLE_BYTES} are read: save the weights alone, torch.save(model.state_dict(), 'weights.pt')"
        )
    return archive.read(file, "data.pkl", limit=MAX_PICKLE_BYTES) or b""


def _is_weight(name: str) -> bool:
    return name.rpartition(".")[2] != COUNTER


def _placed(name: str, tensor: TensorRef, archive: Archive) -> StoredTensor:
    """The tensor at its place in the file; it was checked to lie within its storage."""
    if tensor.dtype not in DTYPE_BYTES:
        raise _unsupported(name, tensor.dtype)
    block, item = tensor.storage, DTYPE_BYTES[tensor.dtype]
    entry = archive.entries.get(f"data/{block.key}")
    needed = block.size * (item if block.dtype else 1)
    if entry is None or entry.size != needed:
        held = "no bytes" if entry is None else f"{entry.size} bytes"
        raise TensorRecordError(f"{name} needs a storage of {needed} bytes; the file has {held}", field=name)
    stored = StoredTensor(tensor.dtype, tensor.shape, tensor.stride, entry.begin + tensor.offset * item)
    if (tensor.offset + stored.extent) * item > entry.size:
        raise TensorRecordError(f"{name} reaches beyond its storage", field=name)
    return stored


def _unsupported(name: str, dtype: str) -> UnsupportedTensorError:
    return UnsupportedTensorError(
        f"{name} is {dtype[:40]!a}; weights are {', '.join(DTYPE_BYTES)}", field=name
    )
