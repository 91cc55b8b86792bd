"""What the network is, without torch: the object that the entry point names, and the numbers it is built from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DenseLevel:
    """A strided convolution to `width` channels, and one more that adds half as many beside them."""

    incoming: int
    width: int
    stride: int

    @property
    def convolutions(self) -> dict[str, tuple[int, int, int, int]]:
        """Weight shapes of the 3x3 convolutions, by the name of the module that has it."""
        return {"enter": (self.width, self.incoming, 3, 3), "grow": (self.width // 2, self.width, 3, 3)}

    @property
    def channels(self) -> int:
        """Channels that the level hands on: those of both convolutions, side by side."""
        return self.width + self.width // 2


LEVELS = (
    DenseLevel(incoming=3, width=16, stride=2),
    DenseLevel(incoming=24, width=32, stride=2),
    DenseLevel(incoming=48, width=48, stride=1),
    DenseLevel(incoming=72, width=64, stride=2),
)


class Hazel:
    """The description that Windthrow reads. It copies everything once, so nothing here has to be fast."""

    name = "hazel"
    title = "A small dense network"
    head = "sapling"
    modules = "hazel.network:level_module"
    level_channels = tuple(level.channels for level in LEVELS)
    output_stride = 8

    def level_parameters(self, convention: str) -> tuple[int, ...]:
        """Parameters of each level: "paper" counts one per batch-norm channel, "torch" weight and bias."""
        of_norm = 1 if convention == "paper" else 2
        return tuple(
            sum(out * (inside * height * width + of_norm) for out, inside, height, width in shapes)
            for shapes in (level.convolutions.values() for level in LEVELS)
        )

    def level_tensors(self, level: int) -> dict[str, tuple[int, ...]]:
        """Every tensor of a level's state dict, `num_batches_tracked` left out."""
        tensors: dict[str, tuple[int, ...]] = {}
        for name, shape in LEVELS[level].convolutions.items():
            tensors[f"{name}.conv.weight"] = shape
            for statistic in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{name}.norm.{statistic}"] = shape[:1]
        return tensors


HAZEL = Hazel()
