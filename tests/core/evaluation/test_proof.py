"""A model's preprocessing put to the proof: wrong channel order, wrong scale and untrained weights are seen."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from core.data import open_dataset
from core.evaluation.proof import likely_mistakes, prove, untrained
from core.models import TreeModel, load_checkpoint
from core.models.tree import Preprocess
from core.specs.preprocessing import Preprocessing
from core.tasks import profile
from tests.core.synthetic import SMALL, SyntheticDataset, small_model, trained_model

CHECKPOINTS = Path("worker/demo/checkpoints")
SCENES = profile("scenes").tasks


def shipped(preprocessing: Preprocessing | None = None) -> TreeModel:
    path = Path(__file__).parents[3] / CHECKPOINTS / "scenes-all-shared.safetensors"
    return load_checkpoint(
        path, backbone="sapling", layout="all-shared", tasks=SCENES, preprocessing=preprocessing
    )


@pytest.mark.parametrize(
    ("given", "better"),
    [
        (Preprocessing(scale=255.0), "images in 0..1"),
        (Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)), "no normalisation"),
    ],
    ids=["scale", "normalisation"],
)
def test_a_trained_models_true_preprocessing_does_best(given: Preprocessing, better: str) -> None:
    found = prove(shipped(given), open_dataset("scenes", "validation"), SCENES)
    doubts = [flag for flag in found.flags if flag.code == "doubtful_preprocessing"]
    assert [better in flag.message for flag in doubts] == [True]
    assert found.variants[better] == min(value for value in found.variants.values() if value is not None)


def test_the_right_preprocessing_is_not_doubted() -> None:
    assert prove(shipped(), open_dataset("scenes", "validation"), SCENES).flags == ()


def test_swapped_channels_are_seen_where_the_model_tells_colours_apart() -> None:
    model = deepcopy(trained_model())
    data = SyntheticDataset(model.tasks, samples=16, side=32)
    assert prove(model, data, model.tasks).flags == ()
    model.preprocess = Preprocess(Preprocessing(channel_order="bgr"))
    found = prove(model, data, model.tasks)
    assert "channels in the order rgb" in found.flags[0].message


def test_an_untrained_model_is_seen() -> None:
    found = prove(untrained(shipped()), open_dataset("scenes", "validation"), SCENES)
    assert "no_better_than_random" in [flag.code for flag in found.flags]
    assert found.metrics == found.random


def test_the_model_is_left_as_it_was_and_random_weights_repeat() -> None:
    model, data = small_model(), SyntheticDataset(SMALL, samples=4, side=32)
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    preprocess = model.preprocess
    once, again = prove(model, data, SMALL), prove(model, data, SMALL)
    assert once == again
    assert once.samples == 4
    assert model.preprocess is preprocess
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "given",
    [Preprocessing(), Preprocessing(channel_order="bgr", scale=255.0), Preprocessing(std=(0.2, 0.2, 0.2))],
)
def test_what_was_given_is_no_mistake(given: Preprocessing) -> None:
    found = likely_mistakes(given)
    assert given not in found.values()
    assert len(found) >= 3
