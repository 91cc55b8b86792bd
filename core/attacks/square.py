"""Square attack (Andriushchenko et al. 2020): random search without gradients, the black-box witness."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.attacks.algorithm import Attempt, Run
from core.attacks.threat import L2Ball, LinfBall

FIRST_SHARE, FIRST_SHARE_L2 = 0.8, 0.1
"""Share of the image that the first square covers."""

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After so many of 10,000 queries the share is halved; other budgets shrink the schedule in proportion."""

LEAST_BUMP = 3
"""Pixels along the side of the smallest square that is tried in L2."""

TILES = 5
"""Bumps along a side of the image that the search in L2 begins with."""


def square(run: Run) -> Attempt:
    """Try a change of one square after the other, and keep what raises the value.

    In L-infinity a square gets random signs, after a beginning of vertical stripes. In L2 a square gets a bump, paid
    for by whatever of the ball's radius was left and by another square, which is cleared; a grid of bumps is the
    beginning. A query costs one forward pass. What one sample tries depends on its own random numbers alone.
    """
    ball = run.ball
    assert isinstance(ball, LinfBall | L2Ball)
    in_l2, (height, width) = isinstance(ball, L2Ball), run.clean.shape[2:]
    best = ball.project((_bumps if in_l2 else _stripes)(run, ball.eps))
    best_value = run.ascent.value(best)
    for query in range(1, run.steps):
        share = FIRST_SHARE_L2 if in_l2 else FIRST_SHARE
        side = side_of(query, run.steps, height, width, first=share)
        tried = best.clone()
        for sample, rng in enumerate(run.draws.generators):
            if in_l2:
                _move(tried[sample], run.clean[sample], rng, side=max(side, LEAST_BUMP), eps=ball.eps)
            else:
                _recolour(tried[sample], run.clean[sample], rng, side=side, eps=ball.eps)
        tried = ball.project(tried)
        value = run.ascent.value(tried)
        better = value > best_value
        best = torch.where(better.view(-1, 1, 1, 1), tried, best)
        best_value = torch.where(better, value, best_value)
    return Attempt(best, best_value)


def side_of(query: int, queries: int, height: int, width: int, *, first: float = FIRST_SHARE) -> int:
    """Side of the square that a query sets, in pixels; `first` is the share of the image that the first covers."""
    passed = sum(10_000 * query / queries > halving for halving in HALVINGS)
    side = round(math.sqrt(first / 2**passed * height * width))
    return min(max(side, 1), height, width)


def _stripes(run: Run, eps: float) -> Tensor:
    channels, width = run.clean.shape[1], run.clean.shape[3]
    stripes = np.stack([_signs(rng, (channels, 1, width)) for rng in run.draws.generators])
    return run.clean + eps * torch.from_numpy(stripes).to(run.clean)


def _recolour(image: Tensor, clean: Tensor, rng: np.random.Generator, *, side: int, eps: float) -> None:
    """Set a random square of the image [3, H, W] to a random corner of the ball, in place."""
    rows, columns = _window(rng, image, side)
    signs = torch.from_numpy(_signs(rng, (len(image), 1, 1))).to(image)
    image[:, rows, columns] = clean[:, rows, columns] + eps * signs


def _bumps(run: Run, eps: float) -> Tensor:
    """The images with a grid of bumps of random signs, each on the sphere."""
    channels, height, width = run.clean.shape[1:]
    side = max(min(height, width) // TILES, 1)
    pattern = np.zeros((channels, height, width), dtype=np.float32)
    deltas = np.repeat(pattern[None], len(run.clean), axis=0)
    for delta, rng in zip(deltas, run.draws.generators, strict=True):
        for row in range(0, height - side + 1, side):
            for column in range(0, width - side + 1, side):
                part = delta[:, row : row + side, column : column + side]
                part += bump(side) * _signs(rng, (channels, 1, 1))
    found = torch.from_numpy(deltas).to(run.clean)
    lengths = found.flatten(1).norm(dim=1).clamp_min(torch.finfo(found.dtype).tiny)
    factors: Tensor = eps / lengths
    return run.clean + found * factors.view(-1, 1, 1, 1)


def _move(image: Tensor, clean: Tensor, rng: np.random.Generator, *, side: int, eps: float) -> None:
    """Clear a random square of the image's perturbation, and spend that, and what was left, on another, in place."""
    side = min(side, *image.shape[1:])
    delta = image - clean
    gain, loss = _window(rng, image, side), _window(rng, image, side)
    left = max(eps**2 - float(delta.square().sum()), 0.0) / len(image)
    taken = torch.zeros_like(delta, dtype=torch.bool)
    taken[:, gain[0], gain[1]] = True
    taken[:, loss[0], loss[1]] = True
    length = (left + torch.where(taken, delta, 0).square().sum((1, 2), keepdim=True)).sqrt()
    shape = bump(side) if rng.integers(0, 2) else bump(side).T
    fresh = torch.from_numpy(shape * _signs(rng, (len(image), 1, 1))).to(image)
    fresh = _unit(fresh) + _unit(delta[:, gain[0], gain[1]])
    delta[:, loss[0], loss[1]] = 0
    delta[:, gain[0], gain[1]] = _unit(fresh) * length
    image.copy_(clean + delta)


def _unit(values: Tensor) -> Tensor:
    """Each channel [h, w] at length 1, or 0 where it is 0."""
    return values / values.square().sum((1, 2), keepdim=True).sqrt().clamp_min(torch.finfo(values.dtype).tiny)


@lru_cache(maxsize=64)
def bump(side: int) -> NDArray[np.float32]:
    """Two pyramids of opposite signs, one above the other, [side, side] and of length 1.

    A pyramid is a stack of centred squares, the k-th from the middle adding 1 / k^2 where it covers.
    """
    upper = side // 2
    halves = np.concatenate([_pyramid(upper, side), -_pyramid(side - upper, side)])
    scaled: NDArray[np.float32] = (halves / np.linalg.norm(halves)).astype(np.float32)
    return scaled


def _pyramid(height: int, width: int) -> NDArray[np.float64]:
    rows = np.abs(np.arange(height) - (height - 1) / 2)[:, None]
    columns = np.abs(np.arange(width) - (width - 1) / 2)[None]
    away = np.ceil(np.maximum(rows, columns)).astype(np.int64)
    steps = 1 / np.square(np.arange(1.0, max(height, width) + 2))
    heights: NDArray[np.float64] = np.cumsum(steps[::-1])[::-1][away]
    return heights


def _window(rng: np.random.Generator, image: Tensor, side: int) -> tuple[slice, slice]:
    height, width = image.shape[1:]
    row, column = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    return slice(row, row + side), slice(column, column + side)


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return (rng.integers(0, 2, shape) * 2 - 1).astype(np.float32)
