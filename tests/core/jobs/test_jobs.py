import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from core.errors import InvalidError
from core.jobs import events, outbox
from core.jobs.cancel import cancel
from core.jobs.errors import (
    ClientRefConflictError,
    JobNotFoundError,
    JobTooLargeError,
    ModelNotFoundError,
    ModelNotReadyError,
)
from core.jobs.finalise import Assembled, ResultRow, complete, complete_model_check
from core.jobs.leases import claim, find_result, release, renew
from core.jobs.states import JOB_TRANSITIONS, SHARD_TRANSITIONS
from core.jobs.submission import submit_job, submit_model_check
from core.store.database import Database
from core.store.tables import Event, Job, Model, Outbox, Result, Shard, ShardResult
from tests.core.jobs.steps import (
    all_sent,
    begin,
    claim_one,
    events_of,
    expire,
    fail_one,
    finish_one,
    reap_now,
    rung,
    shards_of,
    state_of,
    work_off,
)

Submit = Callable[..., Job]


# Submitting


def test_a_submitted_job_has_shards_bells_and_an_event(database: Database, submit: Submit) -> None:
    job = submit()
    shards = shards_of(database, job)
    assert (job.state, job.shards_total, job.shards_done) == ("queued", 4, 0)
    assert job.work_total == sum(shard.work for shard in shards) == 64 / 2 + 64 * 2
    assert rung(database, "shard") == {shard.id for shard in shards}
    assert events_of(database, job) == ["job.queued"]


def test_events_and_bells_wake_listeners(database: Database, submit: Submit) -> None:
    with psycopg.connect(database.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"LISTEN {events.EVENTS_CHANNEL}")
        connection.execute(f"LISTEN {outbox.OUTBOX_CHANNEL}")
        job = submit()
        heard = {(note.channel, note.payload) for note in connection.notifies(timeout=10, stop_after=2)}
    assert heard == {(events.EVENTS_CHANNEL, str(job.id)), (outbox.OUTBOX_CHANNEL, "")}


def test_a_client_ref_attaches_to_the_job_it_already_has(database: Database, submit: Submit) -> None:
    first = submit(client_ref="repo@sha")
    assert submit(client_ref="repo@sha").id == first.id
    with database.session() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_a_client_ref_with_another_spec_conflicts(submit: Submit) -> None:
    first = submit(client_ref="repo@sha")
    with pytest.raises(ClientRefConflictError) as caught:
        submit(client_ref="repo@sha", batch_size=8)
    assert caught.value.job_id == first.id


def test_two_submissions_racing_for_a_client_ref_make_one_job(database: Database, submit: Submit) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = set(pool.map(lambda _: submit(client_ref="raced").id, range(16)))
    assert len(jobs) == 1
    with database.session() as session:
        assert session.scalar(select(func.count()).select_from(Shard)) == 4


def test_unknown_and_unready_models_are_refused(database: Database, submit: Submit, model_id: UUID) -> None:
    with pytest.raises(ModelNotFoundError):
        submit(model=str(uuid4()))
    with database.session() as session:
        session.get_one(Model, model_id).state = "checking"
    with pytest.raises(ModelNotReadyError, match="wait"):
        submit()


def test_an_attack_on_a_task_the_model_lacks_is_refused(submit: Submit) -> None:
    with pytest.raises(InvalidError, match="no task 'depth'"):
        submit(attacks=[{"algorithm": "fgsm", "objective": "single:depth", "eps": 8}])


def test_a_job_of_too_many_shards_is_refused(submit: Submit) -> None:
    attacks = [{"algorithm": "fgsm", "objective": "total", "eps": 1 + n / 100} for n in range(400)]
    with pytest.raises(JobTooLargeError):
        submit(attacks=attacks, batch_size=1, shard_samples=1)


def test_a_large_job_is_submitted_whole(database: Database, submit: Submit) -> None:
    attacks = [{"algorithm": "fgsm", "objective": "total", "eps": 1 + n / 100} for n in range(200)]
    job = submit(attacks=attacks, batch_size=1, shard_samples=1)
    assert job.shards_total == 201 * 64
    assert len(rung(database, "shard")) == 201 * 64


# Claiming


def _claim_all(url: str, shard_ids: list[UUID]) -> list[UUID]:
    database = Database(url, pool_size=1)
    taken = []
    for shard_id in shard_ids:
        with database.session() as session:
            if claim(session, shard_id, worker="racer", lease_seconds=60):
                taken.append(shard_id)
    database.dispose()
    return taken


@pytest.fixture(scope="module")
def racers() -> Iterator[ProcessPoolExecutor]:
    """Six processes."""
    with ProcessPoolExecutor(6, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_six_processes_claim_every_shard_exactly_once(
    database: Database, submit: Submit, racers: ProcessPoolExecutor
) -> None:
    attacks = [{"algorithm": "fgsm", "objective": "total", "eps": 1 + n} for n in range(5)]
    jobs = [submit(attacks=attacks, batch_size=1, shard_samples=1, dataset={"name": "digits", "limit": 9})]
    jobs += [submit(attacks=attacks, batch_size=1, shard_samples=1, dataset={"name": "digits", "limit": 8})]
    ids = [shard.id for job in jobs for shard in shards_of(database, job)]
    taken = [one for part in racers.map(_claim_all, [database.url] * 6, [ids] * 6) for one in part]
    assert sorted(taken) == sorted(ids)
    assert all(shard.attempt == 1 for job in jobs for shard in shards_of(database, job))


def test_the_first_claim_starts_the_job_once(database: Database, submit: Submit) -> None:
    job = submit()
    for shard in shards_of(database, job)[:2]:
        claim_one(database, shard)
    assert state_of(database, job) == "running"
    assert events_of(database, job).count("job.started") == 1


def test_a_message_about_a_taken_unknown_or_finished_shard_claims_nothing(
    database: Database, submit: Submit
) -> None:
    shard = shards_of(database, submit())[0]
    claimed = claim_one(database, shard)
    with database.session() as session:
        assert claim(session, shard.id, worker="w", lease_seconds=60) is None
        assert claim(session, uuid4(), worker="w", lease_seconds=60) is None
    finish_one(database, claimed)
    with database.session() as session:
        assert claim(session, shard.id, worker="w", lease_seconds=60) is None


# Ending a shard


def test_finishing_moves_progress_and_version(database: Database, submit: Submit) -> None:
    job = submit()
    claimed = claim_one(database, shards_of(database, job)[0])
    assert finish_one(database, claimed, key="k")
    with database.session() as session:
        now = session.get_one(Job, job.id)
        assert (now.shards_done, now.work_done) == (1, 16.0)
        assert now.version > job.version
        last = events.after(session, job.id, 0)[-1]
        assert last.type == "shard.succeeded"
        assert (last.data["shards_done"], last.data["shards_total"]) == (1, 4)
        found = find_result(session, "k")
        assert found is not None
        assert found.samples == 16


def test_a_stale_result_is_dropped(database: Database, submit: Submit) -> None:
    shard = shards_of(database, submit())[0]
    stale = claim_one(database, shard)
    expire(database, stale)
    assert reap_now(database).expired == 1
    fresh = claim_one(database, shard)
    assert not finish_one(database, stale, key="stale")
    assert not fail_one(database, stale)
    with database.session() as session:
        assert renew(session, stale, 60) == "lost"
        assert renew(session, fresh, 60) == "held"
        assert not release(session, stale)
        assert find_result(session, "stale") is None
    assert finish_one(database, fresh)
    assert not finish_one(database, fresh)


def test_the_same_result_key_is_stored_once(database: Database, submit: Submit) -> None:
    first, second = shards_of(database, submit())[:2]
    assert finish_one(database, claim_one(database, first), key="shared")
    assert finish_one(database, claim_one(database, second), key="shared")
    with database.session() as session:
        assert session.scalar(select(func.count()).select_from(ShardResult)) == 1


@pytest.mark.parametrize(
    ("lost_blob", "kept"), [(None, "a" * 64), ("a" * 64, "b" * 64), ("c" * 64, "a" * 64)]
)
def test_a_key_that_gives_two_blobs_keeps_the_first_unless_it_is_lost_and_says_so(
    database: Database, submit: Submit, caplog: pytest.LogCaptureFixture, lost_blob: str | None, kept: str
) -> None:
    first, second = shards_of(database, submit())[:2]
    assert finish_one(database, claim_one(database, first), key="shared", blob="a" * 64)
    assert not caplog.records
    again = claim_one(database, second)
    assert finish_one(database, again, key="shared", blob="b" * 64, lost_blob=lost_blob)
    with database.session() as session:
        found = find_result(session, "shared")
        assert found is not None
        assert found.blob == kept
    (warning,) = caplog.messages
    assert warning == (
        f"result shared is not deterministic: blob {'a' * 64} is stored, blob {'b' * 64} was found"
    )


def test_a_failed_shard_is_retried_up_to_the_cap_then_fails_the_job(
    database: Database, submit: Submit
) -> None:
    job = submit()
    first, *others = shards_of(database, job)
    all_sent(database)
    assert fail_one(database, claim_one(database, first))
    assert rung(database, "shard") == {first.id}
    assert state_of(database, job) == "running"
    assert fail_one(database, claim_one(database, first))
    with database.session() as session:
        failed = session.get_one(Job, job.id)
        assert failed.state == "failed"
        assert failed.error is not None
        assert (failed.error["code"], failed.error["message"]) == ("boom", "it broke")
        assert failed.error["detail"]["attempt"] == 2
        assert failed.finished_at is not None
    assert [shard.state for shard in shards_of(database, job)] == ["failed"] + ["cancelled"] * len(others)
    assert events_of(database, job) == ["job.queued", "job.started", "shard.retried", "job.failed"]


def test_a_permanent_failure_is_not_retried(database: Database, submit: Submit) -> None:
    job = submit()
    assert fail_one(database, claim_one(database, shards_of(database, job)[0]), retry=False)
    assert state_of(database, job) == "failed"


def test_a_running_shard_of_a_failed_job_is_told_to_stop(database: Database, submit: Submit) -> None:
    job = submit()
    first, second = shards_of(database, job)[:2]
    running = claim_one(database, second)
    fail_one(database, claim_one(database, first), retry=False)
    with database.session() as session:
        assert renew(session, running, 60) == "cancelled"
        assert release(session, running)
    assert shards_of(database, job)[1].state == "cancelled"


def test_preemption_gives_the_attempt_back(database: Database, submit: Submit) -> None:
    job = submit()
    shard = shards_of(database, job)[0]
    all_sent(database)
    claimed = claim_one(database, shard)
    with database.session() as session:
        assert release(session, claimed)
    back = shards_of(database, job)[0]
    assert (back.state, back.attempt, back.lease_token) == ("queued", 0, None)
    assert rung(database, "shard") == {shard.id}


# Cancelling


def test_cancelling_a_queued_job_ends_it_at_once(database: Database, submit: Submit) -> None:
    job = submit()
    with database.session() as session:
        cancelled = cancel(session, job.id)
    assert cancelled.state == "cancelled"
    assert cancelled.finished_at is not None
    assert {shard.state for shard in shards_of(database, job)} == {"cancelled"}
    assert events_of(database, job) == ["job.queued", "job.cancelling", "job.cancelled"]


def test_a_running_job_is_cancelled_when_its_last_running_shard_stops(
    database: Database, submit: Submit
) -> None:
    job = submit()
    claims = [claim_one(database, shard) for shard in shards_of(database, job)[:3]]
    with database.session() as session:
        assert cancel(session, job.id).state == "running"
        assert cancel(session, job.id).cancel_requested
        assert [renew(session, one, 60) for one in claims] == ["cancelled"] * 3
    with database.session() as session:
        release(session, claims[0])
    fail_one(database, claims[1])
    assert state_of(database, job) == "running"
    assert finish_one(database, claims[2])
    assert state_of(database, job) == "cancelled"
    assert events_of(database, job).count("job.cancelling") == 1
    assert events_of(database, job)[-1] == "job.cancelled"


def test_a_cancelled_job_whose_worker_was_lost_ends_with_the_lease(
    database: Database, submit: Submit
) -> None:
    job = submit()
    claimed = claim_one(database, shards_of(database, job)[0])
    with database.session() as session:
        cancel(session, job.id)
    expire(database, claimed)
    reap_now(database)
    assert state_of(database, job) == "cancelled"


def test_a_finished_job_cannot_be_cancelled(database: Database, submit: Submit) -> None:
    job = submit()
    work_off(database, job)
    begun = begin(database, job)
    with database.session() as session:
        complete(session, begun, Assembled([]), replicates={})
    with database.session() as session:
        assert cancel(session, job.id).state == "succeeded"


def test_cancelling_nothing_says_so(database: Database) -> None:
    with database.session() as session, pytest.raises(JobNotFoundError):
        cancel(session, uuid4())


def _cancel(url: str, job_id: UUID) -> None:
    database = Database(url, pool_size=1)
    with database.session() as session:
        cancel(session, job_id)
    database.dispose()


def test_cancel_and_claims_racing_never_leave_a_shard_running_in_a_cancelled_job(
    database: Database, submit: Submit, racers: ProcessPoolExecutor
) -> None:
    jobs = [
        submit(batch_size=1, shard_samples=1, dataset={"name": "digits", "limit": n + 5}) for n in range(6)
    ]
    ids = [shard.id for job in jobs for shard in shards_of(database, job)]
    tasks: list[Future[Any]] = [racers.submit(_claim_all, database.url, ids) for _ in range(3)]
    tasks += [racers.submit(_cancel, database.url, job.id) for job in jobs]
    for task in tasks:
        task.result()
    for job in jobs:
        running = any(shard.state == "running" for shard in shards_of(database, job))
        assert state_of(database, job) == ("running" if running else "cancelled")


# Finalising


ROWS = [
    ResultRow(
        ordinal=-1,
        attack=None,
        metrics={"left": {"accuracy": 90.0}},
        task_arp=None,
        arp=None,
        samples=64,
        cost={},
    ),
    ResultRow(
        ordinal=0,
        attack={"algorithm": "fgsm"},
        metrics={"left": {"accuracy": float("nan")}},
        task_arp={"left": -10.0},
        arp=-10.0,
        samples=64,
        cost={"forward": 3},
        arp_8bit=-9.0,
        intervals={"arp": [-12.0, float("-inf")], "tasks": {"left": None}, "metrics": {}},
        flags=[{"code": "undefined_arp", "severity": "warning", "message": "", "evidence": {}}],
        replicates=b"some",
    ),
]


def test_the_last_shard_rings_for_finalisation_and_results_are_written_once(
    database: Database, submit: Submit
) -> None:
    job = submit()
    work_off(database, job)
    assert rung(database, "finalise") == {job.id}
    begun = begin(database, job)
    assert [shard.ordinal for shard, _ in begun.found] == [0, 1, 2, 3]
    assert all(result.key == shard.result_key for shard, result in begun.found)
    for expected in (True, False):
        with database.session() as session:
            assert complete(session, begun, Assembled(ROWS), replicates={0: "1" * 64}) is expected
    with database.session() as session:
        rows = session.scalars(select(Result).order_by(Result.ordinal)).all()
        assert [row.ordinal for row in rows] == [-1, 0]
        assert rows[1].metrics == {"left": {"accuracy": None}}
        assert rows[1].intervals == {"arp": [-12.0, None], "tasks": {"left": None}, "metrics": {}}
        assert [(row.arp_8bit, row.replicates) for row in rows] == [(None, None), (-9.0, "1" * 64)]
        assert [flag["code"] for row in rows for flag in row.flags] == ["undefined_arp"]
        assert session.get_one(Job, job.id).summary == {"reliable": True}
    assert events_of(database, job)[-1] == "job.succeeded"


def test_a_model_check_makes_its_model_ready(database: Database, model_id: UUID) -> None:
    with database.session() as session:
        job = submit_model_check(session, session.get_one(Model, model_id))
    with database.session() as session:
        assert session.get_one(Model, model_id).state == "checking"
    work_off(database, job)
    begun = begin(database, job)
    with database.session() as session:
        assert complete_model_check(
            session, begun, parameters=12, facts={"nan_weights": 0}, manifest={"backbone": "b"}, weights="w"
        )
    with database.session() as session:
        model = session.get_one(Model, model_id)
        assert (model.state, model.parameters, model.facts) == ("ready", 12, {"nan_weights": 0})
        assert (model.manifest, model.weights) == ({"backbone": "b"}, "w")
        assert model.checked_at is not None


def test_a_failed_or_cancelled_model_check_rejects_the_model(database: Database, model_id: UUID) -> None:
    for end, code in (("fail", "boom"), ("cancel", "cancelled")):
        with database.session() as session:
            job = submit_model_check(session, session.get_one(Model, model_id))
        if end == "fail":
            fail_one(database, claim_one(database, shards_of(database, job)[0]), retry=False)
        else:
            with database.session() as session:
                cancel(session, job.id)
        with database.session() as session:
            model = session.get_one(Model, model_id)
            assert model.state == "rejected"
            assert model.reason is not None
            assert model.reason["code"] == code


@pytest.mark.parametrize(
    ("on_summary", "on_row", "expected"),
    [
        ([], [], True),
        (["info", "warning"], ["warning"], True),
        (["error"], [], False),
        ([], ["error"], False),
    ],
)
def test_an_error_among_the_flags_makes_a_job_unreliable(
    database: Database, submit: Submit, on_summary: list[str], on_row: list[str], expected: bool
) -> None:
    job = submit()
    work_off(database, job)
    row = replace(ROWS[1], flags=[{"code": "x", "severity": severity} for severity in on_row])
    flags = [{"code": "y", "severity": severity} for severity in on_summary]
    begun = begin(database, job)
    with database.session() as session:
        complete(session, begun, Assembled([ROWS[0], row], {"flags": flags}), replicates={})
    with database.session() as session:
        assert session.get_one(Job, job.id).summary == {"flags": flags, "reliable": expected}


# Reaping


def test_a_lost_worker_costs_attempts_and_in_the_end_the_job(database: Database, submit: Submit) -> None:
    job = submit()
    shard = shards_of(database, job)[0]
    all_sent(database)
    assert reap_now(database).expired == 0
    expire(database, claim_one(database, shard))
    assert reap_now(database).expired == 1
    assert rung(database, "shard") == {shard.id}
    expire(database, claim_one(database, shard))
    assert reap_now(database).expired == 1
    with database.session() as session:
        error = session.get_one(Job, job.id).error
    assert error is not None
    assert error["code"] == "worker_lost"


def test_a_job_that_only_needs_finalising_is_announced_again(database: Database, submit: Submit) -> None:
    job = submit()
    work_off(database, job)
    all_sent(database)
    assert reap_now(database, ring_after=60).finalised == 0
    assert reap_now(database, ring_after=0).finalised == 1
    assert rung(database, "finalise") == {job.id}


def test_bells_of_finished_work_are_forgotten(database: Database, submit: Submit) -> None:
    job = submit()
    with database.session() as session:
        cancel(session, job.id)
    all_sent(database)
    with database.session() as session:
        session.execute(update(Outbox).values(sent_at=func.now() - text("interval '2 hours'")))
    reap_now(database)
    with database.session() as session:
        assert session.scalar(select(func.count()).select_from(Outbox)) == 0


# The whole


def test_two_relays_never_publish_the_same_bell(database: Database, submit: Submit) -> None:
    job = submit()
    with database.session() as one, database.session() as other:
        first = {row.id for row in outbox.pending(one, limit=2)}
        second = {row.id for row in outbox.pending(other, limit=100)}
    assert len(first) == 2
    assert len(first | second) == job.shards_total


def test_a_batch_is_sent_at_one_time(database: Database, submit: Submit) -> None:
    submit()
    all_sent(database)
    with database.session() as session:
        assert session.scalar(select(func.count(Outbox.sent_at.distinct()))) == 1


def test_final_states_are_final() -> None:
    for table in (JOB_TRANSITIONS, SHARD_TRANSITIONS):
        for state in ("succeeded", "failed", "cancelled"):
            assert not table[state]


def test_the_database_refuses_states_that_contradict_themselves(database: Database, submit: Submit) -> None:
    job = submit()
    for statement in (
        update(Job).values(state="done"),
        update(Job).values(state="succeeded"),
        update(Shard).values(state="running"),
        update(Shard).values(state="succeeded"),
        update(Shard).values(after=Shard.ordinal),
        update(Shard).values(after=-1),
        update(Job).values(model_ids=[uuid4()]),
    ):
        with pytest.raises(IntegrityError), database.session() as session:
            session.execute(statement)
    assert state_of(database, job) == "queued"


def test_events_of_a_job_are_read_from_where_one_left_off(database: Database, submit: Submit) -> None:
    job = submit()
    work_off(database, job)
    with database.session() as session:
        everything: list[Event] = list(events.after(session, job.id, 0))
        assert [event.id for event in everything] == sorted(event.id for event in everything)
        rest = events.after(session, job.id, everything[1].id, limit=2)
        assert [event.id for event in rest] == [event.id for event in everything[2:4]]


def test_nothing_is_left_of_a_submission_that_was_rolled_back(database: Database, make_spec: Any) -> None:
    def submit_and_fail() -> None:
        with database.session() as session:
            submit_job(session, make_spec(), key_id=None)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        submit_and_fail()
    with database.session() as session:
        for table in (Job, Shard, Outbox, Event):
            assert session.scalar(select(func.count()).select_from(table)) == 0
