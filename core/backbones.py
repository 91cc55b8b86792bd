"""Backbones as data: stages, channels and strides, and the parameter counts that follow from them.

`core.models` builds the torch modules from the same data; nothing here needs torch.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

from core.errors import InvalidError

HeadKind = Literal["deeplab", "sapling"]
ParameterConvention = Literal["paper", "torch"]

_BATCH_NORM_PARAMETERS: dict[ParameterConvention, int] = {"paper": 1, "torch": 2}
"""Parameters of one batch-norm channel: the paper's tables count one, torch has a weight and a bias."""

IMAGE_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Stem:
    """Convolution without bias (padding `kernel // 2`), batch norm, ReLU, maybe a 3x3 max pool of stride 2.

    Attributes:
        pool: whether the max pool (padding 1, `ceil_mode=True`) follows.
    """

    kernel: int
    channels: int
    stride: int
    pool: bool

    def parameter_count(self, convention: ParameterConvention = "paper") -> int:
        """Parameters of the convolution and its batch norm."""
        return _conv_and_norm(IMAGE_CHANNELS, self.channels, self.kernel, convention)


@dataclass(frozen=True, slots=True)
class ResidualBlock:
    """3x3 conv, BN, ReLU, 3x3 conv, BN, then add the shortcut and ReLU; no convolution has a bias.

    Attributes:
        stride: of the first convolution, and of the shortcut's.
        dilation: of both 3x3 convolutions; their padding is the same number.
        shortcut: whether the shortcut is a 1x1 conv and BN rather than the block's own input.
    """

    in_channels: int
    channels: int
    stride: int
    dilation: int
    shortcut: bool

    def parameter_count(self, convention: ParameterConvention = "paper") -> int:
        """Parameters of the two convolutions, the shortcut and their batch norms."""
        first = _conv_and_norm(self.in_channels, self.channels, 3, convention)
        second = _conv_and_norm(self.channels, self.channels, 3, convention)
        shortcut = _conv_and_norm(self.in_channels, self.channels, 1, convention) if self.shortcut else 0
        return first + second + shortcut


@dataclass(frozen=True, slots=True)
class ResidualStage:
    """Residual blocks of one width; the stride is the first block's, the dilation every block's."""

    blocks: int
    channels: int
    stride: int
    dilation: int

    def has_shortcut(self, in_channels: int) -> bool:
        """Whether the first block, reading `in_channels`, has a 1x1 conv + BN shortcut; no other has."""
        return self.stride != 1 or in_channels != self.channels or self.dilation in (2, 4)

    def unrolled(self, in_channels: int) -> tuple[ResidualBlock, ...]:
        """The stage's blocks, the first of which reads `in_channels`."""
        first = ResidualBlock(
            in_channels, self.channels, self.stride, self.dilation, shortcut=self.has_shortcut(in_channels)
        )
        other = ResidualBlock(self.channels, self.channels, 1, self.dilation, shortcut=False)
        return (first, *(other,) * (self.blocks - 1))


@dataclass(frozen=True, slots=True)
class ResidualBackbone:
    """A residual network, cut into levels: level 0 is the stem, level n the n-th residual stage.

    Attributes:
        head: the kind of head that each task puts on the last level's features.
    """

    name: str
    title: str
    stem: Stem
    stages: tuple[ResidualStage, ...]
    head: HeadKind

    @property
    def levels(self) -> int:
        """Branching points: the stem and every stage."""
        return 1 + len(self.stages)

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels that each level hands on."""
        return (self.stem.channels, *(stage.channels for stage in self.stages))

    @property
    def feature_channels(self) -> int:
        """Channels of the features that the heads read."""
        return self.level_channels[-1]

    @property
    def output_stride(self) -> int:
        """Image pixels per feature pixel, along one side."""
        pool = 2 if self.stem.pool else 1
        return self.stem.stride * pool * prod(stage.stride for stage in self.stages)

    @property
    def stage_blocks(self) -> tuple[tuple[ResidualBlock, ...], ...]:
        """The blocks of every residual stage: entry n makes level n + 1."""
        incoming = self.level_channels[:-1]
        return tuple(map(ResidualStage.unrolled, self.stages, incoming))

    def level_parameters(self, convention: ParameterConvention = "paper") -> tuple[int, ...]:
        """Parameters of one instance of each level.

        Args:
            convention: "paper" counts one parameter per batch-norm channel, as the paper's tables do; "torch"
                counts two, which is what `sum(p.numel() for p in module.parameters())` gives.
        """
        stem = self.stem.parameter_count(convention)
        stages = (sum(block.parameter_count(convention) for block in blocks) for blocks in self.stage_blocks)
        return (stem, *stages)


def _conv_and_norm(incoming: int, channels: int, kernel: int, convention: ParameterConvention) -> int:
    return incoming * channels * kernel**2 + channels * _BATCH_NORM_PARAMETERS[convention]


_BACKBONES = (
    ResidualBackbone(
        "deeplab_resnet34",
        "DeepLab on a dilated ResNet-34",
        stem=Stem(kernel=7, channels=64, stride=2, pool=True),
        stages=(
            ResidualStage(blocks=3, channels=64, stride=1, dilation=1),
            ResidualStage(blocks=4, channels=128, stride=2, dilation=1),
            ResidualStage(blocks=6, channels=256, stride=1, dilation=2),
            ResidualStage(blocks=3, channels=512, stride=1, dilation=4),
        ),
        head="deeplab",
    ),
    ResidualBackbone(
        "sapling",
        "A small residual network for the demo and the tests",
        stem=Stem(kernel=3, channels=16, stride=2, pool=False),
        stages=(
            ResidualStage(blocks=1, channels=24, stride=2, dilation=1),
            ResidualStage(blocks=1, channels=40, stride=1, dilation=1),
            ResidualStage(blocks=1, channels=64, stride=2, dilation=1),
            ResidualStage(blocks=1, channels=64, stride=1, dilation=1),
        ),
        head="sapling",
    ),
)

BACKBONES: dict[str, ResidualBackbone] = {backbone.name: backbone for backbone in _BACKBONES}


def backbone(name: str) -> ResidualBackbone:
    """The backbone of that name.

    Raises:
        InvalidError: there is none; the message lists those there are.
    """
    if name not in BACKBONES:
        raise InvalidError(f"no backbone {name!r}; there are {', '.join(BACKBONES)}")
    return BACKBONES[name]
