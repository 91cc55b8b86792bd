"""`Ascent`: the gradient of an objective at some images, and what computing it cost and met on the way."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from core.attacks.objectives import Objective
from core.data.batch import Batch
from core.losses import BatchLosses
from core.tasks import Task


class Ascent:
    """One forward and one backward pass at a time, for the tasks that the objective needs and no others.

    Attributes:
        forwards, backwards: passes taken so far, each over the whole batch.
        floored: [N] bool, samples whose loss fell below the floor under GB-MTA's division at some step.
        non_finite: [N] bool, samples whose direction was NaN or infinite at some step; it counted as zero
            there.
    """

    def __init__(self, model: nn.Module, batch: Batch, tasks: Sequence[Task], objective: Objective) -> None:
        self._model = model
        self._losses = BatchLosses(tasks, batch)
        self._objective = objective
        self._only = {"only": {task.name for task in tasks}} if accepts_only(model) else {}
        self.forwards = 0
        self.backwards = 0
        self.floored = torch.zeros(len(batch), dtype=torch.bool, device=batch.images.device)
        self.non_finite = torch.zeros_like(self.floored)

    def gradient(self, images: Tensor) -> Tensor:
        """Direction of ascent [N, 3, H, W] at these images; the caller may overwrite it."""
        leaf = images.detach().requires_grad_()
        with torch.enable_grad():
            losses = self._losses(self._model(leaf, **self._only))
            direction = self._objective.gradient(losses, leaf)
        self.forwards += 1
        self.backwards += self._objective.backwards(len(losses))
        if self._objective.floor is not None:
            self.floored |= (torch.stack(losses).detach() < self._objective.floor).any(0)
        return self._without_non_finite(direction)

    def _without_non_finite(self, direction: Tensor) -> Tensor:
        if not torch.isfinite(
            direction.sum()
        ):  # one cheap sum; it may overflow, so look closer before judging
            bad = ~torch.isfinite(direction).flatten(1).all(1)
            self.non_finite |= bad
            direction[bad] = 0
        return direction


def accepts_only(model: nn.Module) -> bool:
    """Whether the model can run just the branches of some tasks: `model(images, only={"depth"})`."""
    return "only" in inspect.signature(model.forward).parameters


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no parameter gradients inside; afterwards every mode and flag is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        model.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)
