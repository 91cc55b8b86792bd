"""Weights beside those that are trained: their moving average, and a copy to go back to."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of a model's parameters and batch-norm statistics.

    The decay begins low, (1 + t) / (10 + t) after t updates, so that the random weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self.values = {name: value.clone() for name, value in self._now().items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Take the weights in after so many updates."""
        decay = min(self._decay, (1 + updates) / (10 + updates))
        for name, value in self._now().items():
            self.values[name].lerp_(value, 1 - decay)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Put other averages in the place of these."""
        for name, value in self.values.items():
            value.copy_(values[name])

    def _now(self) -> dict[str, Tensor]:
        return {
            name: value.detach()
            for name, value in self._model.state_dict().items()
            if value.is_floating_point()
        }


class Restorable:
    """A model's tensors as they were, for when an iteration fails halfway.

    Args:
        optimiser: if the iteration takes more than one step: then the parameters, too, may have moved.
    """

    def __init__(self, model: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> None:
        tensors = [*model.buffers(), *(model.parameters() if optimiser is not None else ())]
        self._kept = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self._optimiser = optimiser
        self._state = {} if optimiser is None else _copied(optimiser.state)

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back."""
        for tensor, kept in self._kept:
            tensor.copy_(kept)
        if self._optimiser is not None:
            self._optimiser.state.clear()
            self._optimiser.state.update(self._state)


State = dict[Tensor, dict[str, Tensor | None]]


def _copied(state: Mapping[Tensor, Mapping[str, Tensor | None]]) -> State:
    return {
        parameter: {key: None if value is None else value.clone() for key, value in entries.items()}
        for parameter, entries in state.items()
    }
