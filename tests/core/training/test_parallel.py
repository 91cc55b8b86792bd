"""Two processes train as one does, up to rounding, and end together whatever happens."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException

from core.specs.training import RecipeError
from core.training import load_state, save_state
from core.training.norms import synchronised
from core.training.parallel import joined, run_parallel
from tests.core.training.crews import FRIENDLY, RECIPES, alone, crew, fail
from tests.core.training.runs import Smooth, equal, recipe, trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left what they did."""
    where = tmp_path_factory.mktemp("crew")
    begun = trainer(FRIENDLY, model=Smooth())
    begun.run(until=3)
    save_state(begun.state_dict(), where / "alone")
    run_parallel(crew, 2, arguments=(where,))
    return where


def tensors(state: dict[str, Any], group: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = state[group]
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_have_the_curves_of_one_at_the_same_batch(name: str, folder: Path) -> None:
    one = alone(name)
    two = load_state(folder / f"{name}.0")
    assert tuple(two["columns"]) == one.curves.columns
    torch.testing.assert_close(two["curves"], one.curves.tensor(), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", ["clean", "friendly"])
def test_two_processes_end_with_the_weights_and_batch_statistics_of_one(name: str, folder: Path) -> None:
    one, two = alone(name).state_dict(), load_state(folder / f"{name}.0")
    for group in ("model", "average"):
        assert tensors(one, group).keys() == tensors(two, group).keys()
        for key, value in tensors(one, group).items():
            torch.testing.assert_close(tensors(two, group)[key], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_both_processes_have_the_same_state_bit_for_bit(name: str, folder: Path) -> None:
    assert equal(load_state(folder / f"{name}.0"), load_state(folder / f"{name}.1"))


def test_some_samples_stopped_early_in_the_friendly_recipe() -> None:
    steps = alone("friendly").curves["inner_steps"]
    assert 0 < steps.mean() < 3


def test_when_one_process_is_told_to_stop_all_do(folder: Path) -> None:
    assert (folder / "stopped.1").read_text() == "KeyError 2"
    assert (folder / "stopped.0").read_text() == "StoppedError 2"


def test_a_loss_that_is_no_number_in_one_process_ends_all_alike(folder: Path) -> None:
    assert (folder / "diverged.0").read_text() == (folder / "diverged.1").read_text() == "depth 3 2"


def test_another_number_of_processes_goes_on_where_one_was_stopped(folder: Path) -> None:
    resumed = load_state(folder / "resumed")
    torch.testing.assert_close(resumed["curves"], alone("friendly").curves.tensor(), atol=2e-5, rtol=2e-5)


def test_an_error_of_one_process_is_raised_here() -> None:
    with pytest.raises(ProcessRaisedException, match="the second process is unwell"):
        run_parallel(fail, 2)


def test_a_process_joins_those_that_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    with joined() as group:
        values = torch.ones(3)
        group.add(values)
        group.share(values)
        assert (group.rank, group.size, group.device.type) == (0, 1, "cpu")
        assert values.tolist() == [1, 1, 1]
    assert not torch.distributed.is_initialized()


class Pair:
    """A team of two whose other process has the very same numbers."""

    rank = 0
    size = 2

    def add(self, values: torch.Tensor) -> None:
        values.mul_(2)

    def share(self, values: torch.Tensor) -> None:
        """They are the first's already."""


def test_a_recipe_is_checked_against_the_number_of_processes() -> None:
    with pytest.raises(RecipeError, match="nothing to do"):
        trainer(recipe(batch_size=4, accumulation=3), team=Pair())


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_synchronised_norm_is_torchs_on_the_samples_of_all(momentum: float | None) -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 4, 5, 5) + torch.arange(4.0).view(1, 4, 1, 1)
    ours, theirs = nn.BatchNorm2d(4, momentum=momentum), nn.BatchNorm2d(4, momentum=momentum)
    mine, whole = features.clone().requires_grad_(), torch.cat([features, features]).requires_grad_()
    for _ in range(2):
        with synchronised(ours, Pair()):
            found = ours(mine)
        expected = theirs(whole)
    torch.testing.assert_close(found, expected[:3], atol=1e-5, rtol=1e-5)
    weight = torch.randn(3, 4, 5, 5)
    (found * weight).sum().backward()
    (expected * torch.cat([weight, weight])).sum().backward()
    assert mine.grad is not None
    assert whole.grad is not None
    torch.testing.assert_close(mine.grad, whole.grad[:3], atol=1e-5, rtol=1e-4)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-5, rtol=1e-5)


def test_norms_are_their_own_again_outside_and_in_eval_mode() -> None:
    norm = nn.BatchNorm2d(2)
    features = torch.randn(2, 2, 3, 3)
    with synchronised(norm, Pair()):
        assert isinstance(norm.forward, partial)
        norm.eval()
        inside = norm(features)
    assert "forward" not in vars(norm)
    assert torch.equal(inside, norm(features))
