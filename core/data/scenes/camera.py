"""The pinhole camera, and the two grids of rays that make one anti-aliased picture."""

import math
from dataclasses import dataclass

import numpy as np

from core.data.scenes.arrays import Floats, Point


@dataclass(frozen=True, slots=True)
class Camera:
    """A level pinhole camera.

    Attributes:
        position: metres, in the room's frame.
        yaw: radians, turns from +z towards +x.
        pitch: radians, positive looks up.
        fov: full field of view, radians, the same across and down.
    """

    position: Point
    yaw: float
    pitch: float
    fov: float

    @property
    def axes(self) -> tuple[Point, Point, Point]:
        """Unit vectors right, down and forward (x, y and z of camera coordinates) in the room's frame."""
        cy, sy, cp, sp = math.cos(self.yaw), math.sin(self.yaw), math.cos(self.pitch), math.sin(self.pitch)
        return (cy, 0.0, -sy), (sp * sy, -cp, sp * cy), (cp * sy, sp, cp * cy)

    def focal(self, resolution: int) -> float:
        """Focal length in pixels; the principal point is the middle of the image."""
        return resolution / (2.0 * math.tan(self.fov / 2.0))

    def rays(self, resolution: int) -> Floats:
        """Directions [3, P] in the room's frame, z = 1 in the camera's, so distances are z-depth.

        First the R x R pixel centres row by row, then the (R + 1) x (R + 1) pixel corners.
        """
        count, focal = resolution * resolution, np.float32(self.focal(resolution))
        centres = (np.arange(resolution, dtype=np.float32) + np.float32(0.5 - resolution / 2)) / focal
        corners = (np.arange(resolution + 1, dtype=np.float32) - np.float32(resolution / 2)) / focal
        axes = np.array(self.axes, dtype=np.float32)
        rays = np.empty((3, count + (resolution + 1) ** 2), dtype=np.float32)
        for line, grid in ((centres, rays[:, :count]), (corners, rays[:, count:])):
            across, (along, forward) = axes[0, :, None] * line, (axes[1, :, None] * line, axes[2, :, None])
            square = grid.reshape(3, len(line), len(line))
            np.add(across[:, None, :], (along + forward)[:, :, None], out=square)
        return rays
