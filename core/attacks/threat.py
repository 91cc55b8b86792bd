"""The threat model: what an attacker may do to an image. Eps and bounds are in the images' own units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import InvalidError

BOUNDS_TOLERANCE = 1e-4
"""How far outside the bounds an image may lie, as a share of their width, before it is called wrong."""


@dataclass(frozen=True, slots=True)
class LinfBall:
    """The intersection of an L-infinity ball around each image with the box of valid images.

    Both are boxes, so projecting onto both at once is a single clamp.

    Attributes:
        lower, upper: [N, 3, H, W], the corners.
        eps: radius of the ball.
    """

    lower: Tensor
    upper: Tensor
    eps: float

    @classmethod
    def around(cls, images: Tensor, *, eps: float, bounds: tuple[float, float]) -> "LinfBall":
        """The ball around clean images.

        Raises:
            InvalidError: the bounds are not an interval, or images lie outside them (normalised images, most
            often).
        """
        low, high = bounds
        if not low < high:
            raise InvalidError(f"bounds must be (low, high) with low < high; got {bounds}", field="bounds")
        slack = BOUNDS_TOLERANCE * (high - low)
        least, most = (float(value) for value in torch.aminmax(images)) if images.numel() else (low, high)
        if not (least >= low - slack and most <= high + slack):  # NaN is outside too
            raise InvalidError(
                f"images span [{least:g}, {most:g}], outside the bounds [{low:g}, {high:g}]; hand over "
                "images before any normalisation, and let the model normalise",
                field="images",
            )
        inside = images.clamp(low, high)
        return cls((inside - eps).clamp_min_(low), (inside + eps).clamp_max_(high), eps)

    def project(self, images: Tensor) -> Tensor:
        """The nearest allowed images, in place."""
        return torch.clamp(images, self.lower, self.upper, out=images)

    def random_start(self, images: Tensor, indices: Tensor, *, seed: int) -> Tensor:
        """A random point of each sample's ball, keyed by (seed, index): batch neighbours do not matter."""
        noise = torch.from_numpy(
            np.stack([_uniform(images.shape[1:], seed, int(index)) for index in indices])
        )
        return self.project(images + self.eps * noise.to(images))

    def step(self, images: Tensor, gradient: Tensor, step_size: float) -> Tensor:
        """Ascend: images + step_size * sign(gradient), projected. Overwrites the gradient."""
        return self.project(torch.add(images, gradient.sign_(), alpha=step_size, out=gradient))


def _uniform(
    shape: Sequence[int], seed: int, index: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    generator = np.random.Generator(np.random.Philox(key=[seed, index]))
    return generator.random(tuple(shape), dtype=np.float32) * np.float32(2) - np.float32(1)
