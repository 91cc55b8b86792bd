"""The general format: what a manifest says is what a sample is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from core.data.folders import FolderError, SampleError, describe, open_folder
from core.data.folders.general import finding
from core.tasks import PROFILES
from tests.core.data import folder_writers as writers
from tests.core.data.folder_writers import SIZE, edit_manifest, put


@pytest.mark.parametrize("lines", [False, True])
def test_a_sample_is_as_its_manifest_says(lines: bool, tmp_path: Path) -> None:
    written = writers.write_general_files(tmp_path / "data", {"train": 1, "test": 2}, lines=lines)["test"]
    dataset = open_folder("windthrow", tmp_path / "data", cache=tmp_path)
    batch, raw = dataset.batch([1]), written[1]
    assert dataset.key(1) == "test-1"
    assert_array_equal(batch.images[0] * 255, raw["image"].transpose(2, 0, 1).astype(np.float32))
    parts = raw["parts"].astype(np.int64)
    assert_array_equal(batch.labels["parts"][0], np.where(parts == 0, 255, parts - 1))
    assert int(batch.labels["room"][0]) == raw["room"]
    counts = (raw["depth"] > 0) & (raw["depth.mask"] > 0)
    assert_array_equal(batch.masks["depth"][0], counts)
    assert_allclose(batch.labels["depth"][0, 0], raw["depth"] / 1000, rtol=1e-6)
    vectors = raw["normals"].astype(np.float64) * 2 / 255 - 1
    units = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    assert_allclose(batch.labels["normals"][0, :, 2:], units.transpose(2, 0, 1)[:, 2:], atol=1e-6)
    assert not batch.masks["normals"][0, :2].any()
    curvature = np.where(np.isnan(raw["curvature"]), 255, raw["curvature"])
    assert_array_equal(batch.labels["curvature"][0], curvature)
    assert sorted(batch.masks) == ["depth", "normals"]


def test_tasks_come_from_the_manifest(tmp_path: Path) -> None:
    writers.write_general_files(tmp_path, {"test": 1})
    described = describe("windthrow", tmp_path)
    assert (described.name, described.title) == ("rooms", "Rooms with a view")
    assert [task.kind for task in described.tasks] == [
        "segmentation",
        "depth",
        "normals",
        "regression",
        "classification",
    ]
    assert list(described.tasks[0].class_weights) == [1, 1, 2, 2, 0.5]
    assert described.tasks[4].class_names == ("a", "b", "c", "d")


def tiny(root: Path, **changes: Any) -> None:
    """A data set of the profile digits: grey images and two numbers in the manifest."""
    put(root, "0.png", np.full(SIZE, 51, dtype=np.uint8))
    rows = [{"image": "0.png", "left": 3, "right": 9}]
    manifest = {
        "format": "windthrow",
        "format_version": 1,
        "name": "pairs",
        "profile": "digits",
        "image": {"encoding": "png8"},
        "labels": {"left": {"encoding": "value"}, "right": {"encoding": "value", "ignore": [9]}},
        "splits": {"test": {"samples": rows}},
    }
    put(root, "dataset.json", json.dumps(manifest).encode())
    edit_manifest(root, **changes)


def test_tasks_may_be_a_profile_and_classes_values(tmp_path: Path) -> None:
    tiny(tmp_path / "data", size=list(SIZE))
    dataset = open_folder("windthrow", tmp_path / "data", cache=tmp_path)
    batch = dataset.batch([0])
    assert dataset.tasks == PROFILES["digits"].tasks
    assert (int(batch.labels["left"]), int(batch.labels["right"]), dataset.key(0)) == (3, 255, "0.png")
    assert batch.masks == {}
    assert_allclose(batch.images.numpy(), 0.2, rtol=1e-6)


def test_a_value_that_is_no_class_is_refused_when_it_is_read(tmp_path: Path) -> None:
    rows = [{"image": "0.png", "left": 10, "right": 9}]
    tiny(tmp_path / "data", splits={"test": {"samples": rows}})
    dataset = open_folder("windthrow", tmp_path / "data", cache=tmp_path)
    with pytest.raises(SampleError, match="the listing: class 10 is none of the task's 10") as caught:
        dataset.batch([0])
    assert caught.value.field == "left"


def test_an_image_of_another_size_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    tiny(tmp_path / "data", size=[40, 32])
    with pytest.raises(SampleError, match=r"it is \[32, 40\]; the manifest says \[40, 32\]"):
        open_folder("windthrow", tmp_path / "data", cache=tmp_path).batch([0])


def test_numbers_may_be_npy_in_any_order(tmp_path: Path) -> None:
    rng, root = np.random.default_rng(5), tmp_path / "data"
    image, normals = rng.random((3, *SIZE)), rng.normal(size=(*SIZE, 3))
    put(root, "i.npy", (image[::-1] * 200 - 100).astype(np.float32))
    put(root, "n.npy", normals.astype(np.float32))
    put(root, "r.npy", np.array([2]))
    manifest = {
        "format": "windthrow",
        "format_version": 1,
        "name": "arrays",
        "tasks": [
            {"name": "normals", "kind": "normals", "channels": 3},
            {"name": "room", "kind": "classification", "channels": 3},
        ],
        "image": {"encoding": "npy", "axes": "chw", "order": "bgr", "scale": 0.005, "offset": 0.5},
        "labels": {"normals": {"encoding": "npy", "order": "bgr"}, "room": {"encoding": "npy"}},
        "masks": {"normals": {"encoding": "npy"}},
        "splits": {
            "test": {
                "samples": [
                    {"image": "i.npy", "normals": "n.npy", "room": "r.npy", "masks": {"normals": "m.npy"}}
                ]
            }
        },
    }
    put(root, "m.npy", rng.random(SIZE) < 0.5)
    put(root, "dataset.json", json.dumps(manifest).encode())
    batch = open_folder("windthrow", root, cache=tmp_path).batch([0])
    assert_allclose(batch.images[0], image, atol=1e-5)
    units = normals[:, :, ::-1] / np.linalg.norm(normals, axis=2, keepdims=True)
    assert_allclose(batch.labels["normals"][0], units.transpose(2, 0, 1), atol=1e-6)
    assert_array_equal(batch.masks["normals"][0], np.load(root / "m.npy"))
    assert batch.labels["room"].tolist() == [2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"image": "a.png"', r"test\.jsonl:2 is not JSON"),
        (b'{"image": "a.png"}', r"test\.jsonl:2\.left is missing"),
        (b'{"image": "a.png", "left": 1.5, "right": 1}', r"test\.jsonl:2\.left must be a whole number"),
        (b'{"image": "0.png", "left": 1, "right": 1}', r"the key '0\.png' occurs twice"),
        (b'{"image": "' + b"a" * 70_000 + b'"}', r"test\.jsonl:2 is longer"),
    ],
)
def test_a_bad_line_is_named(line: bytes, message: str, tmp_path: Path) -> None:
    tiny(tmp_path, splits={"test": {"samples": "test.jsonl"}})
    put(tmp_path, "test.jsonl", b'{"image": "0.png", "left": 1, "right": 1}\n' + line + b"\n\n")
    with pytest.raises(FolderError, match=message):
        describe("windthrow", tmp_path)


def test_a_manifest_too_long_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny(tmp_path)
    monkeypatch.setattr(finding, "MAX_MANIFEST", 100)
    with pytest.raises(FolderError, match="list samples in JSON lines files"):
        describe("windthrow", tmp_path)


def test_a_listing_outside_the_root_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "rows.jsonl", b'{"image": "0.png", "left": 1, "right": 1}\n')
    tiny(tmp_path / "data", splits={"test": {"samples": "test.jsonl"}})
    (tmp_path / "data/test.jsonl").symlink_to(tmp_path / "rows.jsonl")
    with pytest.raises(FolderError, match="leads out of the root"):
        describe("windthrow", tmp_path / "data")
