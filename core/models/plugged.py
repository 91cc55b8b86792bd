"""Torch modules of an installed package's backbone: made by the package, held against its description."""

from collections.abc import Callable
from importlib.metadata import EntryPoint

from torch import nn

from core.backbones import BrokenBackboneError, PluggedBackbone


def plugged_level(backbone: PluggedBackbone, level: int) -> nn.Module:
    """One instance of a level, as the package makes it.

    A checkpoint is checked against the description only, so a tensor that it leaves out would keep random weights
    and nobody would know.

    Raises:
        BrokenBackboneError: the package has no such function, it fails, or its module is not as described.
    """
    module = _made(backbone, level)
    if not isinstance(module, nn.Module):
        raise _broken(backbone, f"gives a {type(module).__name__} for level {level}, no torch module")
    found = {
        name: tuple(value.shape)
        for name, value in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    described = backbone.level_tensors(level)
    if differing := sorted(dict(found.items() ^ described.items())):
        name = differing[0]
        raise _broken(
            backbone,
            f"gives level {level} a tensor {name!r} of shape {found.get(name)}; "
            f"{backbone.provider} describes {described.get(name)}",
        )
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if parameters != backbone.level_parameters("torch")[level]:
        raise _broken(backbone, f"gives level {level} {parameters} parameters, not as many as described")
    return module


def _made(backbone: PluggedBackbone, level: int) -> object:
    try:
        make: Callable[[int], object] = EntryPoint(backbone.name, backbone.modules, "").load()
        return make(level)
    except (Exception, SystemExit) as error:  # strangers' packages raise anything
        raise _broken(backbone, f"fails on level {level} ({type(error).__name__}: {error})") from error


def _broken(backbone: PluggedBackbone, what: str) -> BrokenBackboneError:
    return BrokenBackboneError(f"the backbone {backbone.name!r} cannot be built: {backbone.modules} {what}")
