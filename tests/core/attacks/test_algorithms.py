"""What single algorithms are made of: Auto-SAGE's blend, Square's search, averaging, and how a rise is judged."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec, run_attack
from core.attacks.auto_sage import mean_size, sech_squared
from core.attacks.run import still_rising
from core.attacks.square import bump, side_of
from core.data.batch import Batch
from core.specs import AttackSpecError
from core.specs.algorithms import Algorithm
from core.tasks import Task
from tests.core.attacks.toys import SIDE, TOYS, Pixelwise, attempt, toy_batch, worth
from tests.core.synthetic import pgd

DEPTH = (Task("depth", "regression", 1),)


def test_sech_squared_is_the_slope_of_tanh() -> None:
    values = torch.linspace(-12, 12, 97, dtype=torch.float64).requires_grad_()
    slope = torch.autograd.grad(torch.tanh(values).sum(), values)[0]
    torch.testing.assert_close(sech_squared(values.detach()), slope, atol=1e-12, rtol=1e-9)


def test_sech_squared_does_not_overflow() -> None:
    extreme = torch.tensor([-torch.inf, -3e38, -1e4, -90.0, 90.0, 1e4, 3e38, torch.inf])
    assert torch.equal(sech_squared(extreme), torch.zeros(8))
    assert float(sech_squared(torch.zeros(()))) == 1


def test_the_mean_size_of_a_sample_is_its_own_and_never_0() -> None:
    values = torch.tensor([1.0, 0.0, 1e-30]).view(3, 1, 1, 1) * torch.tensor([[3.0, -1.0]])
    torch.testing.assert_close(
        mean_size(values).flatten(), torch.tensor([2.0, 1.0, 2e-30]), atol=0, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("query", "share"),
    [
        (1, 0.8),
        (10, 0.8),
        (11, 0.4),
        (50, 0.4),
        (51, 0.2),
        (200, 0.2),
        (201, 0.1),
        (501, 0.05),
        (1001, 0.025),
        (2001, 0.0125),
        (4001, 0.00625),
        (6001, 0.003125),
        (8001, 0.0015625),
        (10_000, 0.0015625),
    ],
)
def test_the_squares_shrink_on_the_published_schedule_whatever_the_budget(query: int, share: float) -> None:
    side = round(math.sqrt(share * 224 * 224))
    assert side_of(query, 10_000, 224, 224) == side
    assert side_of(10 * query, 100_000, 224, 224) == side


def test_a_square_has_a_pixel_at_least_and_fits_into_the_image() -> None:
    sides = [side_of(query, 50, 4, 60) for query in range(50)]
    assert max(sides) <= 4
    assert min(sides) == 1
    assert sides == sorted(sides, reverse=True)


def test_square_begins_with_stripes_and_then_accepts_what_raises_the_value() -> None:
    model, batch = Pixelwise(), toy_batch()
    ends = [
        run_attack(
            model, batch, TOYS, AttackSpec(algorithm="square", objective="total", eps=0.03, steps=steps)
        ).images
        for steps in (1, 60)
    ]
    spec = AttackSpec(algorithm="square", objective="total", eps=0.03, steps=60)
    stripes = (ends[0] - batch.images).sign()
    untouched = (batch.images > 0.03) & (batch.images < 0.97)
    assert ((stripes == stripes[:, :, :1]) | ~untouched).all(), "every column has one sign"
    for images in ends:
        reached = torch.minimum(
            (images - (batch.images - 0.03).clamp(0, 1)).abs(),
            (images - (batch.images + 0.03).clamp(0, 1)).abs(),
        )
        assert reached.max() < 1e-6, "every value is at a corner of ball and box"
    first, last = (worth(model, batch, spec, images) for images in ends)
    assert (last > first).all()


def test_a_query_of_square_changes_one_square_and_no_more() -> None:
    model, batch = Pixelwise(), toy_batch()
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    _, ascent = attempt(model, batch, AttackSpec(algorithm="square", objective="total", eps=0.03, steps=40))
    best, best_value = seen[0].clone(), ascent.trace[0].clone()
    for query, (images, value) in enumerate(zip(seen[1:], ascent.trace[1:], strict=True), 1):
        for changed in (images != best).any(1):
            rows, columns = (np.flatnonzero(changed.any(axis).numpy()) for axis in (1, 0))
            side = side_of(query, 40, SIDE, SIDE)
            assert all(np.ptp(where) < side for where in (rows, columns) if len(where))
        better = value > best_value
        best[better], best_value[better] = images[better], value[better]


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 12])
def test_a_bump_is_two_pyramids_of_opposite_signs_and_length_one(side: int) -> None:
    found = bump(side)
    assert found.shape == (side, side)
    assert np.linalg.norm(found) == pytest.approx(1)
    assert (found[: side // 2] > 0).all()
    assert (found[side // 2 :] < 0).all()
    assert np.array_equal(np.abs(found), np.abs(found[:, ::-1])), "left and right are alike"


def test_square_in_l2_spends_the_whole_radius_and_accepts_what_raises_the_value() -> None:
    model = Pixelwise()
    clean = toy_batch()
    batch = Batch(0.4 + 0.2 * clean.images, clean.labels, clean.masks, clean.indices)  # the box is far away
    spec = AttackSpec(algorithm="square", objective="total", eps=0.2, norm="l2", steps=60)
    first = run_attack(model, batch, TOYS, replace(spec, steps=1)).images
    last = run_attack(model, batch, TOYS, spec).images
    for images in (first, last):
        lengths = (images - batch.images).flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, torch.full_like(lengths, 0.2), rtol=1e-4, atol=0)
    assert (worth(model, batch, spec, last) > worth(model, batch, spec, first)).all()


def test_a_query_of_square_in_l2_changes_two_squares_and_no_more() -> None:
    model, batch = Pixelwise(), toy_batch()
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    spec = AttackSpec(algorithm="square", objective="total", eps=0.05, norm="l2", steps=40)
    _, ascent = attempt(model, batch, spec)
    best, best_value = seen[0].clone(), ascent.trace[0].clone()
    for query, (images, value) in enumerate(zip(seen[1:], ascent.trace[1:], strict=True), 1):
        side = max(3, side_of(query, 40, SIDE, SIDE, first=0.1))
        changed = ((images - best).abs() > 1e-6).any(1).flatten(1).sum(1)
        assert changed.max() <= 2 * side**2
        better = value > best_value
        best[better], best_value[better] = images[better], value[better]


class Noisy(nn.Module):
    """A linear prediction whose weights are blurred by fresh noise at every pass."""

    def __init__(self, weight: Tensor, noise: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.noise = noise

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        weight = self.weight + self.noise * torch.randn_like(self.weight)
        return {"depth": (images * weight).sum((1, 2, 3), keepdim=True)}


@pytest.mark.parametrize("algorithm", ["fgsm", "pgd", "mim", "apgd", "auto_sage"])
def test_averaging_over_a_random_models_gradients_finds_the_direction_behind_the_noise(
    algorithm: Algorithm,
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 6, 6, generator=generator)
    batch = Batch(torch.full((4, 3, 6, 6), 0.5), {"depth": torch.full((4, 1, 6, 6), -100.0)})

    def agreement(eot: int) -> float:
        steps = None if algorithm == "fgsm" else 2
        spec = AttackSpec(algorithm=algorithm, objective="single:depth", eps=0.03, steps=steps, eot=eot)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            images = run_attack(Noisy(weight, noise=4.0), batch, DEPTH, spec).images
        return float(((images - 0.5).sign() == weight.sign()).float().mean())

    assert agreement(1) < 0.7
    assert agreement(100) > 0.85


@pytest.mark.parametrize("algorithm", ["pgd", "mim", "apgd"])
def test_averaging_over_a_model_that_is_not_random_changes_nothing(algorithm: Algorithm) -> None:
    plain, averaged = (
        run_attack(
            Pixelwise(),
            toy_batch(),
            TOYS,
            AttackSpec(algorithm=algorithm, objective="total", eps=0.03, steps=4, eot=eot),
        ).images
        for eot in (1, 4)
    )
    assert torch.equal(averaged, plain)


def test_auto_mta_is_not_run_on_a_batch() -> None:
    with pytest.raises(AttackSpecError, match="searches on a data set") as caught:
        run_attack(Pixelwise(), toy_batch(), TOYS, AttackSpec(algorithm="auto_mta", eps=8))
    assert caught.value.field == "algorithm"


def rising(*traces: list[float]) -> list[bool]:
    steps = [torch.tensor(values) for values in zip(*traces, strict=True)]
    return still_rising(steps, len(traces), torch.device("cpu")).tolist()


def test_a_value_is_still_rising_if_much_of_its_rise_came_at_the_end() -> None:
    steady = [float(step) for step in range(20)]
    early = [0.0, 5.0, *[10.0 + step / 1000 for step in range(18)]]
    flat = [3.0] * 20
    late = [0.0] * 18 + [0.0, 1.0]
    assert rising(steady, early, flat, late) == [True, False, False, True]


def test_only_the_best_value_so_far_can_rise() -> None:
    oscillating = [10.0 * (step % 2) + step / 1000 for step in range(20)]
    falling = [10.0, *[float(step) for step in range(-20, -1)]]
    assert rising(oscillating, falling) == [False, False]


def test_a_short_attack_is_never_called_unfinished_nor_one_without_numbers() -> None:
    assert rising([float(step) for step in range(9)]) == [False]
    assert rising([-torch.inf] * 20, [-torch.inf] * 19 + [1.0]) == [False, False]
    assert still_rising([], 3, torch.device("cpu")).tolist() == [False] * 3


def test_an_attack_stopped_far_too_early_is_reported_as_rising_and_a_long_one_is_not() -> None:
    model, batch = Pixelwise(), toy_batch()
    short = AttackSpec(algorithm="pgd", objective="total", eps=0.3, steps=12, step_size=0.001)
    long = AttackSpec(algorithm="pgd", objective="total", eps=0.03, steps=40)
    assert run_attack(model, batch, TOYS, short).rising.all()
    assert not run_attack(model, batch, TOYS, long).rising.any()
    assert not run_attack(model, batch, TOYS, pgd("total", steps=3)).rising.any()
