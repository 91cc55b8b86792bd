"""The layout of one scene: a room, a camera, doors and windows, furniture that does not overlap, lights."""

import math
from dataclasses import dataclass, field

from core.data.scenes import fixtures, furniture
from core.data.scenes.arrays import Point
from core.data.scenes.camera import Camera
from core.data.scenes.draws import Draws
from core.data.scenes.footprints import Footprint
from core.data.scenes.materials import Materials
from core.data.scenes.models import Builder, Model
from core.data.scenes.scene import Light, Scene
from core.data.scenes.solids import Solid
from core.tasks import SCENE_CLASSES

KEEP_OUT = 0.95
"""No solid's footprint comes nearer to the camera than this, metres."""

_TRIES = 14
_BARE = 5

_LARGE: tuple[tuple[Builder, float, str], ...] = (
    (furniture.bed, 0.5, "wall"),
    (furniture.sofa, 0.5, "wall"),
    (furniture.bookcase, 0.6, "wall"),
    (furniture.cabinet, 0.65, "wall"),
    (furniture.table, 0.75, "open"),
)
_SMALL: tuple[tuple[Builder, float, str], ...] = (
    (furniture.chair, 0.8, "open"),
    (furniture.chair, 0.4, "open"),
    (furniture.plant, 0.65, "any"),
    (furniture.lamp, 0.6, "any"),
)
"""What may stand in a room, how often, and where: the large first, in random order, while there is space."""


@dataclass(slots=True)
class _Room:
    """A room while it is being furnished."""

    draws: Draws
    size: Point
    camera: Camera
    solids: list[Solid] = field(default_factory=list)
    taken: list[Footprint] = field(default_factory=list)
    hanging: list[Footprint] = field(default_factory=list)
    _view: tuple[float, float, float] = field(init=False)

    def __post_init__(self) -> None:
        """Work out what every look at a spot asks for."""
        yaw = self.camera.yaw
        self._view = math.sin(yaw), math.cos(yaw), math.tan(self.camera.fov / 2.0)

    def sees(self, x: float, z: float, *, near: float) -> bool:
        """Whether a spot on the floor lies in view, at least `near` metres ahead."""
        dx, dz = x - self.camera.position[0], z - self.camera.position[2]
        sin, cos, tan = self._view
        ahead, across = sin * dx + cos * dz, cos * dx - sin * dz
        return ahead > near and abs(across) < ahead * tan

    def free(self, spot: Footprint) -> bool:
        """Whether a footprint lies inside the room, clear of the camera and of everything there."""
        if not spot.inside(self.size[0], self.size[2]):
            return False
        if spot.distance(self.camera.position[0], self.camera.position[2]) < KEEP_OUT:
            return False
        return not any(map(spot.overlaps, self.taken))

    def put(self, model: Model, spot: Footprint, *, base: float = 0.0) -> None:
        """Place a model on a footprint, its base at this height."""
        parts = tuple(sorted(model.parts, key=lambda part: part.kind))
        label = SCENE_CLASSES.index(model.name)
        self.solids.append(Solid(label, parts, (spot.x, base, spot.z), spot.cos, spot.sin))

    def wall_spot(self, model: Model, *, gap: float = 0.0) -> Footprint:
        """Somewhere along a wall that the camera faces, back to the wall."""
        wide, deep = self.size[0], self.size[2]
        wall = self.draws.pick(("far", "far", "left", "right"))
        span = wide if wall == "far" else deep
        margin = min(model.width / 2 + 0.03, span / 2)
        along, off = self.draws.uniform(margin, span - margin), model.depth / 2 + gap
        if wall == "far":
            return Footprint(along, deep - off, math.pi, model.width, model.depth)
        if wall == "left":
            return Footprint(off, along, math.pi / 2, model.width, model.depth)
        return Footprint(wide - off, along, -math.pi / 2, model.width, model.depth)

    def open_spot(self, model: Model) -> Footprint:
        """Somewhere in front of the camera, turned anyhow."""
        bearing = self.camera.yaw + self.draws.uniform(-0.5, 0.5) * self.camera.fov
        distance = self.draws.uniform(1.5, 5.0)
        x = self.camera.position[0] + distance * math.sin(bearing)
        z = self.camera.position[2] + distance * math.cos(bearing)
        return Footprint(x, z, self.draws.uniform(-math.pi, math.pi), model.width, model.depth)


def compose(seed: int, split: str, index: int) -> tuple[Scene, Draws]:
    """The scene of one sample, and its stream of random numbers, where the sensor's noise goes on.

    Raises:
        InvalidError: as `Draws`.
    """
    draws = Draws(seed, split, index)
    size = (draws.uniform(3.2, 6.2), draws.uniform(2.4, 3.1), draws.uniform(3.6, 6.6))
    materials = Materials(draws)
    surfaces = (materials.fresh(), materials.fresh(), materials.fresh())
    room = _Room(draws, size, _place_camera(draws, size))
    _add_openings(room, materials)
    _furnish(room, materials)
    lights = _add_lights(room)
    ambient, grain = draws.uniform(0.42, 0.62), draws.uniform(0.006, 0.016)
    scene = Scene(
        size, room.camera, surfaces, tuple(room.solids), tuple(materials.drawn), lights, ambient, grain
    )
    return scene, draws


def _place_camera(draws: Draws, size: Point) -> Camera:
    """At eye height near one wall, looking across the room."""
    x, z = size[0] * draws.uniform(0.2, 0.8), draws.uniform(0.25, 0.22 * size[2])
    target_x, target_z = size[0] * draws.uniform(0.3, 0.7), size[2] * draws.uniform(0.6, 0.8)
    yaw = math.atan2(target_x - x, target_z - z) + draws.uniform(-0.2, 0.2)
    pitch = math.radians(draws.uniform(-17.0, -5.0))
    fov = math.radians(draws.uniform(56.0, 78.0))
    return Camera((x, draws.uniform(1.2, 1.75), z), yaw, pitch, fov)


def _add_openings(room: _Room, materials: Materials) -> None:
    """One or two windows and often a door, on walls in view."""
    draws = room.draws
    builders = (
        [fixtures.window] + [fixtures.window] * draws.chance(0.45) + [fixtures.door] * draws.chance(0.7)
    )
    walls: list[Footprint] = []
    for builder in builders:
        model = builder(draws, materials)
        is_door = model.name == "door"
        base = 0.0 if is_door else draws.uniform(0.85, 1.05)
        for _ in range(_TRIES):
            spot = room.wall_spot(model, gap=-model.depth / 2 + 0.05)
            if not room.sees(spot.x, spot.z, near=1.2):
                continue
            wide = Footprint(spot.x, spot.z, spot.yaw, model.width + 0.4, 0.3)
            if not any(wide.overlaps(other) for other in walls):
                room.put(model, spot, base=base)
                walls.append(wide)
                if is_door:
                    room.taken.append(Footprint(spot.x, spot.z, spot.yaw, model.width + 0.1, 1.0))
                break


def _furnish(room: _Room, materials: Materials) -> None:
    """Furniture, each where it fits and can be seen, in a second round if the first leaves the room bare."""
    draws = room.draws
    for _ in range(2):
        for builder, chance, place in (*draws.shuffled(_LARGE), *_SMALL):
            if draws.chance(chance):
                _place(room, builder(draws, materials), materials, place)
        if len(room.taken) >= _BARE:
            break
    if draws.chance(0.4):
        _hang(room, furniture.pendant(draws, materials))
    if draws.chance(0.35):
        mat = fixtures.rug(draws, materials)
        spot = room.open_spot(mat)
        if spot.inside(room.size[0], room.size[2]):
            room.put(mat, spot)


def _place(room: _Room, model: Model, materials: Materials, place: str) -> None:
    """Try some spots and take the first that is free and in view; then perhaps stand something on it."""
    draws = room.draws
    for _ in range(_TRIES):
        at_wall = place == "wall" or (place == "any" and draws.chance(0.5))
        spot = room.wall_spot(model, gap=draws.uniform(0.02, 0.12)) if at_wall else room.open_spot(model)
        if room.sees(spot.x, spot.z, near=1.3) and room.free(spot):
            room.put(model, spot)
            room.taken.append(spot)
            _decorate(room, model, spot, materials)
            return


def _decorate(room: _Room, model: Model, spot: Footprint, materials: Materials) -> None:
    """Stand a small lamp or plant on a table or a low cabinet, now and then."""
    if model.name not in {"table", "cabinet"} or model.height > 1.1 or not room.draws.chance(0.5):
        return
    small: Builder = room.draws.pick((furniture.small_lamp, furniture.small_plant))
    shift = 0.3 * model.width * room.draws.uniform(-1.0, 1.0)
    item = small(room.draws, materials)
    x, z = spot.x + spot.cos * shift, spot.z - spot.sin * shift
    room.put(item, Footprint(x, z, room.draws.uniform(-1.0, 1.0), item.width, item.depth), base=model.height)


def _hang(room: _Room, model: Model) -> None:
    """Hang a lamp from the ceiling where the camera sees it and no tall furniture stands below."""
    for _ in range(_TRIES):
        spot = room.open_spot(model)
        ahead = math.hypot(spot.x - room.camera.position[0], spot.z - room.camera.position[2])
        if ahead > 2.2 and room.sees(spot.x, spot.z, near=2.0) and room.free(spot):
            room.put(model, spot, base=room.size[1] - model.height)
            room.hanging.append(spot)
            return


def _add_lights(room: _Room) -> tuple[Light, ...]:
    """One light below the ceiling, sometimes a second, weaker one; clear of furniture."""
    draws, (wide, high, deep) = room.draws, room.size
    count = 2 if draws.chance(0.5) else 1
    lights: list[Light] = []
    for number in range(count):
        for _ in range(_TRIES):
            x, z = wide * draws.uniform(0.3, 0.7), deep * draws.uniform(0.2, 0.65)
            if not any(math.hypot(x - lamp.x, z - lamp.z) < 0.6 for lamp in room.hanging):
                break
        y = high - draws.uniform(0.12, 0.3)
        power = draws.uniform(4.0, 5.6) if count == 1 else draws.uniform(2.7, 3.8) * (0.7 if number else 1.0)
        lights.append(Light((x, y, z), power))
    return tuple(lights)
