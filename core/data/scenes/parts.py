"""The parts of all solids of a scene as columns, sorted by kind, and where rays meet them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.data.scenes.arrays import Floats, Ints, Point
from core.data.scenes.bundles import Boxes, Bundle
from core.data.scenes.intersections import (
    box_crossings,
    ellipsoid_distances,
    frustum_distances,
    safe_inverse,
    turned,
)
from core.data.scenes.solids import ELLIPSOID, FRUSTUM, LOOSE, Solid


class Meetings(NamedTuple):
    """Q meetings of rays and parts.

    Attributes:
        ray: [Q], number of the ray.
        part: [Q], number of the part, from 0, solid by solid.
        distance: [Q], in lengths of the ray.
    """

    ray: Ints
    part: Ints
    distance: Floats


class Parts:
    """The parts of at least one solid, ready for rays."""

    def __init__(self, solids: Sequence[Solid], table: Floats) -> None:
        """Take one column for each part: cos, sin, position (3), centre (3), half (3), kind."""
        self._solids = solids
        self._numbers = table[11].argsort(kind="stable")
        columns = table.take(self._numbers, axis=1)
        self._kinds = columns[11].searchsorted((ELLIPSOID, FRUSTUM))
        (self._cos, self._sin), position = columns[:2], columns[2:5]
        self._centre, self._half = columns[5:8], columns[8:11]
        self._bounds = _bounds(self._half, *self._kinds.tolist())
        self._boxes = Boxes(self._cos, self._sin, position, self._centre, self._bounds)
        owners = np.repeat(np.arange(len(solids)), [len(solid.parts) for solid in solids])
        self._owners = owners.take(self._numbers)

    def meetings(self, origin: Point, rays: Floats, *, limit: np.float32) -> Meetings:
        """All meetings of rays [3, P] with parts below a distance."""
        start = np.array([solid.to_local(origin) for solid in self._solids], dtype=np.float32)
        middle = self._centre - start.T.take(self._owners, axis=1)
        ray, counts = Bundle(rays).near(self._boxes, origin, middle)
        cos, sin = self._cos.repeat(counts), self._sin.repeat(counts)
        local = turned(rays.take(ray, axis=1), cos, -sin)
        enter, leave = box_crossings(
            middle.repeat(counts, axis=1), self._bounds.repeat(counts, axis=1), safe_inverse(local)
        )
        met = ((enter <= leave) & (enter < limit)).nonzero()[0]
        column = np.arange(len(counts)).repeat(counts).take(met)
        distance = enter.take(met)
        self._refine(distance, column, -middle, local, met)
        kept = (distance < limit).nonzero()[0]
        return Meetings(ray.take(met.take(kept)), self._numbers.take(column.take(kept)), distance.take(kept))

    def _refine(self, distance: Floats, column: Ints, start: Floats, local: Floats, met: Ints) -> None:
        """Where rays meet the bounds of curved parts, put the distance of the part itself."""
        balls, cones = column.searchsorted(self._kinds).tolist()
        for solve, some in (
            (ellipsoid_distances, slice(balls, cones)),
            (frustum_distances, slice(cones, None)),
        ):
            which = column[some]
            if which.size:
                distance[some] = solve(
                    start.take(which, axis=1), self._half.take(which, axis=1), local.take(met[some], axis=1)
                )


def _bounds(half: Floats, balls: int, cones: int) -> Floats:
    """Half extents [3, parts] of the parts' bounds, a little loose where they are curved."""
    result = half.copy()
    result[:, cones:] = np.maximum(half[0, cones:], half[2, cones:])
    result[1, cones:] = half[1, cones:]
    result[:, balls:] += LOOSE
    return result
