"""The table of statistics: merging, bytes, and sharding that leaves no trace."""

from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.attacks import AttackSpec
from core.evaluation import Cost, Statistics, evaluate_shard, score
from core.models import TreeModel
from tests.core.synthetic import ALGORITHMS, OBJECTIVES, SMALL, SyntheticDataset, small_model

SAMPLES = 12
BATCH = 4
DATA = SyntheticDataset(SMALL, samples=SAMPLES)


@cache
def model() -> TreeModel:
    return small_model()


def shard(
    samples: range, attack: AttackSpec | None = None, *, batch_size: int = BATCH, previews: int = 0
) -> Statistics:
    table, _ = evaluate_shard(
        model(), DATA, samples, attack, tasks=SMALL, batch_size=batch_size, previews=previews
    )
    return table


def pixel_attack(algorithm: str = "pgd", objective: str = "gb_mta") -> AttackSpec:
    if algorithm == "fgsm":
        return AttackSpec(algorithm="fgsm", objective=objective, eps=8)
    return AttackSpec(algorithm="pgd", objective=objective, eps=8, steps=2, random_start=True)


@cache
def whole(algorithm: str | None, objective: str) -> Statistics:
    attack = None if algorithm is None else pixel_attack(algorithm, objective)
    return shard(range(SAMPLES), attack)


def assert_identical(one: Statistics, other: Statistics) -> None:
    assert one.to_bytes() == other.to_bytes()


cuts = st.sets(st.integers(1, SAMPLES - 1), max_size=5).map(lambda inner: [0, *sorted(inner), SAMPLES])


@pytest.mark.parametrize(
    ("algorithm", "objective"),
    [(None, "none"), *((algorithm, objective) for algorithm in ALGORITHMS for objective in OBJECTIVES)],
)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(cuts=cuts, shuffled=st.randoms(use_true_random=False))
def test_slices_of_any_length_join_to_the_whole_bit_for_bit(
    algorithm: str | None, objective: str, cuts: list[int], shuffled: Random
) -> None:
    attack = None if algorithm is None else pixel_attack(algorithm, objective)
    parts = [shard(range(begin, end), attack) for begin, end in pairwise(cuts)]
    shuffled.shuffle(parts)
    assert_identical(Statistics.concatenate(parts), whole(algorithm, objective))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_across_batch_sizes_metrics_agree_to_rounding(objective: str, batch_size: int) -> None:
    attack = pixel_attack("pgd", objective)
    clean = score(None, whole(None, "none"), _free(), tasks=SMALL, clean=None, rules="standard")
    results = [
        score(attack, table, _free(), tasks=SMALL, clean=clean.metrics, rules="standard")
        for table in (whole("pgd", objective), shard(range(SAMPLES), attack, batch_size=batch_size))
    ]
    for task, metrics in results[0].metrics.items():
        for name, value in metrics.items():
            assert results[1].metrics[task][name] == pytest.approx(value, rel=2e-2, abs=0.5), (task, name)


def _free() -> Cost:
    return Cost(0, 0, 0.0)


def test_a_shard_repeats_bit_for_bit() -> None:
    assert_identical(shard(range(3, 9), pixel_attack()), shard(range(3, 9), pixel_attack()))


def test_the_order_of_parts_changes_no_byte() -> None:
    parts = [shard(range(begin, begin + 3), previews=5) for begin in range(0, SAMPLES, 3)]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        assert_identical(Statistics.concatenate([parts[n] for n in order]), shard(range(SAMPLES), previews=5))


def test_a_sample_in_two_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="a sample is in two shards"):
        Statistics.concatenate([shard(range(4)), shard(range(3, 6))])


def test_nothing_to_concatenate_is_refused() -> None:
    with pytest.raises(ValueError, match="no statistics"):
        Statistics.concatenate([])


def test_bytes_read_back_to_the_same_table() -> None:
    table = shard(range(5), pixel_attack(), previews=2)
    read = Statistics.from_bytes(table.to_bytes())
    assert_identical(read, table)
    assert read.tasks.keys() == {task.name for task in SMALL}
    assert read.flags.keys() == {"floored", "non_finite"}
    assert read.previews is not None
    assert read.previews.shape == (2, 16, 16, 3)


def test_bytes_are_never_unpickled() -> None:
    hostile = Statistics(np.arange(1), {"t": {"x": np.array([{"a": 1}], dtype=object)}})
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        hostile.to_bytes()


def test_counts_are_integers_and_sums_are_double() -> None:
    table = shard(range(4))
    assert {values.dtype.kind for name, values in table.tasks["segmentation"].items()} == {"i"}
    assert table.tasks["depth"]["abs_sum"].dtype == np.float64
    assert table.tasks["normals"]["angle_sum"].dtype == np.float64


def test_every_statistic_has_a_row_for_every_sample() -> None:
    table = shard(range(2, 9))
    assert table.indices.tolist() == list(range(2, 9))
    assert {len(values) for statistics in table.tasks.values() for values in statistics.values()} == {7}


def test_totals_sum_over_samples() -> None:
    table = shard(range(SAMPLES))
    for name, values in table.tasks["depth"].items():
        assert np.array_equal(table.totals("depth")[name], values.astype(np.float64).sum(0))


def test_the_clean_pass_raises_no_flags_and_an_attack_has_one_row_for_each_sample() -> None:
    assert whole(None, "none").flags == {}
    assert {len(values) for values in whole("pgd", "gb_mta").flags.values()} == {SAMPLES}


def test_an_attack_makes_the_tasks_worse_on_average() -> None:
    clean, attacked = whole(None, "none"), whole("pgd", "gb_mta")
    assert attacked.totals("depth")["abs_sum"] > clean.totals("depth")["abs_sum"]


def test_cost_counts_passes_of_samples_whatever_the_batch_size() -> None:
    costs = [
        evaluate_shard(model(), DATA, range(7), pixel_attack(), tasks=SMALL, batch_size=size)[1]
        for size in (2, 7)
    ]
    assert {(cost.forwards, cost.backwards) for cost in costs} == {(7 * 3, 7 * 2)}
    assert (costs[0] + costs[1]).forwards == 2 * 7 * 3


def test_previews_are_the_first_images_of_the_data_set_only() -> None:
    early, late = shard(range(1, 5), previews=3), shard(range(6, 9), previews=3)
    assert early.previews is not None
    assert late.previews is None
    expected = (DATA.batch([1, 2]).images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(early.previews, expected)


def test_a_check_that_raises_ends_the_work_before_the_next_batch() -> None:
    calls: list[int] = []

    def stop_later() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError, match="cancelled"):
        evaluate_shard(model(), DATA, range(SAMPLES), None, tasks=SMALL, batch_size=BATCH, check=stop_later)
    assert len(calls) == 2


def test_the_model_may_be_in_train_mode_and_is_measured_in_eval_mode() -> None:
    training = small_model().train()
    table, _ = evaluate_shard(training, DATA, range(SAMPLES), None, tasks=SMALL, batch_size=BATCH)
    assert_identical(table, whole(None, "none"))
    assert training.training
    assert torch.equal(training.stages[0].get_submodule("0.norm").running_mean, torch.zeros(16))  # type: ignore[arg-type]
