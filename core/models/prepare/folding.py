"""Batch norms folded into the layers they follow: in eval mode both are linear, so one can do for two."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from core.models.prepare.tracing import Trace, trace

FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

SHOWN = 3
"""Modules that a note names; the others it counts."""


def fold_batch_norms(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Fold in place every batch norm whose input is, as the example shows, one layer's output and nobody else's.

    Returns:
        Why the others were left, a sentence for each reason.
    """
    watched = [m for m in model.modules() if isinstance(m, (_ConvNd, nn.Linear, _BatchNorm))]
    seen = trace(model, example, watched)
    gone: dict[nn.Module, nn.Module] = {}
    left: dict[str, list[str]] = defaultdict(list)
    for name, norm in model.named_modules():
        if not isinstance(norm, _BatchNorm):
            continue
        layer = _layer_before(norm, seen)
        if isinstance(layer, str):
            left[layer].append(name)
        else:
            _fold(layer, norm)
            gone[norm] = nn.Identity()
    replace_modules(model, gone)
    return tuple(
        f"batch norms not folded because {reason}: {_named(names)}" for reason, names in left.items()
    )


def drop_dropouts(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Take out dropout layers, which do nothing in eval mode."""
    del example
    replace_modules(model, {module: nn.Identity() for module in model.modules() if type(module) in DROPOUTS})
    return ()


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> None:
    """Put other modules in the place of some, under every name that they have."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if name and module in replacements:
            model.set_submodule(name, replacements[module])


def _layer_before(norm: _BatchNorm, seen: Trace) -> nn.Module | str:
    """The layer that a batch norm can be folded into, or why there is none."""
    inputs = seen.inputs.get(norm, [])
    if type(norm) not in NORMS:
        return f"they are of a kind of their own, {type(norm).__name__}"
    if norm.running_mean is None:
        return "they use the batch's own statistics"
    if len(inputs) != 1:
        return f"they run {len(inputs)} times rather than once"
    layer = seen.maker(inputs[0])
    if layer is None or isinstance(layer, _BatchNorm):
        return "they follow no convolution or linear layer"
    return _unfit(layer, inputs[0], seen) or layer


def _unfit(layer: nn.Module, features: Tensor, seen: Trace) -> str | None:
    """Why no batch norm that reads these features can be folded into the layer that made them."""
    if type(layer) not in FOLDABLE:
        return f"they follow a {type(layer).__name__}, which nothing is folded into"
    if "weight" not in dict(layer.named_parameters(recurse=False)):
        return "the layers they follow compute their weights"
    if len(seen.outputs[layer]) != 1:
        return "the layers they follow run more than once"
    if seen.readers[id(features)] != 1:
        return "something else reads the output of the layers they follow"
    if features.dim() != _weight(layer).dim():
        return "they run along another dimension than the channels of the layers they follow"
    return None


@torch.no_grad()
def _fold(layer: nn.Module, norm: _BatchNorm) -> None:
    """Weight and bias of (layer(x) - mean) / sqrt(var + eps) * gamma + beta, computed in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = _weight(layer), layer.bias
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        shift = shift + norm.bias.double()
    if isinstance(bias, Tensor):
        shift = shift + bias.double() * scale
    scaled = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    layer.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=False)
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def _named(names: Iterable[str]) -> str:
    first, rest = list(names)[:SHOWN], list(names)[SHOWN:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")
