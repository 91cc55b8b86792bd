"""Replicates: drawn the same however samples are cut, and against a naive reference that holds everything."""

import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import core
from core.errors import InvalidError
from core.evaluation import Statistics, all_metrics, average_relative_performance
from core.evaluation.bootstrap import ReplicateTotals, Resampler, take_replicates
from core.intervals import Interval, Replicates, UnpairedError, paired_difference
from core.tasks import MetricRules
from tests.core.synthetic import SMALL

SAMPLES, DRAWS = 60, 40


def made_up(samples: int = SAMPLES, *, harm: float = 0.0, seed: int = 0) -> Statistics:
    """Statistics of every kind of task; harm makes them worse."""
    generator = np.random.default_rng(seed)
    error = generator.lognormal(0, 0.5, samples) * (1 + harm)
    labelled = generator.integers(1, 90, (samples, 4)) * (generator.random((samples, 4)) < 0.7)
    right = generator.binomial(labelled, 0.8 * np.exp(-harm))
    angles = np.minimum(generator.gamma(2, 8, (samples, 200)) * (1 + harm), 179)
    valid = generator.integers(50, 200, samples)
    return Statistics(
        np.arange(samples) + 10,
        {
            "segmentation": {
                "labelled": labelled,
                "predicted": right + generator.permuted(labelled - right, axis=1),
                "intersection": right,
            },
            "normals": {
                "valid": np.full(samples, 200),
                "angle_sum": angles.sum(1),
                "cosine_sum": np.cos(np.radians(angles)).sum(1),
                "angle_histogram": np.stack(
                    [np.bincount(row, minlength=720) for row in (4 * angles).astype(int)]
                ),
            },
            "depth": {
                "valid": valid,
                "relative_valid": valid,
                "abs_sum": valid * error,
                "rel_sum": valid * error / 3,
                "within": generator.binomial(valid[:, None], np.exp(-error)[:, None], (samples, 3)),
            },
            "edges": {"valid": valid, "abs_sum": valid * error / 7},
            "digit": {
                "valid": np.ones(samples, np.int64),
                "correct": generator.binomial(1, 0.9 * np.exp(-harm), samples),
                "loss_sum": error,
            },
        },
    )


def rows(table: Statistics, kept: slice | NDArray[np.int64]) -> Statistics:
    tasks = {
        task: {name: values[kept] for name, values in statistics.items()}
        for task, statistics in table.tasks.items()
    }
    return Statistics(table.indices[kept], tasks)


def totals(*parts: Statistics, seed: int = 0, replicates: int = DRAWS) -> ReplicateTotals:
    summed = ReplicateTotals(Resampler(seed, replicates=replicates))
    for part in parts:
        summed.add(part)
    return summed


def drawn(
    *parts: Statistics,
    clean: Replicates | None = None,
    seed: int = 0,
    replicates: int = DRAWS,
    rules: MetricRules = "standard",
) -> Replicates:
    summed = totals(*parts, seed=seed, replicates=replicates)
    return take_replicates(summed, SMALL, dataset="made up", clean=clean, rules=rules)


WITHOUT_TORCH = """
import sys, types

sys.modules["torch"] = None
package = types.ModuleType("core.evaluation")
package.__path__ = [sys.argv[1]]
sys.modules["core.evaluation"] = package

import core.evaluation.bootstrap
import core.evaluation.transferability
"""


def test_what_follows_from_statistics_needs_no_torch() -> None:
    folder = Path(core.__file__).parent / "evaluation"
    arguments = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_weights_are_poisson_of_mean_one() -> None:
    weights = Resampler(replicates=1000).weights(np.arange(1000))
    assert weights.shape == (1000, 1000)
    assert weights.mean() == pytest.approx(1, abs=0.005)
    assert weights.var() == pytest.approx(1, abs=0.01)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.002)
    assert abs(np.corrcoef(weights[:, :50].T) - np.eye(50)).max() < 0.2


@given(st.permutations(range(12)), st.integers(1, 12))
def test_a_samples_weights_depend_on_nothing_but_the_seed_and_its_index(order: list[int], end: int) -> None:
    whole = Resampler(5, replicates=9).weights(np.arange(12))
    some = np.array(order[:end])
    assert np.array_equal(Resampler(5, replicates=9).weights(some), whole[:, some])


def test_more_replicates_begin_with_the_same_ones() -> None:
    few, many = (Resampler(replicates=count).weights(np.arange(5)) for count in (7, 50))
    assert np.array_equal(many[:7], few)


def test_another_seed_draws_other_weights() -> None:
    one, other = (Resampler(seed).weights(np.arange(50)) for seed in (0, 1))
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


def test_the_first_weights_of_seed_0_stay_what_they_are() -> None:
    weights = Resampler(replicates=8).weights(np.array([0, 1, 999_999]))
    assert weights.T.astype(int).tolist() == [
        [1, 1, 1, 1, 3, 1, 1, 0],
        [1, 0, 0, 0, 2, 1, 1, 0],
        [2, 0, 1, 0, 4, 0, 0, 0],
    ]


def test_weights_are_drawn_once_while_there_is_room_and_stay_right_beyond() -> None:
    resampler = Resampler(replicates=10)
    resampler._room = 25
    first, second = np.arange(2), np.arange(2, 4)
    expected = {key: Resampler(replicates=10).weights(indices) for key, indices in ((0, first), (1, second))}
    for _ in range(2):
        assert np.array_equal(resampler.weights(first), expected[0])
        assert np.array_equal(resampler.weights(second), expected[1])
    assert (len(resampler._drawn), resampler._room) == (1, 5)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InvalidError, match="seed must be between 0"):
        Resampler(seed)


def test_streamed_replicates_are_those_of_a_weighted_sum_over_all_samples() -> None:
    table = made_up(600)
    weights = Resampler(replicates=DRAWS).weights(table.indices).astype(np.float64)
    streamed = totals(rows(table, slice(0, 500)), rows(table, slice(500, 600))).replicates()
    for task, statistics in table.tasks.items():
        for name, values in statistics.items():
            expected = np.tensordot(weights, values.astype(np.float64), (1, 0))
            np.testing.assert_allclose(streamed[task][name], expected, rtol=1e-12, err_msg=f"{task}.{name}")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.sets(st.integers(1, SAMPLES - 1), max_size=6).map(sorted), st.randoms(use_true_random=False))
def test_the_same_samples_give_the_same_bytes_however_they_are_cut_and_ordered(
    cuts: list[int], shuffled: Random
) -> None:
    table = made_up()
    order = list(range(SAMPLES))
    shuffled.shuffle(order)
    parts = [rows(table, kept) for kept in np.split(np.array(order), cuts)]
    assert drawn(*parts).to_bytes() == drawn(table).to_bytes()


def test_totals_are_bit_for_bit_those_of_the_joined_table() -> None:
    table = made_up(700)
    summed = totals(rows(table, slice(350, 700)), rows(table, slice(0, 350))).totals()
    for task, statistics in summed.items():
        expected = table.totals(task)
        assert statistics.keys() == expected.keys()
        assert all(np.array_equal(values, expected[name]) for name, values in statistics.items())


def test_counts_too_large_for_single_precision_are_summed_exactly() -> None:
    huge = np.array([2**24 + 1, 1, 3])
    table = Statistics(np.arange(3), {"t": {"valid": huge}})
    weights = Resampler(replicates=DRAWS).weights(table.indices).astype(np.int64)
    assert np.array_equal(totals(table).replicates()["t"]["valid"], weights @ huge)


def test_later_samples_do_not_change_what_was_read_before() -> None:
    table = made_up()
    summed = totals(rows(table, slice(0, 30)))
    before, replicates = summed.totals()["depth"]["valid"], summed.replicates()["depth"]["valid"]
    kept = before.copy(), replicates.copy()
    summed.add(rows(table, slice(30, 60)))
    assert np.array_equal(before, kept[0])
    assert np.array_equal(replicates, kept[1])


@pytest.mark.parametrize("rules", ["standard", "paper"])
def test_each_replicate_is_the_metrics_and_arp_of_its_own_samples(rules: MetricRules) -> None:
    clean, attacked = made_up(), made_up(harm=0.5)
    base = drawn(clean, rules=rules)
    found = drawn(attacked, clean=base, rules=rules)
    weights = Resampler(replicates=DRAWS).weights(clean.indices).astype(int)
    for replicate in range(0, DRAWS, 7):
        kept = np.repeat(np.arange(SAMPLES), weights[replicate])
        before, after = (
            all_metrics(
                SMALL, {task.name: rows(table, kept).totals(task.name) for task in SMALL}, rules=rules
            )
            for table in (clean, attacked)
        )
        expected = average_relative_performance(before, after, {task.name: task.directions for task in SMALL})
        assert found.of()[replicate] == pytest.approx(expected.overall, rel=1e-5)
        for task, metrics in after.items():
            assert found.of(task)[replicate] == pytest.approx(expected.tasks[task], rel=1e-4, abs=1e-4)
            for metric, value in metrics.items():
                assert found.of(task, metric)[replicate] == pytest.approx(value, rel=1e-6)


def test_the_same_seed_draws_the_same_replicates_and_another_seed_others() -> None:
    assert drawn(made_up(), seed=3).to_bytes() == drawn(made_up(), seed=3).to_bytes()
    one, other = (drawn(made_up(), seed=seed).of("depth", "abs_error") for seed in (3, 4))
    assert not np.array_equal(one, other)


def test_a_clean_pass_has_no_arp() -> None:
    with pytest.raises(InvalidError, match="no replicates of arp"):
        drawn(made_up()).of()


def test_an_attack_that_changes_nothing_has_arp_exactly_zero() -> None:
    clean = drawn(made_up())
    attacked = drawn(rows(made_up(), slice(30, 60)), rows(made_up(), slice(0, 30)), clean=clean)
    assert attacked.interval(0.0) == Interval(0.0, 0.0)
    assert {attacked.interval(0.0, task=task.name) for task in SMALL} == {Interval(0.0, 0.0)}


def test_two_attacks_that_do_the_same_differ_by_exactly_zero() -> None:
    clean = drawn(made_up())
    one, other = (drawn(made_up(harm=0.5), clean=clean) for _ in range(2))
    assert paired_difference(one, other, 0.0) == Interval(0.0, 0.0)
    assert paired_difference(one, other, 0.0, task="normals", metric="median") == Interval(0.0, 0.0)


def test_a_paired_difference_is_narrower_than_the_results_own_intervals() -> None:
    clean = drawn(made_up(), replicates=500)
    weaker, stronger = (drawn(made_up(harm=harm), clean=clean, replicates=500) for harm in (0.5, 0.6))
    difference = paired_difference(stronger, weaker, 0.1, task="depth", metric="abs_error")
    own = weaker.interval(1.5, task="depth", metric="abs_error")
    assert difference is not None
    assert own is not None
    assert difference.low > 0
    assert difference.high - difference.low < 0.5 * (own.high - own.low)


def test_intervals_shrink_with_the_root_of_the_number_of_samples() -> None:
    widths = []
    for samples in (100, 1600):
        found = drawn(made_up(samples), replicates=1000)
        metrics = all_metrics(SMALL, totals(made_up(samples)).totals())
        bounds = found.interval(metrics["depth"]["abs_error"], task="depth", metric="abs_error")
        assert bounds is not None
        widths.append(bounds.high - bounds.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)


def test_samples_that_are_all_alike_leave_no_doubt() -> None:
    alike = rows(made_up(), np.zeros(SAMPLES, np.int64))
    table = Statistics(np.arange(SAMPLES), alike.tasks)
    found = drawn(table)
    for task, metrics in all_metrics(SMALL, totals(table).totals()).items():
        for metric, value in metrics.items():
            bounds = found.interval(value, task=task, metric=metric)
            assert bounds is not None
            assert (bounds.low, bounds.high) == pytest.approx((value, value), rel=1e-6)


def test_a_metric_that_many_replicates_leave_undefined_has_no_interval() -> None:
    table = made_up()
    table.tasks["digit"]["valid"] = (np.arange(SAMPLES) == 7).astype(np.int64)
    found = drawn(table, replicates=1000)
    assert np.isnan(found.of("digit", "accuracy")).mean() == pytest.approx(np.exp(-1), abs=0.05)
    assert found.interval(100.0, task="digit", metric="accuracy") is None
    assert found.interval(5.0, task="depth", metric="abs_error") is not None


def test_a_prediction_that_is_not_a_number_makes_its_metric_undefined_and_no_other() -> None:
    table = made_up()
    table.tasks["depth"]["abs_sum"][3] = np.inf
    summed = all_metrics(SMALL, totals(table).totals())
    found = drawn(table)
    assert summed["depth"]["abs_error"] is None
    assert found.interval(None, task="depth", metric="abs_error") is None
    assert np.isfinite(found.of("depth", "rel_error")).all()


def test_a_sample_that_comes_twice_is_refused() -> None:
    table = made_up()
    with pytest.raises(ValueError, match="a sample was added twice"):
        drawn(table, rows(table, slice(4, 5)))


def test_tables_of_different_statistics_are_refused() -> None:
    table = made_up()
    other = Statistics(table.indices + SAMPLES, {"depth": table.tasks["depth"]})
    with pytest.raises(ValueError, match="different statistics"):
        totals(table, other)


def test_no_samples_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="no statistics were added"):
        totals().totals()


def test_an_attack_is_compared_with_the_clean_pass_of_the_same_samples_only() -> None:
    clean = drawn(rows(made_up(), slice(0, 30)))
    with pytest.raises(UnpairedError, match="different samples"):
        drawn(made_up(harm=0.5), clean=clean)
    with pytest.raises(UnpairedError, match="resampled differently"):
        drawn(made_up(harm=0.5), clean=drawn(made_up(), seed=1))


def test_an_empty_table_adds_nothing() -> None:
    table = made_up()
    assert drawn(rows(table, slice(0, 0)), table).to_bytes() == drawn(table).to_bytes()
