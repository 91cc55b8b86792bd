"""Solids: groups of boxes, ellipsoids and frusta in one upright frame.

World and local axes: x right, y up, z ahead, in metres; a solid's frame is turned about y only.
"""

from dataclasses import dataclass
from typing import NamedTuple

from core.data.scenes.arrays import Point

BOX, ELLIPSOID, FRUSTUM = 0, 1, 2

LOOSE = 0.002
"""Metres by which bounds are too wide, so that rounding never hides a part."""


class Part(NamedTuple):
    """One primitive in its solid's frame.

    `half` holds the half extents; of a frustum (an upright cone cut flat at both ends, or a cylinder) the
    radius at the bottom, half the height, and the radius at the top.
    """

    kind: int
    material: int
    centre: Point
    half: Point


@dataclass(frozen=True, slots=True)
class Solid:
    """A composite of parts, placed in the room.

    Attributes:
        label: index into `core.tasks.SCENE_CLASSES`.
        parts: sorted by kind.
        position: of the local origin in the room, metres.
        cos: of the yaw, which turns local +z towards world +x.
        sin: of the yaw.
    """

    label: int
    parts: tuple[Part, ...]
    position: Point
    cos: float
    sin: float

    def to_local(self, point: Point) -> Point:
        """A world point in the solid's frame."""
        x, y, z = point[0] - self.position[0], point[1] - self.position[1], point[2] - self.position[2]
        return (self.cos * x - self.sin * z, y, self.sin * x + self.cos * z)
