"""Where the state dict is: found where there is one, asked for where there are several."""

from pathlib import Path

import pytest
import torch

from core.checkpoint_files import Hints, convert
from tests.core.checkpoint_files.files import model, refusal, saved, state_dict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


def test_several_state_dicts_are_ambiguous_until_one_is_named(path: Path) -> None:
    own, averaged = state_dict(), {name: value + 1 for name, value in state_dict().items()}
    saved(path, {"state_dict": own, "ema": averaged})
    error = refusal(path)
    assert (error.code, error.field) == ("ambiguous_weights", "field")
    assert "'state_dict', 'ema'" in str(error)
    digests = [
        convert(path, path.with_name("out"), hints=Hints(field=field)).sha256
        for field in ("state_dict", "ema")
    ]
    assert digests[0] != digests[1]


def test_one_state_dict_under_two_names_is_not_ambiguous(path: Path) -> None:
    own = state_dict()
    saved(path, {"model": own, "state_dict": own})
    assert convert(path, path.with_name("out")).identity.backbone == "sapling"


def test_a_discriminator_beside_the_model_is_not_mistaken_for_it(path: Path) -> None:
    saved(path, {"net": state_dict(), "other": {"fc.weight": torch.zeros(2)}})
    assert convert(path, path.with_name("out")).identity.backbone == "sapling"


@pytest.mark.parametrize("field", ["model", "state_dict.deeper", "epoch", "state_dict.", "."])
def test_a_field_without_tensors_is_refused(path: Path, field: str) -> None:
    error = refusal(saved(path, {"state_dict": state_dict(), "epoch": 3}), hints=Hints(field=field))
    assert (error.code, error.field) == ("no_weights", "field")


def test_a_field_of_a_safetensors_file_is_refused(path: Path) -> None:
    convert(saved(path, state_dict()), path.with_name("whole"))
    assert refusal(path.with_name("whole"), hints=Hints(field="state_dict")).code == "no_weights"


def test_another_models_names_are_refused_and_shown(path: Path) -> None:
    error = refusal(saved(path, {"state_dict": torch.nn.Linear(2, 2).state_dict()}))
    assert error.code == "unknown_names"
    assert "'weight', 'bias'" in str(error)


def test_another_models_names_under_a_named_field_are_refused(path: Path) -> None:
    saved(path, {"net": torch.nn.Linear(2, 2).state_dict()})
    assert refusal(path, hints=Hints(field="net")).code == "unknown_names"


def test_a_state_dict_deeper_than_anyone_puts_it_is_not_looked_for(path: Path) -> None:
    saved(path, {"a": {"b": {"c": state_dict()}}})
    assert refusal(path).code == "no_weights"
    assert convert(path, path.with_name("out"), hints=Hints(field="a.b.c")).identity.backbone == "sapling"


@pytest.mark.parametrize("value", [{}, [], None, 3, "text", {"epoch": 3}, {"state_dict": {}}, torch.zeros(3)])
def test_a_file_without_a_dict_of_tensors_is_refused(path: Path, value: object) -> None:
    assert refusal(saved(path, value)).code == "no_weights"


@pytest.mark.parametrize("name", ["stages.0.0.\n", "stages.0.0.ü", "stages.0.0." + "x" * 300])
def test_names_that_could_not_stand_in_a_message_are_refused(path: Path, name: str) -> None:
    assert refusal(saved(path, {**state_dict(), name: torch.zeros(1)})).code == "unknown_names"


def test_buffers_and_parameters_of_a_module_stay_what_they_are(path: Path) -> None:
    assert convert(saved(path, model().state_dict()), path.with_name("out")).identity.style == "native"
