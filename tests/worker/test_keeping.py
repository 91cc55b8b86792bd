"""What a shard keeps on its way, with a real database and files; a limit on file sizes stands in for a full disk."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.jobs import events
from core.store.blobs import FileBlobs
from core.store.database import Database
from tests.core.jobs.test_trainings import claimed
from worker.keeping import Keeping, StorageFullError, told_if_full


@pytest.fixture
def keeping(database: Database, tmp_path: Path) -> Keeping:
    return Keeping(database, FileBlobs(tmp_path / "blobs"), claimed(database), "key")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def keep(keeping: Keeping, folder: Path, content: bytes, position: int) -> None:
    state = folder / f"state-{position}"
    state.write_bytes(content)
    keeping.keep(state, position=position, share=position / 10)


def last(keeping: Keeping) -> bytes | None:
    with keeping.last() as path:
        return None if path is None else path.read_bytes()


def blobs_of(keeping: Keeping) -> list[bytes]:
    assert isinstance(keeping.blobs, FileBlobs)
    return [path.read_bytes() for path in keeping.blobs.root.glob("??/*")]


def test_the_last_state_is_the_newest_and_the_others_are_gone(keeping: Keeping, tmp_path: Path) -> None:
    assert last(keeping) is None
    keep(keeping, tmp_path, b"one", 1)
    keep(keeping, tmp_path, b"two", 2)
    assert last(keeping) == b"two"
    assert blobs_of(keeping) == [b"two"]


def test_what_is_forgotten_is_gone(keeping: Keeping, tmp_path: Path) -> None:
    keep(keeping, tmp_path, b"one", 1)
    keeping.forget()
    keeping.forget()
    assert last(keeping) is None
    assert blobs_of(keeping) == []


def test_a_state_whose_blob_is_lost_is_none(keeping: Keeping, tmp_path: Path) -> None:
    keep(keeping, tmp_path, b"one", 1)
    assert isinstance(keeping.blobs, FileBlobs)
    for path in keeping.blobs.root.glob("??/*"):
        path.unlink()
    assert last(keeping) is None


def test_a_full_disk_costs_the_new_state_and_not_the_old(keeping: Keeping, tmp_path: Path) -> None:
    keep(keeping, tmp_path, b"one", 1)
    with (
        files_of_at_most(1000),
        pytest.raises(StorageFullError, match="submit the same again"),
        told_if_full("it"),
    ):
        save_file({"weights": torch.zeros(1000)}, tmp_path / "state")
    with files_of_at_most(1000), pytest.raises(StorageFullError), told_if_full("it"):
        (tmp_path / "other").write_bytes(bytes(2000))
    assert last(keeping) == b"one"


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), told_if_full("it"):
        (tmp_path / "nowhere" / "state").write_bytes(b"")


def test_events_are_the_jobs(keeping: Keeping) -> None:
    keeping.tell("training.progress", {"iteration": 7})
    with keeping.database.session() as session:
        told = [
            event.data
            for event in events.after(session, keeping.claim.job_id, 0)
            if event.type == "training.progress"
        ]
    assert told == [{"iteration": 7}]


def test_who_goes_on_from_a_state_forgets_it_in_the_end(keeping: Keeping, tmp_path: Path) -> None:
    keep(keeping, tmp_path, b"one", 1)
    successor = Keeping(keeping.database, keeping.blobs, keeping.claim, keeping.key)
    assert last(successor) == b"one"
    successor.forget()
    assert last(keeping) is None
