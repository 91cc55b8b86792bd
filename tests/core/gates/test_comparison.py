"""One model's numbers against another's: directions, and what has no relative change."""

import pytest

from core.comparison import ara, attack_key, difference, percent_worse
from core.intervals import Interval, UnpairedError
from core.tasks import Direction
from tests.core.gates.made import Json, replicates

NONE = (None, None)


@pytest.mark.parametrize(
    ("model", "baseline", "direction", "percent"),
    [
        (72.0, 80.0, "higher", 10.0),
        (88.0, 80.0, "higher", -10.0),
        (0.6, 0.5, "lower", 20.0),
        (-0.9, -1.0, "higher", -10.0),
    ],
)
def test_worse_is_by_the_metrics_direction(
    model: float, baseline: float, direction: Direction, percent: float
) -> None:
    found = percent_worse(model, baseline, direction, NONE, task="left", metric="accuracy")
    assert found.value == pytest.approx(percent)
    assert found.interval is None


@pytest.mark.parametrize(("model", "baseline"), [(1.0, 0.0), (None, 1.0), (1.0, None)])
def test_where_there_is_nothing_to_divide_by_there_is_no_percentage(
    model: float | None, baseline: float | None
) -> None:
    assert percent_worse(model, baseline, "higher", NONE, task="left", metric="accuracy").value is None


def test_results_on_other_samples_are_not_compared() -> None:
    pair = replicates(20.0, 70.0), replicates(30.0, 65.0, dataset="digits 2")
    with pytest.raises(UnpairedError):
        difference(20.0, 30.0, pair)
    with pytest.raises(UnpairedError):
        percent_worse(70.0, 65.0, "higher", pair, task="left", metric="accuracy")


def test_a_higher_level_is_a_wider_interval_of_every_comparison() -> None:
    """The one model's replicates scatter as the other's do, but the other way round."""
    one, other = replicates(20.0, 70.0), replicates(30.0, 65.0)
    for values in (other.overall, other.metrics["left"]["accuracy"]):
        assert values is not None
        values[:] = values[::-1].copy()
    clean = {"left": {"accuracy": 70.0}}, {"left": {"accuracy": 65.0}}
    pair = one, other

    def drawn(level: float) -> list[Interval | None]:
        return [
            difference(20.0, 30.0, pair, level=level).interval,
            percent_worse(70.0, 65.0, "higher", pair, task="left", metric="accuracy", level=level).interval,
            ara(*clean, {"left": {"accuracy": "higher"}}, pair, level=level).overall.interval,
        ]

    for narrow, wide in zip(drawn(0.95), drawn(0.99), strict=True):
        assert narrow is not None
        assert wide is not None
        assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"objective": "gb_mta", "steps": 20}, True),
        ({"steps": 10}, False),
        ({"norm": "l2"}, False),
    ],
)
def test_attacks_that_run_alike_are_the_same(other: Json, same: bool) -> None:
    plain = {"algorithm": "pgd", "eps": 8}
    assert (attack_key(plain) == attack_key(plain | other)) is same
