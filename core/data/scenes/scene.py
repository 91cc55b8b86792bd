"""What a scene is made of: everything that one picture needs."""

from dataclasses import dataclass

from core.data.scenes.arrays import Point
from core.data.scenes.camera import Camera
from core.data.scenes.materials import Material
from core.data.scenes.solids import Solid


@dataclass(frozen=True, slots=True)
class Light:
    """A point light: position in metres, and power, the light that reaches what is very near."""

    position: Point
    power: float


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a picture needs.

    Attributes:
        size: of the room along x, y, z in metres; one corner of its floor is the origin.
        camera: inside the room, outside of every solid.
        surfaces: material numbers of walls, floor and ceiling.
        solids: furniture, doors, windows.
        materials: by number.
        lights: one or two.
        ambient: light that comes from everywhere.
        grain: standard deviation of the sensor noise, of 1.
    """

    size: Point
    camera: Camera
    surfaces: tuple[int, int, int]
    solids: tuple[Solid, ...]
    materials: tuple[Material, ...]
    lights: tuple[Light, ...]
    ambient: float
    grain: float
