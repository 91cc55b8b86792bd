"""Light on surfaces: patterns, ambient light that fades into corners, Lambert's law, highlights, shadows."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from core.data.scenes.arrays import Floats, Ints
from core.data.scenes.casting import CEILING, FLOOR, ROOM_PARTS, WALL, Hits, Stage
from core.data.scenes.intersections import dot, unit_vectors
from core.data.scenes.materials import CHECKER, GRAIN, NOISE, STRIPES, Material
from core.data.scenes.scene import Light, Scene

_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_LATTICE = 32
_ORIGIN = np.float32(50.37)
_CORNER = np.float32(0.35)


def shade(scene: Scene, stage: Stage, hits: Hits, rays: Floats, *, pixel: float) -> Floats:
    """Linear light [3, P] that P rays see; `pixel` is a pixel's width at a depth of one metre, in metres."""
    surface = _surfaces(scene).take(hits.part)
    base, second, finish, texture = _material_tables(scene.materials)
    mix = _patterns(texture, surface, hits.local, hits.distance * np.float32(pixel))
    colour = base.take(surface, axis=1)
    colour += (second - base).take(surface, axis=1) * mix
    gloss, glow = finish.take(surface, axis=1)
    light = _ambient(scene, hits)
    shine = np.zeros_like(light)
    for lamp in scene.lights:
        _add_light(stage, lamp, hits, rays, gloss, light, shine)
    colour *= np.maximum(light, glow * np.float32(1.1))
    colour += shine
    return colour


def tone(light: Floats) -> Floats:
    """Linear light as screen values in [0, 1]: bright parts roll off, a square root mimics a display."""
    rolled = light * (_ONE + light * np.float32(0.16)) / (_ONE + light * _HALF)
    screen: Floats = np.sqrt(np.minimum(rolled, _ONE))
    return screen


def _surfaces(scene: Scene) -> Ints:
    """Material number by part number."""
    numbers = [0] * ROOM_PARTS
    numbers[WALL], numbers[FLOOR], numbers[CEILING] = scene.surfaces
    numbers.extend(part.material for solid in scene.solids for part in solid.parts)
    return np.array(numbers, dtype=np.intp)


def _material_tables(materials: Sequence[Material]) -> tuple[Floats, Floats, Floats, Floats]:
    """By material: base [3, M]; second [3, M]; gloss, glow [2, M]; pattern, frequency, direction [5, M]."""
    rows = [(*m.base, *m.second, m.gloss, m.glow, m.pattern, m.frequency, *m.direction) for m in materials]
    columns = np.ascontiguousarray(np.array(rows, dtype=np.float32).T)
    return columns[:3], columns[3:6], columns[6:8], columns[8:]


def _patterns(texture: Floats, surface: Ints, local: Floats, footprint: Floats) -> Floats:
    """Share of the second colour, [P].

    A pattern fades out where a pixel's footprint (metres) is too wide to show it.
    """
    mix = np.zeros_like(footprint)
    pattern = texture[0].take(surface)
    drawers = ((STRIPES, _stripes), (CHECKER, _checker), (GRAIN, _grain), (NOISE, _mottle))
    for kind, draw in drawers:
        index = (pattern == kind).nonzero()[0]
        if index.size:
            columns = texture.take(surface.take(index), axis=1)
            frequency = columns[1]
            place = local.take(index, axis=1) + _ORIGIN
            shown = _unit_range(np.float32(1.7) - np.float32(3.0) * footprint.take(index) * frequency)
            value = draw(place, frequency, columns[2:])
            mix[index] = _HALF + (value - _HALF) * shown
    return mix


def _unit_range(values: Floats) -> Floats:
    clipped: Floats = np.minimum(np.maximum(values, 0.0), _ONE)
    return clipped


def _zigzag(phase: Floats) -> Floats:
    """A triangle wave of period 1 between 0 and 1."""
    wave: Floats = np.abs((phase - np.floor(phase)) * np.float32(2.0) - _ONE)
    return wave


def _stripes(place: Floats, frequency: Floats, direction: Floats) -> Floats:
    wave = _zigzag(dot(place, direction) * frequency)
    return _unit_range((wave - _HALF) * np.float32(6.0) + _HALF)


def _checker(place: Floats, frequency: Floats, _: Floats) -> Floats:
    cells = np.floor(place * frequency)
    total = (cells[0] + cells[1] + cells[2]) * _HALF
    value: Floats = (total - np.floor(total)) * np.float32(2.0)
    return value


def _grain(place: Floats, frequency: Floats, direction: Floats) -> Floats:
    waviness = _noise(place * (frequency * np.float32(0.35)))
    return _zigzag(dot(place, direction) * frequency + np.float32(2.5) * waviness)


def _mottle(place: Floats, frequency: Floats, _: Floats) -> Floats:
    value = _noise(place * (frequency * np.float32(0.8)))
    return _unit_range((value - _HALF) * np.float32(2.2) + _HALF)


@cache
def _lattice() -> tuple[Floats, Floats]:
    """Values at the corners of a periodic lattice, and how much they rise to the next along z, both flat."""
    words = np.random.Generator(np.random.Philox(20)).bytes(_LATTICE**3)
    values = np.frombuffer(words, dtype=np.uint8).astype(np.float32) / np.float32(255.0)
    rows = values.reshape(-1, _LATTICE)
    return values, (np.roll(rows, -1, axis=1) - rows).ravel()


def _noise(place: Floats) -> Floats:
    """Trilinear value noise between 0 and 1 at points [3, P] (of positive coordinates)."""
    values, rises = _lattice()
    corner = place.astype(np.intp)
    u, v, w = place - corner
    x0, y0, z = corner & (_LATTICE - 1)
    x1, y1 = (corner[:2] + 1) & (_LATTICE - 1)
    sheets = []
    for x in (x0 * _LATTICE**2 + z, x1 * _LATTICE**2 + z):
        rows = (x + y * _LATTICE for y in (y0, y1))
        front, back = (values.take(row) + rises.take(row) * w for row in rows)
        sheets.append(front + (back - front) * v)
    blended: Floats = sheets[0] + (sheets[1] - sheets[0]) * u
    return blended


def _ambient(scene: Scene, hits: Hits) -> Floats:
    """Light from everywhere, [P]: less from below, and less in corners of the room."""
    sky: Floats = np.float32(0.8) + np.float32(0.2) * hits.normal[1]
    hidden = np.zeros_like(sky)
    for axis in range(3):
        here = hits.point[axis]
        gap = np.minimum(here, np.float32(scene.size[axis]) - here)
        hidden += (_ONE - np.abs(hits.normal[axis])) * _CORNER / (_CORNER + np.maximum(gap, 0.0))
    light: Floats = sky * (_ONE - np.float32(0.42) * np.minimum(hidden, np.float32(1.6)))
    light *= np.float32(scene.ambient)
    return light


def _add_light(
    stage: Stage, lamp: Light, hits: Hits, rays: Floats, gloss: Floats, light: Floats, shine: Floats
) -> None:
    """Add one lamp's direct light and highlights, where no solid is in its way."""
    position = np.array(lamp.position, dtype=np.float32)[:, None]
    normal = hits.normal
    beam = hits.point - position
    facing = -dot(beam, normal)
    index = (facing > 0.0).nonzero()[0]
    beam = beam.take(index, axis=1)
    lit = (~stage.occluded(lamp.position, beam)).nonzero()[0]
    index, beam = index.take(lit), beam.take(lit, axis=1)
    square = dot(beam, beam)
    length: Floats = np.sqrt(square)
    strength = np.float32(lamp.power) / (_ONE + square * np.float32(0.45))
    light[index] += strength * facing.take(index) / length
    polished = (gloss.take(index) > 0.0).nonzero()[0]
    if polished.size:
        pick = index.take(polished)
        halfway: Floats = unit_vectors(rays.take(pick, axis=1)) + beam.take(polished, axis=1) / length.take(
            polished
        )
        aligned = -dot(unit_vectors(halfway), normal.take(pick, axis=1))
        peak = np.maximum(aligned, 0.0)
        for _ in range(5):
            peak *= peak
        shine[pick] += strength.take(polished) * gloss.take(pick) * peak
