"""How TreeMTL's two ways of building a model name the modules of a block, and what ours are called.

A checkpoint numbers its blocks over all levels: `backbone.mtl_blocks.{n}.…`. Models of `main.models` (NYUv2 on
ResNet-34) name what is inside after the module's role; those of `main.auto_models`, built from a prototxt
(Taskonomy, and every MobileNetV2), number the operations, of which only convolutions and batch norms have
tensors. Read off the authors' published code and prototxt files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Modules = Mapping[str, str]
"""From the authors' module, as it stands after the block's number, to ours, after the branch's prefix."""


@dataclass(frozen=True, slots=True)
class Block:
    """One of the authors' blocks: the level of ours that it belongs to, and its modules."""

    level: int
    modules: Modules


@dataclass(frozen=True, slots=True)
class Family:
    """A backbone as one of the authors' two builders writes it.

    Attributes:
        stem_shape: of the first convolution's weights, under `first`; it tells the backbones apart.
        features: channels that the heads read.
    """

    backbone: str
    first: str
    stem_shape: tuple[int, ...]
    features: int
    blocks: tuple[Block, ...]

    @property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """The blocks' numbers by level."""
        levels = range(1 + self.blocks[-1].level)
        return tuple(
            tuple(n for n, block in enumerate(self.blocks) if block.level == level) for level in levels
        )


RESNET_BLOCKS = (1, 3, 4, 6, 3)
RESNET_SHORTCUTS = (4, 8, 14)
MOBILENET_BLOCKS = (7, 11, 5, 8, 1)
MOBILENET_ADDS = (6, 10, 11, 15, 16, 17, 21, 22, 26, 27)
"""Residual units, which are blocks of three convolutions; each convolution outside them is a block of its own."""


def _role_named(number: int, place: int) -> Modules:
    if number == 0:
        return {"residual_block.0": "conv", "residual_block.1": "norm"}
    ours = f"blocks.{place}."
    modules = {
        "residual_block.block.conv1": ours + "conv1",
        "residual_block.block.bn1": ours + "norm1",
        "residual_block.block.conv2": ours + "conv2",
        "residual_block.block.bn2": ours + "norm2",
    }
    if number in RESNET_SHORTCUTS:
        modules |= {
            "residual_block.ds.0": ours + "shortcut.conv",
            "residual_block.ds.1": ours + "shortcut.norm",
        }
    return modules


def _resnet_numbered(number: int, place: int) -> Modules:
    """The prototxt has a block's shortcut before its other convolutions."""
    if number == 0:
        return _operations("", {0: "conv", 1: "norm"})
    ours = f"blocks.{place}."
    if number in RESNET_SHORTCUTS:
        names = {0: "shortcut.conv", 1: "shortcut.norm", 2: "conv1", 3: "norm1", 5: "conv2", 6: "norm2"}
        return _operations(ours, names)
    return _operations(ours, {0: "conv1", 1: "norm1", 3: "conv2", 4: "norm2"})


def _mobilenet_numbered(number: int, place: int) -> Modules:
    names = {0: "conv1", 1: "norm1"}
    if number in MOBILENET_ADDS:
        names |= {3: "conv2", 4: "norm2", 6: "conv3", 7: "norm3"}
    return _operations(f"blocks.{place}.", names)


def _operations(ours: str, names: Mapping[int, str]) -> Modules:
    return {f"compute_nodes.{number}.basicOp": ours + name for number, name in names.items()}


def _blocks(sizes: tuple[int, ...], modules: Callable[[int, int], Modules]) -> tuple[Block, ...]:
    """The blocks of levels of these sizes; `modules` takes a block's number and its place in the level."""
    places = [(level, place) for level, size in enumerate(sizes) for place in range(size)]
    return tuple(Block(level, modules(number, place)) for number, (level, place) in enumerate(places))


FAMILIES = (
    Family(
        "deeplab_resnet34",
        first="residual_block.0.weight",
        stem_shape=(64, 3, 7, 7),
        features=512,
        blocks=_blocks(RESNET_BLOCKS, _role_named),
    ),
    Family(
        "deeplab_resnet34",
        first="compute_nodes.0.basicOp.weight",
        stem_shape=(64, 3, 7, 7),
        features=512,
        blocks=_blocks(RESNET_BLOCKS, _resnet_numbered),
    ),
    Family(
        "mobilenet_v2",
        first="compute_nodes.0.basicOp.weight",
        stem_shape=(32, 3, 3, 3),
        features=1280,
        blocks=_blocks(MOBILENET_BLOCKS, _mobilenet_numbered),
    ),
)
