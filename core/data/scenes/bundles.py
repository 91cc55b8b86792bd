"""Rays of a common origin, sorted by direction, and which of them may meet which box.

A direction's column follows its bearing and its row its slope; both rise in step with the angle. An upright
box covers an interval of each, so the rays that may meet it lie in few runs of the sorted rays. All this
leaves rays out and decides nothing: boxes count as wider by `LOOSE`, so that rounding never hides one.
"""

import numpy as np

from core.data.scenes.arrays import Floats, Ints, Point
from core.data.scenes.solids import LOOSE

_COLUMNS = 256
_ROWS = 64
_NOTHING = np.float32(1e-18)
_BELOW_ABOVE = np.array([[-1.0], [1.0]], dtype=np.float32)
_ACROSS = np.array([[-1.0], [-1.0], [1.0], [1.0], [0.0]], dtype=np.float32)
_AHEAD = np.array([[-1.0], [1.0], [-1.0], [1.0], [0.0]], dtype=np.float32)
"""The corners of a footprint, and last its centre."""


class Boxes:
    """B upright boxes, each in a frame turned about y, as rays from one origin see them."""

    def __init__(self, cos: Floats, sin: Floats, position: Floats, centre: Floats, half: Floats) -> None:
        """Take cos and sin of the yaws [B], positions in the room, centres and half extents [3, B] in metres."""
        self.half = half + np.float32(LOOSE)
        x, z = centre[0] + self.half[0] * _ACROSS, centre[2] + self.half[2] * _AHEAD
        self._corners = cos * x + sin * z + position[0], cos * z - sin * x + position[2]

    def columns(self, origin: Point, middle: Floats) -> tuple[Ints, Ints]:
        """First column, and number of columns, that the boxes cover; centres [3, B] are seen in their frames."""
        x, z = self._corners
        aside = _bearing(x - np.float32(origin[0]), z - np.float32(origin[2]))
        centre = aside[4]
        aside = aside - centre
        aside -= np.rint(aside * np.float32(0.25)) * np.float32(4.0)
        aside += centre
        first = _column(np.minimum.reduce(aside)).astype(np.intp)
        widths = _column(np.maximum.reduce(aside)).astype(np.intp) + (1 - first)
        around = np.abs(middle) <= self.half
        widths[around[0] & around[2]] = _COLUMNS
        return first, widths

    def rows(self, middle: Floats) -> Ints:
        """First and last row [2, B] that the boxes cover; centres [3, B] are seen in their frames."""
        x, _, z = np.abs(middle)
        across, _, ahead = self.half
        near = _length(np.maximum(x - across, 0.0), np.maximum(z - ahead, 0.0))
        far = _length(x + across, z + ahead)
        ends = middle[1] + self.half[1] * _BELOW_ABOVE
        return _row(_slope(ends, np.where(ends * _BELOW_ABOVE > 0.0, near, far))).astype(np.intp)


class Bundle:
    """Rays [3, P] of a common origin, sorted by column and row of their directions."""

    def __init__(self, rays: Floats) -> None:
        dx, dy, dz = rays
        cells = _column(_bearing(dx, dz)) * np.float32(_ROWS)
        cells += _row(_slope(dy, _length(dx, dz)))
        cell = cells.astype(np.int32) & (_COLUMNS * _ROWS - 1)
        self._order = cell.astype(np.uint16).argsort(kind="stable")
        self._before = np.zeros(_COLUMNS * _ROWS + 1, dtype=np.intp)
        np.bincount(cell, minlength=_COLUMNS * _ROWS).cumsum(out=self._before[1:])

    def near(self, boxes: Boxes, origin: Point, middle: Floats) -> tuple[Ints, Ints]:
        """The rays that may meet each box: their numbers box by box, and how many there are for each [B]."""
        first, widths = boxes.columns(origin, middle)
        low, high = boxes.rows(middle)
        ends = widths.cumsum()
        column = np.arange(ends[-1]) + (first + widths - ends).repeat(widths)
        column &= _COLUMNS - 1
        column *= _ROWS
        start = self._before.take(column + low.repeat(widths))
        lengths = self._before.take(column + (high + 1).repeat(widths)) - start
        stop = lengths.cumsum()
        place = (start + lengths - stop).repeat(lengths)
        place += np.arange(len(place))
        return self._order.take(place), np.add.reduceat(lengths, ends - widths)


def _bearing(dx: Floats, dz: Floats) -> Floats:
    """In step with the angle from +z towards +x: -2 to 2 once around, 1 a quarter turn."""
    ahead = dz / (np.abs(dx) + np.abs(dz) + _NOTHING)
    bearing: Floats = np.copysign(np.float32(1.0) - ahead, dx)
    return bearing


def _slope(dy: Floats, away: Floats) -> Floats:
    """In step with the angle above the horizon, from -1 straight down to 1."""
    slope: Floats = dy / (np.abs(dy) + away + _NOTHING)
    return slope


def _length(one: Floats, two: Floats) -> Floats:
    length: Floats = np.sqrt(one * one + two * two)
    return length


def _column(bearing: Floats) -> Floats:
    """Whole columns, counted on once around: from a bearing of -6, so that none is negative."""
    column: Floats = bearing * np.float32(_COLUMNS / 4) + np.float32(_COLUMNS * 1.5)
    return np.floor(column, out=column)


def _row(slope: Floats) -> Floats:
    """Whole rows."""
    row: Floats = np.floor(slope * np.float32(_ROWS / 2) + np.float32(_ROWS / 2))
    return np.minimum(row, np.float32(_ROWS - 1), out=row)
