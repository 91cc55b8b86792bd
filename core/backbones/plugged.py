"""A backbone of an installed package: what its description has to say, and the checked copy that the service keeps."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.backbones.base import CONVENTIONS, HEADS, HeadKind, ParameterConvention, TensorShapes
from core.errors import InvalidError

MAX_LEVELS = 64
MAX_TENSOR_NAME = 160
"""With `stages.{level}.{group}.` before it, still a name that a checkpoint may hold."""

NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
MODULES = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class BrokenBackboneError(InvalidError):
    """A package's backbone cannot be used."""

    code = "broken_backbone"


class BackboneDescription(Protocol):
    """What an entry point has to name. It, and the module that it is in, must not import torch."""

    @property
    def name(self) -> str:
        """What manifests call the backbone; the entry point has the same name."""

    @property
    def title(self) -> str:
        """What people call it, in a few words."""

    @property
    def head(self) -> HeadKind:
        """Which of the service's heads each task puts on the last level's features."""

    @property
    def level_channels(self) -> Sequence[int]:
        """Channels that each level hands on."""

    @property
    def output_stride(self) -> int:
        """Image pixels per feature pixel, along one side."""

    @property
    def modules(self) -> str:
        """Where workers find the torch modules: "package.module:function".

        The function takes a level's number and returns an `nn.Module` with fresh weights, which maps the features
        of the level above (images, [N, 3, H, W], for level 0) to the level's own.
        """

    def level_parameters(self, convention: ParameterConvention) -> Sequence[int]:
        """Parameters of one instance of each level; "paper" counts one per batch-norm channel, "torch" all."""

    def level_tensors(self, level: int) -> TensorShapes:
        """Name and shape of everything in the level's state dict but `num_batches_tracked`."""


@dataclass(frozen=True, slots=True)
class PluggedBackbone:
    """A backbone of an installed package.

    Attributes:
        modules: "package.module:function", which makes the torch module of a level.
        provider: the package and its version.
        parameters: of each level, by convention.
        tensors: of each level.
    """

    name: str
    title: str
    head: HeadKind
    level_channels: tuple[int, ...]
    output_stride: int
    modules: str
    provider: str
    parameters: Mapping[ParameterConvention, tuple[int, ...]]
    tensors: tuple[TensorShapes, ...]

    @property
    def levels(self) -> int:
        """Branching points."""
        return len(self.level_channels)

    @property
    def feature_channels(self) -> int:
        """Channels of the features that the heads read."""
        return self.level_channels[-1]

    def level_parameters(self, convention: ParameterConvention = "paper") -> tuple[int, ...]:
        """Parameters of one instance of each level; see `Backbone`."""
        return self.parameters[convention]

    def level_tensors(self, level: int) -> TensorShapes:
        """Name and shape of every tensor of one instance of a level."""
        return self.tensors[level]


def copied(description: BackboneDescription, *, name: str, provider: str) -> PluggedBackbone:
    """What a description says, so that no call into the package is needed again.

    Args:
        description: what the entry point names; nothing is sure about it yet.
        name: the entry point's.
        provider: the package and its version.

    Raises:
        BrokenBackboneError: it says something impossible.
    """
    channels = _numbers(description.level_channels, "level_channels")
    if not 1 <= len(channels) <= MAX_LEVELS:
        raise BrokenBackboneError(f"level_channels must be 1 to {MAX_LEVELS} numbers, one for each level")
    if description.name != name or not NAME.fullmatch(name):
        raise BrokenBackboneError(f"the entry point's name and `name` must both match {NAME.pattern}")
    levels = len(channels)
    return PluggedBackbone(
        name=name,
        title=_text(description.title, "title", re.compile(r"\S.{0,199}")),
        head=_head(description.head),
        level_channels=channels,
        output_stride=_numbers([description.output_stride], "output_stride")[0],
        modules=_text(description.modules, "modules", MODULES),
        provider=provider,
        parameters={each: _parameters(description.level_parameters(each), levels) for each in CONVENTIONS},
        tensors=tuple(_tensors(description.level_tensors(level), level) for level in range(levels)),
    )


def _text(value: object, field: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BrokenBackboneError(f"{field} must be text that matches {pattern.pattern}")
    return value


def _head(value: object) -> HeadKind:
    for head in HEADS:
        if value == head:
            return head
    raise BrokenBackboneError(f"head must be {' or '.join(HEADS)}")


def _numbers(values: object, field: str, *, least: int = 1) -> tuple[int, ...]:
    if isinstance(values, list | tuple) and all(type(each) is int and each >= least for each in values):
        return tuple(values)
    raise BrokenBackboneError(f"{field} must be whole numbers, {least} or more")


def _parameters(values: object, levels: int) -> tuple[int, ...]:
    counts = _numbers(values, "level_parameters", least=0)
    if len(counts) != levels:
        raise BrokenBackboneError(f"level_parameters must give {levels} numbers, one for each level")
    return counts


def _tensors(shapes: object, level: int) -> TensorShapes:
    if not isinstance(shapes, Mapping):
        raise BrokenBackboneError("level_tensors must give a mapping from names to shapes")
    for name in shapes:
        named = isinstance(name, str) and name.isascii() and name.isprintable()
        if not named or not 1 <= len(name) <= MAX_TENSOR_NAME or name.endswith("num_batches_tracked"):
            raise BrokenBackboneError(f"level {level} has a tensor that cannot be called {name!r:.60}")
    return {name: _numbers(shape, f"the shape of {name}", least=0) for name, shape in shapes.items()}
