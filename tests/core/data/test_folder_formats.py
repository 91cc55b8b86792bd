"""Published data sets in their true form: every label is what the authors' own readers make of the same bytes."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from core.data import Dataset
from core.data.folders import FORMATS, FolderError, describe, open_folder
from core.losses import BatchLosses, labels_of, valid_pixels
from core.tasks import PROFILES, Task
from tests.core.data import folder_writers as writers
from tests.core.data.folder_writers import SIZE, Array, put


def test_a_treemtl_image_is_its_png_in_rgb(tmp_path: Path) -> None:
    written = writers.write_treemtl(tmp_path / "data", {"train": 1, "test": 3})["test"]
    images = open_folder("nyuv2_treemtl", tmp_path / "data", cache=tmp_path).batch([2, 0]).images
    assert images.dtype == torch.float32
    for image, raw in zip(images, (written[2], written[0]), strict=True):
        assert_array_equal(
            image.numpy(), raw["image"].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        )


def test_treemtl_normals_are_the_bytes_in_opencv_order_as_a_vector(tmp_path: Path) -> None:
    root, pixels = tmp_path / "data", np.full((*SIZE, 3), 7, dtype=np.uint8)
    writers.write_treemtl(root, {"test": 1})
    pixels[0, 0] = (10, 20, 20)  # red, green, blue on the disk
    pixels[0, 1] = (255, 1, 1)
    pixels[0, 2] = (254, 254, 254)
    put(root, "normal_mask/test_0000.png", pixels)
    batch = open_folder("nyuv2_treemtl", root, cache=tmp_path).batch([0])
    normals, mask = batch.labels["normals"][0].numpy(), batch.masks["normals"][0].numpy()
    assert_allclose(normals[:, 0, 0], np.array([20, 20, 10]) / 30, rtol=1e-6)
    assert_array_equal(mask[0, :4], [True, False, True, True])
    assert_array_equal(normals[:, 0, 1], 255)


def test_the_loss_of_a_treemtl_model_is_that_of_the_authors(tmp_path: Path) -> None:
    (raw,) = writers.write_treemtl(tmp_path / "data", {"test": 1})["test"]
    dataset = open_folder("nyuv2_treemtl", tmp_path / "data", cache=tmp_path)
    prediction = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    bgr = torch.from_numpy(raw["normals"][:, :, ::-1].astype(np.float32)).permute(2, 0, 1)[None]
    counts = bgr.amax(1) < 255
    cosine = torch.cosine_similarity(prediction, bgr)[counts]
    zeros = {"segmentation": torch.zeros(1, 40, *SIZE), "depth": torch.zeros(1, 1, *SIZE)}
    losses = BatchLosses(dataset.tasks, dataset.batch([0]))({**zeros, "normals": prediction})
    assert float(losses[1]) == pytest.approx(float(1 - cosine.mean()), rel=1e-5)
    assert float(losses[2]) == pytest.approx(float(raw["depth"][raw["depth"] > 3e-5].mean()), rel=1e-5)
    assert float(losses[0]) == pytest.approx(np.log(40), rel=1e-5)


def test_pixels_without_a_label_do_not_count_in_treemtl(tmp_path: Path) -> None:
    writers.write_treemtl(tmp_path / "data", {"test": 2})
    dataset = open_folder("nyuv2_treemtl", tmp_path / "data", cache=tmp_path)
    batch = dataset.batch([0, 1])
    for task, rows in zip(dataset.tasks, (1, 2, 3), strict=True):
        valid = valid_pixels(task, *labels_of(task, batch))
        assert not valid[:, :rows].any()
        assert valid[:, rows:].all()


def test_an_mtan_sample_is_its_arrays(tmp_path: Path) -> None:
    written = writers.write_mtan(tmp_path / "data", {"train": 1, "val": 2})["val"]
    dataset = open_folder("nyuv2_mtan", tmp_path / "data", "test", cache=tmp_path)
    batch, raw = dataset.batch([1]), written[1]
    assert dataset.tasks[0] == Task("segmentation", "segmentation", 13)
    assert_array_equal(batch.images[0], raw["image"].transpose(2, 0, 1))
    assert_array_equal(batch.labels["segmentation"][0], np.where(raw["label"] < 0, 255, raw["label"]))
    assert_array_equal(batch.labels["depth"][0], raw["depth"].transpose(2, 0, 1))
    assert_array_equal(batch.masks["depth"][0], raw["depth"][:, :, 0] > 0)
    normals = raw["normal"].transpose(2, 0, 1)
    assert_allclose(batch.labels["normals"][0, :, 2:], normals[:, 2:], atol=1e-6)
    assert_array_equal(batch.masks["normals"][0], np.arange(SIZE[0])[:, None].repeat(SIZE[1], 1) >= 2)


def test_mtan_files_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    root = tmp_path / "data"
    written = writers.write_mtan(root, {"val": 12}, kind="cityscapes", size=(8, 8))["val"]
    dataset = open_folder("cityscapes_mtan", root, cache=tmp_path)
    assert [dataset.key(index) for index in range(12)] == [str(index) for index in range(12)]
    labels = dataset.batch([2, 10]).labels["segmentation"].numpy()
    assert_array_equal(labels[1], np.where(written[10]["label_19"] < 0, 255, written[10]["label_19"]))


@pytest.mark.parametrize(
    ("form", "label", "classes"), [("cityscapes_mtan", "label_19", 19), ("cityscapes_mtan_7", "label_7", 7)]
)
def test_cityscapes_comes_with_either_set_of_classes(
    form: str, label: str, classes: int, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    (raw,) = writers.write_mtan(root, {"val": 1}, kind="cityscapes")["val"]
    dataset = open_folder(form, root, cache=tmp_path)
    assert dataset.tasks[0].channels == classes
    batch = dataset.batch([0])
    assert_array_equal(batch.labels["segmentation"][0], np.where(raw[label] < 0, 255, raw[label]))
    assert_allclose(batch.labels["depth"][0, 0], raw["depth"][:, :, 0])
    assert "normals" not in batch.labels


def test_a_missing_label_folder_is_named(tmp_path: Path) -> None:
    writers.write_mtan(tmp_path, {"val": 1}, kind="cityscapes", parts=("image", "depth", "label_7"))
    with pytest.raises(FolderError, match="there is no val/label_19"):
        describe("cityscapes_mtan", tmp_path)


def one_taskonomy_pixel(
    tmp_path: Path, raw: Mapping[str, Array | np.generic]
) -> tuple[dict[str, list[float]], dict[str, bool]]:
    """Labels and masks of the first pixel of a data set that has these numbers there."""
    root = tmp_path / "data"
    writers.write_taskonomy(root, {"test": 1})
    for part, pixel in raw.items():
        pixels = np.broadcast_to(pixel, (*SIZE, *pixel.shape)).copy()
        put(root, f"test-home/{part}/point_0_domain_{part}.png", pixels)
    batch = open_folder("taskonomy_adashare", root, cache=tmp_path).batch([0])
    labels = {name: label[0].reshape(-1, *SIZE)[:, 0, 0].tolist() for name, label in batch.labels.items()}
    return labels, {name: bool(mask[0, 0, 0]) for name, mask in batch.masks.items()}


def test_taskonomy_labels_follow_adashare(tmp_path: Path) -> None:
    labels, masks = one_taskonomy_pixel(
        tmp_path,
        {
            "segment_semantic": np.uint8(17),
            "normal": np.array([255, 0, 0], dtype=np.uint8),
            "depth_zbuffer": np.uint16(64499),
            "keypoints2d": np.uint16(100),
            "edge_texture": np.uint16(60000),
        },
    )
    assert labels["segmentation"] == [16]
    assert_allclose(labels["normals"], np.array([1, -1, -1]) / np.sqrt(3), rtol=1e-6)
    assert_allclose(labels["depth"], np.log(64500) / np.log(65536), rtol=1e-6)
    assert_allclose(labels["keypoints"], 100 / 65536 / 0.005 * 2 - 1, rtol=1e-6)
    assert labels["edges"] == [1.0]
    assert masks == {"depth": True, "normals": True}


def test_far_depth_and_class_0_do_not_count_in_taskonomy(tmp_path: Path) -> None:
    labels, masks = one_taskonomy_pixel(
        tmp_path,
        {"segment_semantic": np.uint8(0), "depth_zbuffer": np.uint16(64500), "edge_texture": np.uint16(0)},
    )
    assert labels["segmentation"] == [255]
    assert labels["edges"] == [-1.0]
    assert masks == {"depth": False, "normals": False}


def test_a_taskonomy_depth_of_0_counts(tmp_path: Path) -> None:
    labels, masks = one_taskonomy_pixel(tmp_path, {"depth_zbuffer": np.uint16(0)})
    assert labels["depth"] == [0.0]
    assert masks["depth"]


def test_priors_become_class_weights(tmp_path: Path) -> None:
    writers.write_taskonomy(tmp_path / "data", {"test": 1})
    dataset = open_folder("taskonomy_adashare", tmp_path / "data", cache=tmp_path)
    assert_allclose(dataset.tasks[0].class_weights, np.linspace(0.5, 2.0, 17))
    assert [task.name for task in dataset.tasks] == [task.name for task in PROFILES["taskonomy"].tasks]


@pytest.mark.parametrize("priors", [np.ones(18), np.full(17, np.nan), -np.ones(17)])
def test_priors_that_are_none_are_refused(priors: Array, tmp_path: Path) -> None:
    writers.write_taskonomy(tmp_path, {"test": 1})
    put(tmp_path, "semseg_prior_factor.npy", priors)
    with pytest.raises(FolderError, match="17 numbers of at least 0") as caught:
        describe("taskonomy_adashare", tmp_path)
    assert caught.value.field == "class_weights"


def test_a_taskonomy_listing_may_be_relative_to_its_split(tmp_path: Path) -> None:
    written = writers.write_taskonomy(tmp_path / "data", {"train": 1, "test": 2}, below=True)
    batch = open_folder("taskonomy_adashare", tmp_path / "data", cache=tmp_path).batch([1])
    assert_array_equal(batch.images[0] * 255, written["test"][1]["rgb"].transpose(2, 0, 1).astype(np.float32))


def test_lists_of_other_names_are_left_alone(tmp_path: Path) -> None:
    writers.write_taskonomy(tmp_path, {"test_small": 1, "train": 2, "val": 1})
    assert describe("taskonomy_adashare", tmp_path).splits == {"train": 2, "validation": 1}


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (
            '{"test": [["a.png", "b.png", "c.png"]]}',
            r"test\[0\]: a row is \[image, segmentation, normals, depth\]",
        ),
        ('{"test": [["a.png", "b.png", "c.png", 7]]}', "a string of 1 to"),
        ('{"test": [["../a.png", "b.png", "c.png", "d.npy"]]}', "must lie below the root"),
        ('{"test": [["/a.png", "b.png", "c.png", "d.npy"]]}', "must lie below the root"),
        ('{"val": [["a", "b", "c", "d"]], "validation": [["a", "b", "c", "d"]]}', "open as one split"),
        ('{"test": [["a", "b"', "cannot be read"),
        ('{"test": []} more', "something follows"),
        ('{"test": {}}', "expected one of"),
        ("[]", "expected one of"),
        ("", "expected one of"),
        ('{"dev": [["a", "b", "c", "d"]]}', "lists no samples"),
        ("{}", "lists no samples"),
    ],
)
def test_a_listing_that_is_none_is_refused(listing: str, message: str, tmp_path: Path) -> None:
    put(tmp_path, "nyu_v2_3task.json", listing.encode())
    with pytest.raises(FolderError, match=message):
        describe("nyuv2_treemtl", tmp_path)


def test_a_listing_that_is_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    writers.write_treemtl(tmp_path / "data", {"test": 1})
    (tmp_path / "data/nyu_v2_3task.json").rename(tmp_path / "elsewhere.json")
    (tmp_path / "data/nyu_v2_3task.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(FolderError, match="leads out of the root"):
        describe("nyuv2_treemtl", tmp_path / "data")


def test_a_listing_longer_than_a_chunk_is_read_whole(tmp_path: Path) -> None:
    rows = [[f"img/{number:050d}.png", f"seg/{number}.png", "n.png", "d.npy"] for number in range(20_000)]
    put(tmp_path, "nyu_v2_3task.json", json.dumps({"train": rows, "test": rows[:3]}, indent=1).encode())
    found = FORMATS["nyuv2_treemtl"].find(tmp_path.resolve())
    train = found.splits["train"].rows(None)
    assert len(train) == 20_000
    assert [train.file(19_999, part) for part in ("image", "segmentation")] == rows[19_999][:2]
    assert len(found.splits["test"].rows(None)) == 3


@pytest.mark.parametrize(
    ("form", "write", "splits"),
    [
        ("nyuv2_treemtl", writers.write_treemtl, {"train": 2, "test": 1}),
        ("nyuv2_mtan", writers.write_mtan, {"train": 2, "val": 1}),
        ("taskonomy_adashare", writers.write_taskonomy, {"train": 2, "test": 1}),
        ("windthrow", writers.write_general_files, {"train": 2, "test": 1}),
        ("windthrow", writers.write_general_shards, {"train": 2, "test": 1}),
    ],
)
def test_a_data_set_is_described_as_it_opens(
    form: str, write: object, splits: dict[str, int], tmp_path: Path
) -> None:
    assert callable(write)
    write(tmp_path / "data", splits)
    described = describe(form, tmp_path / "data")
    assert described.splits == {"train": 2, "test": 1}
    for split, count in described.splits.items():
        dataset: Dataset = open_folder(form, tmp_path / "data", split, cache=tmp_path)
        assert (dataset.split, len(dataset), dataset.name) == (split, count, described.name)
        assert dataset.tasks == described.tasks
        batch = dataset.batch(range(count))
        assert batch.images.shape[1:] == described.image_shape == (3, *SIZE)
        assert batch.indices.tolist() == list(range(count))
        for task in dataset.tasks:
            labels_of(task, batch)


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_folder_is_no_data_set_of_any_format(form: str, tmp_path: Path) -> None:
    with pytest.raises(FolderError) as caught:
        describe(form, tmp_path)
    assert caught.value.field == "root"


def test_an_unknown_format_or_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no format 'coco'; there are nyuv2_treemtl"):
        describe("coco", tmp_path)
    with pytest.raises(FolderError, match="is not a directory"):
        describe("windthrow", tmp_path / "nowhere")
