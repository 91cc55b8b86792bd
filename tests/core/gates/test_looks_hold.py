"""Planned looks keep their word: what stops early passes a bad model no oftener than one look would.

With few repetitions; with many, and on real models, `bench/looks.py` measures it.
"""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.looks import Population, Seen, count, drawn, measure_sorted, settle, ways
from core.evaluation import Statistics
from core.specs.policies import Limit
from core.tasks import Task

SAMPLES = 1000
REPEATS = 300

ONE_SIDE = 0.025
"""Of all models on their limit may pass, and as many may fail."""

NOISE = 3 * (ONE_SIDE * (1 - ONE_SIDE) / REPEATS) ** 0.5
"""Three standard errors of that share."""

ONE, PEEKING, PLANNED = ways()


def _said(correct: NDArray[np.bool_]) -> Statistics:
    table: dict[str, NDArray[np.generic]] = {
        "valid": np.ones(SAMPLES, np.int64),
        "correct": correct.astype(np.int64),
        "loss_sum": np.zeros(SAMPLES),
    }
    return Statistics(np.arange(SAMPLES), {"digit": table})


@cache
def population() -> Population:
    """A classifier that is right nine times out of ten, and under attack in three of five of those."""
    generator = np.random.default_rng(1)
    clean, spared = generator.random(SAMPLES) < 0.9, generator.random(SAMPLES) < 0.6
    return Population("made up", (Task("digit", "classification", 10),), _said(clean), _said(clean & spared))


@cache
def repetitions() -> list[list[Seen]]:
    return drawn(population(), (ONE, PEEKING, PLANNED), repeats=REPEATS)


def test_the_ways_to_look_differ_in_what_they_should() -> None:
    assert ONE.sizes == (1024,)
    assert PEEKING.sizes == PLANNED.sizes == (64, 256, 1024)
    assert ONE.level == PEEKING.level == 0.95
    assert PLANNED.level == pytest.approx(1 - 0.05 / 3)


def test_planned_looks_pass_or_fail_a_model_on_its_limit_no_oftener_than_peeking() -> None:
    planned, peeking = (count(repetitions(), way, population().arp, offset=0.0) for way in (PLANNED, PEEKING))
    assert planned.passed <= peeking.passed
    assert planned.failed <= peeking.failed
    assert planned.samples >= peeking.samples


def test_planned_looks_pass_or_fail_a_model_on_its_limit_as_rarely_as_they_say() -> None:
    planned = count(repetitions(), PLANNED, population().arp, offset=0.0)
    assert planned.repeats == REPEATS
    assert planned.passed <= (ONE_SIDE + NOISE) * REPEATS
    assert planned.failed <= (ONE_SIDE + NOISE) * REPEATS


@pytest.mark.parametrize("offset", [-8.0, -3.0, 0.0, 3.0, 8.0])
def test_whatever_planned_looks_settle_peeking_settles_no_later(offset: float) -> None:
    limit = Limit("at_most", population().arp - offset)
    for seen in repetitions():
        finding, samples = settle(seen, PLANNED, limit)
        hasty, sooner = settle(seen, PEEKING, limit)
        assert sooner <= samples
        assert finding == "inconclusive" or hasty != "inconclusive"


@pytest.mark.parametrize(("offset", "expected"), [(-60.0, "pass"), (60.0, "fail")])
def test_a_clear_case_is_settled_by_the_first_look(offset: float, expected: str) -> None:
    limit = Limit("at_most", population().arp - offset)
    assert {settle(seen, PLANNED, limit) for seen in repetitions()} == {(expected, 64)}


def test_what_is_sorted_passes_bad_models_as_it_stands_and_not_in_a_drawn_order() -> None:
    """Two standard errors above the limit; as it stands, the samples that the attack spares come first."""
    repeats = 40
    found = measure_sorted(population(), unit=3.0, repeats=repeats)
    (given,), (shuffled,) = (
        [one for one in counts if one.offset == 2.0] for counts in (found.given, found.drawn)
    )
    assert given.passed == repeats
    assert shuffled.passed <= (ONE_SIDE + 3 * (ONE_SIDE / repeats) ** 0.5) * repeats
