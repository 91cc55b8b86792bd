"""What every backbone says of itself, without torch."""

from collections.abc import Mapping
from typing import Literal, Protocol, get_args

HeadKind = Literal["deeplab", "sapling"]
ParameterConvention = Literal["paper", "torch"]
TensorShapes = Mapping[str, tuple[int, ...]]

IMAGE_CHANNELS = 3
HEADS: tuple[HeadKind, ...] = get_args(HeadKind)
CONVENTIONS: tuple[ParameterConvention, ...] = get_args(ParameterConvention)


class Backbone(Protocol):
    """A network cut into levels, at which tasks may part; a level is instantiated once per task set."""

    @property
    def name(self) -> str:
        """What manifests call it."""

    @property
    def title(self) -> str:
        """What people call it, in a few words."""

    @property
    def head(self) -> HeadKind:
        """The kind of head that each task puts on the last level's features."""

    @property
    def levels(self) -> int:
        """Branching points: one per level."""

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels that each level hands on."""

    @property
    def feature_channels(self) -> int:
        """Channels of the features that the heads read."""

    @property
    def output_stride(self) -> int:
        """Image pixels per feature pixel, along one side."""

    def level_parameters(self, convention: ParameterConvention = "paper") -> tuple[int, ...]:
        """Parameters of one instance of each level.

        Args:
            convention: "paper" counts one parameter per batch-norm channel, as the paper's tables do; "torch"
                counts two, which is what `sum(p.numel() for p in module.parameters())` gives.
        """

    def level_tensors(self, level: int) -> TensorShapes:
        """Name and shape of every tensor of one instance of a level: parameters and batch-norm statistics."""
