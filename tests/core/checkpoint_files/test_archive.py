"""The zip directory: everything that readers could disagree about is refused, each with its own code."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from safetensors.torch import load_file

from core.checkpoint_files import convert
from tests.core.checkpoint_files.files import (
    HEADER_BYTES,
    model,
    refusal,
    same_tensors,
    saved,
    state_dict,
    write_after_hole,
    zip_of,
)

DATA = ("w/data.pkl", b"\x80\x02}.")
ENTRY = b"PK\x01\x02"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def renamed(content: bytes, old: str, new: str) -> bytes:
    """Another name of the same length, wherever it stands."""
    assert len(old) == len(new.encode())
    return content.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    "name", ["/etc/pass", "w/../../b", "w\\..\\..\\b", "C:/passwd", "w/\x07bell", "w/\x00nul.", "w/..", ".."]
)
def test_names_that_lead_elsewhere_are_refused(path: Path, name: str) -> None:
    plain = "n" * len(name)
    path.write_bytes(renamed(zip_of([DATA, (plain, b"x")]), plain, name))
    assert refusal(path).code == "zip_name"


def test_a_name_without_end_is_refused(path: Path) -> None:
    path.write_bytes(zip_of([DATA, ("w/" + "x" * 600, b"x")]))
    assert refusal(path).code == "zip_name"


def test_a_name_that_is_no_text_is_refused(path: Path) -> None:
    path.write_bytes(renamed(zip_of([DATA, ("w/abcd", b"x")]), "w/abcd", "w/ab\u00e9"))
    assert refusal(path).code == "zip_name"


def test_two_entries_of_one_name_are_refused(path: Path) -> None:
    path.write_bytes(renamed(zip_of([DATA, ("w/data.pkm", b"x")]), "w/data.pkm", "w/data.pkl"))
    assert refusal(path).code == "zip_duplicate"


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755, stat.S_IFCHR, stat.S_IFIFO])
def test_links_folders_and_devices_are_refused(path: Path, mode: int) -> None:
    path.write_bytes(zip_of([DATA, (special("w/etc", mode), b"/etc/passwd")]))
    assert refusal(path).code == "zip_link"


def test_a_folder_by_name_is_refused(path: Path) -> None:
    path.write_bytes(zip_of([DATA, ("w/folder/", b"")]))
    assert refusal(path).code == "zip_link"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_is_refused_because_it_is_compressed(path: Path, method: int) -> None:
    path.write_bytes(zip_of([DATA, ("w/data/0", bytes(10_000_000))], method=method))
    assert path.stat().st_size < 100_000
    assert refusal(path).code == "zip_compressed"


def test_an_entry_that_says_stored_but_promises_more_bytes_is_refused(path: Path) -> None:
    content = bytearray(zip_of([DATA]))
    at = content.index(ENTRY)
    struct.pack_into("<L", content, at + 24, 10**9)
    path.write_bytes(content)
    assert refusal(path).code == "zip_compressed"


def test_an_encrypted_entry_is_refused(path: Path) -> None:
    content = bytearray(zip_of([DATA]))
    struct.pack_into("<H", content, content.index(ENTRY) + 8, 1)
    path.write_bytes(content)
    assert refusal(path).code == "zip_encrypted"


def test_more_entries_than_any_model_has_tensors_are_refused(path: Path) -> None:
    path.write_bytes(zip_of([DATA, *((f"w/{n}", b"") for n in range(10_001))]))
    assert refusal(path).code == "zip_too_many"


def test_overlapping_entries_are_refused(path: Path) -> None:
    """The second entry's header stands inside the first one's bytes, as in overlapping zip bombs."""
    inner = zip_of([("w/data.pkl", b"abc")])
    inner = inner[: inner.index(ENTRY)]
    content = bytearray(zip_of([("w/outer", inner), DATA]))
    second = content.rindex(ENTRY)
    struct.pack_into("<L", content, second + 42, content.index(inner))
    path.write_bytes(content)
    assert refusal(path).code == "zip_overlap"


def test_an_entry_that_reaches_into_the_directory_is_refused(path: Path) -> None:
    content = bytearray(zip_of([DATA]))
    record = content.index(ENTRY)
    for place in (18, 22, record + 20, record + 24):
        struct.pack_into("<L", content, place, 60)
    path.write_bytes(content)
    assert refusal(path).code == "zip_overlap"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(HEADER_BYTES, b"W", id="name"),
        pytest.param(8, b"\x08", id="method"),
        pytest.param(18, b"\x01", id="size"),
    ],
)
def test_a_header_that_differs_from_the_directory_is_refused(path: Path, place: int, value: bytes) -> None:
    content = bytearray(zip_of([DATA]))
    content[place : place + 1] = value
    path.write_bytes(content)
    assert refusal(path).code == "zip_mismatch"


def shifted(content: bytes, inserted: bytes, at: int, *, header: int) -> bytes:
    """Something inserted into an archive of one entry, all offsets put right."""
    changed = bytearray(content[:at] + inserted + content[at:])
    record, end = changed.index(ENTRY), changed.index(b"PK\x05\x06")
    struct.pack_into("<L", changed, record + 42, header)
    struct.pack_into("<L", changed, end + 16, record)
    return bytes(changed)


def test_bytes_that_belong_to_no_entry_are_refused(path: Path) -> None:
    content = zip_of([DATA])
    before = shifted(content, b"PK\x03\x04, hidden", 0, header=12)
    between = shifted(content, b"hidden", content.index(ENTRY), header=0)
    for changed in (before, between, content.replace(ENTRY, b"hidden" + ENTRY)):
        path.write_bytes(changed)
        assert zipfile.is_zipfile(path)
        assert refusal(path).code == "zip_damaged"


def test_an_archive_without_a_folder_or_with_two_is_refused(path: Path) -> None:
    for entries in ([DATA, ("v/version", b"3")], [DATA, ("version", b"3")], [("data.pkl", b"\x80\x02}.")]):
        path.write_bytes(zip_of(entries))
        assert refusal(path).code == "zip_damaged"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99, 0.9999])
def test_an_archive_that_was_cut_short_is_refused_as_truncated(path: Path, share: float) -> None:
    content = saved(path, model().state_dict()).read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path).code == "truncated_checkpoint"


def test_an_archive_with_something_after_it_is_refused(path: Path) -> None:
    path.write_bytes(saved(path, model().state_dict()).read_bytes() + b"\0")
    assert refusal(path).code == "truncated_checkpoint"


def test_a_big_endian_file_is_refused(path: Path) -> None:
    path.write_bytes(zip_of([DATA, ("w/byteorder", b"big")]))
    assert refusal(path).code == "byte_order"


def test_a_pickle_larger_than_any_is_refused_unread(path: Path) -> None:
    path.write_bytes(zip_of([("w/data.pkl", bytes(32 * 2**20 + 1))]))
    assert refusal(path).code == "pickle_limits"


def test_tensors_beyond_four_gigabytes_are_read(path: Path, tmp_path: Path) -> None:
    """Sizes and offsets in ZIP64 fields, as torch writes them; the large entry is a hole in the file."""
    small = saved(tmp_path / "small.pt", model().state_dict())
    with zipfile.ZipFile(small) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    write_after_hole(path, entries, hole=5 * 2**30)
    out = tmp_path / "out.safetensors"
    convert(path, out)
    assert same_tensors(load_file(out), state_dict())


def test_an_entry_that_lacks_its_zip64_field_is_refused(path: Path) -> None:
    content = bytearray(zip_of([DATA]))
    struct.pack_into("<L", content, content.index(ENTRY) + 42, 2**32 - 1)
    path.write_bytes(content)
    assert refusal(path).code == "zip_damaged"
