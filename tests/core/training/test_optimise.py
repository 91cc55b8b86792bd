"""Learning rates are torch's own schedules' without their state; order and averages are as they say."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from core.specs.training import Optimiser, Schedule
from core.training.feed import ahead
from core.training.keys import rows_of, torch_seed
from core.training.optimise import make_optimiser, share_of_rate
from core.training.weights import Average

TOTAL = 23
TORCHS: list[tuple[Schedule, Callable[[Optimizer], LRScheduler]]] = [
    (Schedule(name="step", every=5), lambda o: StepLR(o, 5, gamma=0.5)),
    (Schedule(name="step", every=4, factor=0.1), lambda o: StepLR(o, 4, gamma=0.1)),
    (Schedule(name="cosine"), lambda o: CosineAnnealingLR(o, TOTAL)),
    (Schedule(name="cosine", factor=0.1), lambda o: CosineAnnealingLR(o, TOTAL, eta_min=0.1)),
    (Schedule(name="one_cycle"), lambda o: OneCycleLR(o, 1.0, TOTAL, pct_start=0.2, cycle_momentum=False)),
    (
        Schedule(name="one_cycle", rise=0.5),
        lambda o: OneCycleLR(o, 1.0, TOTAL, pct_start=0.5, cycle_momentum=False),
    ),
]


@pytest.mark.parametrize(("schedule", "make"), TORCHS, ids=lambda value: getattr(value, "name", ""))
def test_learning_rates_are_those_of_torchs_schedules(
    schedule: Schedule, make: Callable[[Optimizer], LRScheduler]
) -> None:
    optimiser = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs, expected = make(optimiser), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimiser step is taken
        for _ in range(TOTAL):
            expected.append(optimiser.param_groups[0]["lr"])
            theirs.step()
    ours = [share_of_rate(schedule, iteration, TOTAL) for iteration in range(TOTAL)]
    assert ours == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_short_trainings_have_a_learning_rate_too(name: str, total: int) -> None:
    schedule = Schedule(name=name)  # type: ignore[arg-type]
    assert all(0 < share_of_rate(schedule, iteration, total) <= 1 for iteration in range(total))


def test_the_papers_learning_rate_is_halved_after_every_4000_iterations() -> None:
    schedule = Schedule(name="step", every=4_000)
    shares = [share_of_rate(schedule, iteration, 20_000) for iteration in (0, 3_999, 4_000, 8_000, 19_999)]
    assert shares == [1, 1, 0.5, 0.25, 0.0625]


def test_optimisers_have_the_numbers_of_the_recipe() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    adam = make_optimiser([parameter], Optimiser(name="adam", betas=(0.5, 0.9), weight_decay=0.2))
    assert type(adam) is Adam
    assert (adam.defaults["betas"], adam.defaults["weight_decay"]) == ((0.5, 0.9), 0.2)
    assert type(make_optimiser([parameter], Optimiser())) is AdamW
    sgd = make_optimiser([parameter], Optimiser(name="sgd", nesterov=True, learning_rate=0.3))
    assert type(sgd) is SGD
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"], sgd.defaults["lr"]) == (0.9, True, 0.3)


def test_frozen_parameters_are_left_alone() -> None:
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    groups = make_optimiser([frozen, nn.Parameter(torch.zeros(1))], Optimiser()).param_groups
    assert len(groups[0]["params"]) == 1


def test_every_epoch_takes_every_sample_once_in_an_order_of_its_own() -> None:
    epochs = [
        np.concatenate([rows_of(4 * epoch + place, seed=0, samples=12, batch_size=3) for place in range(4)])
        for epoch in range(3)
    ]
    assert all(sorted(epoch.tolist()) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3


def test_an_iterations_samples_follow_from_seed_and_position_alone() -> None:
    late = rows_of(11, seed=7, samples=20, batch_size=6)
    rows_of(2, seed=7, samples=20, batch_size=6)
    assert rows_of(11, seed=7, samples=20, batch_size=6).tolist() == late.tolist()
    assert rows_of(11, seed=8, samples=20, batch_size=6).tolist() != late.tolist()


def test_dropouts_seed_differs_between_iterations_and_processes() -> None:
    assert len({torch_seed(0, 0, 0), torch_seed(0, 1, 0), torch_seed(0, 0, 1), torch_seed(1, 0, 0)}) == 4
    assert torch_seed(2**63 - 1, 10**7, 10**4) >= 0


def test_a_feed_loads_one_ahead_and_in_order() -> None:
    loaded: list[int] = []

    def load(iteration: int) -> int:
        loaded.append(iteration)
        return 10 * iteration

    feed = ahead(load, range(3, 7))
    assert next(feed) == 30
    feed.close()
    assert loaded == [3, 4]
    assert list(ahead(load, range(3))) == [0, 10, 20]
    assert list(ahead(load, range(0))) == []


def test_a_feed_raises_what_loading_raised_when_its_turn_has_come() -> None:
    def load(iteration: int) -> int:
        if iteration == 1:
            raise OSError("the disk is gone")
        return iteration

    feed = ahead(load, range(3))
    assert next(feed) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(feed)


def test_an_average_begins_with_a_low_decay_and_ends_with_its_own() -> None:
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer, decay=0.5)
    with torch.no_grad():
        before = average.values["weight"].clone()
        layer.weight.copy_(before + 1)
    average.update(1)
    torch.testing.assert_close(average.values["weight"], before + 9 / 11)
    with torch.no_grad():
        layer.weight.copy_(average.values["weight"] + 1)
    average.update(1_000)
    torch.testing.assert_close(average.values["weight"], before + 9 / 11 + 0.5)
