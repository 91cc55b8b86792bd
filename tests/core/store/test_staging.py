"""Parts: one holder at a time, and never a file that has become something else."""

import hashlib
import os
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from core.store.staging import PartBusyError, Staging


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "staging")


def test_a_part_is_held_by_one_at_a_time_and_keeps_what_was_written(staging: Staging) -> None:
    upload = uuid4()
    first = staging.hold(upload)
    first.append([b"one", b"", b"two"])
    with pytest.raises(PartBusyError, match=str(upload)):
        staging.hold(upload)
    assert not staging.drop(upload)
    first.close()
    second = staging.hold(upload)
    assert second.size == 6
    second.cut(3)
    second.append([b"three"])
    hashed = hashlib.sha256()
    second.hash_into(hashed, 7)
    assert hashed.digest() == hashlib.sha256(b"onethre").digest()
    second.close()
    assert second.path.read_bytes() == b"onethree"


def test_nothing_is_left_of_an_empty_or_a_dropped_part(staging: Staging) -> None:
    upload = uuid4()
    staging.hold(upload).close()
    assert list(staging.root.iterdir()) == []
    part = staging.hold(upload)
    part.append([b"bytes"])
    part.close()
    assert staging.drop(upload)
    assert staging.drop(upload)
    assert list(staging.root.iterdir()) == []


def test_a_part_that_is_shorter_than_it_should_be_is_not_hashed(staging: Staging) -> None:
    part = staging.hold(uuid4())
    with pytest.raises(EOFError):
        part.hash_into(hashlib.sha256(), 1)
    part.close()


def test_only_parts_that_were_left_long_ago_are_listed(staging: Staging) -> None:
    old, new = uuid4(), uuid4()
    for upload in (old, new):
        part = staging.hold(upload)
        part.append([b"bytes"])
        part.close()
    os.utime(staging.root / f"{old}.part", (0, 0))
    (staging.root / "notes.part").touch()
    os.utime(staging.root / "notes.part", (0, 0))
    assert list(staging.left(older_than=60)) == [old]


def test_a_part_that_became_something_else_is_never_handed_out(staging: Staging, tmp_path: Path) -> None:
    """One finishes files and moves them away, others reach for the same part: all that they get is new and empty."""
    upload, moved, finished = uuid4(), tmp_path / "moved", threading.Event()
    wrong: list[int] = []

    def reach() -> None:
        while not finished.is_set():
            try:
                part = staging.hold(upload)
            except PartBusyError:
                continue
            wrong.extend([part.size] if part.size else [])
            part.close()

    others = [threading.Thread(target=reach) for _ in range(2)]
    for other in others:
        other.start()
    done = 0
    while done < 300:
        try:
            part = staging.hold(upload)
        except PartBusyError:
            continue
        part.append([b"whole"])
        part.path.replace(moved)
        part.close()
        done += 1
        assert moved.read_bytes() == b"whole"
    finished.set()
    for other in others:
        other.join()
    assert wrong == []
    assert moved.read_bytes() == b"whole"
