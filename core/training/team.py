"""Processes that train one model together. This module knows one process alone; `core.training.parallel` has more."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn


class Team(Protocol):
    """What training asks of the processes beside its own.

    Attributes:
        rank: this process's number, from 0 on.
        size: how many there are.
    """

    rank: int
    size: int

    def add(self, values: Tensor) -> None:
        """Sum over all processes, in place; every process gets the same bits."""
        ...

    def share(self, values: Tensor) -> None:
        """The first process's values, in place."""
        ...


class Alone:
    """One process."""

    rank = 0
    size = 1

    def add(self, values: Tensor) -> None:
        """The values are the sum already."""

    def share(self, values: Tensor) -> None:
        """The values are the first process's."""


def add_gradients(team: Team, parameters: Iterable[nn.Parameter]) -> None:
    """Sum every parameter's gradient over the processes, in one message."""
    if team.size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    team.add(flat)
    pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))
