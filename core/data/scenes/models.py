"""`Model`, a composite before it is placed. Its frame: base at y = 0, back at -z, front at +z, in metres."""

from collections.abc import Callable
from dataclasses import dataclass, field

from core.data.scenes.draws import Draws
from core.data.scenes.materials import Materials
from core.data.scenes.solids import BOX, ELLIPSOID, FRUSTUM, Part

Interval = tuple[float, float]


@dataclass(slots=True)
class Model:
    """A composite before it is placed.

    Attributes:
        name: its class.
        width: along x.
        depth: along z.
        height: its top above its base.
    """

    name: str
    width: float
    depth: float
    height: float
    parts: list[Part] = field(default_factory=list)

    def box(self, material: int, x: Interval, y: Interval, z: Interval) -> None:
        """Add a box that spans these intervals."""
        (left, right), (low, high), (back, front) = x, y, z
        centre = ((left + right) / 2, (low + high) / 2, (back + front) / 2)
        half = ((right - left) / 2, (high - low) / 2, (front - back) / 2)
        self.parts.append(Part(BOX, material, centre, half))

    def ball(
        self, material: int, centre: tuple[float, float, float], radii: tuple[float, float, float]
    ) -> None:
        """Add an ellipsoid."""
        self.parts.append(Part(ELLIPSOID, material, centre, radii))

    def round(
        self,
        material: int,
        y: tuple[float, float],
        radii: tuple[float, float],
        *,
        x: float = 0.0,
        z: float = 0.0,
    ) -> None:
        """Add a frustum between two heights, with its radius at the bottom and at the top."""
        centre = (x, (y[0] + y[1]) / 2, z)
        self.parts.append(Part(FRUSTUM, material, centre, (radii[0], (y[1] - y[0]) / 2, radii[1])))

    def legs(self, material: int, height: float, *, thick: float, inset: float = 0.0) -> None:
        """Add four square legs under the corners."""
        x, z = self.width / 2 - inset, self.depth / 2 - inset
        for left in (-x, x - thick):
            for back in (-z, z - thick):
                self.box(material, (left, left + thick), (0.0, height), (back, back + thick))


Builder = Callable[[Draws, Materials], Model]
"""Draws the measures and the materials of one model."""
