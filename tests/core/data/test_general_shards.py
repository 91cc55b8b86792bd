"""Tar shards: samples at random places by an index made once, never extracted, and never from outside a shard."""

import contextlib
import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from core.data.folders import FolderError, SampleError, describe, open_folder
from core.data.folders.general import shards
from core.data.folders.general.shards import ShardSplit, members
from tests.core.data import folder_writers as writers
from tests.core.data.folder_writers import edit_manifest, general_members, general_raw, write_tar

ENDINGS = {"image.png": "image", "parts.png": "parts"}
CONTENT = b"x" * 700


def tar_bytes(*infos: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, content in infos:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: bytes = CONTENT, **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info, content


def listed(root: Path, data: bytes) -> list[tuple[str, str, int, int]]:
    (root / "a.tar").write_bytes(data)
    return list(members(str(root), "a.tar", ENDINGS, field="splits.test.shards[0]"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_found_where_their_bytes_are(form: int, tmp_path: Path) -> None:
    long = "d" * 90 + "/" + "k" * 90
    names = ["a.image.png", "a.parts.png", "a.json", f"{long}.image.png", "x/b.1.image.png", "x/c.image.png"]
    data = tar_bytes(*(member(name, name.encode() * 9) for name in names), form=form)
    found = listed(tmp_path, data)
    assert [(key, part) for key, part, _, _ in found] == [
        ("a", "image"),
        ("a", "parts"),
        (long, "image"),
        ("x/c", "image"),
    ]
    for key, part, offset, size in found:
        assert data[offset : offset + size] == f"{key}.{part}.png".encode() * 9


def link(name: str, kind: bytes) -> bytes:
    return tar_bytes(member(name, b"", type=kind, linkname="a.image.png"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar_bytes(member("/a.image.png")), "must lie below the root"),
        (tar_bytes(member("../a.image.png")), "must lie below the root"),
        (tar_bytes(member("a/../../b.image.png")), "must lie below the root"),
        (tar_bytes(member("a\\b.image.png")), "backslash"),
        (link("b.image.png", tarfile.SYMTYPE), "link or no regular file"),
        (link("b.image.png", tarfile.LNKTYPE), "link or no regular file"),
        (link("b.image.png", tarfile.CHRTYPE), "link or no regular file"),
        (link("b.image.png", tarfile.FIFOTYPE), "link or no regular file"),
        (tar_bytes(member("a.image.png"))[:900], "not a plain, uncompressed tar"),
        (gzip.compress(tar_bytes(member("a.image.png"))), "not a plain, uncompressed tar"),
        (b"", "not a plain, uncompressed tar"),
        (b"hello" * 300, "not a plain, uncompressed tar"),
    ],
)
def test_a_shard_that_holds_what_it_may_not_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=message) as caught:
        listed(tmp_path, data)
    assert str(caught.value).startswith("a.tar: ")
    assert caught.value.field == "splits.test.shards[0]"


def resized(data: bytes, size: bytes) -> bytes:
    """The first header with another size in it."""
    header = bytearray(data[:512])
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"77777777777\0"])
def test_a_size_that_leads_out_of_the_shard_is_refused(size: bytes, tmp_path: Path) -> None:
    for first in (member("a.image.png"), member("a" * 300 + ".image.png")):
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            with pytest.raises(FolderError, match="not a plain, uncompressed tar"):
                listed(tmp_path, resized(tar_bytes(first, form=form), size))


def test_folders_in_a_shard_are_passed_over(tmp_path: Path) -> None:
    data = tar_bytes(member("x", b"", type=tarfile.DIRTYPE), member("x/a.image.png"))
    assert [key for key, *_ in listed(tmp_path, data)] == ["x/a"]


def split_of(root: Path, *names: str) -> ShardSplit:
    return ShardSplit(str(root), names, ENDINGS, "splits.test.shards")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["a.image.png", "a.image.png"], [], "has its image twice"),
        (["a.image.png", "b.image.png", "a.parts.png"], [], "'a' occurs in two places"),
        (["a.image.png"], ["a.parts.png"], "'a' occurs in two places"),
        (["a.image.png"], ["b.image.png", "a.image.png"], "'a' occurs in two places"),
    ],
)
def test_a_key_occurs_once(first: list[str], second: list[str], message: str, tmp_path: Path) -> None:
    for name, content in (("a.tar", first), ("b.tar", second)):
        (tmp_path / name).write_bytes(tar_bytes(*(member(each) for each in content)))
    with pytest.raises(FolderError, match=message):
        split_of(tmp_path, "a.tar", "b.tar").rows(None)


def test_a_shard_that_is_missing_or_a_link_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(FolderError, match=r"a\.tar: there is no such file"):
        split_of(root, "a.tar").rows(None)
    (tmp_path / "b.tar").write_bytes(tar_bytes(member("a.image.png")))
    (root / "b.tar").symlink_to(tmp_path / "b.tar")
    with pytest.raises(FolderError, match="leads out of the root"):
        split_of(root, "b.tar").rows(None)


def test_samples_come_in_the_order_of_shards_and_members(tmp_path: Path) -> None:
    written = writers.write_general_shards(tmp_path / "data", {"test": 7}, per_shard=3)["test"]
    dataset = open_folder("windthrow", tmp_path / "data", cache=tmp_path)
    assert [dataset.key(index) for index in range(7)] == [f"test/{number:04d}" for number in range(7)]
    images = dataset.batch([6, 2]).images
    for image, number in zip(images, (6, 2), strict=True):
        assert_array_equal(image * 255, written[number]["image"].transpose(2, 0, 1).astype(np.float32))


def test_a_missing_member_is_a_bad_sample(tmp_path: Path) -> None:
    root = tmp_path / "data"
    writers.write_general_shards(root, {"test": 2})
    samples = general_members("a", general_raw(np.random.default_rng(0)))
    write_tar(
        root / "test-000.tar", {name: content for name, content in samples.items() if "depth.png" not in name}
    )
    dataset = open_folder("windthrow", root, cache=tmp_path)
    with pytest.raises(SampleError, match=r"test-000\.tar:a\.depth: the shard has no such member") as caught:
        dataset.batch([0])
    assert (caught.value.reason, caught.value.field) == ("missing", "depth")


def test_the_index_is_made_once_for_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    writers.write_general_shards(root, {"test": 3})
    first = open_folder("windthrow", root, cache=tmp_path / "cache")
    (index,) = (tmp_path / "cache").rglob("test.index.npz")
    assert index.parent.name == first.version

    def walked(*_arguments: object) -> None:
        raise AssertionError("the shards are read again")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_walk", walked)
        again = open_folder("windthrow", root, cache=tmp_path / "cache")
    assert_array_equal(again.batch([2]).images, first.batch([2]).images)
    index.write_bytes(b"damaged")
    assert len(open_folder("windthrow", root, cache=tmp_path / "cache")) == 3


def test_nothing_is_extracted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    writers.write_general_shards(root, {"test": 3})
    before = sorted(os.walk(root))
    open_folder("windthrow", root, cache=tmp_path / "cache").batch([0, 1, 2])
    assert sorted(os.walk(root)) == before
    assert {path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()} == {".npz"}


def test_values_do_not_go_with_shards(tmp_path: Path) -> None:
    writers.write_general_shards(tmp_path, {"test": 1})
    labels = {**writers.GENERAL["labels"], "room": {"encoding": "value"}}
    edit_manifest(tmp_path, labels=labels)
    with pytest.raises(FolderError, match="cannot hold room as a value"):
        describe("windthrow", tmp_path)


def test_shards_without_samples_are_refused(tmp_path: Path) -> None:
    writers.write_general_shards(tmp_path, {"test": 1})
    (tmp_path / "test-000.tar").write_bytes(tar_bytes(member("readme.txt")))
    with pytest.raises(FolderError, match="test has no samples"):
        describe("windthrow", tmp_path)


WHOLE = {
    form: tar_bytes(member("a.image.png"), member("a.parts.png"), member("b" * 120 + ".image.png"), form=form)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(WHOLE)),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 511), st.integers(0, 255)), max_size=5),
    st.booleans(),
    st.integers(0, 2**14),
)
def test_any_bytes_are_a_shard_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    form: int,
    changes: list[tuple[int, int, int]],
    mended: bool,
    keep: int,
) -> None:
    data = bytearray(WHOLE[form])
    for block, place, value in changes:
        at = block * 512 + place
        if at < len(data):
            data[at] = value
            if mended:
                header = data[block * 512 : block * 512 + 512]
                header[148:156] = b" " * 8
                data[block * 512 + 148 : block * 512 + 156] = b"%06o\0 " % sum(header)
    root = tmp_path_factory.mktemp("tar")
    with contextlib.suppress(FolderError):
        for _, _, offset, size in listed(root, bytes(data[: max(keep, 512)])):
            assert 0 <= offset <= offset + size <= len(data)
