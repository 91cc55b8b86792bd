"""What stands around a prepared model: outside, float32 in any memory format; inside, what is fastest."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from core.models.prepare.precision import precision_context
from core.modules import accepts_only
from core.specs.precision import Precision


class Adapter(nn.Module):
    """Calls a model with its images channels-last and its arithmetic of the precision asked for."""

    def __init__(self, model: nn.Module, *, channels_last: bool, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self._channels_last = channels_last
        self._precision = precision
        self.training = False  # as everything inside

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[N, 3, H, W] to float32 predictions by task."""
        return self._run(images)

    def _run(self, images: Tensor, **only: Collection[str] | None) -> dict[str, Tensor]:
        if self._channels_last:
            images = channels_last(images)
        with _arithmetic(self._precision, images.device.type):
            predictions = self.model(images, **only)
        return {
            name: value.float() if value.is_floating_point() else value for name, value in predictions.items()
        }


class BranchingAdapter(Adapter):
    """The same for a model that can run just some tasks' branches."""

    def forward(self, images: Tensor, *, only: Collection[str] | None = None) -> dict[str, Tensor]:
        """[N, 3, H, W] to float32 predictions, of all tasks or of `only` some."""
        return self._run(images, only=only)


def adapted(model: nn.Module, *, like: nn.Module, channels_last: bool, precision: Precision) -> Adapter:
    """A model in an adapter that takes `only` if another model does."""
    kind = BranchingAdapter if accepts_only(like) else Adapter
    return kind(model, channels_last=channels_last, precision=precision)


def channels_last(images: Tensor) -> Tensor:
    """The images in channels-last order; their gradient comes back in the order that they came in.

    The layers then share one conversion, and what an attack does with images and gradient is not slowed down
    by strides that differ.
    """
    ordered = images.contiguous(memory_format=torch.channels_last)
    if ordered is not images and ordered.requires_grad:
        ordered.register_hook(torch.Tensor.contiguous)  # type: ignore[no-untyped-call]
    return ordered


@contextmanager
def _arithmetic(precision: Precision, device: str) -> Iterator[None]:
    with (
        precision_context(precision),
        torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        yield
