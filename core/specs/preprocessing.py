"""`Preprocessing`: what a model does to an image before its first layer. Standard library only."""

import math
from dataclasses import dataclass
from typing import Literal

from core.errors import InvalidError

Triple = tuple[float, float, float]
MAX_SIDE = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Resize an RGB image in [0, 1], reorder its channels, then `(image * scale - mean) / std`.

    Attributes:
        size: height and width that the model was made for, to which images of any other are resized (bilinear,
            antialiased), as part of the model: attacks go through it. None takes images as they are.
        mean, std: in the model's own channel order, after scaling.

    Raises:
        InvalidError: a number is not finite or out of range; `field` names it.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by Pydantic, no field

    channel_order: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check every number."""
        if self.size is not None and not all(1 <= side <= MAX_SIDE for side in self.size):
            raise InvalidError(f"size is height and width, 1 to {MAX_SIDE}; got {self.size}", field="size")
        _check("scale", self.scale, positive=True)
        for channel in range(3):
            _check(f"mean.{channel}", self.mean[channel], positive=False)
            _check(f"std.{channel}", self.std[channel], positive=True)


def _check(field: str, value: float, *, positive: bool) -> None:
    if not math.isfinite(value) or (positive and value <= 0):
        raise InvalidError(
            f"{field} must be a finite number{' above 0' if positive else ''}; got {value}", field=field
        )
