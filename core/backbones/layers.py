"""The layer that every built-in backbone is made of: its parameters, and what its tensors are called."""

from dataclasses import dataclass

from core.backbones.base import ParameterConvention, TensorShapes

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")

_NORM_PARAMETERS: dict[ParameterConvention, int] = {"paper": 1, "torch": 2}
"""Parameters of one batch-norm channel: the paper's tables count one, torch has a weight and a bias."""


@dataclass(frozen=True, slots=True)
class ConvNorm:
    """A square convolution without bias (padding `kernel // 2` unless dilated), and the batch norm after it."""

    in_channels: int
    channels: int
    kernel: int
    stride: int = 1
    groups: int = 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Of the convolution's weight: out, in per group, height, width."""
        return (self.channels, self.in_channels // self.groups, self.kernel, self.kernel)

    def parameter_count(self, convention: ParameterConvention = "paper") -> int:
        """Parameters of the convolution and its batch norm."""
        weights = self.channels * (self.in_channels // self.groups) * self.kernel**2
        return weights + self.channels * _NORM_PARAMETERS[convention]

    def tensors(self, suffix: str = "") -> TensorShapes:
        """The tensors of `conv{suffix}` and `norm{suffix}`."""
        norm = {f"norm{suffix}.{name}": (self.channels,) for name in NORM_TENSORS}
        return {f"conv{suffix}.weight": self.weight_shape, **norm}


def prefixed(prefix: str, shapes: TensorShapes) -> dict[str, tuple[int, ...]]:
    """The same tensors inside a module of that name."""
    return {prefix + name: shape for name, shape in shapes.items()}
