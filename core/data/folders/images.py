"""PNG and JPEG files to arrays, each accepted for one reason or refused with one. Colour profiles are not applied."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from core.data.folders.errors import RefusedError

if TYPE_CHECKING:
    from PIL import Image

Array = npt.NDArray[Any]
Result = TypeVar("Result")

MAX_PIXELS = 2**26
"""67 megapixels: a larger image is refused before it is decoded."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_ORIENTATION = 0x0112
_GREY, _RGB, _PALETTE = 0, 2, 3
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


@dataclass(frozen=True, slots=True)
class PngHeader:
    """What the first 33 bytes of a PNG say; Pillow would turn 16-bit colours into 8 without a word."""

    width: int
    height: int
    bits: int
    colour: int

    def __str__(self) -> str:
        return f"{self.bits}-bit {_COLOURS.get(self.colour, 'unknown')}"


def png_header(data: bytes) -> PngHeader:
    """The header of a PNG.

    Raises:
        RefusedError: it is none.
    """
    if not data.startswith(_PNG) or data[12:16] != b"IHDR" or len(data) < 33:
        raise RefusedError("unreadable", "it is not a PNG")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return PngHeader(width, height, data[24], data[25])


def read_image(data: bytes) -> Array:
    """An image as uint8 [H, W, 3] in RGB: PNG or JPEG with 8 bits a channel, in RGB or grey.

    Raises:
        RefusedError: it is another kind, has transparency, is to be turned (EXIF), is broken or too large.
    """
    if data.startswith(_JPEG):
        return _rgb(_decode(data, "JPEG"))
    if not data.startswith(_PNG):
        raise RefusedError("unreadable", "it is neither a PNG nor a JPEG")
    header = png_header(data)
    if header.bits != 8 or header.colour not in (_GREY, _RGB):
        raise RefusedError("kind", f"an image is 8-bit RGB or grey; this PNG is {header}")
    picture = _decode(data, "PNG")
    if "transparency" in picture.info:
        raise RefusedError("kind", "an image has no transparency; this PNG has")
    return _rgb(picture)


def read_png(data: bytes, *, channels: Literal[1, 3], bits: Literal[8, 16] = 8) -> Array:
    """A label from a PNG: uint8 [H, W, 3], or uint8 or uint16 [H, W], whose values are taken as they are.

    A palette PNG gives its indices, not its colours.

    Raises:
        RefusedError: it has other channels or bits, is broken or too large.
    """
    header = png_header(data)
    grey = header.colour == _GREY and header.bits == bits
    indices = header.colour == _PALETTE and bits == 8
    if not ((grey or indices) if channels == 1 else (header.colour == _RGB and header.bits == 8)):
        wanted = "8-bit RGB" if channels == 3 else f"{bits}-bit grey" + " or palette" * (bits == 8)
        raise RefusedError("kind", f"this label is a PNG in {wanted}; the file is {header}")
    return np.asarray(_decode(data, "PNG"))


def read_mask_png(data: bytes) -> Array:
    """A mask [H, W] from a PNG with 1 or 8 bits, grey or palette: whatever is not 0 counts.

    Raises:
        RefusedError: it is another kind, broken or too large.
    """
    header = png_header(data)
    if header.colour not in (_GREY, _PALETTE) or (header.colour == _GREY and header.bits not in (1, 8)):
        raise RefusedError("kind", f"a mask is a PNG in 1-bit or 8-bit grey; this one is {header}")
    return np.asarray(_decode(data, "PNG"))


def _rgb(picture: "Image.Image") -> Array:
    if picture.mode not in ("RGB", "L"):
        raise RefusedError("kind", f"an image is 8-bit RGB or grey; this one is {picture.mode}")
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _decode(data: bytes, kind: Literal["PNG", "JPEG"]) -> "Image.Image":
    """Decode, once the size is known to be bearable."""
    from PIL import Image  # noqa: PLC0415 - only files need Pillow; the science imports without

    picture = _attempt(lambda: Image.open(io.BytesIO(data), formats=(kind,)))
    if picture.width * picture.height > MAX_PIXELS:
        raise RefusedError("unreadable", f"{picture.width} x {picture.height}; at most {MAX_PIXELS} pixels")
    _attempt(picture.load)
    if _attempt(picture.getexif).get(_ORIENTATION, 1) != 1:
        raise RefusedError(
            "kind", "EXIF says to turn it, and its labels would not turn along; save it upright"
        )
    return picture


def _attempt(action: Callable[[], Result]) -> Result:
    """What the action gives; a broken file makes Pillow raise almost anything."""
    try:
        return action()
    except Exception as error:
        raise RefusedError("unreadable", f"it cannot be decoded: {error or type(error).__name__}") from error
