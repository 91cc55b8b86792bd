"""Torch modules of a residual backbone's levels, built from `core.backbones`' data."""

from typing import cast

import torch
from torch import Tensor, nn

from core.backbones import IMAGE_CHANNELS, ResidualBackbone, ResidualBlock, Stem


def residual_level(backbone: ResidualBackbone, level: int) -> nn.Module:
    """One instance of a level: features of the level above (images, for level 0) in, its own features out."""
    if level == 0:
        return StemModule(backbone.stem)
    return StageModule(backbone.stage_blocks[level - 1])


class StemModule(nn.Module):
    """Convolution, batch norm, ReLU and maybe a max pool."""

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            IMAGE_CHANNELS,
            stem.channels,
            stem.kernel,
            stride=stem.stride,
            padding=stem.kernel // 2,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(stem.channels)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True) if stem.pool else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, channels, H / stride, W / stride]."""
        return cast("Tensor", self.pool(torch.relu(self.norm(self.conv(images)))))


class StageModule(nn.Module):
    """The residual blocks of one stage."""

    def __init__(self, blocks: tuple[ResidualBlock, ...]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(BlockModule(block) for block in blocks))

    def forward(self, features: Tensor) -> Tensor:
        """[N, in_channels, h, w] to [N, channels, h / stride, w / stride]."""
        return cast("Tensor", self.blocks(features))


class BlockModule(nn.Module):
    """conv, norm, ReLU, conv, norm; add the shortcut; ReLU."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv1 = _conv3x3(block.in_channels, block.channels, stride=block.stride, dilation=block.dilation)
        self.norm1 = nn.BatchNorm2d(block.channels)
        self.conv2 = _conv3x3(block.channels, block.channels, stride=1, dilation=block.dilation)
        self.norm2 = nn.BatchNorm2d(block.channels)
        self.shortcut = ShortcutModule(block) if block.shortcut else None

    def forward(self, features: Tensor) -> Tensor:
        """[N, in_channels, h, w] to [N, channels, h / stride, w / stride]."""
        residual = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(features)))))
        kept = features if self.shortcut is None else self.shortcut(features)
        return torch.relu(residual + kept)


class ShortcutModule(nn.Module):
    """1x1 convolution and batch norm where a block changes size or width."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv = nn.Conv2d(block.in_channels, block.channels, 1, stride=block.stride, bias=False)
        self.norm = nn.BatchNorm2d(block.channels)

    def forward(self, features: Tensor) -> Tensor:
        """[N, in_channels, h, w] to [N, channels, h / stride, w / stride]."""
        return cast("Tensor", self.norm(self.conv(features)))


def _conv3x3(incoming: int, outgoing: int, *, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(incoming, outgoing, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
