"""A tally: what an attack's statistics come to, however they were cut, with intervals."""

from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.attacks import AttackSpec
from core.errors import InvalidError
from core.evaluation import (
    AttackResult,
    Cost,
    Statistics,
    Tally,
    all_metrics,
    average_relative_performance,
    evaluate_shard,
)
from core.evaluation.bootstrap import Resampler
from core.evaluation.health import difference
from core.intervals import Interval
from tests.core.synthetic import SMALL, Reader, SyntheticDataset

DENSE = SMALL[:4]
SAMPLES = 96
DATA = SyntheticDataset(DENSE, samples=SAMPLES, side=8, eight_bit=True)
WEAK = AttackSpec(algorithm="pgd", objective="gb_mta", eps=2.5, steps=2)
STRONG = AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=2)
DIRECTIONS = {task.name: task.directions for task in DENSE}
RESAMPLER = Resampler()


@cache
def table(begin: int, end: int, attack: AttackSpec | None) -> Statistics:
    found, _ = evaluate_shard(Reader(), DATA, range(begin, end), attack, tasks=DENSE, batch_size=32)
    return found


def tallied(
    attack: AttackSpec | None, parts: list[Statistics], clean: AttackResult | None = None
) -> AttackResult:
    tally = Tally(attack, DENSE, RESAMPLER)
    for part in parts:
        tally.add(part, Cost(1, 2, 0.5))
    return tally.result(dataset="synthetic", clean=clean, rules="standard")


@cache
def result(attack: AttackSpec | None, samples: int = SAMPLES) -> AttackResult:
    clean = None if attack is None else result(None, samples)
    return tallied(attack, [table(0, samples, attack)], clean)


def rows(begin: int, end: int, attack: AttackSpec | None) -> Statistics:
    """A slice of the whole table."""
    whole = table(0, SAMPLES, attack)

    def cut(tables: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
        return {
            task: {name: values[begin:end] for name, values in named.items()}
            for task, named in tables.items()
        }

    flags = {name: raised[begin:end] for name, raised in whole.flags.items()}
    return Statistics(whole.indices[begin:end], cut(whole.tasks), flags, None, cut(whole.rounded))


def within(value: float | None, bounds: Interval | None) -> bool:
    assert value is not None
    assert bounds is not None
    return bounds.low <= value <= bounds.high


cuts = st.sets(st.integers(1, SAMPLES - 1), max_size=6).map(lambda inner: [0, *sorted(inner), SAMPLES])


@settings(max_examples=10, deadline=None, derandomize=True)
@given(cuts=cuts, shuffled=st.randoms(use_true_random=False))
def test_a_result_does_not_depend_on_how_its_shards_were_cut_and_came_in(
    cuts: list[int], shuffled: Random
) -> None:
    parts = [rows(begin, end, WEAK) for begin, end in pairwise(cuts)]
    shuffled.shuffle(parts)
    found, whole = tallied(WEAK, parts, result(None)), result(WEAK)
    assert (found.metrics, found.arp, found.arp_8bit) == (whole.metrics, whole.arp, whole.arp_8bit)
    assert (found.flagged, found.samples) == (whole.flagged, whole.samples)
    assert found.replicates.to_bytes() == whole.replicates.to_bytes()


def test_arp_is_that_of_all_samples_together() -> None:
    totals = {task.name: table(0, SAMPLES, STRONG).totals(task.name) for task in DENSE}
    expected = average_relative_performance(
        result(None).metrics, all_metrics(DENSE, totals), {task.name: task.directions for task in DENSE}
    )
    assert result(STRONG).arp == expected


def test_the_8_bit_arp_is_that_of_the_rounded_images() -> None:
    rounded = Statistics(np.arange(SAMPLES), table(0, SAMPLES, WEAK).rounded)
    totals = {task.name: rounded.totals(task.name) for task in DENSE}
    expected = average_relative_performance(result(None).metrics, all_metrics(DENSE, totals), DIRECTIONS)
    found = result(WEAK)
    assert found.arp_8bit == expected
    assert found.arp_8bit != found.arp, "an eps of 2.5 leaves two steps of it"


def test_without_rounded_images_there_is_no_8_bit_arp() -> None:
    whole = table(0, SAMPLES, WEAK)
    bare = Statistics(whole.indices, whole.tasks, whole.flags)
    assert tallied(WEAK, [bare], result(None)).arp_8bit is None


def test_intervals_hold_their_numbers() -> None:
    found = result(STRONG)
    assert found.arp is not None
    assert within(found.arp.overall, found.interval)
    for task, value in found.arp.tasks.items():
        assert within(value, found.task_intervals[task])
    for task, values in found.metrics.items():
        for name, metric in values.items():
            assert within(metric, found.metric_intervals[task][name])


def test_intervals_shrink_with_the_number_of_samples() -> None:
    widths = []
    for samples in (12, 96):
        bounds = result(STRONG, samples).interval
        assert bounds is not None
        widths.append(bounds.high - bounds.low)
    assert widths[1] < widths[0] / 2


def test_the_clean_pass_has_metrics_with_intervals_and_no_arp() -> None:
    clean = result(None)
    assert (clean.attack, clean.label) == (None, "clean")
    assert (clean.arp, clean.arp_8bit, clean.interval, clean.task_intervals) == (None, None, None, {})
    assert within(clean.metrics["depth"]["rel_error"], clean.metric_intervals["depth"]["rel_error"])
    assert clean.flagged == {}


def test_one_sample_has_numbers_and_no_intervals() -> None:
    found = result(STRONG, 1)
    assert found.arp is not None
    assert found.arp.overall is not None
    assert found.interval is None


def test_two_results_on_the_same_samples_are_paired() -> None:
    strong, weak = result(STRONG), result(WEAK)
    ahead = difference(strong, weak)
    assert ahead is not None
    assert strong.arp is not None
    assert weak.arp is not None
    assert within((strong.arp.overall or 0) - (weak.arp.overall or 0), ahead)
    own = strong.interval
    assert own is not None
    assert ahead.low > 0
    assert ahead.high - ahead.low < own.high - own.low, "what is hard for both cancels"


def test_a_result_differs_from_itself_by_exactly_nothing() -> None:
    assert difference(result(STRONG), result(STRONG)) == Interval(0.0, 0.0)


def test_nothing_differs_from_the_clean_pass() -> None:
    assert difference(result(STRONG), result(None)) is None


def test_results_on_different_samples_have_no_difference() -> None:
    with pytest.raises(InvalidError, match="different samples"):
        difference(result(STRONG), result(STRONG, 12))


def test_costs_samples_and_flags_add_up() -> None:
    tally = Tally(STRONG, DENSE, RESAMPLER, cost=Cost(10, 20, 1.0))
    for begin, end in ((0, 40), (40, SAMPLES)):
        part = rows(begin, end, STRONG)
        part.flags["floored"] = np.arange(begin, end) % 4 == 0
        tally.add(part, Cost(1, 2, 0.5))
    found = tally.result(dataset="synthetic", clean=result(None), rules="standard")
    assert found.cost == Cost(12, 24, 2.0)
    assert found.samples == SAMPLES
    assert found.flagged["floored"] == SAMPLES / 4


def test_a_shard_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="added twice"):
        tallied(None, [table(0, 12, None), table(0, 12, None)])


def test_no_shard_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no statistics"):
        tallied(None, [])
