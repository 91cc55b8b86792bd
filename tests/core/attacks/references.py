"""APGD, MIM and Auto-SAGE once more, for one image and plain losses, to hold the batched ones against."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from core.attacks.auto_sage import RATE, SHARPNESS
from core.specs.algorithms import Norm

Losses = Callable[[Tensor], Tensor]
"""One image [3, H, W] to the losses of its tasks, [tasks]."""


@dataclass(frozen=True)
class Threat:
    """One image's ball and box."""

    clean: Tensor
    eps: float
    norm: Norm

    def project(self, image: Tensor) -> Tensor:
        change = image - self.clean
        if self.norm == "linf":
            change = change.clamp(-self.eps, self.eps)
        elif change.norm() > self.eps:
            change = change * (self.eps / change.norm())
        return (self.clean + change).clamp(0, 1)

    def along(self, gradient: Tensor) -> Tensor:
        return gradient.sign() if self.norm == "linf" else gradient / gradient.norm()


def total(losses: Losses, clean: Tensor, image: Tensor) -> tuple[float, Tensor]:
    """The sum of losses and its gradient."""
    del clean
    leaf = image.clone().requires_grad_()
    value = losses(leaf).sum()
    return float(value.detach()), torch.autograd.grad(value, leaf)[0]


def gb_mta(losses: Losses, clean: Tensor, image: Tensor) -> tuple[float, Tensor]:
    """Algorithm 3: the relative rise of the losses, and the sum of each gradient divided by its loss."""
    leaf = image.clone().requires_grad_()
    before, now = losses(clean).detach(), losses(leaf)
    gradients = [torch.autograd.grad(loss, leaf, retain_graph=True)[0] / loss.detach() for loss in now]
    return float(((now.detach() - before) / before).sum()), torch.stack(gradients).sum(0)


def apgd(
    objective: Callable[[Losses, Tensor, Tensor], tuple[float, Tensor]],
    losses: Losses,
    threat: Threat,
    steps: int,
    size: float,
) -> Tensor:
    """Algorithm 2 with the conditions of Croce & Hein 2020, checkpoints in whole steps as their code has them."""
    gaps = [max(int(Fraction(22, 100) * steps), 1)]
    while sum(gaps) < steps:
        shrunk = gaps[-1] - max(int(Fraction(3, 100) * steps), 1)
        gaps.append(max(shrunk, int(Fraction(6, 100) * steps), 1))
    checkpoints = {sum(gaps[:count]) for count in range(1, len(gaps) + 1)}

    clean = threat.clean
    image = previous = best = clean
    value, gradient = objective(losses, clean, clean)
    best_value, best_gradient = value, gradient
    value_at_checkpoint, halved_at_checkpoint = value, True  # at the first there is no last one
    moves, raised = 0, 0
    for step in range(1, steps + 1):
        target = threat.project(image + size * threat.along(gradient))
        if step > 1:
            target = threat.project(image + 0.75 * (target - image) + 0.25 * (image - previous))
        previous, image = image, target
        before = value
        value, gradient = objective(losses, clean, image)
        moves, raised = moves + 1, raised + (value > before)
        if value > best_value:
            best, best_value, best_gradient = image, value, gradient
        if step in checkpoints:
            first = raised <= 0.75 * moves
            second = not halved_at_checkpoint and best_value == value_at_checkpoint
            if first or second:
                size /= 2
                image, value, gradient = best, best_value, best_gradient
            value_at_checkpoint, halved_at_checkpoint = best_value, first or second
            moves, raised = 0, 0
    return best


def mim(losses: Losses, threat: Threat, steps: int, size: float, decay: float) -> Tensor:
    """Dong et al. 2018, Algorithm 1, the gradient divided by its mean absolute value."""
    image, momentum = threat.clean, torch.zeros_like(threat.clean)
    for _ in range(steps):
        _, gradient = total(losses, threat.clean, image)
        momentum = decay * momentum + gradient / gradient.abs().mean()
        image = threat.project(image + size * threat.along(momentum))
    return image


def auto_sage(losses: Losses, threat: Threat, steps: int, size: float, decay: float) -> Tensor:
    """The formulas of `core.attacks.auto_sage` on the sum of losses; with the balance of GB-MTA it is Eq. 16."""

    def gradients(image: Tensor) -> Tensor:
        leaf = image.clone().requires_grad_()
        return torch.stack([torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in losses(leaf)])

    def step(image: Tensor, direction: Tensor) -> Tensor:
        return threat.project(image + size * direction.sign())

    image, momentum, coefficients = threat.clean, torch.zeros_like(threat.clean), None
    for _ in range(steps):
        each = gradients(image)
        each = each / each.sum(0).abs().mean()
        if coefficients is None:
            coefficients = torch.ones_like(each)
        blend = (coefficients * each).sum(0)
        slope = gradients(step(image, blend)).sum(0)
        through = 1 - torch.tanh(SHARPNESS * blend) ** 2
        coefficients = coefficients + RATE * each * through * slope / slope.abs().mean()
        momentum = decay * momentum + (coefficients * each).sum(0)
        image = step(image, momentum)
    return image
