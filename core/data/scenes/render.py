"""One sample, from its key to its stored form: compose the scene, cast, shade, filter, label."""

import numpy as np

from core.data.scenes.arrays import Floats
from core.data.scenes.casting import CEILING, FLOOR, ROOM_PARTS, WALL, Hits, Stage
from core.data.scenes.records import DEPTH_STEPS, NORMAL_STEPS, Records, Sample, decode, record_type, to_bytes
from core.data.scenes.responses import responses
from core.data.scenes.rooms import compose
from core.data.scenes.scene import Scene
from core.data.scenes.shading import shade, tone
from core.errors import InvalidError
from core.tasks import SCENE_CLASSES

MIN_RESOLUTION = 8


def render(seed: int, index: int, *, split: str, resolution: int = 64) -> Sample:
    """Sample number `index` of a split's stream: always the same for the same arguments.

    Args:
        seed: 0..2^64-1, names the whole data set.
        index: 0..2^32-1.
        split: "train", "validation" or "test"; their streams never overlap.
        resolution: height and width in pixels, at least 8.

    Raises:
        InvalidError: an argument is out of range.
    """
    record = np.zeros((), dtype=record_type(check_resolution(resolution)))
    render_into(record, seed, index, split=split)
    return decode(record)


def check_resolution(resolution: int) -> int:
    """The resolution itself.

    Raises:
        InvalidError: it is too small.
    """
    if resolution < MIN_RESOLUTION:
        raise InvalidError(
            f"a resolution is at least {MIN_RESOLUTION} pixels; got {resolution}", field="resolution"
        )
    return resolution


def render_into(record: Records, seed: int, index: int, *, split: str) -> None:
    """Render one sample into its stored form (see `records`), whose shape gives the resolution."""
    resolution = record["segmentation"].shape[-1]
    scene, draws = compose(seed, split, index)
    rays = scene.camera.rays(resolution)
    stage = Stage(scene.size, scene.solids)
    hits = stage.cast(scene.camera.position, rays)
    light = shade(scene, stage, hits, rays, pixel=1.0 / scene.camera.focal(resolution))
    clean = _develop(tone(light), resolution)
    record["image"] = to_bytes(clean + draws.noise(clean.shape) * np.float32(scene.grain))
    keypoints, edges = responses(clean)
    record["keypoints"], record["edges"] = to_bytes(keypoints), to_bytes(edges)
    _label(record, scene, hits, resolution)


def _develop(screen: Floats, resolution: int) -> Floats:
    """Average the colours at pixel centres and at pixel corners (quincunx): [3, P] to [3, R, R]."""
    count = resolution * resolution
    centres = screen[:, :count].reshape(3, resolution, resolution)
    corners = screen[:, count:].reshape(3, resolution + 1, resolution + 1)
    rows = corners[:, 1:] + corners[:, :-1]
    around = rows[:, :, 1:] + rows[:, :, :-1]
    image: Floats = np.add(centres * np.float32(0.5), around * np.float32(0.125), dtype=np.float32)
    return image


def _label(record: Records, scene: Scene, hits: Hits, resolution: int) -> None:
    """Class, depth and normal of what each pixel's central ray meets."""
    count = resolution * resolution
    classes = [0] * ROOM_PARTS
    for part, name in ((WALL, "wall"), (FLOOR, "floor"), (CEILING, "ceiling")):
        classes[part] = SCENE_CLASSES.index(name)
    classes.extend(solid.label for solid in scene.solids for _ in solid.parts)
    labels = np.array(classes, dtype=np.uint8)[hits.part[:count]]
    record["segmentation"] = labels.reshape(resolution, resolution)
    depth: Floats = np.rint(hits.distance[:count] * DEPTH_STEPS)
    record["depth"] = depth.astype(np.uint16).reshape(1, resolution, resolution)
    x, y, z = hits.normal[:, :count]
    axes = [np.float32(a) * x + np.float32(b) * y + np.float32(c) * z for a, b, c in scene.camera.axes]
    normals: Floats = np.rint(np.stack(axes) * NORMAL_STEPS)
    record["normals"] = normals.astype(np.int16).reshape(3, resolution, resolution)
