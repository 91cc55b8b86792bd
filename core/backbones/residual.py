"""Residual networks as data: a stem, then stages of basic blocks (He et al. 2016), dilated where wanted."""

from dataclasses import dataclass
from math import prod

from core.backbones.base import IMAGE_CHANNELS, HeadKind, ParameterConvention, TensorShapes
from core.backbones.layers import ConvNorm, prefixed


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

    @property
    def convolution(self) -> ConvNorm:
        """Its only layer with weights."""
        return ConvNorm(IMAGE_CHANNELS, self.channels, self.kernel, self.stride)

    def parameter_count(self, convention: ParameterConvention = "paper") -> int:
        """Parameters of the convolution and its batch norm."""
        return self.convolution.parameter_count(convention)


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

    @property
    def _layers(self) -> tuple[ConvNorm, ConvNorm, ConvNorm]:
        """The two convolutions, and what the shortcut is where it has weights."""
        return (
            ConvNorm(self.in_channels, self.channels, 3),
            ConvNorm(self.channels, self.channels, 3),
            ConvNorm(self.in_channels, self.channels, 1),
        )

    def parameter_count(self, convention: ParameterConvention = "paper") -> int:
        """Parameters of the two convolutions, the shortcut and their batch norms."""
        layers = self._layers if self.shortcut else self._layers[:2]
        return sum(layer.parameter_count(convention) for layer in layers)

    def tensors(self) -> TensorShapes:
        """Name and shape of every tensor."""
        first, second, shortcut = self._layers
        own = {**first.tensors("1"), **second.tensors("2")}
        return own | prefixed("shortcut.", shortcut.tensors()) if self.shortcut else own


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
        """Parameters of one instance of each level; see `Backbone`."""
        stem = self.stem.parameter_count(convention)
        stages = (sum(block.parameter_count(convention) for block in blocks) for blocks in self.stage_blocks)
        return (stem, *stages)

    def level_tensors(self, level: int) -> TensorShapes:
        """The stem's `conv` and `norm`, or `blocks.{n}.` and a block's own names."""
        if level == 0:
            return self.stem.convolution.tensors()
        shapes: dict[str, tuple[int, ...]] = {}
        for number, block in enumerate(self.stage_blocks[level - 1]):
            shapes |= prefixed(f"blocks.{number}.", block.tensors())
        return shapes
