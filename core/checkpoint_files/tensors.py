"""A stored tensor's bytes in the order of its indices, a chunk at a time, and how many of its numbers are none."""

from collections.abc import Iterator
from itertools import product
from typing import BinaryIO, Literal

from core.checkpoint_files.errors import UnsupportedTensorError
from core.checkpoint_files.source import StoredTensor, contiguous_stride
from core.checkpoints import TruncatedCheckpointError

CHUNK_BYTES = 4 * 2**20
MAX_RESTRIDED_BYTES = 256 * 2**20
"""Tensors whose numbers are not in order are put in order in memory, so their size is bounded."""

_WORDS: dict[int, Literal["H", "I", "Q"]] = {2: "H", 4: "I", 8: "Q"}

Test = tuple[int, bytes]
"""A byte's place in a little-endian number, and a table that marks the values it may not have, with 1."""


def chunks(file: BinaryIO, tensor: StoredTensor) -> Iterator[bytes]:
    """The tensor's bytes, whole numbers in each piece.

    Raises:
        TruncatedCheckpointError: the file ends before they do.
        UnsupportedTensorError: a tensor that is not contiguous is too large to be made so here.
    """
    if tensor.is_contiguous:
        yield from _pieces(file, tensor.begin, tensor.bytes)
    else:
        yield _restrided(file, tensor)


def _pieces(file: BinaryIO, begin: int, length: int) -> Iterator[bytes]:
    file.seek(begin)
    while length:
        piece = file.read(min(length, CHUNK_BYTES))
        if len(piece) < min(length, CHUNK_BYTES):
            raise TruncatedCheckpointError("the file ends before its tensors do")
        length -= len(piece)
        yield piece


def _restrided(file: BinaryIO, tensor: StoredTensor) -> bytes:
    """The numbers in order: one strided copy along the longest axis for every index of the others."""
    item = tensor.item_bytes
    if max(tensor.extent * item, tensor.bytes) > MAX_RESTRIDED_BYTES:
        raise UnsupportedTensorError("a large tensor is not contiguous; save tensor.contiguous() instead")
    word = _WORDS[item]
    stored = memoryview(b"".join(_pieces(file, tensor.begin, tensor.extent * item))).cast(word)
    ordered = memoryview(bytearray(tensor.bytes)).cast(word)
    longest = max(range(len(tensor.shape)), key=tensor.shape.__getitem__)
    count, step = tensor.shape[longest], tensor.stride[longest]
    axes = list(zip(tensor.shape, tensor.stride, contiguous_stride(tensor.shape), strict=True))
    _, _, target_step = axes.pop(longest)
    for index in product(*(range(side) for side, _, _ in axes)):
        begin = sum(i * stride for i, (_, stride, _) in zip(index, axes, strict=True))
        target = sum(i * stride for i, (_, _, stride) in zip(index, axes, strict=True))
        ordered[target : target + (count - 1) * target_step + 1 : target_step] = (
            stored[begin : begin + (count - 1) * step + 1 : step]
            if step
            else memoryview(stored[begin : begin + 1].tobytes() * count).cast(word)
        )
    return bytes(ordered.cast("B"))


def count_nonfinite(piece: bytes, dtype: str) -> int:
    """How many numbers are NaN or infinite, in float32: float64 has finite ones that are too large for it.

    A number is none if its exponent is all ones, so a look at one or two of its bytes tells, for all numbers of
    the piece at once: each byte place becomes a row of marks, and rows are combined as long integers.
    """
    size = 1 + max(place for tests in _NONFINITE[dtype] for place, _ in tests)
    marked = 0
    for tests in _NONFINITE[dtype]:
        rows = [int.from_bytes(piece[place::size].translate(table), "little") for place, table in tests]
        both = rows[0]
        for row in rows[1:]:
            both &= row
        marked |= both
    return marked.bit_count()


def _where(mask: int, value: int) -> bytes:
    return bytes(byte & mask == value for byte in range(256))


_NONFINITE: dict[str, tuple[tuple[Test, ...], ...]] = {
    "F16": (((1, _where(0x7C, 0x7C)),),),
    "BF16": (((1, _where(0x7F, 0x7F)), (0, _where(0x80, 0x80))),),
    "F32": (((3, _where(0x7F, 0x7F)), (2, _where(0x80, 0x80))),),
    "F64": (
        ((7, bytes(byte & 0x7F > 0x47 for byte in range(256))),),
        ((7, _where(0x7F, 0x47)), (6, _where(0xF0, 0xF0))),
    ),
}
"""Alternatives, each of tests that must all hold; float64's are an exponent of 128 or more, float32's limit."""
