"""Backbones as data: levels, channels and strides, parameter counts and tensors. Nothing here needs torch.

`core.models` builds the torch modules from the same data.
"""

from core.backbones.base import IMAGE_CHANNELS, Backbone, HeadKind, ParameterConvention, TensorShapes
from core.backbones.builtin import BACKBONES
from core.backbones.declaration import declaration_schema
from core.backbones.layers import ConvNorm
from core.backbones.mobilenet import Bottlenecks, MobileNetBackbone, MobileNetBlock
from core.backbones.plugged import BackboneDescription, BrokenBackboneError, PluggedBackbone
from core.backbones.registry import BackboneReference, backbone, backbones, canonical_reference
from core.backbones.residual import ResidualBackbone, ResidualBlock, ResidualStage, Stem

__all__ = [
    "BACKBONES",
    "IMAGE_CHANNELS",
    "Backbone",
    "BackboneDescription",
    "BackboneReference",
    "Bottlenecks",
    "BrokenBackboneError",
    "ConvNorm",
    "HeadKind",
    "MobileNetBackbone",
    "MobileNetBlock",
    "ParameterConvention",
    "PluggedBackbone",
    "ResidualBackbone",
    "ResidualBlock",
    "ResidualStage",
    "Stem",
    "TensorShapes",
    "backbone",
    "backbones",
    "canonical_reference",
    "declaration_schema",
]
