"""`.npy` files and written numbers to arrays. Nothing is ever unpickled: only the header and plain numbers are read."""

import io
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.folders.errors import RefusedError
from core.data.folders.images import MAX_PIXELS

Array = npt.NDArray[Any]

MAX_HEADER = 4096
MAX_CHANNELS = 512
MAX_DIGITS = 20


def read_npy(data: bytes) -> Array:
    """The numbers of a `.npy` file with 0 to 3 dimensions, over the file's own bytes.

    Raises:
        RefusedError: it is none, holds anything but bools, integers or floats, or is not as long as it says.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream, max_header_size=MAX_HEADER)
    except Exception as error:
        raise RefusedError("unreadable", f"it is not a .npy file: {error}") from error
    _check(shape, dtype)
    if prod(shape) * dtype.itemsize != len(data) - stream.tell():
        held = len(data) - stream.tell()
        raise RefusedError("unreadable", f"{list(shape)} {dtype} does not fill the {held} bytes it has")
    values = np.frombuffer(data, dtype=dtype, offset=stream.tell())
    values = values.reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)


def _check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.hasobject or dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise RefusedError("kind", f"it holds {dtype}; bools, integers or floats up to 64 bits are read")
    if len(shape) > 3 or any(size < 1 for size in shape):
        raise RefusedError("kind", f"its shape {list(shape)} is not that of an image, a map or a number")
    if prod(shape) > MAX_PIXELS * 4 or (len(shape) == 3 and min(shape) > MAX_CHANNELS):
        raise RefusedError("unreadable", f"its shape {list(shape)} is too large")


def read_number(data: bytes) -> Array:
    """A written whole number, as the label of a classification task: int64 without dimensions.

    Raises:
        RefusedError: it is no whole number.
    """
    text = data[: MAX_DIGITS + 1].decode("ascii", errors="replace").strip()
    if len(data) > MAX_DIGITS or not text.removeprefix("-").isdecimal() or not text.isascii():
        raise RefusedError("unreadable", f"{text!r} is not a whole number")
    return np.array(max(min(int(text), 2**62), -(2**62)), dtype=np.int64)
