"""Fingerprints: the same bytes give the same, any other byte another, and what changed is named."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from core.data.folders import (
    DatasetChangedError,
    Difference,
    FolderError,
    fingerprint,
    inventory,
    known_fingerprint,
    open_folder,
    verify,
)
from core.data.folders.names import Names, first_repeated
from tests.core.data import folder_writers as writers
from tests.core.data.folder_writers import put

FORM = "nyuv2_treemtl"


def aged(root: Path) -> Path:
    """The folder, its files last changed an hour ago."""
    for path in root.rglob("*"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))
    return root


def written(tmp_path: Path, name: str = "data", seed: int = 0) -> Path:
    writers.write_treemtl(tmp_path / name, {"train": 2, "test": 3}, seed=seed, size=(16, 16))
    return aged(tmp_path / name)


def test_the_digest_is_of_format_reader_names_sizes_and_bytes(tmp_path: Path) -> None:
    root = written(tmp_path)
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"windthrow data set\0nyuv2_treemtl\x001\n")
    for name in names:
        content = (root / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    found = fingerprint(FORM, root, cache=tmp_path / "cache")
    assert found.digest == digest.hexdigest()
    assert found.version == f"1-{digest.hexdigest()[:16]}"
    assert list(found.files.names) == names


def test_the_same_bytes_elsewhere_have_the_same_fingerprint(tmp_path: Path) -> None:
    first = fingerprint(FORM, written(tmp_path, "a"), cache=tmp_path / "cache", threads=1)
    second = fingerprint(FORM, written(tmp_path, "b"), cache=tmp_path / "other", threads=4)
    assert first == second
    assert fingerprint(FORM, written(tmp_path, "c", seed=1), cache=tmp_path / "cache") != first


def test_files_that_no_sample_needs_do_not_count(tmp_path: Path) -> None:
    root = written(tmp_path)
    before = fingerprint(FORM, root, cache=tmp_path / "cache")
    put(root, "README", b"read me")
    assert fingerprint(FORM, root, cache=tmp_path / "cache") == before


def test_the_version_of_an_opened_data_set_is_its_fingerprints(tmp_path: Path) -> None:
    root = written(tmp_path)
    expected = fingerprint(FORM, root, cache=tmp_path / "cache").version
    for split in ("train", "test"):
        assert open_folder(FORM, root, split, cache=tmp_path / "cache", version=expected).version == expected


def test_one_changed_byte_is_found_and_named(tmp_path: Path) -> None:
    root, cache = written(tmp_path), tmp_path / "cache"
    before = fingerprint(FORM, root, cache=cache)
    assert verify(root, before, cache=cache) == Difference()
    file = root / "depth/test_0001.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert fingerprint(FORM, root, cache=cache) != before
    assert verify(root, before.version, cache=cache) == Difference(changed=("depth/test_0001.npy",))
    with pytest.raises(DatasetChangedError, match=r"not 1-\w{16} \(changed: depth/test_0001.npy\)"):
        open_folder(FORM, root, cache=cache, version=before.version)


def test_missing_and_new_files_are_named(tmp_path: Path) -> None:
    root, cache = tmp_path / "data", tmp_path / "cache"
    writers.write_mtan(root, {"val": 2}, size=(8, 8))
    before = fingerprint("nyuv2_mtan", root, cache=cache)
    for part in ("image", "label", "depth", "normal"):
        put(root, f"val/{part}/2.npy", (root / f"val/{part}/1.npy").read_bytes())
    (root / "val/depth/0.npy").unlink()
    found = verify(root, before, cache=cache)
    new = tuple(f"val/{part}/2.npy" for part in ("depth", "image", "label", "normal"))
    assert found == Difference(missing=("val/depth/0.npy",), new=new)
    assert str(found).startswith("missing: val/depth/0.npy; new: val/depth/2.npy, ")
    assert fingerprint("nyuv2_mtan", root, cache=cache) != before


def test_a_listing_that_is_gone_is_a_change_like_any_other(tmp_path: Path) -> None:
    root, cache = written(tmp_path), tmp_path / "cache"
    before = fingerprint(FORM, root, cache=cache)
    (root / "nyu_v2_3task.json").unlink()
    assert verify(root, before, cache=cache) == Difference(missing=("nyu_v2_3task.json",))


def test_a_second_look_reads_touched_files_only(tmp_path: Path) -> None:
    root, cache = written(tmp_path), tmp_path / "cache"
    before = fingerprint(FORM, root, cache=cache)
    read: list[tuple[int, int]] = []
    assert fingerprint(FORM, root, cache=cache, progress=lambda *seen: read.append(seen)) == before
    assert read == []
    file = root / "img/test_0000.png"
    os.utime(file)
    assert fingerprint(FORM, root, cache=cache, progress=lambda *seen: read.append(seen)) == before
    assert read == [(file.stat().st_size, file.stat().st_size)]


def test_a_file_that_was_fresh_when_it_was_read_is_read_again(tmp_path: Path) -> None:
    root, cache = written(tmp_path), tmp_path / "cache"
    os.utime(root / "img/test_0000.png")
    fingerprint(FORM, root, cache=cache)
    read: list[tuple[int, int]] = []
    fingerprint(FORM, root, cache=cache, progress=lambda *seen: read.append(seen))
    assert len(read) == 1


def test_reading_all_again_finds_what_a_disk_lost_by_itself(tmp_path: Path) -> None:
    root, cache = written(tmp_path), tmp_path / "cache"
    before = fingerprint(FORM, root, cache=cache)
    file = root / "img/test_0000.png"
    look = file.stat()
    content = bytearray(file.read_bytes())
    content[50] ^= 1
    with file.open("r+b") as open_file:
        open_file.write(content)
    os.utime(file, ns=(look.st_atime_ns, look.st_mtime_ns))
    assert not verify(root, before, cache=cache)
    assert verify(root, before, cache=cache, reread=True).changed == ("img/test_0000.png",)


def test_progress_is_told_one_at_a_time_up_to_the_end(tmp_path: Path) -> None:
    root = written(tmp_path)
    inside, seen = threading.Lock(), []

    def progress(done: int, total: int) -> None:
        assert inside.acquire(blocking=False)
        seen.append((done, total))
        inside.release()

    fingerprint(FORM, root, cache=tmp_path / "cache", threads=4, progress=progress)
    total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    root = written(tmp_path)

    def progress(_done: int, _total: int) -> None:
        os.utime(root / "depth/test_0000.npy")

    with pytest.raises(FolderError, match=r"depth/test_0000\.npy changed while it was read"):
        fingerprint(FORM, root, cache=tmp_path / "cache", threads=1, progress=progress)


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    root, cache = written(tmp_path), tmp_path / "cache"
    before = fingerprint(FORM, root, cache=cache)
    for file in cache.rglob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    assert fingerprint(FORM, root, cache=cache) == before


def test_a_version_is_known_where_it_was_taken(tmp_path: Path) -> None:
    taken = fingerprint(FORM, written(tmp_path), cache=tmp_path / "cache")
    assert known_fingerprint(taken.version, cache=tmp_path / "cache") == taken
    for version in ("1-0000000000000000", "../../x", ""):
        assert known_fingerprint(version, cache=tmp_path / "cache") is None
    with pytest.raises(DatasetChangedError, match="has not seen version 1-00"):
        verify(tmp_path / "data", "1-0000000000000000", cache=tmp_path / "cache")


def test_a_link_out_of_the_root_has_no_fingerprint(tmp_path: Path) -> None:
    root = written(tmp_path)
    file = root / "img/test_0000.png"
    file.rename(tmp_path / "elsewhere.png")
    file.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(FolderError, match=r"img/test_0000\.png: a link leads out of the root"):
        fingerprint(FORM, root, cache=tmp_path / "cache")


def test_files_are_handed_to_threads_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = written(tmp_path)
    whole = fingerprint(FORM, root, cache=tmp_path / "a")
    monkeypatch.setattr(inventory, "GROUP", 3)
    assert fingerprint(FORM, root, cache=tmp_path / "b") == whole


def test_names_are_kept_in_order_in_one_block() -> None:
    given = ["b", "", "äöü", "a" * 300]
    names = Names.of(given)
    assert list(names) == [names[place] for place in range(4)] == given
    with pytest.raises(IndexError):
        names[4]
    assert first_repeated(names) is None
    assert first_repeated([*given, "äöü"]) == "äöü"


def test_different_names_of_one_mark_are_no_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.folders.names._mark", lambda _name: 7)
    assert first_repeated(["a", "b"]) is None
    assert first_repeated(["a", "a"]) == "a"
