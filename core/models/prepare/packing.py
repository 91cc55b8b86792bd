"""Convolutions whose weights lie in oneDNN's own order, for the forward and for the backward pass.

torch puts a convolution's weights into that order anew at every pass. Where they outnumber the features, as
in a deep network on small images, that takes as long as the convolution itself.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.models.prepare.folding import replace_modules
from core.models.prepare.tracing import trace


def pack_convolutions(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Replace in place each convolution of stride 1 that has more weights than features on the example."""
    seen = trace(model, example, [module for module in model.modules() if type(module) is nn.Conv2d])
    packed: dict[nn.Module, nn.Module] = {}
    for module, inputs in seen.inputs.items():
        assert isinstance(module, nn.Conv2d)
        features, output = inputs[0], seen.outputs[module][0]
        heavy = module.weight.numel() >= features.numel() + output.numel()
        if heavy and features.dim() == 4 and _is_packable(module):
            packed[module] = PackedConvolution(module, features.shape, output.shape)
    replace_modules(model, packed)
    return ()


class PackedConvolution(nn.Module):
    """What a convolution of stride 1 computes, with constant weights; float32, on the CPU.

    Its gradient is a convolution too: with the kernel turned by 180 degrees, input and output channels swapped,
    and the padding that gives the input's size back.
    """

    def __init__(self, convolution: nn.Conv2d, features: torch.Size, output: torch.Size) -> None:
        super().__init__()
        weight, dilation = convolution.weight.detach(), convolution.dilation
        turned = weight.flip(2, 3).transpose(0, 1)
        padding = _padding(convolution)
        rest = [d * (k - 1) - p for d, k, p in zip(dilation, weight.shape[2:], padding, strict=True)]
        bias = None if convolution.bias is None else convolution.bias.detach()
        self._there = _Packed.of(weight, bias, padding, list(dilation), features)
        self._back = _Packed.of(turned, None, rest, list(dilation), output)

    def forward(self, features: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, out_channels, h, w]."""
        result: Tensor = _Convolve.apply(features, self._there, self._back)  # type: ignore[no-untyped-call]
        return result


@dataclass(frozen=True, slots=True)
class _Packed:
    """A convolution of stride 1; nothing in it ever changes, so copies share it."""

    weight: Tensor
    bias: Tensor | None
    padding: list[int]
    dilation: list[int]

    @classmethod
    def of(
        cls, weight: Tensor, bias: Tensor | None, padding: list[int], dilation: list[int], size: torch.Size
    ) -> "_Packed":
        ordered = weight.contiguous(memory_format=torch.channels_last)
        packed = torch.ops.mkldnn._reorder_convolution_weight(  # noqa: SLF001 - torch's own compiler packs with it
            ordered, padding, [1, 1], dilation, 1, list(size)
        )
        return cls(packed, bias, padding, dilation)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Packed":
        return self

    def __call__(self, features: Tensor) -> Tensor:
        features = features.contiguous(memory_format=torch.channels_last)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001 - as above
            features, self.weight, self.bias, self.padding, [1, 1], self.dilation, 1, "none", [], ""
        )
        return result


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, there: _Packed, back: _Packed) -> Tensor:
        ctx.back = back
        return there(features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient), None, None


def _is_packable(convolution: nn.Conv2d) -> bool:
    plain = convolution.stride == (1, 1) and convolution.groups == 1 and convolution.padding_mode == "zeros"
    if not plain or isinstance(convolution.padding, str) or convolution.weight.dtype != torch.float32:
        return False
    reach = (d * (k - 1) for d, k in zip(convolution.dilation, convolution.kernel_size, strict=True))
    return all(p <= r for p, r in zip(convolution.padding, reach, strict=True))


def _padding(convolution: nn.Conv2d) -> list[int]:
    assert not isinstance(convolution.padding, str)
    return list(convolution.padding)
