"""Random numbers of training as functions of what they are for: a position says everything, no state is kept."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

AUGMENTATION, ORDER = 1, 2
"""Words of the counter that keep streams of one key apart; attacks (`core.attacks.draws`) have 0 there."""


def sample_stream(seed: int, sample: int, iteration: int) -> np.random.Generator:
    """What augments a sample in an iteration."""
    return np.random.Generator(np.random.Philox(key=[seed, sample], counter=[0, 0, AUGMENTATION, iteration]))


def rows_of(iteration: int, *, seed: int, samples: int, batch_size: int) -> NDArray[np.int64]:
    """The samples of an iteration, [batch_size]: every epoch has an order of its own and drops what fills no batch."""
    batches = samples // batch_size
    epoch, place = divmod(iteration, batches)
    return _order(seed, epoch, samples)[place * batch_size : (place + 1) * batch_size]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, samples: int) -> NDArray[np.int64]:
    generator = np.random.Generator(np.random.Philox(key=[seed, 0], counter=[0, 0, ORDER, epoch]))
    return generator.permutation(samples)


def torch_seed(seed: int, iteration: int, rank: int) -> int:
    """Seed of torch's own generator, which dropout draws from, for one iteration in one process."""
    words = np.random.SeedSequence([seed, iteration, rank]).generate_state(1, np.uint64)
    return int(words[0]) >> 1
