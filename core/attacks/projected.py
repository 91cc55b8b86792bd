"""FGSM, PGD and MIM: fixed steps along the gradient, or along its momentum."""

import torch

from core.attacks.algorithm import Attempt, Run


def fgsm(run: Run) -> Attempt:
    """One step of eps from the image itself (Goodfellow et al. 2014)."""
    return pgd(run)


def pgd(run: Run) -> Attempt:
    """Projected gradient ascent (Madry et al. 2018); the last point is what comes out."""
    images = run.start()
    for _ in range(run.steps):
        images = run.ball.step(images, run.ascent.at(images).gradient, run.step_size)
    return Attempt(images)


def mim(run: Run) -> Attempt:
    """PGD along a momentum of gradients, each normalised to mean absolute value 1 first (Dong et al. 2018)."""
    images = run.start()
    momentum = torch.zeros_like(images)
    for _ in range(run.steps):
        gradient = run.ascent.at(images).gradient
        size = gradient.abs().flatten(1).mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
        momentum.mul_(run.decay).add_(gradient.div_(size.view(-1, 1, 1, 1)))
        images = run.ball.step(images, momentum.clone(), run.step_size)
    return Attempt(images)
