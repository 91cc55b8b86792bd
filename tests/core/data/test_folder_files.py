"""Which files are taken for images and labels, and with which reason the others are refused."""

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from core.data.folders import images
from core.data.folders.arrays import read_npy, read_number
from core.data.folders.errors import FolderError, RefusedError
from core.data.folders.images import read_image, read_mask_png, read_png
from core.data.folders.roots import check_name, read_file, read_range
from tests.core.data.folder_writers import npy_bytes, png_bytes, put, smooth

RNG = np.random.default_rng(3)
RGB = smooth(RNG, (6, 8))
GREY = RGB[:, :, 0].copy()
GREY16 = RNG.integers(0, 65536, (6, 8)).astype(np.uint16)


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def palette() -> Image.Image:
    picture = Image.fromarray(GREY % 7).convert("L").convert("P")
    picture.putdata([int(value) for value in (GREY % 7).ravel()])
    picture.putpalette([value for index in range(7) for value in (90 + index, 200, 3)])
    return picture


def deep_png() -> bytes:
    """A PNG with 16 bits in each of three channels, which Pillow would read as 8 without a word."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + bytes(12))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_an_rgb_png_is_its_pixels_and_grey_three_times_itself() -> None:
    assert_array_equal(read_image(png_bytes(RGB)), RGB)
    assert_array_equal(read_image(png_bytes(GREY)), np.stack([GREY] * 3, axis=2))


def test_a_jpeg_is_an_image() -> None:
    data = saved(Image.fromarray(RGB), "JPEG", quality=95)
    assert_array_equal(read_image(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (png_bytes(np.dstack([RGB, GREY])), "kind", "RGB with alpha"),
        (png_bytes(np.dstack([GREY, GREY])), "kind", "grey with alpha"),
        (saved(palette()), "kind", "4-bit palette"),
        (png_bytes(GREY16), "kind", "16-bit grey"),
        (deep_png(), "kind", "16-bit RGB"),
        (saved(Image.fromarray(GREY > 99)), "kind", "1-bit grey"),
        (saved(Image.fromarray(RGB), transparency=(1, 2, 3)), "kind", "no transparency"),
        (saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "kind", "CMYK"),
        (saved(Image.fromarray(RGB), "GIF"), "unreadable", "neither a PNG nor a JPEG"),
        (png_bytes(RGB)[:-40], "unreadable", "cannot be decoded"),
        (png_bytes(RGB)[:20], "unreadable", "not a PNG"),
        (saved(Image.fromarray(RGB), "JPEG")[:50], "unreadable", "cannot be decoded"),
        (b"", "unreadable", "neither a PNG nor a JPEG"),
    ],
)
def test_an_image_of_another_kind_is_refused(data: bytes, reason: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        read_image(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_that_is_to_be_turned_is_refused(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with pytest.raises(RefusedError, match="EXIF"):
        read_image(saved(Image.fromarray(RGB), kind, exif=exif))
    exif[0x0112] = 1
    assert read_image(saved(Image.fromarray(RGB), kind, exif=exif)).shape == (6, 8, 3)


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = png_bytes(RGB)
    monkeypatch.setattr(images, "MAX_PIXELS", 47)
    with pytest.raises(RefusedError, match="8 x 6; at most 47 pixels"):
        read_image(data)
    huge = data[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + data[24:]
    fixed = huge[:29] + struct.pack(">I", zlib.crc32(huge[12:29])) + huge[33:]
    with pytest.raises(RefusedError):
        read_image(fixed)


def test_labels_keep_their_numbers() -> None:
    assert_array_equal(read_png(png_bytes(GREY), channels=1), GREY)
    assert_array_equal(read_png(saved(palette()), channels=1), GREY % 7)
    assert_array_equal(read_png(saved(palette(), bits=4), channels=1), GREY % 7)
    assert_array_equal(read_png(png_bytes(RGB), channels=3), RGB)
    found = read_png(png_bytes(GREY16), channels=1, bits=16)
    assert found.dtype == np.uint16
    assert_array_equal(found, GREY16)


@pytest.mark.parametrize(
    ("data", "channels", "bits"),
    [
        (png_bytes(RGB), 1, 8),
        (png_bytes(GREY), 3, 8),
        (png_bytes(GREY16), 1, 8),
        (png_bytes(GREY), 1, 16),
        (saved(palette()), 3, 8),
        (deep_png(), 3, 8),
        (saved(Image.fromarray(RGB), "JPEG"), 3, 8),
    ],
)
def test_a_label_of_another_kind_is_refused(data: bytes, channels: Any, bits: Any) -> None:
    with pytest.raises(RefusedError):
        read_png(data, channels=channels, bits=bits)


def test_a_mask_has_one_bit_or_eight() -> None:
    assert_array_equal(read_mask_png(saved(Image.fromarray(GREY > 99))) != 0, GREY > 99)
    assert_array_equal(read_mask_png(png_bytes(GREY)) != 0, GREY != 0)
    with pytest.raises(RefusedError, match="16-bit grey"):
        read_mask_png(png_bytes(GREY16))


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", "<f4", ">f8", "?", "f2", "<u8"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (3, 4, 2)])
def test_an_npy_is_its_numbers(dtype: str, shape: tuple[int, ...]) -> None:
    values = RNG.integers(0, 2, shape).astype(dtype)
    found = read_npy(npy_bytes(np.asarray(values)))
    assert_array_equal(found, values)
    assert found.dtype.isnative


def test_an_npy_may_have_its_columns_first() -> None:
    values = np.asfortranarray(RNG.random((4, 5, 3)))
    assert_array_equal(read_npy(npy_bytes(values)), values)


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pickled(), "kind"),
        (npy_bytes(np.zeros((2, 2), dtype=np.complex64)), "kind"),
        (npy_bytes(np.array(["a"])), "kind"),
        (npy_bytes(np.zeros(2, dtype=[("a", "f4")])), "kind"),
        (npy_bytes(np.zeros((2, 2, 2, 2))), "kind"),
        (npy_bytes(np.zeros((0, 3))), "kind"),
        (npy_bytes(np.zeros((4, 4)))[:-1], "unreadable"),
        (npy_bytes(np.zeros((4, 4))) + b"\0", "unreadable"),
        (npy_bytes(np.zeros((4, 4))).replace(b"(4, 4)", b"(9999999999, 4)"), "unreadable"),
        (b"\x93NUMPY", "unreadable"),
        (b"PK\x03\x04", "unreadable"),
        (b"", "unreadable"),
    ],
)
def test_an_npy_of_another_kind_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read_npy(data)
    assert caught.value.reason == reason


def test_a_written_number_is_whole() -> None:
    assert [int(read_number(text)) for text in (b"7", b" 12\n", b"-3")] == [7, 12, -3]
    for text in (b"", b"1.5", b"one", b"1" * 30, "٣".encode(), b"\xff", b"--1"):
        with pytest.raises(RefusedError):
            read_number(text)


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with some of them changed, and maybe cut."""
    edits = st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=6)

    def apply(changes: list[tuple[int, int]], keep: int) -> bytes:
        copy = bytearray(data)
        for place, value in changes:
            copy[place] = value
        return bytes(copy[:keep])

    return st.builds(apply, edits, st.integers(0, len(data)))


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(mutated(png_bytes(RGB)), mutated(saved(Image.fromarray(RGB), "JPEG")), st.binary(max_size=99))
)
def test_any_bytes_are_an_image_or_refused(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert read_image(data).dtype == np.uint8


@settings(max_examples=150, deadline=None)
@given(st.one_of(mutated(npy_bytes(GREY)), st.binary(max_size=99)))
def test_any_bytes_are_numbers_or_refused(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert read_npy(data).dtype.kind in "biuf"


@pytest.mark.parametrize("name", ["a.png", "a/b c/ä.png", "._a", "a..b/c", "-"])
def test_a_name_below_the_root_is_taken(name: str) -> None:
    assert check_name(name, field="f") == name


def test_a_name_is_tidied() -> None:
    assert check_name("./a//b/./c.png", field="f") == "a/b/c.png"


@pytest.mark.parametrize(
    "name", ["", "/a", "..", "a/../b", "../a", "a\\b", "a\0b", "a\nb", ".", "x" * 1025, "\ud800", 7, None]
)
def test_a_name_that_leads_elsewhere_is_refused(name: object) -> None:
    with pytest.raises(FolderError) as caught:
        check_name(name, field="splits.test.samples[3].image")
    assert caught.value.field == "splits.test.samples[3].image"


def test_a_link_out_of_the_root_is_refused_and_one_within_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(tmp_path, "secret", b"s")
    put(root, "a", b"abc")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "a")
    assert read_file(str(root), "in") == b"abc"
    assert read_range(str(root), "a", 1, 2) == b"bc"
    for name in ("out", "up/secret"):
        with pytest.raises(RefusedError, match="leads out of the root"):
            read_file(str(root), name)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, reason in (("folder", "unreadable"), ("nothing", "missing"), ("nothing/below", "missing")):
        with pytest.raises(RefusedError) as caught:
            read_file(str(tmp_path), name)
        assert caught.value.reason == reason
    put(tmp_path, "short", b"abc")
    with pytest.raises(RefusedError, match="ends after 1 of 5 bytes"):
        read_range(str(tmp_path), "short", 2, 5)
