"""Numbers that no sample moves: what is not known about the samples that were not seen."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.gates.unseen import unseen_share
from core.intervals import Replicates, stored
from tests.core.gates.made import SAMPLES, Json, evaluation, outcome, replicates

SHARE = unseen_share(SAMPLES, 0.95)
BASELINE: Json = {"on": "arp", "no_worse_than_baseline_by": 2}


def steady(arp: float, accuracy: float = 100.0) -> Json:
    """Changes of a result whose replicates all say the same."""
    drawn = replicates(arp, accuracy)
    same = Replicates(
        drawn.origin,
        {task: {"accuracy": stored([accuracy] * 201)} for task in drawn.metrics},
        {"left": stored([arp] * 201)},
        stored([arp] * 201),
    )
    bounds = {
        "arp": [arp, arp],
        "tasks": {"left": [arp, arp]},
        "metrics": {"left": {"accuracy": [accuracy, accuracy]}},
    }
    fields: Json = {
        "task_arp": {"left": arp, "right": None},
        "metrics": {"left": {"accuracy": accuracy}},
    }
    return fields | {"intervals": bounds, "read": lambda: same}


def interval(rule: Json, arp: float = 0.0, **changes: Any) -> tuple[float, float] | None:
    found = outcome(rule, evaluation(arp, **changes)).observed
    assert found is not None
    return found.interval


def test_three_in_a_hundred_may_be_unlike_a_hundred_that_are_alike() -> None:
    assert unseen_share(100, 0.90) == pytest.approx(0.0295, abs=1e-4)
    assert unseen_share(64, 0.95) == pytest.approx(0.0560, abs=1e-4)


@given(st.integers(1, 10**6), st.floats(0.9, 0.999))
def test_more_samples_leave_less_room_and_higher_levels_more(samples: int, level: float) -> None:
    share = unseen_share(samples, level)
    assert 0 < share < 1
    assert unseen_share(samples + 1, level) <= share
    assert unseen_share(samples, level + 0.0005) >= share


def test_all_being_right_does_not_show_that_all_always_are() -> None:
    rule = {"on": "metric", "task": "left", "metric": "accuracy", "at_least": 99}
    assert interval(rule, clean=steady(0.0)) == pytest.approx((100 * (1 - SHARE), 100))
    found = outcome(rule, evaluation(0.0, clean=steady(0.0)))
    assert (found.status, outcome({**rule, "at_least": 96}, evaluation(0.0, clean=steady(0.0))).status) == (
        "inconclusive",
        "pass",
    )


def test_an_attack_that_changes_nothing_may_change_what_was_not_seen() -> None:
    for rule in ({"on": "arp", "at_most": 1}, {"on": "task_arp", "task": "left", "at_most": 1}):
        assert interval(rule, attacked=steady(0.0)) == pytest.approx((0, 100 * SHARE))
        assert outcome(rule, evaluation(0.0, attacked=steady(0.0))).status == "inconclusive"
    everything = interval({"on": "arp", "at_most": 1}, 100.0, attacked=steady(100.0))
    assert everything == pytest.approx((100 * (1 - SHARE), 100))


def test_models_that_no_sample_tells_apart_may_differ_on_others() -> None:
    mine = evaluation(0.0, attacked=steady(0.0))
    for model, status in ((UUID(int=9), "inconclusive"), (mine.model, "pass")):
        baseline = evaluation(0.0, attacked=steady(0.0), model=model)
        assert outcome(BASELINE, mine, baseline).status == status


def test_numbers_that_vary_keep_their_interval() -> None:
    assert interval({"on": "arp", "at_most": 1}) == pytest.approx((-1, 1))
