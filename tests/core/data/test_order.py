"""The order that a split's samples are drawn in: pinned for ever, a permutation, and as good as a random one."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data import in_order, open_dataset
from core.data.order import drawn_order, shuffle_of, whole_of
from tests.core.synthetic import SyntheticDataset

WORD = 2**64
MANY = 1_000_000
SECONDS = 1.0

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 300)


@pytest.mark.parametrize(
    ("seed", "samples", "begins"),
    [
        (0, 12, [2, 4, 6, 8, 5, 10, 1, 11, 7, 0, 9, 3]),
        (1, 12, [7, 4, 8, 1, 2, 6, 10, 11, 5, 0, 9, 3]),
        (2**32 - 1, 12, [4, 10, 2, 3, 1, 0, 9, 5, 6, 7, 11, 8]),
        (0, 1_000, [410, 821, 366, 503, 254, 566, 986, 203]),
        (0, MANY, [573548, 70273, 390831, 164256, 185931]),
    ],
)
def test_the_draw_is_the_one_that_it_always_was(seed: int, samples: int, begins: list[int]) -> None:
    assert drawn_order(seed, samples)[: len(begins)].tolist() == begins


def mixed(word: int) -> int:
    """SplitMix64's output function, once more and in whole numbers."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return word ^ (word >> 31)


@given(seed=seeds, samples=sizes)
@settings(max_examples=50, deadline=None)
def test_samples_are_taken_by_ascending_outputs_of_splitmix64(seed: int, samples: int) -> None:
    keys = [mixed((mixed(seed) + (index + 1) * 0x9E3779B97F4A7C15) % WORD) for index in range(samples)]
    assert drawn_order(seed, samples).tolist() == sorted(range(samples), key=keys.__getitem__)


@given(seed=seeds, samples=sizes)
@settings(max_examples=50, deadline=None)
def test_every_sample_is_taken_once(seed: int, samples: int) -> None:
    assert sorted(drawn_order(seed, samples).tolist()) == list(range(samples))


@given(seed=seeds, samples=sizes, more=sizes)
@settings(max_examples=50, deadline=None)
def test_samples_that_are_added_come_in_between_and_move_no_others(
    seed: int, samples: int, more: int
) -> None:
    longer = drawn_order(seed, samples + more)
    assert longer[longer < samples].tolist() == drawn_order(seed, samples).tolist()


@given(seed=seeds, other=seeds)
@settings(max_examples=50, deadline=None)
def test_seeds_draw_other_orders(seed: int, other: int) -> None:
    same = drawn_order(seed, 100).tolist() == drawn_order(other, 100).tolist()
    assert same == (seed == other)


def test_every_sample_is_as_likely_at_every_place() -> None:
    """Chi-squared of where each of 16 samples lands over many seeds next to each other: 225 degrees of freedom."""
    size, repeats = 16, 8_000
    counts = np.zeros((size, size))
    for seed in range(repeats):
        counts[np.arange(size), drawn_order(seed, size)] += 1
    expected = repeats / size
    squared = ((counts - expected) ** 2 / expected).sum()
    assert 225 - 5 * 450**0.5 < squared < 225 + 5 * 450**0.5


def test_the_first_samples_are_spread_over_the_split() -> None:
    """Of 64 out of 1,000 the mean position is 499.5, with a standard error of 35."""
    means = [drawn_order(seed, 1_000)[:64].mean() for seed in range(200)]
    assert abs(np.mean(means) - 499.5) < 5 * 35 / 200**0.5
    assert 30 < np.std(means) < 40


def test_a_million_samples_are_ordered_at_once() -> None:
    began = time.process_time()
    drawn_order(4_294_967_295, MANY)
    assert time.process_time() - began < SECONDS


def test_batches_keep_the_samples_own_positions() -> None:
    data = open_dataset("digits", "test")
    drawn = in_order(data, 5)
    wanted = drawn_order(5, len(data))[3:6].tolist()
    batch, same = drawn.batch(range(3, 6)), data.batch(wanted)
    assert batch.indices.tolist() == wanted
    assert batch.images.equal(same.images)
    assert batch.labels["left"].equal(same.labels["left"])
    assert (drawn.name, drawn.version, drawn.split, drawn.tasks, len(drawn)) == (
        data.name,
        data.version,
        data.split,
        data.tasks,
        len(data),
    )


def test_the_order_of_an_order_is_drawn_from_the_data_sets_own() -> None:
    data = SyntheticDataset()
    assert in_order(data, None) is data
    twice = in_order(in_order(data, 1), 2)
    assert twice.batch([0, 1]).indices.tolist() == drawn_order(2, len(data))[:2].tolist()
    assert (shuffle_of(twice), shuffle_of(data)) == (2, None)
    assert whole_of(twice) is data


def test_a_position_outside_is_refused() -> None:
    drawn = in_order(SyntheticDataset(samples=4), 0)
    for position in (-1, 4):
        with pytest.raises(IndexError):
            drawn.batch([position])
