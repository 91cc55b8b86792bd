"""Bad samples: each is refused with its file, its field and a reason, or left out, always the same ones."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.folders import REASONS, Check, FolderDataset, FolderError, SampleError, open_folder
from core.errors import InvalidError
from core.losses import resize_nearest
from tests.core.data import folder_writers as writers
from tests.core.data.folder_writers import SIZE, Array, put

GOOD = np.ones(SIZE, dtype=np.float32)


def changed(shape: tuple[int, ...], value: float, dtype: str = "f4") -> Array:
    """Ones, but for one value at row 4, column 7."""
    values = np.ones(shape, dtype=dtype)
    values[4, 7] = value
    return values


BAD: dict[str, tuple[str, Array | bytes | None, str, str, str]] = {
    "no such file": ("depth/test_0001.npy", None, "depth", "missing", "there is no such file"),
    "not an image": ("img/test_0001.png", b"hello", "image", "unreadable", "neither a PNG nor a JPEG"),
    "another size": (
        "depth/test_0001.npy",
        np.ones((3, 4), dtype=np.float32),
        "depth",
        "size",
        r"it is 3 x 4; the image is 32 x 40",
    ),
    "another type": (
        "depth/test_0001.npy",
        np.ones(SIZE, dtype=np.complex64),
        "depth",
        "kind",
        "complex64",
    ),
    "too many channels": (
        "depth/test_0001.npy",
        np.ones((*SIZE, 2), dtype=np.float32),
        "depth",
        "kind",
        "has one channel",
    ),
    "NaN": ("depth/test_0001.npy", changed(SIZE, np.nan), "depth", "not_finite", "nan at row 4, column 7"),
    "infinite": (
        "depth/test_0001.npy",
        changed(SIZE, np.inf),
        "depth",
        "not_finite",
        "inf at row 4, column 7",
    ),
    "no such class": (
        "seg/test_0001.png",
        changed(SIZE, 40, "u1"),
        "segmentation",
        "value",
        "class 40 at row 4, column 7 is none of the task's 40",
    ),
    "grey normals": ("normal_mask/test_0001.png", changed(SIZE, 2, "u1"), "normals", "kind", "8-bit RGB"),
}


def opened(tmp_path: Path, *names: str, **options: object) -> tuple[Path, FolderDataset]:
    """Four samples, the second of which is bad in these ways."""
    root = tmp_path / "data"
    writers.write_treemtl(root, {"test": 4})
    for name in names:
        file, content = BAD[name][:2]
        if content is None:
            (root / file).unlink()
        else:
            put(root, file, content)
    return root, open_folder("nyuv2_treemtl", root, cache=tmp_path / "cache", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sample_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    file, _, field, reason, message = BAD[name]
    _, dataset = opened(tmp_path, name)
    assert len(dataset.batch([0, 2, 3])) == 3
    with pytest.raises(SampleError, match=message) as caught:
        dataset.batch([0, 1])
    error = caught.value
    assert (error.field, error.reason, error.index, error.file) == (field, reason, 1, file)
    assert error.code == "invalid_sample"
    assert isinstance(error, InvalidError)
    assert str(error).startswith(f"test sample 1 (img/test_0001.png), {file}: ")


def test_an_error_crosses_processes(tmp_path: Path) -> None:
    _, dataset = opened(tmp_path, "NaN")
    with pytest.raises(SampleError) as caught:
        dataset.batch([1])
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert vars(again) == vars(caught.value)
    assert str(again) == str(caught.value)


def test_every_reason_occurs_in_these_tests() -> None:
    assert {bad[3] for bad in BAD.values()} == set(REASONS)


@pytest.mark.parametrize("name", BAD)
def test_a_check_finds_what_reading_would(name: str, tmp_path: Path) -> None:
    file, _, field, reason, _ = BAD[name]
    _, dataset = opened(tmp_path, name)
    seen: list[tuple[int, int]] = []
    check = dataset.check(progress=lambda done, total: seen.append((done, total)))
    (bad,) = check.bad
    assert (bad.index, bad.file, bad.field, bad.reason) == (1, file, field, reason)
    assert (check.samples, check.reasons, seen) == (4, {reason: 1}, [(4, 4)])


def test_skipping_leaves_bad_samples_out_and_says_so(tmp_path: Path) -> None:
    root, dataset = opened(tmp_path, "NaN")
    skipping = open_folder("nyuv2_treemtl", root, cache=tmp_path / "cache", on_bad="skip")
    assert [skipping.key(index) for index in range(len(skipping))] == [
        f"img/test_000{i}.png" for i in (0, 2, 3)
    ]
    assert torch.equal(skipping.batch([1]).images, dataset.batch([2]).images)
    assert skipping.batch([1]).indices.tolist() == [1]
    assert [one.reason for one in skipping.skipped] == ["not_finite"]
    assert skipping.version == f"{dataset.version}-skip1"
    with pytest.raises(IndexError):
        skipping.batch([3])


def test_without_bad_samples_skipping_changes_nothing(tmp_path: Path) -> None:
    root, dataset = opened(tmp_path)
    skipping = open_folder("nyuv2_treemtl", root, cache=tmp_path / "cache", on_bad="skip")
    assert (skipping.version, len(skipping), skipping.skipped) == (dataset.version, 4, ())


def test_what_is_skipped_is_looked_for_once(tmp_path: Path) -> None:
    root, first = opened(tmp_path, "NaN", on_bad="skip")
    checks = list((tmp_path / "cache").rglob("test.check.json"))
    assert len(checks) == 1
    kept = checks[0].read_text()
    checks[0].write_text(kept.replace("not_finite", "size"))
    again = open_folder("nyuv2_treemtl", root, cache=tmp_path / "cache", on_bad="skip")
    assert [one.reason for one in again.skipped] == ["size"]
    checks[0].write_text("{")
    repaired = open_folder("nyuv2_treemtl", root, cache=tmp_path / "cache", on_bad="skip")
    assert repaired.skipped == first.skipped


def test_a_mended_file_is_looked_at_again(tmp_path: Path) -> None:
    root, first = opened(tmp_path, "NaN", on_bad="skip")
    put(root, "depth/test_0001.npy", GOOD)
    mended = open_folder("nyuv2_treemtl", root, cache=tmp_path / "cache", on_bad="skip")
    assert (len(first), len(mended)) == (3, 4)
    assert mended.version.partition("-skip")[0] != first.version.partition("-skip")[0]


def test_a_split_of_bad_samples_only_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    writers.write_mtan(root, {"val": 2}, size=(8, 8))
    for number in range(2):
        (root / f"val/depth/{number}.npy").unlink()
    with pytest.raises(FolderError, match=r"every sample of test is bad: \{'missing': 2\}"):
        open_folder("nyuv2_mtan", root, cache=tmp_path, on_bad="skip")


def test_a_check_says_how_many_are_bad_for_which_reason() -> None:
    check = Check("test", 3, ())
    assert check.reasons == {}
    assert check.kept().tolist() == [0, 1, 2]


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    root, small = tmp_path / "data", (16, 24)
    writers.write_mtan(root, {"val": 2}, size=SIZE)
    other = writers.write_mtan(tmp_path / "other", {"val": 2}, size=small)
    for part, values in other["val"][1].items():
        put(root, f"val/{part}/1.npy", values)
    dataset = open_folder("nyuv2_mtan", root, cache=tmp_path)
    with pytest.raises(FolderError, match="samples 0 and 1 are 32 x 40 and 16 x 24") as caught:
        dataset.batch([0, 1])
    assert caught.value.field == "size"
    batch = open_folder("nyuv2_mtan", root, cache=tmp_path, size=(16, 24)).batch([0, 1])
    assert batch.images.shape == (2, 3, 16, 24)
    assert batch.masks["depth"].shape == (2, 16, 24)


def test_resizing_keeps_labels_whole_and_images_smooth(tmp_path: Path) -> None:
    writers.write_treemtl(tmp_path / "data", {"test": 1})
    whole = open_folder("nyuv2_treemtl", tmp_path / "data", cache=tmp_path).batch([0])
    small = open_folder("nyuv2_treemtl", tmp_path / "data", cache=tmp_path, size=(12, 20)).batch([0])
    for name, label in small.labels.items():
        assert torch.equal(label, resize_nearest(whole.labels[name], 12, 20))
    for name, mask in small.masks.items():
        assert torch.equal(mask, resize_nearest(whole.masks[name], 12, 20))
    halved = open_folder("nyuv2_treemtl", tmp_path / "data", cache=tmp_path, size=(16, 20)).batch([0]).images
    assert halved.min() >= 0
    assert halved.max() <= 1
    assert float(halved.mean()) == pytest.approx(float(whole.images.mean()), abs=5e-3)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"on_bad": "ignore"}, "on_bad"),
        ({"size": (0, 4)}, "size"),
        ({"size": (4,)}, "size"),
        ({"threads": 0}, "threads"),
        ({"split": "validation"}, "split"),
        ({"version": "1-0123456789abcdef"}, "version"),
    ],
)
def test_what_cannot_be_opened_says_why(options: dict[str, object], field: str, tmp_path: Path) -> None:
    writers.write_mtan(tmp_path / "data", {"val": 1}, size=(8, 8))
    with pytest.raises(InvalidError) as caught:
        open_folder("nyuv2_mtan", tmp_path / "data", cache=tmp_path, **options)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_position_outside_the_split_is_refused(tmp_path: Path) -> None:
    _, dataset = opened(tmp_path)
    for position in (-1, 4):
        with pytest.raises(IndexError, match=r"outside 0\.\.3"):
            dataset.batch([position])


def test_an_empty_batch_is_a_batch(tmp_path: Path) -> None:
    _, dataset = opened(tmp_path)
    batch = dataset.batch([])
    assert len(batch) == 0
    assert list(batch.labels) == ["segmentation", "normals", "depth"]


def test_a_pickled_data_set_is_the_same(tmp_path: Path) -> None:
    _, dataset = opened(tmp_path, "NaN", on_bad="skip", threads=2)
    before = dataset.batch([0, 2])
    again: FolderDataset = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own
    assert (again.version, len(again), again.skipped) == (dataset.version, 3, dataset.skipped)
    assert torch.equal(again.batch([0, 2]).images, before.images)
