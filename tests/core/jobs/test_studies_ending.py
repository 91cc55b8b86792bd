"""Studies: what failures, cancels and lost bells do to them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from core.jobs.finalise import Assembled, begin_finalise, complete, complete_study
from core.jobs.leases import Claim, claim, fail, release
from core.jobs.studies import advance
from core.store.database import Database
from core.store.tables import Event, Job, Outbox
from tests.core.jobs.steps import (
    all_sent,
    begin,
    claim_one,
    events_of,
    expire,
    fail_one,
    finish_one,
    let_pass,
    reap_now,
    rung,
    shards_of,
    state_of,
    work_off,
)
from tests.core.jobs.study_steps import (
    FIRST,
    STUDY,
    advance_now,
    cancel_now,
    end,
    ended,
    fail_part,
    job_of,
    measure,
    open_parts,
    parts_of,
    submit,
    train,
    work_through,
)

# Failures


def test_parts_that_do_not_need_the_failed_one_go_on(database: Database) -> None:
    study = submit(database)
    fail_part(database, parts_of(database, study)[FIRST[0]])
    assert not advance_now(database, study)
    assert state_of(database, study) == "running"
    assert not work_through(database, study)
    there = parts_of(database, study)
    assert len([name for name in there if name.startswith("layout 1/")]) == 5
    assert [name for name in there if name.startswith("layout 0/")] == [FIRST[0]]
    found = job_of(database, study)
    assert (found.state, found.shards_done) == ("failed", 6)
    assert found.error is not None
    assert found.error["code"] == "study_incomplete"
    assert found.error["message"] == (
        "1 of 10 parts did not succeed, and 4 that need them were left out; layout 0/clean/training: it broke"
    )
    failed = {"part": FIRST[0], "job": str(there[FIRST[0]].id), "code": "boom", "message": "it broke"}
    assert found.error["detail"] == {"failed": [failed], "failures": 1, "left_out": 4}
    assert (FIRST[0], "failed") in ended(database, study)
    assert events_of(database, study)[-1] == "job.failed"


def test_a_study_fails_only_once_nothing_of_it_is_open(database: Database) -> None:
    study = submit(database)
    first, second = parts_of(database, study).values()
    fail_part(database, first)
    advance_now(database, study)
    claim_one(database, shards_of(database, second)[0])
    advance_now(database, study)
    assert state_of(database, study) == "running"


def test_the_first_of_many_failures_are_told(database: Database) -> None:
    layouts = [{"levels": [[[0, 1]]] * shared + [[[0], [1]]] * (5 - shared)} for shared in range(5)]
    study = submit(database, layouts=layouts)
    for job in parts_of(database, study).values():
        fail_part(database, job)
    advance_now(database, study)
    error = job_of(database, study).error
    assert error is not None
    assert error["message"].startswith("5 of 25 parts did not succeed, and 20 that need them were left out; ")
    assert error["message"].count("it broke") == 3
    assert len(error["detail"]["failed"]) == 5


def test_a_part_that_was_cancelled_by_itself_is_missing(database: Database) -> None:
    study = submit(database, layouts=["all-shared"])
    cancel_now(database, parts_of(database, study)[FIRST[0]])
    assert not advance_now(database, study)
    found = job_of(database, study)
    assert found.state == "failed"
    assert found.error is not None
    assert "layout 0/clean/training: it was cancelled" in found.error["message"]


def test_a_part_that_cannot_be_submitted_any_more_is_missing(database: Database) -> None:
    study = submit(database, layouts=["all-shared"])
    train(database, parts_of(database, study)[FIRST[0]])
    with database.session() as session:
        spec = dict(study.spec, evaluation={**study.spec["evaluation"], "dataset": {"name": "gone"}})
        session.execute(update(Job).where(Job.id == study.id).values(spec=spec))
    assert not work_through(database, study)
    found = job_of(database, study)
    assert found.state == "failed"
    assert found.error is not None
    assert "3 of 5 parts did not succeed; " in found.error["message"]
    assert "no data set 'gone'" in found.error["message"]


def test_a_study_that_cannot_be_read_any_more_fails(database: Database) -> None:
    study = submit(database)
    with database.session() as session:
        spec = dict(study.spec, model={"backbone": "uninstalled", "profile": "digits"})
        session.execute(update(Job).where(Job.id == study.id).values(spec=spec))
    assert not advance_now(database, study)
    found = job_of(database, study)
    assert found.state == "failed"
    assert found.error is not None
    assert "no backbone 'uninstalled'" in found.error["message"]


# Cancelling


def test_cancelling_a_study_cancels_its_parts(database: Database) -> None:
    study = submit(database)
    cancel_now(database, study)
    assert [job.state for job in parts_of(database, study).values()] == ["cancelled"] * 2
    assert state_of(database, study) == "cancelled"
    assert events_of(database, study)[-2:] == ["job.cancelling", "job.cancelled"]
    assert not advance_now(database, study)
    assert list(parts_of(database, study)) == FIRST


def test_a_study_is_cancelled_once_no_part_runs_any_more(database: Database) -> None:
    study = submit(database)
    first, second = parts_of(database, study).values()
    held = claim_one(database, shards_of(database, first)[0])
    train(database, second)
    cancel_now(database, study)
    assert not advance_now(database, study)
    assert (state_of(database, study), state_of(database, first)) == ("running", "running")
    assert list(parts_of(database, study)) == FIRST
    expire(database, held)
    reap_now(database)
    assert state_of(database, first) == "cancelled"
    assert study.id in rung(database, "study")
    assert not advance_now(database, study)
    assert state_of(database, study) == "cancelled"
    assert sorted(ended(database, study)) == [(FIRST[0], "cancelled"), (FIRST[1], "succeeded")]


def test_a_study_that_is_cancelled_while_it_is_put_together_shows_nothing(database: Database) -> None:
    study = submit(database)
    assert work_through(database, study)
    begun = begin(database, study)
    cancel_now(database, study)
    with database.session() as session:
        assert not complete_study(session, begun, {"cells": []})
    found = job_of(database, study)
    assert (found.state, found.summary) == ("cancelled", None)


def test_studies_are_cancelled_while_their_parts_end(database: Database) -> None:
    studies = [submit(database, transferability=None) for _ in range(8)]

    def work(study: Job) -> None:
        for job in parts_of(database, study).values():
            fail_if_wanted(database, shards_of(database, job)[0].id)
            advance_now(database, study)

    with ThreadPoolExecutor(8) as pool:
        working = [pool.submit(work, study) for study in studies]
        stopping = [pool.submit(cancel_now, database, study) for study in studies]
        for future in (*working, *stopping):
            future.result(timeout=30)
    for study in studies:
        advance_now(database, study)
        assert state_of(database, study) in ("cancelled", "failed")
        assert open_parts(database, study) == []


def fail_if_wanted(database: Database, shard_id: UUID) -> None:
    """As a worker would: take the shard unless it was cancelled meanwhile, and fail it."""
    with database.session() as session:
        claimed = claim(session, shard_id, worker="test", lease_seconds=60)
    if claimed is not None:
        with database.session() as session:
            assert fail(session, claimed, code="boom", message="it broke", retry=False, max_attempts=1)


# Bells


def succeed(database: Database, held: Claim, job: Job) -> None:
    finish_one(database, held)
    begun = begin(database, job)
    with database.session() as session:
        assert complete(session, begun, Assembled([]), replicates={})


def fail_for_good(database: Database, held: Claim, job: Job) -> None:
    assert fail_one(database, held, retry=False)
    assert state_of(database, job) == "failed"


def stop(database: Database, held: Claim, job: Job) -> None:
    cancel_now(database, job)
    assert rung(database, "study") == set()
    with database.session() as session:
        assert release(session, held)


@pytest.mark.parametrize("end_it", [succeed, fail_for_good, stop])
def test_a_part_rings_for_its_study_when_it_starts_and_when_it_ends(
    database: Database, end_it: Callable[[Database, Claim, Job], None]
) -> None:
    study = submit(database)
    part = parts_of(database, study)[FIRST[0]]
    assert rung(database, "study") == set()
    held = claim_one(database, shards_of(database, part)[0])
    assert rung(database, "study") == {study.id}
    all_sent(database)
    end_it(database, held, part)
    assert rung(database, "study") == {study.id}


def test_a_job_of_no_study_rings_for_none(database: Database, submit: Callable[..., Job]) -> None:
    work_off(database, submit())
    assert rung(database, "study") == set()


def test_the_bell_of_an_open_study_is_rung_again(database: Database) -> None:
    study = submit(database)
    train(database, parts_of(database, study)[FIRST[0]])
    all_sent(database)
    assert reap_now(database, ring_after=60).studies == 0
    let_pass(database, 61)
    assert reap_now(database, ring_after=60).studies == 1
    assert rung(database, "study") == {study.id}


def test_the_bell_of_a_study_that_is_being_put_together_is_not_rung_again(database: Database) -> None:
    study = submit(database)
    work_through(database, study)
    begin(database, study)
    all_sent(database)
    let_pass(database, 10_000)
    assert reap_now(database).studies == 0
    with database.session() as session:
        past = func.now() - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == study.id).values(finalising_until=past))
    assert reap_now(database).studies == 1


def test_the_bell_of_an_open_study_is_not_forgotten(database: Database) -> None:
    study = submit(database)
    train(database, parts_of(database, study)[FIRST[0]])
    all_sent(database)
    let_pass(database, 10**7)
    reap_now(database, ring_after=10**9)
    assert bells(database, study) == 1
    cancel_now(database, study)
    all_sent(database)
    let_pass(database, 10**7)
    reap_now(database, ring_after=10**9)
    assert bells(database, study) == 0


def bells(database: Database, study: Job) -> int:
    with database.session() as session:
        return session.scalar(select(func.count()).where(Outbox.subject == study.id)) or 0


def test_a_part_ends_while_its_study_is_locked(database: Database) -> None:
    study = submit(database)
    first, second = parts_of(database, study).values()
    with database.session() as session:
        assert not advance(session, study.id)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(train, database, first).result(timeout=20)
            pool.submit(fail_part, database, second).result(timeout=20)
    assert state_of(database, first) == "succeeded"
    assert rung(database, "study") == {study.id}


def test_a_studys_events_tell_its_story_in_order(database: Database) -> None:
    study = submit(database, layouts=["all-shared"], modes=STUDY["modes"][:1], transferability=None)
    train(database, parts_of(database, study)[FIRST[0]])
    advance_now(database, study)
    measure(database, parts_of(database, study)["layout 0/clean/evaluation"])
    assert advance_now(database, study)
    end_study(database, study)
    with database.session() as session:
        told = session.scalars(select(Event.type).where(Event.job_id == study.id).order_by(Event.id)).all()
    assert told == [
        "job.queued",
        "part.submitted",
        "job.started",
        "part.ended",
        "part.submitted",
        "part.ended",
        "job.succeeded",
    ]


def end_study(database: Database, study: Job) -> None:
    begun = begin(database, study)
    with database.session() as session:
        assert complete_study(session, begun, {})


def test_a_study_whose_worker_was_lost_too_often_fails(database: Database) -> None:
    study = submit(database, layouts=["all-shared"], modes=STUDY["modes"][:1], transferability=None)
    for name in ("layout 0/clean/training", "layout 0/clean/evaluation"):
        end(database, parts_of(database, study)[name])
        advance_now(database, study)
    with database.session() as session:
        session.execute(update(Job).where(Job.id == study.id).values(finalise_attempts=3))
    with database.session() as session:
        assert begin_finalise(session, study.id, lease_seconds=60, max_attempts=3) is None
    error = job_of(database, study).error
    assert error is not None
    assert error["code"] == "worker_lost"
