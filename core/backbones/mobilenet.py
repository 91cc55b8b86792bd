"""MobileNetV2 (Sandler et al. 2018) as data, divided into the blocks of TreeMTL's layouts."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod

from core.backbones.base import HeadKind, ParameterConvention, TensorShapes
from core.backbones.layers import ConvNorm, prefixed


@dataclass(frozen=True, slots=True)
class MobileNetBlock:
    """What the cut of a single edge separates from the rest of the network.

    That is one convolution, or a whole inverted residual (1x1, depthwise 3x3, 1x1) whose input is added to its
    output. Inside a residual a ReLU follows each layer but the last.

    Attributes:
        layers: one, or the three of a residual.
        relu: whether a ReLU ends the block; linear bottlenecks have none.
    """

    layers: tuple[ConvNorm, ...]
    relu: bool

    @property
    def adds(self) -> bool:
        """Whether it is a residual, which adds its input to its output."""
        return len(self.layers) > 1

    @property
    def channels(self) -> int:
        """Channels that the block hands on."""
        return self.layers[-1].channels

    def tensors(self) -> TensorShapes:
        """The layers' tensors, numbered from 1: `conv1`, `norm1`, and in a residual `conv2` to `norm3`."""
        shapes: dict[str, tuple[int, ...]] = {}
        for number, layer in enumerate(self.layers, start=1):
            shapes |= layer.tensors(str(number))
        return shapes


@dataclass(frozen=True, slots=True)
class Bottlenecks:
    """A row of the paper's table 2: t, c, n, s. The first unit strides; the others add their input."""

    expansion: int
    channels: int
    units: int
    stride: int

    def unrolled(self, in_channels: int) -> Iterator[MobileNetBlock]:
        """The units' blocks, the first of which reads `in_channels`."""
        for stride in (self.stride, *(1,) * (self.units - 1)):
            yield from self._unit(in_channels, stride)
            in_channels = self.channels

    def _unit(self, incoming: int, stride: int) -> Iterator[MobileNetBlock]:
        wide = incoming * self.expansion
        expand = ConvNorm(incoming, wide, 1)
        depthwise = ConvNorm(wide, wide, 3, stride=stride, groups=wide)
        project = ConvNorm(wide, self.channels, 1)
        if stride == 1 and incoming == self.channels:
            yield MobileNetBlock((expand, depthwise, project), relu=False)
            return
        if self.expansion != 1:
            yield MobileNetBlock((expand,), relu=True)
        yield MobileNetBlock((depthwise,), relu=True)
        yield MobileNetBlock((project,), relu=False)


@dataclass(frozen=True, slots=True)
class MobileNetBackbone:
    """A MobileNetV2 without its classifier.

    Attributes:
        stem: the first convolution, a block of its own.
        rows: the bottlenecks.
        features: channels of the 1x1 convolution at the end, also a block of its own.
        level_sizes: how many blocks each level has.
    """

    name: str
    title: str
    stem: ConvNorm
    rows: tuple[Bottlenecks, ...]
    features: int
    level_sizes: tuple[int, ...]
    head: HeadKind

    @property
    def blocks(self) -> tuple[MobileNetBlock, ...]:
        """All blocks, in TreeMTL's numbering."""
        blocks = [MobileNetBlock((self.stem,), relu=True)]
        for row in self.rows:
            blocks += row.unrolled(blocks[-1].channels)
        return (*blocks, MobileNetBlock((ConvNorm(blocks[-1].channels, self.features, 1),), relu=True))

    @property
    def level_blocks(self) -> tuple[tuple[MobileNetBlock, ...], ...]:
        """The blocks of each level."""
        cuts = pairwise(accumulate(self.level_sizes, initial=0))
        blocks = self.blocks
        return tuple(blocks[first:end] for first, end in cuts)

    @property
    def levels(self) -> int:
        """Branching points."""
        return len(self.level_sizes)

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels that each level hands on."""
        return tuple(blocks[-1].channels for blocks in self.level_blocks)

    @property
    def feature_channels(self) -> int:
        """Channels of the features that the heads read."""
        return self.features

    @property
    def output_stride(self) -> int:
        """Image pixels per feature pixel, along one side."""
        return prod(layer.stride for block in self.blocks for layer in block.layers)

    def level_parameters(self, convention: ParameterConvention = "paper") -> tuple[int, ...]:
        """Parameters of one instance of each level; see `Backbone`."""
        return tuple(
            sum(layer.parameter_count(convention) for block in blocks for layer in block.layers)
            for blocks in self.level_blocks
        )

    def level_tensors(self, level: int) -> TensorShapes:
        """`blocks.{n}.` and a block's own names, n counting from the level's first block."""
        shapes: dict[str, tuple[int, ...]] = {}
        for number, block in enumerate(self.level_blocks[level]):
            shapes |= prefixed(f"blocks.{number}.", block.tensors())
        return shapes
