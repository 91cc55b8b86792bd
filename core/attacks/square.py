"""Square attack (Andriushchenko et al. 2020) for L-infinity: random search without gradients, the black-box witness."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from core.attacks.algorithm import Attempt, Run
from core.attacks.threat import LinfBall

FIRST_SHARE = 0.8
"""Share of the image that the first square covers."""

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After so many of 10,000 queries the share is halved; other budgets shrink the schedule in proportion."""


def square(run: Run) -> Attempt:
    """Begin with vertical stripes of random signs; then set squares to random signs and keep what raises the value.

    A query costs one forward pass. What one sample tries depends on its own random numbers alone.
    """
    assert isinstance(run.ball, LinfBall)
    eps, channels, (height, width) = run.ball.eps, run.clean.shape[1], run.clean.shape[2:]
    stripes = np.stack([_signs(rng, (channels, 1, width)) for rng in run.draws.generators])
    best = run.ball.project(run.clean + eps * torch.from_numpy(stripes).to(run.clean))
    best_value = run.ascent.value(best)
    for query in range(1, run.steps):
        side = side_of(query, run.steps, height, width)
        tried = best.clone()
        for sample, rng in enumerate(run.draws.generators):
            row = int(rng.integers(0, height - side + 1))
            column = int(rng.integers(0, width - side + 1))
            signs = torch.from_numpy(_signs(rng, (channels, 1, 1))).to(run.clean)
            window = (sample, slice(None), slice(row, row + side), slice(column, column + side))
            tried[window] = run.clean[window] + eps * signs
        run.ball.project(tried)
        value = run.ascent.value(tried)
        better = value > best_value
        best = torch.where(better.view(-1, 1, 1, 1), tried, best)
        best_value = torch.where(better, value, best_value)
    return Attempt(best, best_value)


def side_of(query: int, queries: int, height: int, width: int) -> int:
    """Side of the square that a query sets, in pixels."""
    passed = sum(10_000 * query / queries > halving for halving in HALVINGS)
    side = round(math.sqrt(FIRST_SHARE / 2**passed * height * width))
    return min(max(side, 1), height, width)


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return (rng.integers(0, 2, shape) * 2 - 1).astype(np.float32)
