"""Data sets are streamed: memory does not grow with them, and threads change nothing but the time."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.batch import Batch
from core.data.folders import FolderDataset, open_folder
from core.data.folders.threads import Pool, thread_count
from tests.core.data import folder_writers as writers
from tests.core.data.folder_writers import put

TASK = {"name": "parts", "kind": "segmentation", "channels": 3}
MANIFEST = {
    "format": "windthrow",
    "format_version": 1,
    "name": "tiny",
    "tasks": [TASK],
    "image": {"encoding": "png8"},
    "labels": {"parts": {"encoding": "png8"}},
}
PIXELS = np.zeros((16, 16), dtype=np.uint8)


def many_rows(root: Path, count: int) -> None:
    """A listing of many samples, all in the same two files."""
    put(root, "image.png", PIXELS)
    put(root, "parts.png", PIXELS)
    row = '{"key": "sample-%06d", "image": "image.png", "parts": "parts.png"}\n'
    put(root, "test.jsonl", "".join(row % number for number in range(count)).encode())
    put(
        root, "dataset.json", json.dumps({**MANIFEST, "splits": {"test": {"samples": "test.jsonl"}}}).encode()
    )


def many_members(root: Path, count: int) -> None:
    """A shard of many samples."""
    png = writers.png_bytes(PIXELS)
    members = {
        f"sample-{number:06d}.{part}.png": png for number in range(count) for part in ("image", "parts")
    }
    writers.write_tar(root / "test.tar", members)
    put(root, "dataset.json", json.dumps({**MANIFEST, "splits": {"test": {"shards": ["test.tar"]}}}).encode())


def measured(root: Path, cache: Path) -> tuple[FolderDataset, int, int, int]:
    """A data set, the most memory that opening it took, what it holds, and the most that reading it took on top."""
    open_folder("windthrow", root, cache=cache, threads=1).batch([0])
    tracemalloc.start()
    dataset = open_folder("windthrow", root, cache=cache, threads=1)
    held, opening = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for first in range(0, len(dataset), 50):
        dataset.batch(range(first, min(first + 50, len(dataset))))
    reading = tracemalloc.get_traced_memory()[1] - held
    tracemalloc.stop()
    return dataset, opening, held, reading


@pytest.mark.parametrize(
    ("write", "sizes", "each"), [(many_rows, (100, 1200), 90), (many_members, (100, 900), 110)]
)
def test_memory_holds_an_index_and_one_batch(
    write: object, sizes: tuple[int, int], each: int, tmp_path: Path
) -> None:
    assert callable(write)
    found = []
    for size in sizes:
        write(tmp_path / f"data{size}", size)
        found.append(measured(tmp_path / f"data{size}", tmp_path / "cache"))
    (_, _, small_held, small_reading), (dataset, opening, held, reading) = found
    assert len(dataset) == sizes[1]
    assert held - small_held < each * (sizes[1] - sizes[0])
    assert reading - small_reading < 1_000_000 < sizes[1] * PIXELS.size * 20  # which all of them would take
    assert opening < 3_000_000 + 6 * each * sizes[1]


def test_a_listing_of_many_rows_opens_and_ends(tmp_path: Path) -> None:
    many_rows(tmp_path / "data", 20_000)
    dataset = open_folder("windthrow", tmp_path / "data", cache=tmp_path)
    assert len(dataset) == 20_000
    assert dataset.key(19_999) == "sample-019999"


def same(one: Batch, two: Batch) -> bool:
    parts = ("labels", "masks")
    tensors = [(one.images, two.images), (one.indices, two.indices)]
    for part in parts:
        assert getattr(one, part).keys() == getattr(two, part).keys()
        tensors += [(getattr(one, part)[name], getattr(two, part)[name]) for name in getattr(one, part)]
    return all(torch.equal(first, second) for first, second in tensors)


@pytest.mark.parametrize("size", [None, (20, 24)])
@pytest.mark.parametrize(
    ("form", "write", "split"),
    [
        ("nyuv2_treemtl", writers.write_treemtl, "test"),
        ("nyuv2_mtan", writers.write_mtan, "val"),
        ("taskonomy_adashare", writers.write_taskonomy, "test"),
        ("windthrow", writers.write_general_files, "test"),
        ("windthrow", writers.write_general_shards, "test"),
    ],
)
def test_threads_change_no_bit(
    form: str, write: object, split: str, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    assert callable(write)
    write(tmp_path / "data", {split: 9})
    order = [8, 0, 3, 3, 1, 7, 2, 6, 5, 4]
    batches = [
        open_folder(form, tmp_path / "data", cache=tmp_path / "cache", size=size, threads=threads).batch(
            order
        )
        for threads in (1, 2, 7)
    ]
    assert batches[0].indices.tolist() == order
    assert same(batches[0], batches[1])
    assert same(batches[0], batches[2])


def test_files_and_shards_of_the_same_samples_are_the_same(tmp_path: Path) -> None:
    writers.write_general_files(tmp_path / "files", {"test": 5})
    writers.write_general_shards(tmp_path / "shards", {"test": 5})
    one, two = (
        open_folder("windthrow", tmp_path / where, cache=tmp_path / "cache").batch(range(5))
        for where in ("files", "shards")
    )
    assert same(one, two)


def test_a_data_set_goes_on_after_a_fork(tmp_path: Path) -> None:
    writers.write_mtan(tmp_path / "data", {"val": 4}, size=(8, 8))
    dataset = open_folder("nyuv2_mtan", tmp_path / "data", cache=tmp_path, threads=2)
    expected = dataset.batch(range(4)).images.numpy().tobytes()
    pool = dataset._pool._running
    assert pool is not None
    dataset._pool._running = (os.getpid() + 1, pool[1])  # as a child process finds it
    assert dataset.batch(range(4)).images.numpy().tobytes() == expected
    assert dataset._pool._running is not None
    assert dataset._pool._running[1] is not pool[1]


@pytest.mark.parametrize(
    "module", ["core.data.folders", "core.data.folders.general", "core.data.folders.labels"]
)
def test_a_module_is_imported_first_and_without_pillow(module: str) -> None:
    code = f"import sys, {module}; sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[3], check=True)


def test_one_thread_is_this_one() -> None:
    pool = Pool(1)
    assert pool.map(str, [1, 2]) == ["1", "2"]
    assert pool._running is None
    assert 1 <= thread_count(None) <= 8
