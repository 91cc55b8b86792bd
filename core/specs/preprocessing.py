"""`Preprocessing`: what a model does to an image before its first layer. Standard library only."""

import math
from dataclasses import dataclass
from typing import Literal

from core.errors import InvalidError

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Reorder the channels of an RGB image in [0, 1], then `(image * scale - mean) / std`.

    Attributes:
        mean, std: in the model's own channel order, after scaling.

    Raises:
        InvalidError: a number is not finite, or scale or std is not above 0; `field` names it.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by Pydantic, no field

    channel_order: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Check every number."""
        _check("scale", self.scale, positive=True)
        for channel in range(3):
            _check(f"mean.{channel}", self.mean[channel], positive=False)
            _check(f"std.{channel}", self.std[channel], positive=True)


def _check(field: str, value: float, *, positive: bool) -> None:
    if not math.isfinite(value) or (positive and value <= 0):
        raise InvalidError(
            f"{field} must be a finite number{' above 0' if positive else ''}; got {value}", field=field
        )
