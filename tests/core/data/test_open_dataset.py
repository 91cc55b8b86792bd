"""Data sets by name: what the catalogue says is what opens."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.data import open_dataset
from core.data.registry import OPENERS
from core.datasets import DATASETS, SPLITS
from core.errors import InvalidError
from core.tasks import profile


def test_the_catalogue_lists_what_can_be_opened() -> None:
    assert set(DATASETS) == set(OPENERS)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_is_as_the_catalogue_says(name: str, split: str, tmp_path: Path) -> None:
    info, dataset = DATASETS[name], open_dataset(name, split, cache=tmp_path)
    assert (dataset.name, dataset.version, dataset.split) == (info.name, info.version, split)
    assert len(dataset) == info.splits[split]
    assert dataset.tasks == profile(info.profile).tasks


@pytest.mark.parametrize("name", DATASETS)
def test_an_image_has_the_shape_that_the_catalogue_says(name: str, tmp_path: Path) -> None:
    assert open_dataset(name, cache=tmp_path).batch([0]).images.shape[1:] == DATASETS[name].image_shape


def test_the_test_split_is_opened_unless_another_is_asked_for() -> None:
    assert open_dataset("digits").split == "test"


def test_scenes_open_at_another_resolution(tmp_path: Path) -> None:
    assert open_dataset("scenes", cache=tmp_path, resolution=8).batch([0]).images.shape == (1, 3, 8, 8)


def test_an_empty_batch_is_a_batch(tmp_path: Path) -> None:
    assert open_dataset("scenes", cache=tmp_path).batch([]).images.shape == (0, 3, 64, 64)


@pytest.mark.parametrize(
    ("name", "split", "resolution", "message"),
    [
        ("scnes", "test", None, "no data set 'scnes'; there are scenes, digits"),
        ("scenes", "dev", None, "no split 'dev'; it has train, validation, test"),
        ("digits", "dev", None, "no split 'dev'; it has train, validation, test"),
        ("digits", "test", 64, "32 pixels high; got 64"),
        ("scenes", "test", 2, "at least 8 pixels; got 2"),
    ],
)
def test_what_cannot_be_opened_says_what_can(
    name: str, split: str, resolution: int | None, message: str
) -> None:
    with pytest.raises(InvalidError, match=message):
        open_dataset(name, split, resolution=resolution)


def test_the_catalogue_needs_no_torch() -> None:
    code = "import sys, core.datasets; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[3], check=True)
