"""The torch module of a backbone's level, whichever kind of backbone it is."""

from torch import nn

from core.backbones import Backbone, MobileNetBackbone, PluggedBackbone, ResidualBackbone
from core.models.mobilenet import mobilenet_level
from core.models.plugged import plugged_level
from core.models.residual import residual_level


def level_module(backbone: Backbone, level: int) -> nn.Module:
    """One instance of a level: features of the level above (images, for level 0) in, its own features out.

    Raises:
        BrokenBackboneError: the backbone is an installed package's, and its modules are not as described.
        TypeError: it is a backbone whose modules nobody knows.
    """
    match backbone:
        case ResidualBackbone():
            return residual_level(backbone, level)
        case MobileNetBackbone():
            return mobilenet_level(backbone, level)
        case PluggedBackbone():
            return plugged_level(backbone, level)
    raise TypeError(f"no torch modules are known for {type(backbone).__name__}")
