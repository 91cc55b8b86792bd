"""Random numbers keyed by seed, sample and restart: batch neighbours, sharding and devices do not matter."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]


class Draws:
    """One stream of random numbers for each sample of a batch.

    Args:
        seed: of the attack.
        indices: [N], the samples' positions in their data set.
        restart: which run of the attack.
    """

    def __init__(self, seed: int, indices: Tensor, restart: int = 0) -> None:
        self.generators = [
            np.random.Generator(np.random.Philox(key=[seed, int(index)], counter=[0, 0, 0, restart]))
            for index in indices
        ]

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform in [-1, 1), in the shape and on the device of `like`."""
        return self._each(
            like, lambda rng, shape: rng.random(shape, dtype=np.float32) * np.float32(2) - np.float32(1)
        )

    def signs(self, like: Tensor) -> Tensor:
        """-1 or 1."""
        return self._each(like, lambda rng, shape: rng.integers(0, 2, shape).astype(np.float32) * 2 - 1)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal."""
        return self._each(like, lambda rng, shape: rng.standard_normal(shape, dtype=np.float32))

    def _each(self, like: Tensor, draw: Callable[[np.random.Generator, tuple[int, ...]], Floats]) -> Tensor:
        shape = tuple(like.shape[1:])
        return torch.from_numpy(np.stack([draw(rng, shape) for rng in self.generators])).to(like)
