"""Solids, groups of boxes, ellipsoids and frusta in one upright frame, and the rays that meet their parts.

World and local axes: x right, y up, z ahead, in metres; a solid's frame is turned about y only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.data.scenes.arrays import Floats, Ints, Point
from core.data.scenes.intersections import (
    box_distances,
    ellipsoid_distances,
    frustum_distances,
    safe_inverse,
    turned,
)

BOX, ELLIPSOID, FRUSTUM = 0, 1, 2

_FAR = np.float32(np.inf)
_LOOSE = 0.002
"""Metres by which bounds are too wide, so that rounding never hides a part."""

_FEW = 2


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


def part_rows(solids: Sequence[Solid]) -> Floats:
    """Constants of all parts, solid by solid, [parts, 9]: centre, `half`, and half extents of the bounds."""
    rows = [(*part.centre, *part.half, *_reach(part)) for solid in solids for part in solid.parts]
    return np.array(rows, dtype=np.float32).reshape(-1, 9)


def _reach(part: Part) -> Point:
    """Half extents of a part's axis-aligned bounds, a little loose where it is curved."""
    x, y, z = part.half
    if part.kind == BOX:
        return x, y, z
    if part.kind == ELLIPSOID:
        return x + _LOOSE, y + _LOOSE, z + _LOOSE
    widest = max(x, z) + _LOOSE
    return widest, y + _LOOSE, widest


class Shape:
    """A solid made ready for casting: constants of its parts as columns."""

    def __init__(self, solid: Solid, rows: Floats, first: int) -> None:
        """Take rows [parts, 9] of `part_rows`, the first of which has this number."""
        self.solid = solid
        self.first = first
        kinds = [part.kind for part in solid.parts]
        self.boxes = kinds.count(BOX)
        self.ellipsoids = kinds.count(ELLIPSOID)
        self.curved = np.ascontiguousarray(rows[:, :6].T)
        self.slabs = rows[:, [0, 1, 2, 6, 7, 8], None]
        low = np.minimum.reduce(rows[:, :3] - rows[:, 6:], axis=0)
        high = np.maximum.reduce(rows[:, :3] + rows[:, 6:], axis=0)
        centre, half = (low + high) * np.float32(0.5), (high - low) * np.float32(0.5) + _LOOSE
        self.bounds = np.concatenate([centre, half])[None, :, None]
        self.centre: list[float] = centre.tolist()
        self.square = sum(value * value for value in half.tolist())

    def towards(self, origin: Point) -> tuple[Point, float]:
        """The bounding sphere's centre seen from a point, and its tangents' length, zero from inside."""
        x, y, z = self.solid.to_local(origin)
        x, y, z = self.centre[0] - x, self.centre[1] - y, self.centre[2] - z
        gap = x * x + y * y + z * z - self.square
        cos, sin = self.solid.cos, self.solid.sin
        return (cos * x + sin * z, y, cos * z - sin * x), math.sqrt(max(gap, 0.0))

    def distances(self, origin: Point, rays: Floats, index: Ints) -> tuple[Ints, Floats]:
        """Distances of the parts along the rays of `index` that meet the solid's bounding box.

        Returns:
            The numbers of those rays [Q], and distances [parts, Q], infinite at misses.
        """
        start = np.array(self.solid.to_local(origin), dtype=np.float32)[:, None]
        local = turned(rays.take(index, axis=1), np.float32(self.solid.cos), np.float32(-self.solid.sin))
        inverse = safe_inverse(local)
        if len(self.slabs) > _FEW:
            met = np.flatnonzero(box_distances(self.bounds, start, inverse)[0] < _FAR)
            index, local, inverse = index[met], local.take(met, axis=1), inverse.take(met, axis=1)
        enter = box_distances(self.slabs, start, inverse)
        self._refine(enter, start, local)
        return index, enter

    def _refine(self, enter: Floats, start: Floats, local: Floats) -> None:
        """Where rays meet the bounds of curved parts, put the distance of the part itself."""
        curved = self.boxes + self.ellipsoids
        for first, last, solve in (
            (self.boxes, curved, ellipsoid_distances),
            (curved, len(enter), frustum_distances),
        ):
            if first < last:
                part, ray = np.nonzero(enter[first:last] < _FAR)
                part += first
                enter[part, ray] = solve(self.curved.take(part, axis=1), start, local.take(ray, axis=1))
