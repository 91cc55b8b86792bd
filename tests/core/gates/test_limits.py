"""A number with an interval against a limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.comparison import Estimate
from core.gates.limits import judge
from core.intervals import Interval
from core.specs.documents import MAX_SAMPLES
from core.specs.policies import Limit

NUMBERS = st.floats(-1e6, 1e6)
ORDER = ["pass", "inconclusive", "fail"]

LIMITS = st.builds(Limit, st.sampled_from(["at_most", "at_least"]), NUMBERS)


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    """Any value and interval; a corrected one need not hold its estimate."""
    low, high = sorted([draw(NUMBERS), draw(NUMBERS)])
    return Estimate(draw(NUMBERS), Interval(low, high))


@pytest.mark.parametrize(
    ("value", "finding"),
    [(58.0, "pass"), (59.0, "pass"), (59.5, "inconclusive"), (60.5, "inconclusive"), (61.5, "fail")],
)
def test_a_strict_rule_asks_for_the_whole_interval(value: float, finding: str) -> None:
    number = Estimate(value, Interval(value - 1, value + 1))
    assert judge(number, Limit("at_most", 60.0), strict=True, samples=100).finding == finding
    mirrored = Estimate(-value, Interval(-value - 1, -value + 1))
    assert judge(mirrored, Limit("at_least", -60.0), strict=True, samples=100).finding == finding


def test_a_lenient_rule_asks_for_the_estimate() -> None:
    limit = Limit("at_most", 60.0)
    assert judge(Estimate(60.0), limit, strict=False, samples=1).finding == "pass"
    assert judge(Estimate(60.1, Interval(0, 100)), limit, strict=False, samples=1).finding == "fail"


def test_half_the_distance_takes_four_times_the_samples() -> None:
    """The interval reaches 2 over the estimate, which is 1 below the limit."""
    number = Estimate(59.0, Interval(56.0, 61.0))
    assert judge(number, Limit("at_most", 60.0), strict=True, samples=100).samples_needed == 400
    broken = Estimate(61.0, Interval(59.0, 64.0))
    assert judge(broken, Limit("at_most", 60.0), strict=True, samples=100).samples_needed == 400


@pytest.mark.parametrize("value", [60.0, 60.0 - 1e-200])
def test_an_estimate_on_the_limit_is_never_settled(value: float) -> None:
    number = Estimate(value, Interval(59.0, 61.0))
    judged = judge(number, Limit("at_most", 60.0), strict=True, samples=100)
    assert (judged.finding, judged.samples_needed) == ("inconclusive", None)


@pytest.mark.parametrize(
    ("samples", "needed"), [(250_000, MAX_SAMPLES), (250_001, None), (MAX_SAMPLES, None), (10**9, None)]
)
def test_no_more_samples_are_asked_for_than_may_be_taken(samples: int, needed: int | None) -> None:
    number = Estimate(59.0, Interval(56.0, 61.0))
    assert judge(number, Limit("at_most", 60.0), strict=True, samples=samples).samples_needed == needed


@given(estimates(), LIMITS)
def test_strict_implies_lenient(number: Estimate, limit: Limit) -> None:
    strict = judge(number, limit, strict=True, samples=100)
    lenient = judge(number, limit, strict=False, samples=100)
    assert strict.finding in ("inconclusive", lenient.finding)


@given(estimates(), LIMITS, st.floats(0, 1e6), st.booleans())
def test_moving_the_number_away_from_what_is_allowed_never_helps(
    number: Estimate, limit: Limit, by: float, strict: bool
) -> None:
    assert number.value is not None
    assert number.interval is not None
    step = by if limit.bound == "at_most" else -by
    moved = Estimate(number.value + step, Interval(number.interval.low + step, number.interval.high + step))
    before, after = (judge(found, limit, strict=strict, samples=9).finding for found in (number, moved))
    assert ORDER.index(before) <= ORDER.index(after)


@given(estimates(), LIMITS, st.booleans())
def test_without_a_number_there_is_an_error(number: Estimate, limit: Limit, strict: bool) -> None:
    assert judge(Estimate(None, number.interval), limit, strict=strict, samples=9).finding == "error"
    assert judge(Estimate(number.value), limit, strict=True, samples=9).finding == "error"


@given(NUMBERS, st.floats(0.01, 1e3), st.floats(0.01, 0.99), st.sampled_from([-1, 1]), st.integers(2, 90))
def test_that_many_samples_settle_it(
    value: float, reach: float, share: float, side: int, samples: int
) -> None:
    """The limit is at a share of the interval's reach to either side of the estimate."""
    limit = Limit("at_most", value + side * share * reach)
    number = Estimate(value, Interval(value - reach, value + reach))
    judged = judge(number, limit, strict=True, samples=samples)
    assert judged.finding == "inconclusive"
    assert judged.samples_needed is not None
    assert judged.samples_needed > samples
    shrunk = reach * (samples / (1.001 * judged.samples_needed)) ** 0.5
    settled = Estimate(value, Interval(value - shrunk, value + shrunk))
    assert judge(settled, limit, strict=True, samples=samples).finding == ("pass" if side > 0 else "fail")
