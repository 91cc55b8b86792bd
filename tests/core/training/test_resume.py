"""A training that was interrupted and resumed ends as if nothing had happened, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from core.specs.training import Adversarial, Optimiser, Recipe
from core.training import StateError, Trainer, load_state, save_state
from tests.core.synthetic import SMALL, SyntheticDataset, small_model
from tests.core.training.runs import (
    ATTACK,
    DENSE,
    EVERYTHING,
    MIXES,
    WithDropout,
    data,
    equal,
    name_of,
    recipe,
    same,
    trainer,
)

BATCHES = 5
"""Of an epoch, so that 3 is in the middle of one and 5 between two."""


class StopError(Exception):
    """The user has had enough."""


def how(adversarial: Adversarial | None, **fields: Any) -> Recipe:
    if adversarial is not None:
        attack = replace(ATTACK, random_start=True)
        adversarial = replace(adversarial, attack=attack, omega=0.5, tau=1)
    return recipe(**{**EVERYTHING, **fields}, adversarial=adversarial)


@cache
def uninterrupted(adversarial: Adversarial | None) -> Trainer:
    whole = trainer(how(adversarial), model=WithDropout(small_model(DENSE)))
    whole.run()
    return whole


@pytest.mark.parametrize("adversarial", MIXES, ids=name_of)
@pytest.mark.parametrize("stop", [0, 1, 3, BATCHES, 7, 8])
def test_stopped_after_any_iteration_and_resumed_elsewhere_it_ends_the_same(
    adversarial: Adversarial | None, stop: int, tmp_path: Path
) -> None:
    first = trainer(how(adversarial), model=WithDropout(small_model(DENSE)))
    first.run(until=stop)
    save_state(first.state_dict(), tmp_path / "state")
    torch.manual_seed(99)
    second = trainer(how(adversarial), model=WithDropout(small_model(DENSE, seed=5)))
    second.load_state_dict(load_state(tmp_path / "state"))
    assert second.iteration == stop
    second.run()
    whole = uninterrupted(adversarial)
    assert same(second.trained(), whole.trained())
    assert equal(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_every_optimiser_is_resumed(optimiser: Any) -> None:
    chosen = recipe(optimiser=Optimiser(name=optimiser, learning_rate=1e-2))
    whole, first, second = trainer(chosen), trainer(chosen), trainer(chosen, seed=5)
    whole.run()
    first.run(until=3)
    second.load_state_dict(first.state_dict())
    second.run()
    assert equal(second.state_dict(), whole.state_dict())


def test_a_state_goes_through_torch_save_without_pickled_code(tmp_path: Path) -> None:
    first = trainer(how(MIXES[1]))
    first.run(until=3)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    assert equal(torch.load(tmp_path / "state.pt", weights_only=True), first.state_dict())


def test_a_state_goes_through_a_file(tmp_path: Path) -> None:
    first = trainer(how(MIXES[1]))
    first.run(until=3)
    save_state(first.state_dict(), tmp_path / "state")
    assert equal(load_state(tmp_path / "state"), first.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_state_does_not_change_while_training_goes_on() -> None:
    first = trainer(how(MIXES[1]))
    first.run(until=2)
    state, again = first.state_dict(), first.state_dict()
    first.run(until=4)
    assert equal(state, again)


def stopping_at(call: int) -> Callable[[], None]:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise StopError

    return check


def test_a_check_that_raises_ends_the_run_between_two_iterations_and_it_can_go_on() -> None:
    first = trainer(how(MIXES[1]), model=WithDropout(small_model(DENSE)))
    with pytest.raises(StopError):
        first.run(check=stopping_at(4))
    assert first.iteration == 3
    first.run()
    assert equal(first.state_dict(), uninterrupted(MIXES[1]).state_dict())


def test_an_error_of_the_data_leaves_the_trainer_between_two_iterations() -> None:
    class Failing(SyntheticDataset):
        whole = False

        def batch(self, indices: Any) -> Any:
            if not self.whole and 7 in indices:
                raise OSError("the disk is gone")
            return super().batch(indices)

    dataset = Failing(DENSE, samples=20)
    first = trainer(how(MIXES[1]), model=WithDropout(small_model(DENSE)), dataset=dataset)
    with pytest.raises(OSError, match="the disk is gone"):
        first.run()
    assert first.iteration < first.iterations
    dataset.whole = True
    first.run()
    assert equal(first.state_dict(), uninterrupted(MIXES[1]).state_dict())


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("recipe", {"how": recipe(seed=1)}),
        ("dataset", {"dataset": SyntheticDataset(DENSE, samples=20, split="train")}),
        ("dataset", {"samples": 16}),
    ],
    ids=["another seed", "another data set", "fewer samples"],
)
def test_the_state_of_another_training_is_refused(field: str, other: dict[str, Any]) -> None:
    second = trainer(other.pop("how", recipe()), **other)
    with pytest.raises(StateError, match=f"of another {field}") as caught:
        second.load_state_dict(trainer(recipe()).state_dict())
    assert caught.value.field == field


def test_the_state_of_other_tasks_or_another_model_is_refused() -> None:
    state = trainer(recipe()).state_dict()
    fewer = Trainer(small_model(DENSE[:2]), DENSE[:2], data(), recipe())
    with pytest.raises(StateError, match="another tasks"):
        fewer.load_state_dict(state)
    other = trainer(recipe(), model=small_model(SMALL))
    with pytest.raises(StateError, match="another model"):
        other.load_state_dict(state)


def test_a_state_of_another_version_is_refused() -> None:
    state = trainer(recipe()).state_dict() | {"version": 0}
    with pytest.raises(StateError, match="version 0"):
        trainer(recipe()).load_state_dict(state)


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(StateError, match="not the state of a training"):
        load_state(path)
