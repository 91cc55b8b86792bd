"""Data sets at a URL: copied once, refreshed when asked, and never half."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from core.data.folders import fingerprint, open_folder
from core.errors import InvalidError
from tests.core.data.folder_writers import write_general_files, write_general_shards
from worker.locations import is_remote
from worker.mirror import RemoteDatasetError, mirrored

SPLITS = {"train": 3, "test": 2}


class Counting(SimpleHTTPRequestHandler):
    """Serves a folder, and counts what it sends."""

    sent: ClassVar[Counter[str]] = Counter()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del size
        if int(code) == 200:
            self.sent[self.path.lstrip("/")] += 1

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    root = tmp_path / "served"
    root.mkdir()
    Counting.sent.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("lines", [False, True])
def test_a_copy_has_the_same_samples_and_is_fetched_once(
    served: tuple[Path, str], tmp_path: Path, lines: bool
) -> None:
    root, url = served
    write_general_files(root, SPLITS, lines=lines)
    for _ in range(2):
        copy = mirrored(url + "/", cache=tmp_path / "cache")
    assert set(Counting.sent.values()) == {1}
    assert fingerprint("windthrow", copy, cache=tmp_path / "a") == fingerprint(
        "windthrow", root, cache=tmp_path
    )
    ours = open_folder("windthrow", copy, "test", cache=tmp_path / "a").batch([0, 1])
    theirs = open_folder("windthrow", root, "test", cache=tmp_path / "b").batch([0, 1])
    assert torch.equal(ours.images, theirs.images)


def test_only_what_was_modified_is_fetched_anew(served: tuple[Path, str], tmp_path: Path) -> None:
    root, url = served
    write_general_shards(root, SPLITS)
    copy = mirrored(url, cache=tmp_path)
    shard = root / "test-000.tar"
    later = shard.stat().st_mtime + 60
    shard.write_bytes((root / "train-000.tar").read_bytes())
    os.utime(shard, (later, later))
    assert mirrored(url, cache=tmp_path) == copy
    assert Counting.sent["test-000.tar"] == 1
    mirrored(url, cache=tmp_path, refresh=True)
    assert Counting.sent == {"dataset.json": 1, "train-000.tar": 1, "train-001.tar": 1, "test-000.tar": 2}
    assert (copy / "test-000.tar").read_bytes() == shard.read_bytes()


def test_a_missing_file_leaves_no_part_of_it(served: tuple[Path, str], tmp_path: Path) -> None:
    root, url = served
    write_general_shards(root, SPLITS)
    (root / "train-001.tar").unlink()
    with pytest.raises(RemoteDatasetError, match=r"train-001\.tar answers 404"):
        mirrored(url, cache=tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("train-001.tar"))


def test_what_is_no_data_set_is_refused(served: tuple[Path, str], tmp_path: Path) -> None:
    root, url = served
    (root / "dataset.json").write_text('{"format": "other"}')
    with pytest.raises(InvalidError):
        mirrored(url, cache=tmp_path)


def test_a_server_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(RemoteDatasetError, match="cannot be fetched"):
        mirrored("http://127.0.0.1:9", cache=tmp_path)
    assert not is_remote("/data/nyuv2")
