"""The level of intervals: what a gate that looks several times draws wider, and what stays."""

from dataclasses import replace
from math import nextafter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gates import Measured, MeasuredResult, Verdict
from core.gates.verdict import Number
from core.gates.wording import percent
from core.intervals import LEVEL, Interval, Origin, Replicates, stored
from tests.core.gates.made import DRAWS, SAMPLES, Json, evaluation, outcome, replicates, transferred, verdict
from tests.core.gates.test_decide import ALL, ARP, LIMITED, METRIC, TASK

ALL_BUT = nextafter(LEVEL, 1)
"""As good as 95 %, but not it: intervals are drawn anew."""

ORDER = ["pass", "inconclusive", "fail"]


def numbers(found: Verdict) -> list[Number]:
    """All that were measured, outcome by outcome."""
    return [
        number
        for each in found.outcomes
        for number in (each.observed, each.baseline, each.worse_by)
        if number is not None
    ]


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_drawn_anew_at_95_percent_intervals_are_those_that_were_stored(rule: Json) -> None:
    sides = evaluation(20.0), evaluation(50.0)
    old, new = (verdict(rule, *sides, level=level, transfer=transferred()) for level in (LEVEL, ALL_BUT))
    assert [each.status for each in old.outcomes] == [each.status for each in new.outcomes]
    for mine, other in zip(numbers(old), numbers(new), strict=True):
        assert mine.value == other.value
        assert mine.interval == pytest.approx(other.interval, rel=1e-6)


def test_a_higher_level_asks_for_more() -> None:
    rule = {**ARP, "at_most": 21.1}
    statuses = [outcome(rule, evaluation(20.0), level=level).status for level in (0.8, LEVEL, 0.99)]
    assert statuses == ["pass", "pass", "inconclusive"]


def test_the_level_is_said() -> None:
    found = verdict(ARP, evaluation(20.0), level=1 - 0.05 / 3)
    assert found.level == 1 - 0.05 / 3
    assert "ARP under fgsm/gb_mta/eps=1 is 20 % (98.3 %: 18.8 to 21.2)" in found.outcomes[0].message
    assert "(95 %: 19 to 21)" in verdict(ARP, evaluation(20.0)).outcomes[0].message
    worse = outcome(
        {"on": "arp", "no_worse_than_baseline_by": 5}, evaluation(24.0), evaluation(20.0), level=0.99
    )
    assert "4 points worse than the baseline's 20 % (99 %: 4 to 4)" in worse.message


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (0.95, "95 %"),
        (0.975, "97.5 %"),
        (1 - 0.05 / 3, "98.3 %"),
        (1 - 0.05 / 8, "99.4 %"),
        (0.99999, "99.9 %"),
    ],
)
def test_a_level_has_one_decimal_at_most_and_is_never_certain(level: float, said: str) -> None:
    assert percent(level) == said


@pytest.mark.parametrize("rule", [ARP, TASK, METRIC], ids=str)
def test_without_replicates_there_is_no_interval_at_another_level(rule: Json) -> None:
    bare: Json = {"read": lambda: None}
    measured = evaluation(20.0, clean=bare, attacked=bare)
    assert outcome(rule, measured).status == "pass"
    found = outcome(rule, measured, level=0.99)
    assert (found.status, "has no interval" in found.message) == ("error", True)
    assert outcome({**rule, "strict": False}, measured, level=0.99).status == "pass"


def test_replicates_of_something_else_are_none() -> None:
    kept = replicates(None, 70.0)
    found = outcome(ARP, evaluation(20.0, attacked={"read": lambda: kept}), level=0.99)
    assert (found.status, "has no interval" in found.message) == ("error", True)


def test_what_is_no_number_has_no_interval() -> None:
    found = evaluation(20.0).attacks[0]
    for arp in (None, float("nan")):
        number = replace(found, arp=arp).number(level=0.99)
        assert (number.value, number.interval) == (None, None)


def scattered(seed: int, arp: float, width: float, skew: float) -> Measured:
    """An evaluation whose replicates scatter at random, and whose stored intervals are theirs."""
    draws = np.random.default_rng(seed).normal(size=DRAWS)
    noise = width * (draws + skew * draws**2)
    origin = Origin.of("digits 1", np.arange(SAMPLES), seed=0, replicates=DRAWS)

    def result(number: float | None) -> MeasuredResult:
        accuracy = 80.0 if number is None else 80.0 - number / 2
        metrics = {"left": {"accuracy": stored(accuracy - noise)}, "right": {"accuracy": stored(50 + noise)}}
        overall = None if number is None else stored(number + noise)
        tasks = {} if overall is None else {"left": stored(2 * overall), "right": overall}
        kept = Replicates(origin, metrics, tasks, overall)
        at = {
            task: {name: _ends(kept.interval(value, task=task, metric=name)) for name, value in named.items()}
            for task, named in {"left": {"accuracy": accuracy}, "right": {"accuracy": 50.0}}.items()
        }
        arps = {} if number is None else {"left": 2 * number, "right": number}
        return MeasuredResult(
            ordinal=-1 if number is None else 0,
            attack=None if number is None else {"algorithm": "fgsm", "eps": 1},
            metrics={"left": {"accuracy": accuracy}, "right": {"accuracy": 50.0}},
            samples=SAMPLES,
            arp=number,
            task_arp=arps or None,
            intervals={
                "arp": None if number is None else _ends(kept.interval(number)),
                "tasks": {task: _ends(kept.interval(value, task=task)) for task, value in arps.items()},
                "metrics": at,
            },
            read=lambda: kept,
        )

    return replace(evaluation(), clean=result(None), attacks=[result(arp)])


def _ends(bounds: Interval | None) -> list[float] | None:
    return None if bounds is None else [bounds.low, bounds.high]


MEASURED = st.builds(
    scattered, st.integers(0, 99), st.floats(5, 60), st.floats(0.01, 5), st.floats(-0.3, 0.3)
)


@given(MEASURED, MEASURED, st.sampled_from(LIMITED), st.floats(-5, 80))
def test_drawing_anew_at_95_percent_changes_no_number(
    model: Measured, baseline: Measured, rule: Json, limit: float
) -> None:
    asked = _with_limit(rule, limit)
    old, new = (verdict(asked, model, baseline, level=level) for level in (LEVEL, ALL_BUT))
    for mine, other in zip(numbers(old), numbers(new), strict=True):
        assert mine.value == other.value
        assert mine.interval == pytest.approx(other.interval, rel=1e-5, abs=1e-5)


@given(MEASURED, MEASURED, st.sampled_from(LIMITED), st.floats(-5, 80), st.floats(0.951, 0.999))
def test_what_is_settled_at_a_higher_level_is_settled_so_at_95_percent(
    model: Measured, baseline: Measured, rule: Json, limit: float, level: float
) -> None:
    asked = _with_limit(rule, limit)
    usual, wider = (outcome(asked, model, baseline, level=each) for each in (LEVEL, level))
    assert {usual.status, wider.status} <= set(ORDER)
    assert wider.status in ("inconclusive", usual.status)


@given(MEASURED, MEASURED, st.sampled_from(LIMITED), st.floats(-5, 80), st.floats(0.5, 0.999))
def test_what_a_lenient_rule_says_is_the_same_at_every_level(
    model: Measured, baseline: Measured, rule: Json, limit: float, level: float
) -> None:
    asked = {**_with_limit(rule, limit), "strict": False}
    assert outcome(asked, model, baseline).status == outcome(asked, model, baseline, level=level).status


def _with_limit(rule: Json, limit: float) -> Json:
    """The rule with another limit."""
    (bound,) = {"at_most", "at_least", "no_worse_than_baseline_by"} & set(rule)
    return {**rule, bound: abs(limit) if bound == "no_worse_than_baseline_by" else limit}
