"""Where rays of a common origin meet boxes, ellipsoids and frusta.

A common origin makes a plane's distance c * (1 / d) with one scalar c per axis. Directions need not have unit
length: distances are in their multiples. Only + - * / sqrt and comparisons touch the pixels, here and in the
rest of the renderer. These are rounded alike everywhere, so a picture is the same on every CPU.
"""

import numpy as np

from core.data.scenes.arrays import Floats

_TINY = np.float32(1e-9)
_NOTHING = np.float32(1e-18)
_FAR = np.float32(np.inf)


def turned(vectors: Floats, cos: Floats | np.float32, sin: Floats | np.float32) -> Floats:
    """Vectors [3, P] turned about y, from +z towards +x."""
    x, y, z = vectors
    result = np.empty_like(vectors)
    np.multiply(x, cos, out=result[0])
    result[0] += z * sin
    result[1] = y
    np.multiply(z, cos, out=result[2])
    result[2] -= x * sin
    return result


def dot(one: Floats, two: Floats) -> Floats:
    """Scalar products [P] of vectors [3, P]."""
    product: Floats = one[0] * two[0]
    product += one[1] * two[1]
    product += one[2] * two[2]
    return product


def unit_vectors(vectors: Floats) -> Floats:
    """Vectors [3, P] at unit length."""
    length: Floats = np.sqrt(dot(vectors, vectors))
    unit: Floats = vectors / length
    return unit


def safe_inverse(values: Floats) -> Floats:
    """1 / values, large and finite where they are zero."""
    inverse: Floats = np.reciprocal(values + _NOTHING)
    return inverse


def box_crossings(middle: Floats, half: Floats, inverse: Floats) -> tuple[Floats, Floats]:
    """Slab test of ray and box, pair by pair: where they enter and leave, [P]; they miss if they leave first.

    Args:
        middle: [3, P], the boxes' centres from the origin of the rays.
        half: [3, P], half extents.
        inverse: [3, P], of the rays' directions.
    """
    middle = middle * inverse
    reach = half * np.abs(inverse)
    x, y, z = middle - reach
    enter = np.maximum(x, y)
    np.maximum(enter, z, out=enter)
    np.maximum(enter, _TINY, out=enter)
    middle += reach
    x, y, z = middle
    leave = np.minimum(x, y)
    np.minimum(leave, z, out=leave)
    return enter, leave


def ellipsoid_distances(start: Floats, half: Floats, rays: Floats) -> Floats:
    """The nearer crossing [P] of ray and ellipsoid, pair by pair.

    Args:
        start: [3, P], origin of the rays from the centre.
        half: [3, P], half axes.
        rays: [3, P], directions.
    """
    scale = np.reciprocal(half)
    start = start * scale
    along = rays * scale
    a, b, c = dot(along, along), dot(along, start), dot(start, start) - np.float32(1.0)
    root = b * b - a * c
    distance: Floats = -(b + np.sqrt(np.maximum(root, 0.0))) / a
    np.copyto(distance, _FAR, where=(root <= 0.0) | (b >= 0.0))
    return distance


def frustum_distances(start: Floats, half: Floats, rays: Floats) -> Floats:
    """The nearest crossing [P] of ray and upright frustum, pair by pair.

    Args:
        start: [3, P], origin of the rays from the centre.
        half: [3, P], bottom radius, half height, top radius.
        rays: [3, P], directions.
    """
    x, y, z = start
    bottom, high, top = half
    slope = (top - bottom) / (high + high)
    radius = (top + bottom) * np.float32(0.5) + slope * y
    dx, dy, dz = rays
    a = dx * dx + dz * dz - slope * slope * (dy * dy)
    b = x * dx + z * dz - slope * radius * dy
    root = np.maximum(b * b - a * (x * x + z * z - radius * radius), 0.0)
    missed = root == 0.0
    np.sqrt(root, out=root)
    inverse = safe_inverse(a)
    distance: Floats = np.full_like(root, _FAR)
    for side in ((-b - root) * inverse, (-b + root) * inverse):
        outside = missed | (np.abs(y + side * dy) > high) | (side <= 0.0)
        np.copyto(side, _FAR, where=outside)
        np.minimum(distance, side, out=distance)
    upward = safe_inverse(dy)
    for height, rim in ((-high, bottom), (high, top)):
        cap = (height - y) * upward
        u, v = x + cap * dx, z + cap * dz
        np.copyto(cap, _FAR, where=(u * u + v * v > rim * rim) | (cap <= 0.0))
        np.minimum(distance, cap, out=distance)
    return distance
