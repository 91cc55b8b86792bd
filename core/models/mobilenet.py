"""Torch modules of a MobileNetV2's levels, built from `core.backbones`' data.

Where the network was published with ReLU6, these have ReLU: TreeMTL's models do, and their weights mean nothing
under another activation.
"""

from typing import cast

import torch
from torch import Tensor, nn

from core.backbones import ConvNorm, MobileNetBackbone, MobileNetBlock


def mobilenet_level(backbone: MobileNetBackbone, level: int) -> nn.Module:
    """One instance of a level: features of the level above (images, for level 0) in, its own features out."""
    return MobileNetLevel(backbone.level_blocks[level])


class MobileNetLevel(nn.Module):
    """The blocks of one level."""

    def __init__(self, blocks: tuple[MobileNetBlock, ...]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*map(_block, blocks))

    def forward(self, features: Tensor) -> Tensor:
        """[N, in_channels, h, w] to [N, channels, h / stride, w / stride]."""
        return cast("Tensor", self.blocks(features))


def _block(block: MobileNetBlock) -> nn.Module:
    if block.adds:
        return InvertedResidual(*block.layers)
    return ConvolutionBlock(block.layers[0], relu=block.relu)


class ConvolutionBlock(nn.Module):
    """conv, norm, and ReLU unless the block is a linear bottleneck."""

    def __init__(self, layer: ConvNorm, *, relu: bool) -> None:
        super().__init__()
        self.conv1 = _conv(layer)
        self.norm1 = nn.BatchNorm2d(layer.channels)
        self.relu = relu

    def forward(self, features: Tensor) -> Tensor:
        """[N, in_channels, h, w] to [N, channels, h / stride, w / stride]."""
        result = cast("Tensor", self.norm1(self.conv1(features)))
        return torch.relu(result) if self.relu else result


class InvertedResidual(nn.Module):
    """1x1 conv, norm, ReLU, depthwise conv, norm, ReLU, 1x1 conv, norm; add the input."""

    def __init__(self, expand: ConvNorm, depthwise: ConvNorm, project: ConvNorm) -> None:
        super().__init__()
        self.conv1 = _conv(expand)
        self.norm1 = nn.BatchNorm2d(expand.channels)
        self.conv2 = _conv(depthwise)
        self.norm2 = nn.BatchNorm2d(depthwise.channels)
        self.conv3 = _conv(project)
        self.norm3 = nn.BatchNorm2d(project.channels)

    def forward(self, features: Tensor) -> Tensor:
        """[N, channels, h, w] to the same."""
        wide = torch.relu(self.norm1(self.conv1(features)))
        filtered = torch.relu(self.norm2(self.conv2(wide)))
        return features + cast("Tensor", self.norm3(self.conv3(filtered)))


def _conv(layer: ConvNorm) -> nn.Conv2d:
    return nn.Conv2d(
        layer.in_channels,
        layer.channels,
        layer.kernel,
        stride=layer.stride,
        padding=layer.kernel // 2,
        groups=layer.groups,
        bias=False,
    )
