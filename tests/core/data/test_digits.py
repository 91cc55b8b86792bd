"""What the pairs of digits promise: real scans, disjoint splits, the same pair for the same position."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from core.data import Dataset
from core.data.digits import DigitsDataset, sample_plan, scaled_digits, scans_of
from core.errors import InvalidError
from core.tasks import profile

SPLITS = ("train", "validation", "test")


def test_no_scan_appears_in_two_splits() -> None:
    scans = [set(scans_of(split).tolist()) for split in SPLITS]
    assert set.union(*scans) == set(range(1797))
    assert sum(len(part) for part in scans) == 1797


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_shows_its_own_scans_only(split: str) -> None:
    assert set(np.unique(sample_plan(split)[0])) <= set(scans_of(split).tolist())


@pytest.mark.parametrize(("split", "size"), [("train", 6000), ("validation", 500), ("test", 1000)])
def test_a_data_set_says_what_it_is(split: str, size: int) -> None:
    dataset: Dataset = DigitsDataset(split)
    assert (dataset.name, dataset.version, dataset.split, len(dataset)) == ("digits", "1", split, size)
    assert dataset.tasks == profile("digits").tasks


def test_the_same_position_shows_the_same_pair_whatever_is_beside_it() -> None:
    one, two = DigitsDataset("test").batch([7, 3]), DigitsDataset("test").batch([1, 3, 999])
    assert torch.equal(one.images[1], two.images[1])
    assert one.labels["left"][1] == two.labels["left"][1]
    assert one.indices.tolist() == [7, 3]


def test_images_are_grey_and_exact_in_eight_bits() -> None:
    images = DigitsDataset("train").batch(range(32)).images
    assert images.shape == (32, 3, 32, 64)
    assert images.dtype == torch.float32
    assert torch.equal(images[:, 0], images[:, 2])
    assert torch.equal((images * 255.0).round() / 255.0, images)
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)


def test_each_digit_stays_in_its_half_and_carries_its_label() -> None:
    batch = DigitsDataset("test").batch(range(200))
    scans, classes = scaled_digits()
    pairs, offsets = sample_plan("test")
    for row in range(200):
        for half, name in enumerate(("left", "right")):
            assert batch.labels[name][row] == classes[pairs[row, half]]
            down, across = (int(value) for value in offsets[row, half])
            picture = batch.images[row, 0, :, 32 * half : 32 * half + 32]
            inside = picture[down : down + 24, across : across + 24]
            assert torch.equal(
                (inside * 255.0).round().to(torch.uint8), torch.from_numpy(scans[pairs[row, half]])
            )
            assert float(picture.sum()) == pytest.approx(float(inside.sum()), rel=1e-5)


def test_an_enlarged_digit_is_still_its_scan() -> None:
    scans, classes = scaled_digits()
    source = load_digits()
    small = scans.reshape(-1, 8, 3, 8, 3).mean(axis=(2, 4)) / 255.0
    assert np.abs(small - source.images / 16.0).mean() < 0.05
    assert np.array_equal(classes, source.target)


def test_digits_move_about_from_sample_to_sample() -> None:
    offsets = sample_plan("train")[1]
    assert (offsets.min(), offsets.max()) == (0, 8)
    assert len(np.unique(offsets.reshape(-1, 2), axis=0)) == 81


def test_every_class_occurs_on_both_sides() -> None:
    labels = DigitsDataset("validation").batch(range(500)).labels
    assert set(labels["left"].tolist()) == set(labels["right"].tolist()) == set(range(10))


def test_a_position_outside_the_data_set_is_refused() -> None:
    with pytest.raises(IndexError, match=r"outside 0\.\.999"):
        DigitsDataset("test").batch([1000])


def test_an_unknown_split_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidError, match="train, validation, test"):
        DigitsDataset("dev")


def test_importing_the_data_sets_does_not_import_scikit_learn() -> None:
    code = "import sys, core.data; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[3], check=True)
