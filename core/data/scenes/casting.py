"""Which surface every ray meets first, and which points a light does not reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.data.scenes.arrays import Bools, Floats, Ints, Point
from core.data.scenes.intersections import dot, safe_inverse, turned, unit_vectors
from core.data.scenes.parts import Meetings, Parts
from core.data.scenes.solids import BOX, ELLIPSOID, FRUSTUM, Solid

WALL, FLOOR, CEILING = 0, 1, 2
"""The room's own parts; a solid's parts are numbered from `ROOM_PARTS` on."""

ROOM_PARTS = 3

_NEARLY_THERE = np.float32(0.999)
_FAR = np.float32(np.inf)


@dataclass(frozen=True, slots=True)
class Hits:
    """What P rays meet first.

    Attributes:
        distance: [P], in lengths of the ray.
        part: [P], number of the part.
        point: [3, P], metres, in the room's frame.
        local: [3, P], the same in the frame of the solid.
        normal: [3, P], unit vectors in the room's frame, towards the origin of the rays.
    """

    distance: Floats
    part: Ints
    point: Floats
    local: Floats
    normal: Floats


class Stage:
    """A room and its solids, ready for rays."""

    def __init__(self, size: Point, solids: Sequence[Solid]) -> None:
        self.size = size
        self._table = _part_table(size, solids)
        self._parts = Parts(solids, self._table[:, ROOM_PARTS:]) if solids else None

    def cast(self, origin: Point, rays: Floats) -> Hits:
        """Follow rays [3, P] from a point inside the room to the first surface."""
        distance, part = self._leave_room(origin, rays)
        if self._parts:
            _keep_nearest(self._parts.meetings(origin, rays, limit=_FAR), distance, part)
        return self._resolve(origin, rays, distance, part)

    def occluded(self, light: Point, rays: Floats) -> Bools:
        """Which of the points light + rays [3, P] lie in shadow: [P]."""
        dark = np.zeros(rays.shape[1], dtype=np.bool_)
        if self._parts:
            dark[self._parts.meetings(light, rays, limit=_NEARLY_THERE).ray] = True
        return dark

    def _leave_room(self, origin: Point, rays: Floats) -> tuple[Floats, Ints]:
        """Distance to the room's own walls, floor and ceiling, and which of them."""
        inverse = safe_inverse(rays)
        start, size = np.array(origin)[:, None], np.array(self.size)[:, None]
        x, y, z = np.maximum((size - start).astype(np.float32) * inverse, -start.astype(np.float32) * inverse)
        wall = np.minimum(x, z)
        part = (y < wall) * np.where(rays[1] < 0.0, FLOOR, CEILING)
        return np.minimum(wall, y), part

    def _resolve(self, origin: Point, rays: Floats, distance: Floats, part: Ints) -> Hits:
        """Points and normals of what was hit."""
        table = self._table.take(part, axis=1)
        cos, sin = table[:2]
        point = rays * distance
        point += np.array(origin, dtype=np.float32)[:, None]
        local = turned(point - table[2:5], cos, -sin)
        normal = turned(_local_normals(table, local - table[5:8]), cos, sin)
        normal *= np.float32(1.0) - np.float32(2.0) * (dot(rays, normal) > 0.0)
        return Hits(distance, part, point, local, normal)


def _local_normals(table: Floats, offset: Floats) -> Floats:
    """Normals [3, P] in the solids' frames at offsets [3, P] from the parts' centres."""
    normal = _box_normals(offset, table[8:11])
    for kind, of in ((ELLIPSOID, _ellipsoid_normals), (FRUSTUM, _frustum_normals)):
        index = (table[11] == kind).nonzero()[0]
        if index.size:
            normal[:, index] = of(offset.take(index, axis=1), table[8:11].take(index, axis=1))
    return normal


def _part_table(size: Point, solids: Sequence[Solid]) -> Floats:
    """Columns, one per part: cos, sin, position (3), centre (3), half extents (3), kind."""
    half = (size[0] / 2, size[1] / 2, size[2] / 2)
    rows = [(1.0, 0.0, 0.0, 0.0, 0.0, *half, *half, BOX)] * ROOM_PARTS
    for solid in solids:
        frame = (solid.cos, solid.sin, *solid.position)
        rows.extend((*frame, *part.centre, *part.half, part.kind) for part in solid.parts)
    return np.ascontiguousarray(np.array(rows, dtype=np.float32).T)


def _keep_nearest(meetings: Meetings, distance: Floats, part: Ints) -> None:
    """Note, in `distance` and `part`, what is met before the room; of equals the part of the lowest number."""
    ahead = (meetings.distance < distance.take(meetings.ray)).nonzero()[0]
    ray, found = meetings.ray.take(ahead), meetings.distance.take(ahead)
    np.minimum.at(distance, ray, found)
    nearest = (found == distance.take(ray)).nonzero()[0]
    ray, number = ray.take(nearest), meetings.part.take(ahead.take(nearest)) + ROOM_PARTS
    part[ray] = number
    np.minimum.at(part, ray, number)


def _box_normals(offset: Floats, half: Floats) -> Floats:
    """Outward normals [3, P] of the face nearest to points on a box (offsets from its centre)."""
    x, y, z = np.abs(offset) / half
    upright = y >= np.maximum(x, z)
    sideways = x >= z
    normal = np.empty_like(offset)
    np.greater(sideways, upright, out=normal[0])
    normal[1] = upright
    np.equal(sideways | upright, False, out=normal[2])
    return np.copysign(normal, offset, out=normal)


def _ellipsoid_normals(offset: Floats, half: Floats) -> Floats:
    gradient = offset / (half * half)
    return unit_vectors(gradient)


def _frustum_normals(offset: Floats, half: Floats) -> Floats:
    """Of the flat end where the point is nearer to it than to the side, else of the side."""
    bottom, high, top = half
    slope = (top - bottom) / (high + high)
    radius = (top + bottom) * np.float32(0.5) + slope * offset[1]
    rho = np.sqrt(offset[0] * offset[0] + offset[2] * offset[2])
    side = np.stack([offset[0], -slope * rho, offset[2]])
    length = np.sqrt(dot(side, side))
    side /= np.maximum(length, np.float32(1e-12))
    flat = np.abs(offset[1]) * radius >= rho * high
    side[:, flat] = 0.0
    side[1, flat] = np.copysign(np.float32(1.0), offset[1, flat])
    return side
