"""The threat model: what an attacker may do to an image. Eps and bounds are in the images' own units."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.attacks.draws import Draws
from core.errors import InvalidError
from core.specs.algorithms import Norm

BOUNDS_TOLERANCE = 1e-4
"""How far outside the bounds an image may lie, as a share of their width, before it is called wrong."""

TINY = 1e-30

Step = float | Tensor
"""A step size for all samples, or [N, 1, 1, 1] for each."""


class Ball(Protocol):
    """The intersection of a ball around each image with the box of valid images."""

    @property
    def centre(self) -> Tensor:
        """The clean images [N, 3, H, W]."""
        ...

    def project(self, images: Tensor) -> Tensor:
        """Allowed images nearby, in place: the nearest ones to those that are outside in one way only."""
        ...

    def step(self, images: Tensor, gradient: Tensor, size: Step) -> Tensor:
        """The steepest step of that size in the ball's norm, projected. Overwrites the gradient."""
        ...

    def random_point(self, draws: Draws) -> Tensor:
        """A uniformly random point of each sample's ball, projected."""
        ...

    def random_corner(self, draws: Draws) -> Tensor:
        """The image plus or minus the same in every value, as far as the ball goes, projected."""
        ...


@dataclass(frozen=True, slots=True)
class LinfBall:
    """Ball and box are both boxes, so projecting onto both at once is a single clamp.

    Attributes:
        centre: [N, 3, H, W], the clean images.
        lower, upper: [N, 3, H, W], the corners.
        eps: radius of the ball.
    """

    centre: Tensor
    lower: Tensor
    upper: Tensor
    eps: float

    def project(self, images: Tensor) -> Tensor:
        """The nearest allowed images, in place."""
        return torch.clamp(images, self.lower, self.upper, out=images)

    def step(self, images: Tensor, gradient: Tensor, size: Step) -> Tensor:
        """Ascend: images + size * sign(gradient), projected. Overwrites the gradient."""
        signs = gradient.sign_()
        if isinstance(size, Tensor):
            return self.project(torch.addcmul(images, signs, size, out=gradient))
        return self.project(torch.add(images, signs, alpha=size, out=gradient))

    def random_point(self, draws: Draws) -> Tensor:
        """Uniform in the box of side 2 eps."""
        return self.project(self.centre + self.eps * draws.uniform(self.centre))

    def random_corner(self, draws: Draws) -> Tensor:
        """Every value eps up or down."""
        return self.project(self.centre + self.eps * draws.signs(self.centre))


@dataclass(frozen=True, slots=True)
class L2Ball:
    """Projecting onto the ball and then onto the box stays in both, since the centre is in the box.

    Attributes:
        centre: [N, 3, H, W], the clean images.
        low, high: the box.
        eps: radius of the ball.
    """

    centre: Tensor
    low: float
    high: float
    eps: float

    def project(self, images: Tensor) -> Tensor:
        """Pull back to the ball, then to the box, in place."""
        change = images.sub_(self.centre)
        shrink = (self.eps / lengths(change).clamp_min(TINY)).clamp_max(1)
        return images.mul_(shrink).add_(self.centre).clamp_(self.low, self.high)

    def step(self, images: Tensor, gradient: Tensor, size: Step) -> Tensor:
        """Ascend: images + size * gradient / its length, projected. Overwrites the gradient."""
        return self.project(gradient.mul_(size / lengths(gradient).clamp_min(TINY)).add_(images))

    def random_point(self, draws: Draws) -> Tensor:
        """A random direction, and a radius so that the point is uniform in the ball."""
        direction = draws.normal(self.centre)
        dimension = self.centre[0].numel()
        radius = draws.uniform(self.centre[:, :1, :1, :1]).add(1).div(2).pow(1 / dimension) * self.eps
        return self.project(self.centre + direction * (radius / lengths(direction)))

    def random_corner(self, draws: Draws) -> Tensor:
        """A random sign for every value, scaled to the ball's surface."""
        signs = draws.signs(self.centre)
        return self.project(self.centre + signs * (self.eps / lengths(signs)))


def ball_around(images: Tensor, *, norm: Norm, eps: float, bounds: tuple[float, float]) -> LinfBall | L2Ball:
    """The ball around clean images.

    Raises:
        InvalidError: the bounds are not an interval, or images lie outside them (normalised images, most often).
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
    if norm == "l2":
        return L2Ball(inside, low, high, eps)
    return LinfBall(inside, (inside - eps).clamp_min_(low), (inside + eps).clamp_max_(high), eps)


def lengths(values: Tensor) -> Tensor:
    """Euclidean length of each sample, [N, 1, 1, 1]."""
    norms: Tensor = torch.linalg.vector_norm(values, dim=(1, 2, 3), keepdim=True)
    return norms
