"""Optimisers and learning rates as a recipe says them, and an optimiser's state by the parameters' names."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from core.specs.training import Optimiser, Schedule

OptimiserState = dict[str, dict[str, Tensor]]

CYCLE_START, CYCLE_END = 1 / 25, 1 / 25 / 10_000
"""Shares of the peak that a cycle begins and ends with: `OneCycleLR`'s."""


def make_optimiser(parameters: Iterable[nn.Parameter], how: Optimiser) -> torch.optim.Optimizer:
    """The optimiser, at its full learning rate."""
    given = [parameter for parameter in parameters if parameter.requires_grad]
    if how.name == "sgd":
        momentum = 0.9 if how.momentum is None else how.momentum
        return torch.optim.SGD(
            given,
            lr=how.learning_rate,
            momentum=momentum,
            weight_decay=how.weight_decay,
            nesterov=how.nesterov,
        )
    kind = torch.optim.Adam if how.name == "adam" else torch.optim.AdamW
    betas = how.betas or (0.9, 0.999)
    return kind(given, lr=how.learning_rate, betas=betas, weight_decay=how.weight_decay)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def share_of_rate(schedule: Schedule, iteration: int, total: int) -> float:
    """Learning rate of an iteration (from 0 on) of so many, as a share of the full one."""
    match schedule.name:
        case "constant":
            return 1.0
        case "step":
            factor = 0.5 if schedule.factor is None else schedule.factor
            return factor ** (iteration // (schedule.every or 1))
        case "cosine":
            return _between(1.0, schedule.factor or 0.0, iteration / total)
        case "one_cycle":
            return _cycle(0.2 if schedule.rise is None else schedule.rise, iteration, total)


def _cycle(rise: float, iteration: int, total: int) -> float:
    peak = max(rise * total - 1, 0.0)
    if iteration < peak:
        return _between(CYCLE_START, 1.0, iteration / peak)
    fall = total - 1 - peak
    return _between(1.0, CYCLE_END, (iteration - peak) / fall) if fall > 0 else 1.0


def _between(start: float, end: float, progress: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> OptimiserState:
    """What the optimiser remembers of each parameter, copied to the CPU."""
    return {
        name: {key: copied(value) for key, value in optimiser.state[parameter].items() if value is not None}
        for name, parameter in model.named_parameters()
        if parameter in optimiser.state
    }


def load_optimiser_state(
    model: nn.Module, optimiser: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put back what `optimiser_state` gave; what is of a parameter's shape is laid out in memory as it is."""
    optimiser.state.clear()
    for name, parameter in model.named_parameters():
        if name in state:
            optimiser.state[parameter] = {
                key: torch.empty_like(parameter).copy_(value) if value.dim() else value.clone()
                for key, value in state[name].items()
            }


def copied(value: Tensor) -> Tensor:
    """A copy on the CPU, contiguous."""
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
