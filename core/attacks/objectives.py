"""Objectives: which direction several tasks' losses give together.

Those that are a weighted sum of gradients cost one backward pass, whatever the number of tasks: the weights
are constants of the step, so the weighted losses are summed first and differentiated once.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from core.specs.attack import AttackSpec

LOSS_FLOOR = 1e-6
"""GB-MTA divides by no less than this; a sample whose loss is below is counted."""


class Objective(Protocol):
    """Turns the losses of one forward pass into a direction of ascent.

    Attributes:
        floor: the least that a loss is divided by; None where nothing is divided.
    """

    floor: float | None

    def gradient(self, losses: Sequence[Tensor], images: Tensor) -> Tensor:
        """Direction [N, 3, H, W] out of each task's losses [N] that were computed from `images`."""
        ...

    def backwards(self, tasks: int) -> int:
        """Backward passes that one gradient costs."""
        ...


class WeightedSum:
    """Sum of the tasks' gradients: TOTAL (paper Eq. 4), and SINGLE (paper Eq. 3) when there is one task."""

    floor: float | None = None

    def weights(self, losses: Tensor) -> Tensor | None:
        """Weight of each loss, [tasks, N], constant in the images; None is all ones."""
        del losses
        return None

    def gradient(self, losses: Sequence[Tensor], images: Tensor) -> Tensor:
        """One backward pass of the weighted losses; samples do not touch each other's gradients."""
        stacked = torch.stack(tuple(losses))
        weights = self.weights(stacked.detach())
        total = stacked.sum() if weights is None else (weights * stacked).sum()
        return torch.autograd.grad(total, images)[0]

    def backwards(self, tasks: int) -> int:
        """One."""
        del tasks
        return 1


class GradientBalancing(WeightedSum):
    """GB-MTA: each task's gradient divided by its loss, per sample (paper Eq. 9).

    That is the gradient of the sum of log losses.
    """

    floor: float | None = LOSS_FLOOR

    def weights(self, losses: Tensor) -> Tensor:
        """One over the loss, floored."""
        return losses.clamp_min(LOSS_FLOOR).reciprocal()


class SignTotal:
    """SIGNTOTAL: the sum of the signs of the tasks' gradients; one forward pass, a backward pass a task."""

    floor: float | None = None

    def gradient(self, losses: Sequence[Tensor], images: Tensor) -> Tensor:
        """Sum of signs, in {-tasks..tasks}; each backward pass visits only its own task's branch."""
        total = torch.zeros_like(images)
        for position, loss in enumerate(losses):
            last = position == len(losses) - 1
            gradient = torch.autograd.grad(loss.sum(), images, retain_graph=not last)[0]
            total += gradient.sign() + (gradient - gradient)  # torch's sign of NaN is 0; NaN stays NaN here
        return total

    def backwards(self, tasks: int) -> int:
        """One a task."""
        return tasks


def make_objective(spec: AttackSpec) -> Objective:
    """The objective that a spec names."""
    if spec.task is not None or spec.objective == "total":
        return WeightedSum()
    if spec.objective == "gb_mta":
        return GradientBalancing()
    assert spec.objective == "sign_total", spec.objective
    return SignTotal()
