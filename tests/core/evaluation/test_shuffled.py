"""A split that is taken in a drawn order: the same samples' statistics, of other samples first."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.attacks import AttackSpec
from core.data import Dataset, in_order
from core.data.batch import Batch
from core.data.order import drawn_order
from core.errors import InvalidError
from core.evaluation import Statistics, evaluate, evaluate_shard, evaluate_transferability
from core.intervals import UnpairedError, paired_difference
from tests.core.synthetic import SMALL, Reader, SyntheticDataset

SAMPLES = 12
BATCH = 4
SEED = 3
DENSE = SMALL[:4]
DATA = SyntheticDataset(DENSE, samples=SAMPLES, side=8, eight_bit=True)
DRAWN = in_order(DATA, SEED)
ORDER = drawn_order(SEED, SAMPLES)
PGD = AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=2, random_start=True)

cuts = st.sets(st.integers(1, SAMPLES - 1), max_size=5).map(lambda inner: [0, *sorted(inner), SAMPLES])


def shard(
    dataset: Dataset, samples: range, *, previews: int = 0, attack: AttackSpec | None = PGD
) -> Statistics:
    table, _ = evaluate_shard(
        Reader(), dataset, samples, attack, tasks=DENSE, batch_size=BATCH, previews=previews
    )
    return table


@settings(max_examples=5, deadline=None, derandomize=True)
@given(cuts=cuts, mixed=st.randoms(use_true_random=False))
def test_slices_join_to_the_whole_bit_for_bit(cuts: list[int], mixed: Random) -> None:
    parts = [shard(DRAWN, range(begin, end)) for begin, end in pairwise(cuts)]
    mixed.shuffle(parts)
    assert Statistics.concatenate(parts).to_bytes() == shard(DRAWN, range(SAMPLES)).to_bytes()


def test_a_sample_has_the_statistics_that_it_has_in_the_data_sets_own_order() -> None:
    """Up to rounding, as it is in a batch with others; its random start is its own."""
    own, drawn = shard(DATA, range(SAMPLES)), shard(DRAWN, range(SAMPLES))
    assert drawn.indices.tolist() == own.indices.tolist()
    for task, statistics in own.tasks.items():
        for name, values in statistics.items():
            found = drawn.tasks[task][name].astype(float)
            np.testing.assert_allclose(found, values.astype(float), rtol=1e-5, atol=1e-5)


def test_the_first_are_those_that_are_drawn_first() -> None:
    assert shard(DRAWN, range(5)).indices.tolist() == sorted(ORDER[:5].tolist())


def test_pictures_are_of_the_first_that_are_drawn_in_that_order() -> None:
    expected = (DATA.batch(ORDER[:6].tolist()).images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    whole = shard(DRAWN, range(SAMPLES), previews=6, attack=None)
    assert whole.previews is not None
    assert np.array_equal(whole.previews, expected)
    late = shard(DRAWN, range(5, SAMPLES), previews=6, attack=None)
    assert late.previews is not None
    assert np.array_equal(late.previews, expected[5:])


def test_the_library_takes_the_first_of_the_drawn_order() -> None:
    found = evaluate(Reader(), DATA, [PGD], limit=5, shuffle=SEED, batch_size=BATCH, prepared=False)
    (same,) = evaluate(
        Reader(), DRAWN, [PGD], limit=5, batch_size=BATCH, prepared=False, health=False
    ).attacks
    assert found.attacks[0].arp == same.arp
    assert found.attacks[0].replicates.origin == same.replicates.origin
    assert found.probe is not None
    assert found.probe.facts["samples"] == 5


def test_evaluations_in_other_orders_are_not_paired() -> None:
    """Neither where the samples are others, nor where all of them are taken."""
    for limit in (5, SAMPLES):
        (own,), (drawn,), (again,), (other,) = (
            evaluate(
                Reader(), DATA, [PGD], limit=limit, shuffle=shuffle, batch_size=BATCH, health=False
            ).attacks
            for shuffle in (None, SEED, SEED, SEED + 1)
        )
        assert paired_difference(drawn.replicates, again.replicates, 0.0) is not None
        for one in (own, other):
            with pytest.raises(UnpairedError, match="another order"):
                paired_difference(drawn.replicates, one.replicates, 0.0)


class Noting(SyntheticDataset):
    """Notes which samples it is asked for."""

    def __init__(self, split: str) -> None:
        super().__init__(DENSE, samples=40, side=8, split=split)
        self.asked: set[int] = set()

    def batch(self, indices: Sequence[int]) -> Batch:
        self.asked.update(indices)
        return super().batch(indices)


def test_a_search_is_on_samples_that_are_drawn_too() -> None:
    auto, calibration = AttackSpec(algorithm="auto_mta", eps=8, steps=60), Noting("validation")
    evaluate(Reader(), DATA, [auto], shuffle=SEED, calibration=calibration, health=False, prepared=False)
    drawn = drawn_order(SEED, 40)[: len(calibration.asked)].tolist()
    assert calibration.asked == set(drawn) != set(range(len(drawn)))


def test_a_search_without_another_split_takes_the_samples_that_are_drawn_last() -> None:
    auto, data = AttackSpec(algorithm="auto_mta", eps=8, steps=60), Noting("test")
    evaluate(Reader(), data, [auto], limit=8, shuffle=SEED, health=False, prepared=False)
    searched = data.asked - set(drawn_order(SEED, 40)[:8].tolist())
    assert searched
    assert searched <= set(drawn_order(SEED, 40)[8:].tolist())


def test_another_order_of_the_evaluated_split_is_no_other_split() -> None:
    auto = AttackSpec(algorithm="auto_mta", eps=8, steps=60)
    with pytest.raises(InvalidError, match="must not search on the samples"):
        evaluate(Reader(), DATA, [auto], limit=4, shuffle=SEED, calibration=in_order(DATA, SEED + 1))


def test_transferability_is_of_the_samples_that_are_drawn() -> None:
    attack = AttackSpec(algorithm="fgsm", eps=8)
    found, same, own = (
        evaluate_transferability({"m": Reader()}, data, attack, limit=5, shuffle=shuffle, batch_size=BATCH)
        for data, shuffle in ((DATA, SEED), (DRAWN, None), (DATA, None))
    )
    assert found.pairs["m", "m"].matrix == same.pairs["m", "m"].matrix != own.pairs["m", "m"].matrix
