"""The torch modules. Only workers import this file."""

import torch
from torch import Tensor, nn

from hazel.description import LEVELS, DenseLevel


def level_module(level: int) -> nn.Module:
    """A fresh instance of a level: the features of the level above in (images for level 0), its own out."""
    return DenseLevelModule(LEVELS[level])


class DenseLevelModule(nn.Module):
    """Both convolutions, the second reading the first, side by side."""

    def __init__(self, level: DenseLevel) -> None:
        super().__init__()
        self.enter = _Layer(level.incoming, level.width, stride=level.stride)
        self.grow = _Layer(level.width, level.width // 2, stride=1)

    def forward(self, features: Tensor) -> Tensor:
        """[N, incoming, h, w] to [N, channels, h / stride, w / stride]."""
        entered = self.enter(features)
        return torch.cat([entered, self.grow(entered)], dim=1)


class _Layer(nn.Module):
    def __init__(self, incoming: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(incoming, channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(features))
        return torch.relu(normed)
