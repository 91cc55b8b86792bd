"""The end of a study: what its parts have found, put together by one worker."""

from pathlib import Path
from typing import cast

import pytest

from core.settings import Settings
from core.specs.studies import study_of
from core.store.blobs import FileBlobs
from core.store.database import Database
from core.store.tables import Job
from tests.api.desk import result
from tests.core.jobs.steps import begin
from tests.core.jobs.study_steps import (
    ATTACK,
    advance_now,
    cancel_now,
    job_of,
    measure,
    parts_of,
    submit,
    train,
)
from worker.contract import Execution
from worker.studies import conclude_study, study_cells
from worker.workplace import Workplace

ARP = {"clean": 40.0, "fat": 10.0}


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Workplace:
    settings = Settings(database_url=database.url)
    return Workplace(settings, database, FileBlobs(tmp_path), cast(Execution, None), "test")


@pytest.fixture
def study(place: Workplace) -> Job:
    """A study of which nothing is left to do but its end."""
    database = place.database
    made = submit(database, transferability=None)
    for mode, arp in ARP.items():
        for layout in (0, 1):
            train(database, parts_of(database, made)[f"layout {layout}/{mode}/training"])
            advance_now(database, made)
            rows = [result(-1, None, [ATTACK]), result(0, arp + layout, [ATTACK])]
            kept = {row.ordinal: place.blobs.put(row.replicates or b"") for row in rows}
            evaluation = parts_of(database, made)[f"layout {layout}/{mode}/evaluation"]
            measure(database, evaluation, rows, replicates=kept)
    assert advance_now(database, made)
    return made


def test_a_study_ends_with_what_its_parts_show(place: Workplace, study: Job) -> None:
    conclude_study(place, begin(place.database, study))
    ended = job_of(place.database, study)
    assert (ended.state, ended.error) == ("succeeded", None)
    assert ended.summary is not None
    assert [(cell["layout"], cell["mode"]) for cell in ended.summary["cells"]] == [
        (0, "clean"),
        (0, "fat"),
        (1, "clean"),
        (1, "fat"),
    ]
    assert ended.summary["reliable"] is True


def test_a_cell_has_the_model_and_the_jobs_of_its_layout_and_mode(place: Workplace, study: Job) -> None:
    there = parts_of(place.database, study)
    with place.database.session() as session:
        cells = study_cells(session, study.id, study_of(study.spec), place.blobs.read)
    for cell in cells:
        evaluation = there[f"layout {cell.layout}/{cell.mode}/evaluation"]
        assert cell.jobs == {
            "training": there[f"layout {cell.layout}/{cell.mode}/training"].id,
            "evaluation": evaluation.id,
        }
        assert cell.model == evaluation.model_id
        assert cell.model_name == f"study/layout {cell.layout}/{cell.mode}"
        assert [row.ordinal for row in cell.results] == [-1, 0]
        assert cell.results[1].arp == ARP[cell.mode] + cell.layout
        assert cell.transferability is None


def test_a_study_whose_blobs_are_gone_fails(place: Workplace, study: Job, tmp_path: Path) -> None:
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.unlink()
    conclude_study(place, begin(place.database, study))
    error = job_of(place.database, study).error
    assert error is not None
    assert error["code"] == "blob_not_found"


def test_a_study_that_another_worker_ends_is_left_to_it(place: Workplace, study: Job) -> None:
    lost = begin(place.database, study, lease_seconds=-1)
    held = begin(place.database, study)
    conclude_study(place, lost)
    assert job_of(place.database, study).state == "running"
    conclude_study(place, held)
    assert job_of(place.database, study).state == "succeeded"


def test_a_study_that_was_cancelled_meanwhile_stays_so(place: Workplace, study: Job) -> None:
    begun = begin(place.database, study)
    cancel_now(place.database, study)
    conclude_study(place, begun)
    found = job_of(place.database, study)
    assert (found.state, found.summary) == ("cancelled", None)
