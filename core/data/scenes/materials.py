"""What surfaces are made of. Every class draws colour, pattern and gloss alike, so they name no class."""

from dataclasses import dataclass, field
from typing import NamedTuple

from core.data.scenes.draws import Draws

Colour = tuple[float, float, float]

PLAIN, STRIPES, CHECKER, GRAIN, NOISE = range(5)

PALETTE: tuple[Colour, ...] = (
    (0.88, 0.87, 0.84),
    (0.72, 0.70, 0.66),
    (0.50, 0.50, 0.52),
    (0.25, 0.26, 0.29),
    (0.86, 0.76, 0.58),
    (0.72, 0.55, 0.36),
    (0.52, 0.34, 0.20),
    (0.33, 0.21, 0.14),
    (0.80, 0.33, 0.25),
    (0.58, 0.16, 0.18),
    (0.90, 0.58, 0.25),
    (0.92, 0.80, 0.36),
    (0.62, 0.70, 0.34),
    (0.30, 0.52, 0.30),
    (0.16, 0.34, 0.27),
    (0.35, 0.64, 0.62),
    (0.45, 0.65, 0.84),
    (0.22, 0.40, 0.66),
    (0.16, 0.20, 0.42),
    (0.50, 0.36, 0.62),
    (0.80, 0.55, 0.68),
    (0.66, 0.74, 0.78),
)
"""Reflectances as they look on screen (square root of linear light)."""

_DIRECTIONS = ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.5, -1.0), (1.0, 0.12, 0.35))


class Material(NamedTuple):
    """A solid texture in the frame of what it covers.

    Attributes:
        base: linear reflectance.
        second: linear reflectance that the pattern mixes in.
        pattern: PLAIN, STRIPES, CHECKER, GRAIN or NOISE.
        frequency: repeats a metre.
        direction: across stripes and grain.
        gloss: strength of the highlight.
        glow: share of the colour that needs no light.
    """

    base: Colour
    second: Colour
    pattern: int
    frequency: float
    direction: Colour
    gloss: float
    glow: float


@dataclass(slots=True)
class Materials:
    """The materials of one scene, numbered as they are drawn; neighbours in the list differ in colour."""

    draws: Draws
    drawn: list[Material] = field(default_factory=list)
    _colours: list[Colour] = field(default_factory=list)

    def _colour(self) -> Colour:
        if not self._colours:
            self._colours = self.draws.shuffled(PALETTE)
        shade = self.draws.uniform(0.88, 1.08)
        red, green, blue = self._colours.pop()
        return (min(1.0, shade * red) ** 2, min(1.0, shade * green) ** 2, min(1.0, shade * blue) ** 2)

    def fresh(self, *, glow: float = 0.0) -> int:
        """Draw one more material and return its number."""
        draws = self.draws
        base = self._colour()
        pattern = PLAIN if draws.chance(0.4) else draws.pick((STRIPES, CHECKER, GRAIN, NOISE))
        second = self._second(base)
        gloss = draws.uniform(0.1, 0.5) if draws.chance(0.3) else 0.0
        period = draws.uniform(0.1, 0.5)
        direction = draws.pick(_DIRECTIONS)
        self.drawn.append(Material(base, second, pattern, 1.0 / period, direction, gloss, glow))
        return len(self.drawn) - 1

    def _second(self, base: Colour) -> Colour:
        """A darker or lighter version of the colour, or now and then another one."""
        if self.draws.chance(0.25):
            red, green, blue = self.draws.pick(PALETTE)
            return (red * red, green * green, blue * blue)
        factor = self.draws.uniform(0.4, 0.7)
        red, green, blue = base
        return (red * factor, green * factor, blue * factor)
