"""Tasks and profiles: what is refused, and which metrics count in which direction."""

from typing import Any

import pytest

from core.errors import InvalidError
from core.tasks import DEFAULT_METRICS, METRICS, PROFILES, TASK_KINDS, Profile, Task, TaskKind, profile


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "surface normals"}),
        ("name", {"name": "a.b"}),
        ("kind", {"kind": "colour"}),
        ("channels", {"channels": 0}),
        ("channels", {"kind": "normals", "channels": 2}),
        ("channels", {"kind": "depth", "channels": 2}),
        ("metrics", {"metrics": ("miou", "psnr")}),
        ("metrics", {"kind": "depth", "channels": 1, "metrics": ("miou",)}),
        ("class_names", {"class_names": ("wall",)}),
        ("class_weights", {"class_weights": (1.0, 2.0)}),
    ],
)
def test_a_task_that_contradicts_itself_is_refused_under_the_name_of_its_field(
    field: str, changes: dict[str, Any]
) -> None:
    fields: dict[str, Any] = {"name": "labels", "kind": "segmentation", "channels": 3}
    with pytest.raises(InvalidError) as caught:
        Task(**fields | changes)
    assert caught.value.field == field


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_the_default_metrics_of_a_kind_are_metrics_of_that_kind(kind: TaskKind) -> None:
    assert set(DEFAULT_METRICS[kind]) <= {metric.name for metric in METRICS[kind]}


def test_metrics_are_reported_in_the_order_asked_for() -> None:
    task = Task("depth", "depth", 1, metrics=("rel_error", "abs_error"))
    assert [metric.name for metric in task.reported] == ["rel_error", "abs_error"]


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_errors_are_better_lower_and_shares_higher(kind: TaskKind) -> None:
    lower = ("cross_entropy", "mean", "median", "abs_error", "rel_error")
    for metric in METRICS[kind]:
        assert metric.direction == ("lower" if metric.name in lower else "higher")


def test_directions_cover_what_is_reported_and_no_more() -> None:
    assert Task("seg", "segmentation", 3).directions == {"miou": "higher", "pixel_accuracy": "higher"}


@pytest.mark.parametrize(
    ("name", "tasks"), [("scenes", 5), ("digits", 2), ("nyuv2", 3), ("taskonomy", 5), ("cityscapes", 2)]
)
def test_every_profile_is_listed_under_its_name_with_its_tasks(name: str, tasks: int) -> None:
    assert len(profile(name).tasks) == tasks
    assert profile(name) is PROFILES[name]


def test_nyuv2_has_the_papers_tasks_in_the_papers_order() -> None:
    tasks = [(task.name, task.channels) for task in profile("nyuv2").tasks]
    assert tasks == [("segmentation", 40), ("normals", 3), ("depth", 1)]


def test_nyuv2_reports_the_ten_metrics_of_the_papers_tables() -> None:
    assert [len(task.reported) for task in profile("nyuv2").tasks] == [2, 5, 5]


def test_an_unknown_profile_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(InvalidError, match="no profile 'coco'; there are scenes, digits"):
        profile("coco")


def test_a_profile_finds_its_tasks_by_name() -> None:
    assert profile("cityscapes").task("depth").kind == "depth"


def test_an_unknown_task_is_refused_with_the_list_of_known_ones() -> None:
    pair = Profile("pair", "A pair", (Task("left", "depth", 1), Task("right", "depth", 1)))
    with pytest.raises(InvalidError, match="profile 'pair' has no task 'middle'; it has left, right"):
        pair.task("middle")
