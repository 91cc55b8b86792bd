"""Two dense response maps of a clean picture, keypoints and edges. Scales follow the resolution."""

import math
from functools import lru_cache

import numpy as np

from core.data.scenes.arrays import Floats, Ints

_SIGMA = 1.5 / 64.0
_LUMA = (0.299, 0.587, 0.114)
_EDGE_GAIN = np.float32(4.5)
_KEYPOINT_KNEE = np.float32(0.035)


def responses(image: Floats) -> tuple[Floats, Floats]:
    """Keypoints and edges, each [1, H, W] in [0, 1], of a clean image [3, H, W] in [0, 1].

    Edges are the gradient's magnitude at a scale of sigma = 1.5/64 of the image's width, amplified, cut at 1.
    Keypoints follow the determinant of the Hessian as in SURF: d = its root where positive, smoothed, then
    d / (d + knee). Both are normalised for scale, by constants, never by what else is in the picture.
    """
    sigma = _SIGMA * image.shape[-1]
    red, green, blue = (np.float32(weight) * plane for weight, plane in zip(_LUMA, image, strict=True))
    smooth = blur(red + green + blue, sigma)
    dx, dy = _slope(smooth, axis=1), _slope(smooth, axis=0)
    scale = np.float32(sigma)
    edges = np.sqrt(dx * dx + dy * dy) * (scale * _EDGE_GAIN)
    dxx, dxy, dyy = _slope(dx, axis=1), _slope(dx, axis=0), _slope(dy, axis=0)
    square = scale * scale
    blob = np.sqrt(np.maximum(dxx * dyy - np.float32(0.81) * (dxy * dxy), 0.0)) * square
    blob = blur(blob, sigma * 0.6)
    keypoints = blob / (blob + _KEYPOINT_KNEE)
    return keypoints[None], np.minimum(edges, np.float32(1.0))[None]


def blur(plane: Floats, sigma: float) -> Floats:
    """Gaussian blur of [H, W], edges repeated."""
    weights = _weights(sigma)
    for axis in (0, 1):
        plane = _filter(plane, weights, axis=axis)
    return plane


@lru_cache(maxsize=16)
def _weights(sigma: float) -> tuple[np.float32, ...]:
    """Centre and one side of a Gaussian that sums to one."""
    side = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(math.ceil(2.8 * sigma) + 1)]
    total = side[0] + 2 * sum(side[1:])
    return tuple(np.float32(value / total) for value in side)


@lru_cache(maxsize=32)
def _repeated(size: int, reach: int) -> Ints:
    """Indices that repeat the first and the last of `size` entries `reach` times."""
    return np.clip(np.arange(-reach, size + reach), 0, size - 1)


def _filter(plane: Floats, weights: tuple[np.float32, ...], *, axis: int) -> Floats:
    """Symmetric correlation along one axis."""
    reach, size = len(weights) - 1, plane.shape[axis]
    padded = plane.take(_repeated(size, reach), axis=axis)
    if axis == 1:
        padded = padded.T
    total = weights[0] * padded[reach : reach + size]
    for offset, weight in enumerate(weights[1:], start=1):
        total += weight * (
            padded[reach - offset : reach - offset + size] + padded[reach + offset : reach + offset + size]
        )
    return total.T if axis == 1 else total


def _slope(plane: Floats, *, axis: int) -> Floats:
    """Central differences, edges repeated."""
    size = plane.shape[axis]
    padded = plane.take(_repeated(size, 1), axis=axis)
    if axis == 1:
        difference: Floats = padded[:, 2:] - padded[:, :-2]
    else:
        difference = padded[2:] - padded[:-2]
    return difference * np.float32(0.5)
