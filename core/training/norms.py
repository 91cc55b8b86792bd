"""Batch norm over the samples of all processes, on any device: torch's own `SyncBatchNorm` needs a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.training.team import Team

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


@contextmanager
def synchronised(model: nn.Module, team: Team) -> Iterator[None]:
    """Inside, batch norms in train mode take mean and variance over all processes' samples, and so their gradients.

    Every process must run the model as often as the others, forward and backward.
    """
    norms = [module for module in model.modules() if isinstance(module, NORMS)] if team.size > 1 else []
    try:
        for norm in norms:
            norm.forward = partial(_normalise, norm, team)  # type: ignore[method-assign]  # and deleted below
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)


def _normalise(norm: Norm, team: Team, features: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, features)
    along = [0, *range(2, features.dim())]
    shape = [1, -1, *[1] * (features.dim() - 2)]
    values = features.float()
    count = values.new_full((1,), values.numel() / values.shape[1])
    total = _add(torch.cat([values.sum(along), count]), team)
    number = total[-1].detach()
    mean = total[:-1] / number
    centred = values - mean.view(shape)
    variance = _add(centred.square().sum(along), team) / number
    _remember(norm, mean.detach(), variance.detach() * number / (number - 1).clamp_min(1))
    normalised = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normalised = normalised * norm.weight.view(shape) + norm.bias.view(shape)
    return normalised.to(features.dtype)


@torch.no_grad()
def _remember(norm: Norm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics as torch does."""
    if norm.running_mean is None or norm.running_var is None:
        return
    share = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if share is None:
            share = 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, share or 0.0)
    norm.running_var.lerp_(variance, share or 0.0)


def _add(values: Tensor, team: Team) -> Tensor:
    total: Tensor = _Add.apply(values, team)  # type: ignore[no-untyped-call]  # as torch leaves it
    return total


class _Add(torch.autograd.Function):
    """The sum over processes; a gradient of one process's result is one of every process's values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, team: Team) -> Tensor:
        ctx.team = team
        total = values.clone()
        team.add(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        ctx.team.add(total)
        return total, None
