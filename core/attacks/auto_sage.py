"""Auto-SAGE (Rathbun et al. 2022; paper Eq. 15 and 16): gradients blended by coefficients for each task and pixel."""

import torch
from torch import Tensor

from core.attacks.algorithm import Attempt, Run

SHARPNESS = 5.0
"""c in tanh(c G), the smooth stand-in for sign(G) through which the coefficients are learned."""

RATE = 1.0
"""How far a step's coefficients go along their slope."""


def auto_sage(run: Run) -> Attempt:
    """PGD on blended gradients; each step first tries the blend, and learns from the slope where it led.

    Coefficients begin at 1 for every task, sample and value. The direction is the sign of sum_k a_k G_k; a_k
    moves along dF/da_k = dF/dx * dx/da_k, with dF/dx the objective's gradient at the point tried and dx/da_k
    that of tanh(c sum_k a_k G_k). Gradients count in units of their sample's mean size, so that neither the
    images' units nor the losses' matter. With attention maps of 1: convolutional models have none.

    A step costs two forward passes and, with T tasks, T + 1 backward passes.
    """
    images = run.start()
    coefficients: Tensor | None = None
    momentum = torch.zeros_like(images)
    for _ in range(run.steps):
        _, gradients = run.ascent.task_gradients(images)
        gradients /= mean_size(gradients.sum(0))
        if coefficients is None:
            coefficients = torch.ones_like(gradients)
        blend = (coefficients * gradients).sum(0)
        tried = run.ball.step(images, blend.clone(), run.step_size)
        slope = run.ascent.at(tried).gradient
        slope /= mean_size(slope)
        coefficients += RATE * gradients * (slope * sech_squared(SHARPNESS * blend))
        momentum = run.decay * momentum + (coefficients * gradients).sum(0)
        images = run.ball.step(images, momentum.clone(), run.step_size)
    return Attempt(images)


def sech_squared(values: Tensor) -> Tensor:
    """The derivative of tanh; written so that no exponential overflows."""
    small = torch.exp(-2 * values.abs())
    return 4 * small / (1 + small).square()


def mean_size(values: Tensor) -> Tensor:
    """Mean absolute value of each sample, [N, 1, 1, 1]; 1 where it is 0."""
    size = values.abs().flatten(1).mean(1)
    return torch.where(size > 0, size, 1).view(-1, 1, 1, 1)
