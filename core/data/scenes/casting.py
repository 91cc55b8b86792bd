"""Which surface every ray meets first, and which points a light does not reach."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.scenes.arrays import Bools, Floats, Ints, Point
from core.data.scenes.intersections import dot, safe_inverse, turned, unit_vectors
from core.data.scenes.solids import BOX, ELLIPSOID, FRUSTUM, Shape, Solid, part_rows

WALL, FLOOR, CEILING = 0, 1, 2
"""The room's own parts; a solid's parts are numbered from `ROOM_PARTS` on."""

ROOM_PARTS = 3

_NEARLY_THERE = np.float32(0.999)


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
        self.shapes: list[Shape] = []
        rows = part_rows(solids)
        first = 0
        for solid in solids:
            last = first + len(solid.parts)
            self.shapes.append(Shape(solid, rows[first:last], first + ROOM_PARTS))
            first = last
        self._parts = _part_table(size, solids)

    def cast(self, origin: Point, rays: Floats) -> Hits:
        """Follow rays [3, P] from a point inside the room to the first surface."""
        distance, part = self._leave_room(origin, rays)
        for shape, index in self._candidates(origin, rays):
            _keep_nearer(shape, origin, rays, index, distance, part)
        return self._resolve(origin, rays, distance, part)

    def occluded(self, light: Point, rays: Floats) -> Bools:
        """Which of the points light + rays [3, P] lie in shadow: [P]."""
        dark = np.zeros(rays.shape[1], dtype=np.bool_)
        for shape, index in self._candidates(light, rays):
            met, distances = shape.distances(light, rays, index)
            dark[met] |= np.minimum.reduce(distances, axis=0) < _NEARLY_THERE
        return dark

    def _candidates(self, origin: Point, rays: Floats) -> Iterator[tuple[Shape, Ints]]:
        """Shapes whose bounding spheres are met, and the rays that meet them."""
        if not self.shapes:
            return
        centres, tangents = zip(*(shape.towards(origin) for shape in self.shapes), strict=True)
        along = np.array(centres, dtype=np.float32) @ rays
        along /= np.sqrt(dot(rays, rays))
        for shape, row, tangent in zip(self.shapes, along, tangents, strict=True):
            index = np.flatnonzero(row > np.float32(tangent)) if tangent else np.arange(rays.shape[1])
            if index.size:
                yield shape, index

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
        table = self._parts.take(part, axis=1)
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
        index = np.flatnonzero(table[11] == kind)
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


def _keep_nearer(
    shape: Shape, origin: Point, rays: Floats, index: Ints, distance: Floats, part: Ints
) -> None:
    """Note, in `distance` and `part`, where a shape is met before what was met so far."""
    index, distances = shape.distances(origin, rays, index)
    nearest, numbers = distance[index], part[index]
    first = np.argmin(distances, axis=0)
    found = np.minimum.reduce(distances, axis=0)
    np.copyto(numbers, first + shape.first, where=found < nearest)
    distance[index] = np.minimum(found, nearest)
    part[index] = numbers


def _box_normals(offset: Floats, half: Floats) -> Floats:
    """Outward normals [3, P] of the face nearest to points on a box (offsets from its centre)."""
    x, y, z = np.abs(offset) / half
    normal = np.zeros_like(offset)
    upright = y >= np.maximum(x, z)
    sideways = ~upright & (x >= z)
    normal[1] = upright
    normal[0] = sideways
    normal[2] = ~(upright | sideways)
    signed: Floats = np.copysign(normal, offset)
    return signed


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
