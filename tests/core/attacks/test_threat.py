"""Balls, boxes, and the random points in them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.attacks.draws import Draws
from core.attacks.threat import Ball, L2Ball, LinfBall, ball_around
from core.errors import InvalidError
from core.specs.algorithms import Norm
from tests.core.attacks.toys import sizes

NORMS: tuple[Norm, ...] = ("linf", "l2")


def centres(samples: int = 6, side: int = 4) -> Tensor:
    return torch.rand(samples, 3, side, side, generator=torch.Generator().manual_seed(1))


def around(
    images: Tensor, norm: Norm, eps: float = 0.1, bounds: tuple[float, float] = (0, 1)
) -> LinfBall | L2Ball:
    return ball_around(images, norm=norm, eps=eps, bounds=bounds)


def draws(samples: int = 6, *, seed: int = 0, restart: int = 0) -> Draws:
    return Draws(seed, torch.arange(samples), restart)


def test_each_norm_has_its_ball() -> None:
    assert isinstance(around(centres(), "linf"), LinfBall)
    assert isinstance(around(centres(), "l2"), L2Ball)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(NORMS), st.floats(1e-3, 20), st.floats(0, 50), st.integers(0, 2**31))
def test_projecting_lands_inside_and_once_is_enough(norm: Norm, eps: float, spread: float, seed: int) -> None:
    clean = centres()
    ball: Ball = around(clean, norm, eps)
    far = clean + spread * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    inside = ball.project(far)
    assert ((inside >= 0) & (inside <= 1)).all()
    assert (sizes(inside - clean, norm) <= eps * (1 + 1e-5) + 1e-6).all()
    torch.testing.assert_close(ball.project(inside.clone()), inside)


@pytest.mark.parametrize("norm", NORMS)
def test_an_allowed_image_is_its_own_projection(norm: Norm) -> None:
    clean = centres() * 0.5 + 0.25
    near = clean + 0.01 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    torch.testing.assert_close(around(clean, norm, 0.2).project(near.clone()), near)


def test_an_l2_projection_keeps_the_direction() -> None:
    clean = torch.full((2, 3, 4, 4), 0.5)
    change = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    moved = around(clean, "l2", 0.3).project(clean + change) - clean
    torch.testing.assert_close(moved, 0.3 * change / change.flatten(1).norm(dim=1).view(-1, 1, 1, 1))


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_has_the_size_given_for_each_sample(norm: Norm) -> None:
    clean = torch.full((3, 3, 4, 4), 0.5)
    wanted = torch.tensor([0.01, 0.02, 0.04])
    gradient = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1e-12, 1.0, 1e12]
    ).view(-1, 1, 1, 1)
    moved = around(clean, norm, 0.3).step(clean, gradient, wanted.view(-1, 1, 1, 1)) - clean
    torch.testing.assert_close(sizes(moved, norm), wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_without_a_gradient_stays_and_is_finite(norm: Norm) -> None:
    clean = centres()
    assert torch.equal(around(clean, norm).step(clean, torch.zeros_like(clean), 0.05), clean)


@pytest.mark.parametrize("norm", NORMS)
def test_random_points_and_corners_are_allowed_and_differ_by_sample_seed_and_restart(norm: Norm) -> None:
    clean = torch.full((6, 3, 4, 4), 0.5)
    ball = around(clean, norm)
    for point in (ball.random_point, ball.random_corner):
        images = point(draws())
        assert (sizes(images - clean, norm) <= 0.1 + 1e-6).all()
        assert len({tuple(image.flatten().tolist()) for image in images}) == 6
        assert torch.equal(images, point(draws()))
        assert not torch.equal(images, point(draws(seed=2**63 - 1)))
        assert not torch.equal(images, point(draws(restart=1)))


@pytest.mark.parametrize("norm", NORMS)
def test_a_random_point_is_the_same_in_batches_of_any_size(norm: Norm) -> None:
    clean = centres()
    whole = around(clean, norm).random_point(draws())
    part = around(clean[4:], norm).random_point(Draws(0, torch.tensor([4, 5])))
    assert torch.equal(part, whole[4:])


def test_random_points_of_a_cube_fill_it_evenly() -> None:
    clean = torch.full((4, 3, 32, 32), 0.5)
    offsets = around(clean, "linf").random_point(draws(4)) - 0.5
    assert offsets.abs().max() <= 0.1 + 1e-6
    assert abs(float(offsets.mean())) < 0.003
    assert float(offsets.std()) == pytest.approx(0.1 / 3**0.5, rel=0.02)


def test_random_points_of_a_round_ball_fill_it_evenly() -> None:
    clean = torch.full((1500, 3, 1, 1), 0.5)
    offsets = around(clean, "l2").random_point(draws(1500)) - 0.5
    filled = (sizes(offsets, "l2") / 0.1) ** 3  # the share of the ball's volume within that radius
    grid = torch.linspace(0.05, 0.95, 19)
    shares = (filled[None] < grid[:, None]).float().mean(1)
    assert (shares - grid).abs().max() < 0.04
    assert offsets.mean(0).abs().max() < 0.005, "no direction is favoured"


@pytest.mark.parametrize("norm", NORMS)
def test_a_corner_moves_every_value_alike_and_as_far_as_the_ball_goes(norm: Norm) -> None:
    clean = torch.full((6, 3, 4, 4), 0.5)
    offsets = around(clean, norm).random_corner(draws()) - clean
    torch.testing.assert_close(sizes(offsets, norm), torch.full((6,), 0.1))
    torch.testing.assert_close(offsets.abs(), offsets.abs().amax().expand_as(offsets))
    assert 0.3 < float((offsets > 0).float().mean()) < 0.7


def test_restarts_and_seeds_share_no_part_of_their_streams() -> None:
    like = torch.empty(1, 3, 20, 20)
    streams = [
        set(Draws(seed, torch.tensor([index]), restart).uniform(like).flatten().tolist())
        for seed, index, restart in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
    ]
    for first in streams:
        for second in streams:
            assert first is second or len(first & second) < 10


def test_numbers_are_drawn_on_from_call_to_call() -> None:
    stream, like = draws(), centres()
    assert not torch.equal(stream.uniform(like), stream.uniform(like))
    assert set(stream.signs(like).flatten().tolist()) == {-1, 1}
    assert abs(float(stream.normal(centres(6, 32)).std()) - 1) < 0.02


def test_images_a_rounding_error_outside_are_taken_and_clamped() -> None:
    ball = around(torch.full((1, 3, 2, 2), -3e-8), "linf")
    assert torch.equal(ball.centre, torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, float("nan"), float("inf")])
def test_images_outside_the_bounds_are_refused(norm: Norm, value: float) -> None:
    images = centres()
    images[1, 0, 3, 3] = value
    with pytest.raises(InvalidError, match="outside the bounds") as caught:
        around(images, norm)
    assert caught.value.field == "images"


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.5, 0.5)])
def test_bounds_that_are_no_interval_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(InvalidError, match="low < high") as caught:
        around(centres(), "linf", bounds=bounds)
    assert caught.value.field == "bounds"
