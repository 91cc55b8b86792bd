"""Intervals out of replicates, and paired differences of two results."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidError
from core.intervals import Interval, Origin, Replicates, UnpairedError, interval, paired_difference, stored

ORIGIN = Origin.of("scenes", np.arange(30), seed=3, replicates=200)
DRAWN = np.random.default_rng(0).normal(50, 2, 2000).astype(np.float32)


def replicates(shift: float = 0.0, *, origin: Origin = ORIGIN) -> Replicates:
    generator = np.random.default_rng(0)
    metrics, arp, overall = (stored(generator.normal(10, 1, 200) + shift) for _ in range(3))
    return Replicates(origin, {"depth": {"abs_error": metrics}}, {"depth": arp}, overall)


def test_neither_torch_nor_the_science_is_imported() -> None:
    program = "import sys, core.intervals; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "core.evaluation", "core.attacks"} & set(done.stdout.split())


def test_of_many_samples_it_is_the_middle_95_percent_of_symmetric_replicates() -> None:
    found = interval(DRAWN, float(np.median(DRAWN)), samples=10_000)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(np.quantile(DRAWN, [0.025, 0.975]), abs=0.05)


def test_a_higher_level_is_wider() -> None:
    narrow, wide = (interval(DRAWN, 50.0, samples=100, level=level) for level in (0.8, 0.99))
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_few_samples_widen_it() -> None:
    few, many = (interval(DRAWN, 50.0, samples=samples) for samples in (8, 1000))
    assert few is not None
    assert many is not None
    assert few.low < many.low < many.high < few.high


def test_replicates_that_lie_above_the_estimate_move_it_down() -> None:
    middle = float(np.median(DRAWN))
    plain, corrected = (interval(DRAWN, estimate, samples=100) for estimate in (middle, middle - 1))
    assert plain is not None
    assert corrected is not None
    assert corrected.low < plain.low
    assert corrected.high < plain.high


def test_an_estimate_beyond_every_replicate_still_leaves_an_interval_with_a_width() -> None:
    found = interval(DRAWN, 1000.0, samples=100)
    assert found is not None
    assert found.low < found.high == pytest.approx(float(DRAWN.max()), abs=0.5)


@given(st.floats(-1e6, 1e6))
def test_replicates_all_alike_have_no_width(value: float) -> None:
    found = interval(stored(np.full(100, value)), value, samples=10)
    assert found == Interval(float(np.float32(value)), float(np.float32(value)))


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=20, max_size=60),
    st.floats(-1e3, 1e3),
    st.integers(2, 99),
)
def test_it_lies_within_the_replicates(values: list[float], estimate: float, samples: int) -> None:
    found = interval(stored(values), estimate, samples=samples)
    assert found is not None
    assert min(values) <= found.low <= found.high <= max(values)


@pytest.mark.parametrize(("undefined", "exists"), [(0, True), (5, True), (6, False), (100, False)])
def test_more_than_a_twentieth_of_undefined_replicates_leave_none(undefined: int, exists: bool) -> None:
    values = DRAWN[:100].copy()
    values[:undefined] = np.nan
    assert (interval(values, 50.0, samples=10) is not None) == exists


@pytest.mark.parametrize("samples", [0, 1])
def test_fewer_than_two_samples_have_none(samples: int) -> None:
    assert interval(DRAWN, 50.0, samples=samples) is None


def test_what_is_not_defined_has_none() -> None:
    assert interval(DRAWN, None, samples=10) is None


def test_replicates_are_named_by_task_and_metric() -> None:
    drawn = replicates()
    assert drawn.of() is drawn.overall
    assert drawn.of("depth") is drawn.tasks["depth"]
    assert drawn.of("depth", "abs_error") is drawn.metrics["depth"]["abs_error"]
    assert drawn.interval(10.0, task="depth") == interval(drawn.of("depth"), 10.0, samples=30)


@pytest.mark.parametrize(
    ("task", "metric", "name"),
    [(None, None, "arp"), ("depth", None, "depth.arp"), ("depth", "miou", "depth.miou"), ("x", "m", "x.m")],
)
def test_replicates_that_are_not_there_are_refused_by_name(
    task: str | None, metric: str | None, name: str
) -> None:
    clean = Replicates(ORIGIN, replicates().metrics)
    with pytest.raises(InvalidError, match=f"no replicates of {name}"):
        clean.of(task, metric)


@pytest.mark.parametrize("drawn", [replicates(), Replicates(ORIGIN, replicates().metrics)])
def test_bytes_read_back_to_the_same_replicates(drawn: Replicates) -> None:
    read = Replicates.from_bytes(drawn.to_bytes())
    assert read.to_bytes() == drawn.to_bytes()
    assert read.origin == drawn.origin
    assert read.tasks.keys() == drawn.tasks.keys()
    assert (read.overall is None) == (drawn.overall is None)
    assert read.of("depth", "abs_error").dtype == np.float32
    assert np.array_equal(read.of("depth", "abs_error"), drawn.of("depth", "abs_error"))


def test_what_float32_cannot_hold_is_undefined() -> None:
    assert np.isnan(stored([1e300, np.inf, -np.inf, np.nan])).all()


def test_a_result_less_itself_is_exactly_zero() -> None:
    for task, metric in ((None, None), ("depth", None), ("depth", "abs_error")):
        found = paired_difference(replicates(), replicates(), 0.0, task=task, metric=metric)
        assert found == Interval(0.0, 0.0)


def test_what_two_results_share_cancels_in_their_difference() -> None:
    found = paired_difference(replicates(2.0), replicates(), 2.0)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((2.0, 2.0), abs=1e-5)


def test_a_difference_changes_its_sign_with_the_order() -> None:
    one, other = replicates(), replicates()
    noise = stored(np.random.default_rng(5).normal(1, 1, 200))
    one = replace(one, overall=one.of() + noise)
    forth, back = paired_difference(one, other, 1.0), paired_difference(other, one, -1.0)
    assert forth is not None
    assert back is not None
    assert (-back.high, -back.low) == pytest.approx((forth.low, forth.high))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (Origin.of("digits", np.arange(30), seed=3, replicates=200), "different samples"),
        (Origin.of("scenes", np.arange(1, 31), seed=3, replicates=200), "different samples"),
        (Origin.of("scenes", np.arange(29), seed=3, replicates=200), r"different samples \(30 and 29\)"),
        (replace(ORIGIN, seed=4), "resampled differently"),
        (replace(ORIGIN, replicates=100), "resampled differently"),
    ],
)
def test_results_that_are_not_paired_are_refused(changed: Origin, words: str) -> None:
    with pytest.raises(UnpairedError, match=words):
        paired_difference(replicates(), replicates(origin=changed), 0.0)


def test_the_order_of_samples_does_not_matter_to_pairing() -> None:
    backwards = Origin.of("scenes", np.arange(30)[::-1], seed=3, replicates=200)
    assert backwards == ORIGIN
