"""What a piece of furniture covers of the floor: turned rectangles, and whether they overlap."""

import math
from dataclasses import dataclass, field


@dataclass(slots=True)
class Footprint:
    """A rectangle on the floor: centre and sides in metres, turned by yaw (radians, from +z towards +x).

    Attributes:
        cos: of the yaw.
        sin: of the yaw.
        radius: of the circle around it.
    """

    x: float
    z: float
    yaw: float
    width: float
    depth: float
    cos: float = field(init=False)
    sin: float = field(init=False)
    radius: float = field(init=False)

    def __post_init__(self) -> None:
        """Work out what every overlap asks for."""
        self.cos, self.sin = math.cos(self.yaw), math.sin(self.yaw)
        self.radius = math.hypot(self.width, self.depth) / 2.0

    def inside(self, wide: float, deep: float) -> bool:
        """Whether it lies within a room that spans 0..wide by 0..deep."""
        x = (abs(self.cos) * self.width + abs(self.sin) * self.depth) / 2.0
        z = (abs(self.sin) * self.width + abs(self.cos) * self.depth) / 2.0
        return x <= self.x <= wide - x and z <= self.z <= deep - z

    def distance(self, x: float, z: float) -> float:
        """From a point outside to the rectangle; zero inside."""
        dx, dz = x - self.x, z - self.z
        across = max(0.0, abs(self.cos * dx - self.sin * dz) - self.width / 2.0)
        ahead = max(0.0, abs(self.sin * dx + self.cos * dz) - self.depth / 2.0)
        return math.hypot(across, ahead)

    def overlaps(self, other: "Footprint") -> bool:
        """Whether two rectangles share ground (separating axis test)."""
        dx, dz = other.x - self.x, other.z - self.z
        if math.hypot(dx, dz) >= self.radius + other.radius:
            return False
        turn_cos = abs(self.cos * other.cos + self.sin * other.sin)
        turn_sin = abs(self.sin * other.cos - self.cos * other.sin)
        for one, two in ((self, other), (other, self)):
            across = abs(one.cos * dx - one.sin * dz)
            ahead = abs(one.sin * dx + one.cos * dz)
            if across >= (one.width + turn_cos * two.width + turn_sin * two.depth) / 2.0:
                return False
            if ahead >= (one.depth + turn_sin * two.width + turn_cos * two.depth) / 2.0:
                return False
        return True
