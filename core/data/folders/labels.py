"""From the numbers in a file to the labels of `core.tasks.Task`: scaled, checked, and what does not count marked.

Every function takes one sample's raw array, [H, W] or [H, W, channels], and returns labels without the batch dimension.
`ignore` lists raw values, before any scaling; NaN among them means NaN.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from core.data.folders.errors import RefusedError
from core.tasks import DEPTH_MIN, IGNORE_VALUE

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Order = Literal["rgb", "bgr"]

BRIGHTNESS_SLACK = 1e-3
"""How far beyond 0..1 rounding may have taken a float image; it is clipped."""

MIN_LENGTH = 1e-6
"""A shorter normal points nowhere: its pixel does not count."""


def image_of(raw: Array, *, scale: float = 1.0, offset: float = 0.0, order: Order = "rgb") -> Floats:
    """An image, float32 [3, H, W] in RGB in [0, 1], from bytes (0..255) or from floats.

    Raises:
        RefusedError: it has other channels, or values outside [0, 1].
    """
    flat = raw[:, :, None] if raw.ndim == 2 else raw
    if flat.ndim != 3 or flat.shape[2] not in (1, 3):
        raise RefusedError("kind", f"an image is [H, W, 3]; got {list(raw.shape)}")
    if raw.dtype == np.uint8:
        planes = np.divide(np.ascontiguousarray(np.moveaxis(flat, 2, 0)), np.float32(255), dtype=np.float32)
    else:
        planes = _scaled(np.ascontiguousarray(np.moveaxis(flat, 2, 0)), scale, offset)
        low, high = float(planes.min()), float(planes.max())
        if not -BRIGHTNESS_SLACK <= low <= high <= 1 + BRIGHTNESS_SLACK:
            raise RefusedError("value", f"its values run from {low:g} to {high:g} instead of 0 to 1")
        planes = planes.clip(0.0, 1.0)
    if len(planes) == 1:
        planes = np.repeat(planes, 3, axis=0)
    return np.ascontiguousarray(planes[::-1]) if order == "bgr" else planes


def class_map(
    raw: Array, *, classes: int, ignore: Sequence[float] = (IGNORE_VALUE,), offset: int = 0
) -> npt.NDArray[np.int64]:
    """Classes, int64 [H, W] (or no dimension at all), 255 where the raw value is to be ignored.

    Raises:
        RefusedError: a class is no whole number, or outside 0..classes-1 after the offset.
    """
    plane = _plane(raw)
    ignored = matches(plane, ignore)
    values = plane if plane.dtype.kind == "f" else plane.astype(np.int64)
    shifted = values + offset
    wrong = ~ignored & ~((shifted >= 0) & (shifted < classes))
    if plane.dtype.kind == "f":
        wrong |= ~ignored & (np.floor(shifted) != shifted)
    if wrong.any():
        found, where = _first(plane, wrong)
        raise RefusedError("value", f"class {found:g}{where} is none of the task's {classes}")
    return np.where(ignored, IGNORE_VALUE, shifted).astype(np.int64)


def depth_map(
    raw: Array, *, scale: float = 1.0, offset: float = 0.0, ignore: Sequence[float] = (0,)
) -> tuple[Floats, Bools]:
    """Depth, float32 [1, H, W], and where it counts, bool [H, W]: above 3e-5 metres and not ignored.

    Raises:
        RefusedError: a depth is NaN or infinite and not to be ignored.
    """
    plane = _plane(raw)
    ignored = matches(plane, ignore)
    values = _scaled(plane, scale, offset)
    _check_finite(values, ignored)
    valid = ~ignored & (values > DEPTH_MIN)
    return np.where(valid, values, np.float32(0))[None], valid


def normal_map(
    raw: Array,
    *,
    ignored: Bools | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    order: Order = "rgb",
) -> tuple[Floats, Bools]:
    """Unit normals, float32 [3, H, W], and where they count, bool [H, W]; elsewhere every channel is 255.

    Raises:
        RefusedError: there are not 3 channels, or one is NaN or infinite and not to be ignored.
    """
    if raw.ndim != 3 or raw.shape[2] != 3:
        raise RefusedError("kind", f"normals are [H, W, 3]; got {list(raw.shape)}")
    out = np.zeros(raw.shape[:2], dtype=np.bool_) if ignored is None else ignored
    values = _scaled(np.ascontiguousarray(np.moveaxis(raw, 2, 0)), scale, offset)
    values = values[::-1] if order == "bgr" else values
    with np.errstate(over="ignore", invalid="ignore"):  # in pixels that are ignored; others are refused
        length = np.sqrt(np.square(values).sum(axis=0))
    _check_finite(length, out)
    valid = ~out & (length > MIN_LENGTH)
    unit = np.full(values.shape, IGNORE_VALUE, dtype=np.float32)
    np.divide(values, length, out=unit, where=valid)
    return unit, valid


def regression_map(
    raw: Array, *, channels: int, scale: float = 1.0, offset: float = 0.0, ignore: Sequence[float] = ()
) -> Floats:
    """Values, float32 [channels, H, W], 255 where the raw value is to be ignored.

    Raises:
        RefusedError: there are other channels, or a value is NaN or infinite and not to be ignored.
    """
    flat = raw[:, :, None] if raw.ndim == 2 else raw
    if flat.ndim != 3 or flat.shape[2] != channels:
        raise RefusedError("kind", f"this task has {channels} channels; the file is {list(raw.shape)}")
    planes = np.ascontiguousarray(np.moveaxis(flat, 2, 0))
    ignored = matches(planes, ignore)
    values = _scaled(planes, scale, offset)
    _check_finite(values, ignored)
    return np.where(ignored, np.float32(IGNORE_VALUE), values)


def mask_map(raw: Array) -> Bools:
    """A mask, bool [H, W]: True where the file is not 0.

    Raises:
        RefusedError: it has channels.
    """
    return _plane(raw).astype(np.bool_)


def matches(values: Array, among: Sequence[float]) -> Bools:
    """Where values are one of these, NaN included."""
    found = np.zeros(values.shape, dtype=np.bool_)
    for value in among:
        found |= np.isnan(values) if np.isnan(value) else values == value
    return found


def _plane(raw: Array) -> Array:
    if raw.ndim == 3 and raw.shape[2] == 1:
        return raw[:, :, 0]
    if raw.ndim == 3:
        raise RefusedError("kind", f"this label has one channel; the file is {list(raw.shape)}")
    return raw


def _scaled(values: Array, scale: float, offset: float) -> Floats:
    if values.dtype in (np.uint8, np.uint16):
        return _scaled_steps(values.dtype.itemsize, scale, offset)[values]
    with np.errstate(over="ignore", invalid="ignore"):  # what comes out infinite or NaN is refused
        if (scale, offset) == (1.0, 0.0):
            return values.astype(np.float32)
        return (values.astype(np.float64) * scale + offset).astype(np.float32)


@lru_cache
def _scaled_steps(width: int, scale: float, offset: float) -> Floats:
    """What each byte, or each pair of bytes, becomes."""
    return _scaled(np.arange(256**width, dtype=np.int64), scale, offset)


def _check_finite(values: Floats, ignored: Bools) -> None:
    wrong = ~np.isfinite(values) & ~ignored
    if wrong.any():
        found, where = _first(values, wrong)
        raise RefusedError("not_finite", f"{found:g}{where}")


def _first(values: Array, wrong: Bools) -> tuple[float, str]:
    """The first wrong value, and where it stands."""
    where = np.argwhere(wrong)[0]
    found = float(values[tuple(where)])
    return found, f" at row {where[-2]}, column {where[-1]}" if len(where) > 1 else ""
