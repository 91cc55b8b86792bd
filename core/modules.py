"""What is asked of any `nn.Module`: where it lies, what its forward takes, and to hold still while it is attacked."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

CPU = torch.device("cpu")


def device_of(module: nn.Module, default: torch.device = CPU) -> torch.device:
    """Where its first parameter lies; the default for a module without any."""
    return next((value.device for value in module.parameters()), default)


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
