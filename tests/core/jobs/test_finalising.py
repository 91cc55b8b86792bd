"""The lease under which a job is finalised: who has it, and what those who lost it can do."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select

from core.jobs.cancel import cancel
from core.jobs.finalise import (
    Assembled,
    Finalisation,
    abandon_finalise,
    begin_finalise,
    complete,
    complete_model_check,
    fail_finalise,
    renew_finalise,
)
from core.jobs.submission import submit_model_check
from core.store.database import Database
from core.store.tables import Job, Model, Result
from tests.core.jobs.steps import (
    all_sent,
    begin,
    expire_finalisation,
    let_pass,
    reap_now,
    rung,
    state_of,
    work_off,
)


@pytest.fixture
def job(database: Database, submit: Callable[..., Job]) -> Job:
    """A job whose shards are all done."""
    submitted = submit()
    work_off(database, submitted)
    return submitted


def now(database: Database, job: Job) -> Job:
    with database.session() as session:
        return session.get_one(Job, job.id)


def to_be_had(database: Database, job: Job) -> bool:
    with database.session() as session:
        return begin_finalise(session, job.id, lease_seconds=60, max_attempts=9) is not None


def renewed(database: Database, begun: Finalisation, lease_seconds: float = 60) -> str:
    with database.session() as session:
        return renew_finalise(session, begun, lease_seconds)


def completed(database: Database, begun: Finalisation) -> bool:
    with database.session() as session:
        return complete(session, begun, Assembled([]), replicates={})


def test_a_job_is_finalised_by_one_worker_at_a_time_and_not_before_its_shards_are_done(
    database: Database, submit: Callable[..., Job]
) -> None:
    job = submit()
    assert not to_be_had(database, job)
    work_off(database, job)
    assert to_be_had(database, job)
    assert not to_be_had(database, job)


def test_a_finaliser_that_renews_its_lease_keeps_it(database: Database, job: Job) -> None:
    begun = begin(database, job)
    expire_finalisation(database, job)
    assert renewed(database, begun) == "held"
    assert not to_be_had(database, job)
    assert completed(database, begun)
    assert state_of(database, job) == "succeeded"


def test_a_finaliser_that_lost_its_lease_changes_nothing(database: Database, job: Job) -> None:
    stale = begin(database, job)
    expire_finalisation(database, job)
    fresh = begin(database, job)
    before = now(database, job)
    assert renewed(database, stale, 9999) == "lost"
    assert not completed(database, stale)
    with database.session() as session:
        assert not fail_finalise(session, stale, code="boom", message="it broke")
        assert not abandon_finalise(session, stale)
    after = now(database, job)
    assert (after.state, after.version, after.finalise_attempts) == ("running", before.version, 2)
    assert (after.finalising_token, after.finalising_until) == (fresh.token, before.finalising_until)
    with database.session() as session:
        assert session.scalars(select(Result)).all() == []
    assert completed(database, fresh)


def test_one_who_lost_the_lease_is_not_taken_for_a_later_one_of_the_same_attempt(
    database: Database, job: Job
) -> None:
    stale = begin(database, job)
    expire_finalisation(database, job)
    second = begin(database, job)
    with database.session() as session:
        assert abandon_finalise(session, second)
        assert not abandon_finalise(session, second)
    assert not completed(database, stale)
    third = begin(database, job)
    assert now(database, job).finalise_attempts == 2
    for gone in (stale, second):
        assert renewed(database, gone) == "lost"
        assert not completed(database, gone)
    assert completed(database, third)


def test_a_finalisation_that_is_abandoned_costs_no_attempt(database: Database, job: Job) -> None:
    for _ in range(3):
        begun = begin(database, job)
        with database.session() as session:
            assert abandon_finalise(session, begun)
    assert now(database, job).finalise_attempts == 0
    assert to_be_had(database, job)


def test_a_finalisation_that_kills_its_worker_fails_the_job_in_the_end(database: Database, job: Job) -> None:
    for _ in range(2):
        begin(database, job)
        expire_finalisation(database, job)
    with database.session() as session:
        assert begin_finalise(session, job.id, lease_seconds=60, max_attempts=2) is None
    failed = now(database, job)
    assert failed.error is not None
    assert (failed.state, failed.error["code"]) == ("failed", "worker_lost")


def test_a_finalisation_that_fails_fails_the_job(database: Database, job: Job) -> None:
    begun = begin(database, job)
    with database.session() as session:
        assert fail_finalise(session, begun, code="boom", message="it broke")
    failed = now(database, job)
    assert (failed.state, failed.error) == ("failed", {"code": "boom", "message": "it broke"})
    assert (failed.finalising_token, failed.finalising_until) == (None, None)
    assert not completed(database, begun)


def test_a_job_that_is_cancelled_while_it_is_finalised_is_cancelled(database: Database, job: Job) -> None:
    begun = begin(database, job)
    with database.session() as session:
        assert cancel(session, job.id).state == "cancelled"
    assert renewed(database, begun) == "lost"
    assert not completed(database, begun)
    assert state_of(database, job) == "cancelled"


def test_a_model_is_made_ready_by_the_one_who_holds_the_lease(database: Database, model_id: UUID) -> None:
    with database.session() as session:
        job = submit_model_check(session, session.get_one(Model, model_id))
    work_off(database, job)
    stale = begin(database, job)
    expire_finalisation(database, job)
    fresh = begin(database, job)
    for begun, parameters, expected in ((stale, 1, False), (fresh, 2, True)):
        with database.session() as session:
            found = complete_model_check(
                session, begun, parameters=parameters, facts={}, manifest={}, weights="w"
            )
            assert found is expected
    with database.session() as session:
        assert session.get_one(Model, model_id).parameters == 2


def test_a_job_whose_finaliser_is_silent_is_announced_again_and_no_other(
    database: Database, job: Job
) -> None:
    begin(database, job)
    all_sent(database)
    let_pass(database, 10_000)
    assert reap_now(database).finalised == 0
    expire_finalisation(database, job)
    assert reap_now(database).finalised == 1
    assert rung(database, "finalise") == {job.id}
