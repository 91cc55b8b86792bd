"""Heads: what turns the last level's features into one task's prediction."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.backbones import Backbone
from core.checkpoints import DEEPLAB_DILATIONS, DEEPLAB_HIDDEN, SAPLING_HIDDEN, SAPLING_POOL, SAPLING_UPSCALE
from core.tasks import Task


def head_module(backbone: Backbone, task: Task) -> nn.Module:
    """The head of a task on a backbone."""
    if task.kind == "classification":
        return ClassificationHead(backbone.feature_channels, task.channels)
    if backbone.head == "sapling":
        return SaplingHead(backbone.feature_channels, task.channels)
    return DeeplabHead(backbone.feature_channels, task.channels)


class DeeplabHead(nn.Module):
    """The sum of four branches that look 6, 12, 18 and 24 pixels around (DeepLab v2; the paper's heads)."""

    def __init__(self, incoming: int, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _DeeplabBranch(incoming, channels, dilation) for dilation in DEEPLAB_DILATIONS
        )

    def forward(self, features: Tensor) -> Tensor:
        """[N, incoming, h, w] to [N, channels, h, w]."""
        return cast("Tensor", sum(branch(features) for branch in self.branches))


class _DeeplabBranch(nn.Module):
    def __init__(self, incoming: int, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, DEEPLAB_HIDDEN, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv2d(DEEPLAB_HIDDEN, DEEPLAB_HIDDEN, 1)
        self.conv3 = nn.Conv2d(DEEPLAB_HIDDEN, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.dropout(torch.relu(self.conv1(features)), 0.5, training=self.training)
        hidden = F.dropout(torch.relu(self.conv2(hidden)), 0.5, training=self.training)
        return cast("Tensor", self.conv3(hidden))


class SaplingHead(nn.Module):
    """Two 1x1 convolutions, then each feature pixel unfolds into 2 x 2 (Shi et al. 2016)."""

    def __init__(self, incoming: int, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(incoming, SAPLING_HIDDEN, 1)
        self.out = nn.Conv2d(SAPLING_HIDDEN, channels * SAPLING_UPSCALE**2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[N, incoming, h, w] to [N, channels, 2h, 2w]."""
        return F.pixel_shuffle(self.out(torch.relu(self.hidden(features))), SAPLING_UPSCALE)


class ClassificationHead(nn.Module):
    """Average over a 2 x 4 grid, so that left and right stay apart, and one linear layer."""

    def __init__(self, incoming: int, classes: int) -> None:
        super().__init__()
        rows, columns = SAPLING_POOL
        self.out = nn.Linear(incoming * rows * columns, classes)

    def forward(self, features: Tensor) -> Tensor:
        """[N, incoming, h, w] to [N, classes]."""
        return cast("Tensor", self.out(F.adaptive_avg_pool2d(features, SAPLING_POOL).flatten(1)))
