"""`Ascent`: value and gradient of an objective at some images, and what computing them cost and met on the way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.attacks.objectives import Objective, Weighted, task_gradients
from core.data.batch import Batch
from core.losses import BatchLosses
from core.modules import accepts_only
from core.tasks import Task


@dataclass(slots=True)
class Point:
    """What an ascent found at some images.

    Attributes:
        value: [N]; NaN counts as minus infinity, so that it is never the best.
        gradient: [N, 3, H, W], direction of ascent; the caller may overwrite it.
    """

    value: Tensor
    gradient: Tensor


Measure = Callable[[Mapping[str, Tensor]], tuple[Tensor, ...]]
"""From predictions to what stands for each task, [N] each in the order of the tasks: losses, or damage."""


class Ascent:
    """One forward and one backward pass at a time, for the tasks that the objective needs and no others.

    Attributes:
        forwards, backwards: passes taken so far, each over the whole batch.
        floored: [N] bool, samples whose loss fell below the floor that divisions have.
        non_finite: [N] bool, samples whose value or direction was NaN or infinite at some step; such a direction
            counted as zero there.
        zero_gradient: [N] bool, samples whose first direction was zero everywhere.
        trace: the values of every pass, each [N].
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Batch,
        tasks: Sequence[Task],
        objective: Objective,
        *,
        eot: int = 1,
        measure: Measure | None = None,
    ) -> None:
        self._model = model
        self._losses = measure or BatchLosses(tasks, batch)
        self._objective = objective
        self._only = {"only": {task.name for task in tasks}} if accepts_only(model) else {}
        self._eot = eot
        self._reference: Tensor | None = None
        self.forwards = 0
        self.backwards = 0
        self.floored = torch.zeros(len(batch), dtype=torch.bool, device=batch.images.device)
        self.non_finite = torch.zeros_like(self.floored)
        self.zero_gradient = torch.zeros_like(self.floored)
        self.trace: list[Tensor] = []

    def begin(self, images: Tensor) -> None:
        """Take the losses at the clean images as what relative values are measured against; one forward pass."""
        if self._objective.relative:
            with torch.no_grad():
                self._reference = torch.stack(self._forward(images))
            self._note_floor(self._reference)

    def value(self, images: Tensor) -> Tensor:
        """Value [N] at these images; forward passes only."""
        with torch.no_grad():
            values = [self._value(torch.stack(self._forward(images))) for _ in range(self._eot)]
        return self._noted(values)

    def at(self, images: Tensor) -> Point:
        """Value and direction at these images: one forward pass and the objective's backward passes, `eot` times."""
        values, gradient = [], None
        for _ in range(self._eot):
            leaf = images.detach().requires_grad_()
            with torch.enable_grad():
                parts = self._forward(leaf)
                losses = torch.stack(parts).detach()
                values.append(self._value(losses))
                direction = self._objective.direction(parts, self._compared(losses), leaf)
            self.backwards += self._objective.backwards(len(losses))
            gradient = unshared(direction) if gradient is None else gradient.add_(direction)
        assert gradient is not None
        value = self._noted(values)
        self._finite(gradient)
        self._note_zero(gradient[None])
        return Point(value, gradient)

    def task_gradients(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Value [N] and each task's weighted gradient [tasks, N, 3, H, W] at these images.

        Only for objectives that weigh gradients.
        """
        assert isinstance(self._objective, Weighted)
        values, total = [], None
        for _ in range(self._eot):
            leaf = images.detach().requires_grad_()
            with torch.enable_grad():
                parts = self._forward(leaf)
                losses = torch.stack(parts).detach()
                values.append(self._value(losses))
                gradients = torch.stack(task_gradients(parts, leaf))
            self.backwards += len(losses)
            weights = self._objective.weights(losses, self._compared(losses))
            if weights is not None:
                gradients *= weights[:, :, None, None, None]
            total = gradients if total is None else total.add_(gradients)
        assert total is not None
        value = self._noted(values)
        for gradient in total:
            self._finite(gradient)
        self._note_zero(total)
        return value, total

    def _forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Each task's losses [N], not stacked: a backward pass of one would run through all the others' branches."""
        self.forwards += 1
        return tied(self._losses(self._model(images, **self._only)), images)

    def _compared(self, losses: Tensor) -> Tensor:
        if self._reference is None:
            self._reference = losses
        return self._reference

    def _value(self, losses: Tensor) -> Tensor:
        self._note_floor(losses)
        return self._objective.value(losses, self._compared(losses))

    def _note_floor(self, losses: Tensor) -> None:
        if self._objective.floor is not None:
            self.floored |= (losses < self._objective.floor).any(0)

    def _noted(self, values: list[Tensor]) -> Tensor:
        value = values[0] if len(values) == 1 else torch.stack(values).mean(0)
        self.non_finite |= ~torch.isfinite(value)
        value = torch.where(value.isnan(), -torch.inf, value)
        self.trace.append(value)
        return value

    def _finite(self, direction: Tensor) -> None:
        """Put zero in the place of a NaN or infinite direction, and note whose it was."""
        if not torch.isfinite(
            direction.sum()
        ):  # one cheap sum; it may overflow, so look closer before judging
            bad = ~torch.isfinite(direction).flatten(1).all(1)
            self.non_finite |= bad
            direction[bad] = 0

    def _note_zero(self, directions: Tensor) -> None:
        """At the first step, note the samples that have no direction at all, [1 or tasks, N, 3, H, W]."""
        if len(self.trace) == 1:
            self.zero_gradient |= ~directions.flatten(2).any(2).any(0) & ~self.non_finite


def tied(losses: Sequence[Tensor], images: Tensor) -> tuple[Tensor, ...]:
    """The losses [N], each with a gradient to the images: one that does not depend on them has one of 0.

    A model whose output was detached, or that ignores its images, is found by its zero gradient, not by a crash.
    """
    if not images.requires_grad or all(loss.requires_grad for loss in losses):
        return tuple(losses)
    nothing = 0 * images.flatten(1).sum(1)
    return tuple(loss if loss.requires_grad else loss + nothing for loss in losses)


def unshared(gradient: Tensor) -> Tensor:
    """The gradient in memory of its own: that of a model which begins by summing channels is one of them, expanded."""
    return gradient.clone(memory_format=torch.contiguous_format) if 0 in gradient.stride() else gradient
