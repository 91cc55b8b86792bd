"""What the API says of a finished study: all that its summary has, and a table."""

import csv
import io
from uuid import UUID

import pytest

from api.views.common import csv_answer
from api.views.study import StudyView
from core.store.tables import Job
from tests.service import Json
from tests.worker.test_study_assembly import FOUR, cell, measured, spec
from worker.study_assembly import assemble_study

TRANSFERRED = cell(0, "clean", transferability=measured(0, {"left": 0.6, "right": None}))


def job(summary: Json) -> Job:
    return Job(id=UUID(int=1), kind="study", spec=spec().model_dump(mode="json"), summary=summary)


@pytest.fixture(scope="module")
def summary() -> Json:
    return assemble_study(spec(), [TRANSFERRED, *FOUR[1:]])


@pytest.fixture
def view(summary: Json) -> StudyView:
    return StudyView.of(job(summary))


def test_the_view_says_all_that_the_summary_has(view: StudyView, summary: Json) -> None:
    said = view.model_dump(mode="json")
    for name in summary.keys() - {"metrics"}:
        assert said[name] == summary[name], name
    assert said["dataset"]["limit"] == 50
    assert said["metric_rules"] == "standard"


def test_metrics_keep_their_order_whatever_the_database_does_to_objects(summary: Json) -> None:
    names = [("segmentation", "miou"), ("depth", "within_1.25"), ("depth", "within_1.25^2")]
    listed = [{"task": task, "metric": metric, "direction": "higher", "unit": "%"} for task, metric in names]
    view = StudyView.of(job({**summary, "metrics": listed}))
    assert [(task, metric) for task, known in view.metrics.items() for metric in known] == names
    assert view.metrics["depth"]["within_1.25"].unit == "%"


def test_the_table_has_a_row_for_every_layout_mode_and_attack(view: StudyView) -> None:
    answer = csv_answer(job({}), view.table())
    rows = list(csv.DictReader(io.StringIO(bytes(answer.body).decode())))
    assert len(rows) == 2 * 2 * 4
    row = rows[5]
    assert (row["layout"], row["mode"], row["attack"]) == ("0", "FAT", "pgd/total/eps=8/steps=2")
    assert float(row["arp_percent"]) == 25
    assert float(row["arp_percent.left.low"]) < 25 < float(row["arp_percent.left.high"])
    assert float(row["robust_gain_points"]) == 15
    assert float(row["ara_percent"]) == pytest.approx(-7.5)
    assert rows[0]["ara_percent"] == rows[0]["robust_gain_points.low"] == ""


def test_a_study_of_nothing_is_described_too() -> None:
    view = StudyView.of(job(assemble_study(spec(), [])))
    assert (view.cells, list(view.table())) == ([], [])
