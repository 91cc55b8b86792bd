"""How a sample is stored, and what it says decoded: every sample passes through here, cached or not."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.data.scenes.arrays import Floats

DEPTH_STEPS = np.float32(5000.0)
"""Stored depth counts fifths of a millimetre, up to 13.1 m."""

NORMAL_STEPS = np.float32(32767.0)

Records = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture with its labels, or N of them with a leading axis. Every pixel is valid.

    Attributes:
        image: float32 [3, H, W], RGB, multiples of 1/255 in [0, 1].
        segmentation: int64 [H, W], indices into `core.tasks.SCENE_CLASSES`.
        normals: float32 [3, H, W], unit vectors in camera coordinates (x right, y down, z forward) that face
            the camera.
        depth: float32 [1, H, W], z-depth along the optical axis, metres.
        keypoints: float32 [1, H, W] in [0, 1], the response of a blob and corner detector to the clean image.
        edges: float32 [1, H, W] in [0, 1], smoothed gradient magnitude of the clean image.
    """

    image: Floats
    segmentation: npt.NDArray[np.int64]
    normals: Floats
    depth: Floats
    keypoints: Floats
    edges: Floats


def record_type(resolution: int) -> np.dtype[np.void]:
    """The stored form of one sample: 14 bytes a pixel, little-endian."""
    r = resolution
    return np.dtype(
        [
            ("image", "u1", (3, r, r)),
            ("segmentation", "u1", (r, r)),
            ("normals", "<i2", (3, r, r)),
            ("depth", "<u2", (1, r, r)),
            ("keypoints", "u1", (1, r, r)),
            ("edges", "u1", (1, r, r)),
        ]
    )


def to_bytes(values: Floats) -> npt.NDArray[np.uint8]:
    """Values in [0, 1] as the nearest multiple of 1/255."""
    levels: npt.NDArray[np.uint8] = np.rint(np.clip(values, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)
    return levels


def decode(records: Records) -> Sample:
    """What a stored sample says, or an array [N] of them."""
    normals = records["normals"].astype(np.float32)
    squares = normals * normals
    normals /= np.sqrt(squares.sum(axis=-3, keepdims=True))
    return Sample(
        image=_from_bytes(records["image"]),
        segmentation=records["segmentation"].astype(np.int64),
        normals=normals,
        depth=records["depth"].astype(np.float32) / DEPTH_STEPS,
        keypoints=_from_bytes(records["keypoints"]),
        edges=_from_bytes(records["edges"]),
    )


def _from_bytes(values: npt.NDArray[np.uint8]) -> Floats:
    return values.astype(np.float32) / np.float32(255.0)
