"""APGD (Croce & Hein 2020, Algorithm 1; paper Algorithms 2 and 3), every decision taken for each sample by itself."""

from collections.abc import Iterator

import torch
from torch import Tensor

from core.attacks.algorithm import Attempt, Run

MOMENTUM = 0.75
"""Alpha: share of the new step in a move; the rest repeats the last move."""

SUCCESSES = 0.75
"""Rho: the step is halved when no more of the moves since the last checkpoint than this raised the value."""


def apgd(run: Run) -> Attempt:
    """Ascend by steps that are halved at checkpoints where they stopped paying; the best point comes out.

    A step costs one forward and one backward pass, the point after the last step a forward pass only. Halving
    goes back to the best point, with the gradient and value that were kept from there.
    """
    images = run.start()
    here = run.ascent.at(images)
    gradient, value = here.gradient, here.value
    best, best_gradient, best_value = images, gradient, value
    previous = images
    size = torch.full_like(images[:, :1, :1, :1], run.step_size)
    halving = Halving(value)
    ends = set(checkpoints(run.steps))
    for step in range(1, run.steps + 1):
        moved = run.ball.step(images, gradient.clone(), size)
        if step > 1:
            moved = _with_momentum(run, images, previous, moved)
        previous, images = images, moved
        before = value
        if step < run.steps:
            here = run.ascent.at(images)
            gradient, value = here.gradient, here.value
        else:
            value = run.ascent.value(images)
        better = value > best_value
        best = chosen(better, images, best)
        best_gradient = chosen(better, gradient, best_gradient)
        best_value = torch.where(better, value, best_value)
        halving.note(value > before)
        if step in ends and step < run.steps:
            halved = halving.check(best_value)
            size = torch.where(halved.view(-1, 1, 1, 1), size / 2, size)
            images = chosen(halved, best, images)
            gradient = chosen(halved, best_gradient, gradient)
            value = torch.where(halved, best_value, value)
    return Attempt(best, best_value)


def _with_momentum(run: Run, images: Tensor, previous: Tensor, moved: Tensor) -> Tensor:
    """The next point x + a (z - x) + (1 - a) (x - x'), projected; exactly x where the three are the same."""
    kept = 1 - MOMENTUM
    return run.ball.project(moved.lerp_(images, kept).add_(images - previous, alpha=kept))


class Halving:
    """When to halve each sample's step.

    Condition 1: too few moves since the last checkpoint raised the value. Condition 2: the step was not halved
    at the last checkpoint and the best value has not risen since.
    """

    def __init__(self, value: Tensor) -> None:
        self._best = value
        self._halved = torch.ones_like(value, dtype=torch.bool)
        self._raised = torch.zeros_like(value)
        self._moves = 0

    def note(self, raised: Tensor) -> None:
        """A move, and for which samples it raised the value, [N] bool."""
        self._raised = self._raised + raised
        self._moves += 1

    def check(self, best: Tensor) -> Tensor:
        """At a checkpoint: [N] bool, whose step is halved."""
        halved = (self._raised <= SUCCESSES * self._moves) | (~self._halved & (best <= self._best))
        self._best, self._halved = best, halved
        self._raised = torch.zeros_like(self._raised)
        self._moves = 0
        return halved


def checkpoints(steps: int) -> Iterator[int]:
    """Steps after which halving is considered: first 22 % of all, then gaps that shrink by 3 % down to 6 %.

    In whole steps, each at least one, as the authors' code has them; rounding the paper's shares up instead, as
    its text says, checks later and reached lower losses at 20 and 40 steps.
    """
    gap, shrink, least = (max(share * steps // 100, 1) for share in (22, 3, 6))
    reached = gap
    while reached <= steps:
        yield reached
        gap = max(gap - shrink, least)
        reached += gap


def chosen(where: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """For each sample the first where `where` [N], else the second; copies nothing when all agree."""
    if where.all():
        return first
    if not where.any():
        return second
    return torch.where(where.view(-1, 1, 1, 1), first, second)
