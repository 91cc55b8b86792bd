"""The table of statistics: merging, totals and bytes. How shards fill it, `test_shard` says."""

from functools import cache

import numpy as np
import pytest

from core.attacks import AttackSpec
from core.evaluation import Statistics, evaluate_shard
from core.evaluation.statistics import pack, unpack
from tests.core.synthetic import SMALL, SyntheticDataset, small_model

SAMPLES = 12
DATA = SyntheticDataset(SMALL, samples=SAMPLES)
ATTACK = AttackSpec(algorithm="fgsm", eps=8)


@cache
def table(begin: int = 0, end: int = SAMPLES, *, attacked: bool = False, previews: int = 0) -> Statistics:
    attack = ATTACK if attacked else None
    found, _ = evaluate_shard(
        small_model(), DATA, range(begin, end), attack, tasks=SMALL, batch_size=4, previews=previews
    )
    return found


@pytest.mark.parametrize("attacked", [False, True])
def test_the_order_of_parts_changes_no_byte(attacked: bool) -> None:
    parts = [table(begin, begin + 3, attacked=attacked) for begin in range(0, SAMPLES, 3)]
    whole = Statistics.concatenate(parts).to_bytes()
    for order in ([3, 1, 0, 2], [2, 3, 1, 0]):
        assert Statistics.concatenate([parts[n] for n in order]).to_bytes() == whole


def test_a_sample_in_two_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="a sample is in two shards"):
        Statistics.concatenate([table(0, 4), table(3, 6)])


def test_nothing_to_concatenate_is_refused() -> None:
    with pytest.raises(ValueError, match="no statistics"):
        Statistics.concatenate([])


def test_bytes_read_back_to_the_same_table() -> None:
    written = table(0, 5, attacked=True, previews=2)
    read = Statistics.from_bytes(written.to_bytes())
    assert read.to_bytes() == written.to_bytes()
    assert read.tasks.keys() == read.rounded.keys() == {task.name for task in SMALL}
    assert read.flags.keys() == {"floored", "non_finite", "zero_gradient", "rising"}
    assert read.previews is not None
    assert read.previews.shape == (2, 16, 16, 3)
    for name, values in written.rounded["depth"].items():
        assert np.array_equal(read.rounded["depth"][name], values)


def test_several_tables_are_packed_and_come_out_in_their_order() -> None:
    tables = [table(0, 5, attacked=True), *(table(n, n + 1) for n in range(11))]
    read = unpack(pack(tables))
    assert [one.to_bytes() for one in read] == [one.to_bytes() for one in tables]
    assert pack(read) == pack(tables)


def test_no_table_packs_and_unpacks() -> None:
    assert unpack(pack([])) == ()


def test_bytes_are_never_unpickled() -> None:
    hostile = Statistics(np.arange(1), {"t": {"x": np.array([{"a": 1}], dtype=object)}})
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        hostile.to_bytes()


def test_counts_are_integers_and_sums_are_double() -> None:
    tasks = table(0, 4).tasks
    assert {values.dtype.kind for name, values in tasks["segmentation"].items()} == {"i"}
    assert tasks["depth"]["abs_sum"].dtype == np.float64
    assert tasks["normals"]["angle_sum"].dtype == np.float64


def test_every_statistic_has_a_row_for_every_sample() -> None:
    found = table(2, 9, attacked=True)
    assert found.indices.tolist() == list(range(2, 9))
    tables = [*found.tasks.values(), *found.rounded.values()]
    assert {len(values) for statistics in tables for values in statistics.values()} == {7}


def test_totals_sum_over_samples() -> None:
    found = table(attacked=True)
    for name, values in found.tasks["depth"].items():
        assert np.array_equal(found.totals("depth")[name], values.astype(np.float64).sum(0))


def test_a_clean_pass_has_nothing_rounded() -> None:
    assert table().rounded == {}
