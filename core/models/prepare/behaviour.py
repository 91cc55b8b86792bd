"""What a model does on an example: its predictions, and the gradient that an attack would follow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.losses import PredictionError


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Attributes as one forward and one backward pass gave them.

    Attributes:
        predictions: by task, in float32 or wider.
        gradient: of a fixed random mixture of all predictions in the images, [N, 3, H, W]; None where no
            prediction depends on the images differentiably.
    """

    predictions: dict[str, Tensor]
    gradient: Tensor | None

    def difference(self, other: "Behaviour") -> float:
        """Largest difference of any prediction, as a share of the prediction's largest absolute value here."""
        if self.predictions.keys() != other.predictions.keys():
            return torch.inf
        pairs = ((value, other.predictions[name]) for name, value in self.predictions.items())
        return max((_relative_difference(*pair) for pair in pairs), default=0.0)

    def turned(self, other: "Behaviour") -> float:
        """How far the gradients point apart, 1 - cosine; 0 where neither has a direction."""
        if self.gradient is None or other.gradient is None:
            return 0.0 if self.gradient is other.gradient else 1.0
        here, there = self.gradient.double().flatten(), other.gradient.double().flatten()
        if torch.equal(here, there) or not (torch.isfinite(here).all() and here.any()):
            return 0.0
        return float(
            1 - torch.cosine_similarity(here, there, dim=0, eps=0.0)
        )  # deep models have tiny gradients


def observe(model: nn.Module, example: Tensor) -> Behaviour:
    """Run the model in eval mode on the example; it and torch's random state stay as they are.

    Raises:
        PredictionError: the model gives no predictions by task.
    """
    images = example.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    devices = [example.device] if example.device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices), torch.enable_grad():
        torch.manual_seed(0)
        predictions = model(images)
        if not isinstance(predictions, Mapping):
            raise PredictionError(
                f"the model must map images to {{task: prediction}}; it gave a {type(predictions).__name__}"
            )
        gradient = _gradient(predictions, images)
    return Behaviour({name: value.detach() for name, value in predictions.items()}, gradient)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module's mode is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _gradient(predictions: Mapping[str, Tensor], images: Tensor) -> Tensor | None:
    generator = torch.Generator().manual_seed(0)
    outputs = [value for value in predictions.values() if value.requires_grad]
    mixture = [(value * torch.randn(value.shape, generator=generator).to(value)).sum() for value in outputs]
    return torch.autograd.grad(torch.stack(mixture).sum(), images, allow_unused=True)[0] if mixture else None


def _relative_difference(given: Tensor, changed: Tensor) -> float:
    if given.shape != changed.shape:
        return torch.inf
    given, changed = given.double(), changed.double()
    same = (given == changed) | (given.isnan() & changed.isnan())
    distance = torch.where(same, 0.0, (given - changed).abs())
    scale = torch.where(given.isfinite(), given, 0.0).abs()
    if same.all():
        return 0.0
    return float(distance.amax() / scale.amax())
