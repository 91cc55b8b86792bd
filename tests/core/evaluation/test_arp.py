"""ARP (paper Eq. 10), among others against the paper's own Table 13."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import core
from core.arp import arp_arrays, mean_of_defined, relative_drop
from core.errors import InvalidError
from core.evaluation import average_relative_performance
from core.tasks import profile

TABLE = json.loads((Path(core.__file__).parent / "reference" / "nyuv2.json").read_text())[
    "adversarial_training_pgd"
]
TASKS = profile("nyuv2").tasks
DIRECTIONS = {task.name: task.directions for task in TASKS}
HALF_A_DIGIT = 0.005


def printed(row: str, task: str) -> dict[str, float]:
    return {metric: TABLE[row][f"{task}.{metric}"] for metric in DIRECTIONS[task]}


def arp_of(row: str, task: str) -> float:
    """ARP of one task, from the metrics printed in a row against those of the row without adversarial training."""
    clean, attacked = ({task: printed(name, task)} for name in ("w/o AT", row))
    value = average_relative_performance(clean, attacked, {task: DIRECTIONS[task]}).tasks[task]
    assert value is not None
    return value


def rounding(row: str, task: str) -> float:
    """How far the printed metrics' last digits, each half a hundredth off, can move the task's ARP."""
    before, after = printed("w/o AT", task), printed(row, task)
    shifts = [100 * HALF_A_DIGIT * (1 / before[m] + after[m] / before[m] ** 2) for m in before]
    return sum(shifts) / len(shifts) + HALF_A_DIGIT


ROWS = [row for row in TABLE if row != "w/o AT"]


@pytest.mark.parametrize(("task", "value"), [("segmentation", 31.54), ("normals", 4.60)])
def test_table_13s_first_row_gives_segmentation_and_normals_to_a_hundredth(task: str, value: float) -> None:
    assert TABLE["Single-Segm"][f"arp.{task}"] == value
    assert arp_of("Single-Segm", task) == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize(("row", "task"), list(product(ROWS, DIRECTIONS)))
def test_table_13_follows_from_its_printed_metrics_to_their_last_digit(row: str, task: str) -> None:
    assert arp_of(row, task) == pytest.approx(TABLE[row][f"arp.{task}"], abs=rounding(row, task))


metric_values = st.floats(min_value=0.01, max_value=1000, allow_nan=False)
metric_tables = st.fixed_dictionaries(
    {
        task: st.fixed_dictionaries(dict.fromkeys(metrics, metric_values))
        for task, metrics in DIRECTIONS.items()
    }
)


@given(metric_tables)
def test_identical_metrics_are_exactly_zero(values: dict[str, dict[str, float]]) -> None:
    arp = average_relative_performance(values, values, DIRECTIONS)
    assert arp.overall == 0
    assert arp.tasks == dict.fromkeys(DIRECTIONS, 0)
    assert arp.undefined == ()


@given(metric_tables, metric_tables)
def test_overall_is_the_mean_over_tasks_however_many_metrics_each_has(
    clean: dict[str, dict[str, float]], attacked: dict[str, dict[str, float]]
) -> None:
    arp = average_relative_performance(clean, attacked, DIRECTIONS)
    values = [value for value in arp.tasks.values() if value is not None]
    assert arp.overall == pytest.approx(sum(values) / 3)


@pytest.mark.parametrize(
    ("direction", "clean", "attacked", "expected"),
    [
        ("higher", 50.0, 25.0, 50.0),
        ("higher", 50.0, 75.0, -50.0),
        ("lower", 2.0, 3.0, 50.0),
        ("lower", 2.0, 1.0, -50.0),
        ("higher", 0.5, -0.5, 200.0),
        ("higher", -0.5, -1.0, 100.0),
        ("higher", -0.5, 0.5, -200.0),
    ],
)
def test_a_change_for_the_worse_is_positive(
    direction: str, clean: float, attacked: float, expected: float
) -> None:
    arp = average_relative_performance({"t": {"m": clean}}, {"t": {"m": attacked}}, {"t": {"m": direction}})  # type: ignore[dict-item]
    assert arp.overall == pytest.approx(expected)


@pytest.mark.parametrize(("clean", "attacked"), [(0.0, 3.0), (0.0, 0.0), (None, 3.0), (3.0, None)])
def test_a_metric_without_a_relative_change_is_left_out_and_listed(
    clean: float | None, attacked: float | None
) -> None:
    arp = average_relative_performance(
        {"t": {"m": clean, "n": 2.0}}, {"t": {"m": attacked, "n": 3.0}}, {"t": {"m": "lower", "n": "lower"}}
    )
    assert arp.undefined == ("t.m",)
    assert arp.tasks == {"t": 50.0}


def test_a_task_without_any_defined_metric_has_no_arp_and_does_not_count() -> None:
    arp = average_relative_performance(
        {"a": {"m": 0.0}, "b": {"m": 2.0}},
        {"a": {"m": 1.0}, "b": {"m": 3.0}},
        {"a": {"m": "lower"}, "b": {"m": "lower"}},
    )
    assert arp.tasks == {"a": None, "b": 50.0}
    assert arp.overall == 50.0


def test_where_nothing_is_defined_there_is_no_arp() -> None:
    arp = average_relative_performance({"a": {"m": 0.0}}, {"a": {"m": 1.0}}, {"a": {"m": "lower"}})
    assert arp.overall is None


def test_metrics_without_a_direction_do_not_count() -> None:
    clean, attacked = {"t": {"m": 1.0, "extra": 1.0}}, {"t": {"m": 2.0, "extra": 9.0}}
    assert average_relative_performance(clean, attacked, {"t": {"m": "lower"}}).overall == 100


@pytest.mark.parametrize(("clean", "attacked"), [({}, {"t": {"m": 1.0}}), ({"t": {"m": 1.0}}, {"t": {}})])
def test_a_missing_value_is_refused_by_name(
    clean: dict[str, dict[str, float]], attacked: dict[str, dict[str, float]]
) -> None:
    with pytest.raises(InvalidError, match=r"no value of t\.m") as caught:
        average_relative_performance(clean, attacked, {"t": {"m": "lower"}})
    assert caught.value.field == "t.m"


def test_a_direction_that_is_neither_is_refused() -> None:
    with pytest.raises(InvalidError, match="'higher' or 'lower'; got 'up'"):
        average_relative_performance({"t": {"m": 1.0}}, {"t": {"m": 1.0}}, {"t": {"m": "up"}})  # type: ignore[dict-item]


SPLITS = 3
possible_values = st.one_of(st.none(), st.just(0.0), st.floats(-100, 100))
possible_rows = st.lists(possible_values, min_size=SPLITS, max_size=SPLITS)
possible_tables = st.fixed_dictionaries(
    {
        task: st.fixed_dictionaries(dict.fromkeys(metrics, possible_rows))
        for task, metrics in DIRECTIONS.items()
    }
)
Values = dict[str, dict[str, list[float | None]]]


@given(possible_tables, possible_tables)
def test_arrays_of_arp_are_those_of_each_split_bit_for_bit(clean: Values, attacked: Values) -> None:
    tasks, overall = arp_arrays(arrays(clean), arrays(attacked), DIRECTIONS)
    for split in range(SPLITS):
        arp = average_relative_performance(numbers(clean, split), numbers(attacked, split), DIRECTIONS)
        assert number(overall[split]) == arp.overall
        assert {task: number(values[split]) for task, values in tasks.items()} == arp.tasks


def arrays(values: Values) -> dict[str, dict[str, NDArray[np.float64]]]:
    return {
        task: {metric: np.array(row, np.float64) for metric, row in table.items()}
        for task, table in values.items()
    }


def numbers(values: Values, split: int) -> dict[str, dict[str, float | None]]:
    return {task: {metric: row[split] for metric, row in table.items()} for task, table in values.items()}


def number(value: float) -> float | None:
    return None if np.isnan(value) else value


def test_a_relative_drop_is_not_defined_where_a_value_is_missing_or_0_before() -> None:
    before = np.array([2.0, 0.0, np.nan, 2.0, -2.0])
    after = np.array([3.0, 3.0, 3.0, np.nan, -3.0])
    assert np.array_equal(
        relative_drop(before, after, "lower"), [0.5, np.nan, np.nan, np.nan, -0.5], equal_nan=True
    )
    assert np.array_equal(
        relative_drop(before, after, "higher"), [-0.5, np.nan, np.nan, np.nan, 0.5], equal_nan=True
    )


def test_the_mean_of_nothing_is_not_defined() -> None:
    assert np.isnan(mean_of_defined([]))
    rows = [np.array([1.0, np.nan, np.nan]), np.array([3.0, 5.0, np.nan])]
    assert np.array_equal(mean_of_defined(rows), [2.0, 5.0, np.nan], equal_nan=True)
