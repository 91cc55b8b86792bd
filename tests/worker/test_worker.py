import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery
from sqlalchemy import func, select, update

from core.jobs.cancel import cancel
from core.jobs.finalise import Finalisation, begin_finalise, complete
from core.jobs.states import Urgency
from core.jobs.submission import submit_model_check
from core.settings import Settings
from core.store.blobs import BlobStoreUnavailableError, FileBlobs
from core.store.database import Database
from core.store.tables import Job, Model, Result, ShardResult
from tests.core.jobs.steps import begin, claim_one, finish_one, shards_of, state_of
from tests.worker.bench import ROOT, Bench, until
from tests.worker.counting_execution import RefusedError
from worker.app import FINALISE_TASK, PRIORITIES, SHARD_TASK, configure
from worker.contract import Assembled, Execution, ShardOutputRef, StopRequested
from worker.finalising import conclude
from worker.supervisor import Stack
from worker.workplace import Workplace, exits_unmasked


def test_a_job_runs_to_its_results(bench: Bench) -> None:
    job_id = bench.submit()
    job = bench.wait(job_id, "succeeded")
    assert (job.shards_done, job.work_done) == (job.shards_total, job.work_total)
    with bench.database.session() as session:
        rows = session.scalars(select(Result).where(Result.job_id == job_id).order_by(Result.ordinal)).all()
    assert [(row.ordinal, row.samples) for row in rows] == [(-1, 64), (0, 64)]
    assert rows[0].metrics == {"left": {"accuracy": None}}
    digests = [row.replicates for row in rows]
    blobs = FileBlobs(bench.settings.blob_dir)
    assert [blobs.read(digest or "") for digest in digests] == [b"replicates of -1", b"replicates of 0"]
    assert job.summary == {"reliable": True}


def test_work_that_was_done_before_is_not_done_again(bench: Bench) -> None:
    bench.wait(bench.submit(eps=3), "succeeded")
    before = bench.runs()
    again = bench.submit(eps=3)
    bench.wait(again, "succeeded")
    assert bench.runs() == before
    assert all(shard.reused for shard in bench.shards(again))


def test_a_result_whose_blob_is_lost_is_replaced_by_what_is_found_then(bench: Bench) -> None:
    first = bench.submit(eps=5)
    bench.wait(first, "succeeded")
    keys = {shard.result_key for shard in bench.shards(first)}
    with bench.database.session() as session:
        session.execute(update(ShardResult).where(ShardResult.key.in_(keys)).values(blob="f" * 64))
    again = bench.submit(eps=5)
    bench.wait(again, "succeeded")
    assert {shard.result_key for shard in bench.shards(again)} == keys
    assert not any(shard.reused for shard in bench.shards(again))


def test_duplicate_messages_run_a_shard_once(bench: Bench, stack: Stack) -> None:
    with Celery(broker=stack.settings.broker_url, set_as_current=False) as rogue:
        rogue.conf.update(configure(stack.settings))
        before = bench.runs()
        job_id = bench.submit()
        for shard in bench.shards(job_id) * 3:
            rogue.send_task(SHARD_TASK, args=[str(shard.id)])
        bench.wait(job_id, "succeeded")
        for _ in range(3):
            rogue.send_task(FINALISE_TASK, args=[str(job_id)])
        last = bench.submit()
        bench.wait(last, "succeeded")
    new = bench.runs() - before
    assert set(new.values()) == {1}
    assert len(new) == 8
    with bench.database.session() as session:
        assert len(session.scalars(select(Result).where(Result.job_id == job_id)).all()) == 2


def test_an_error_of_the_user_fails_the_job_at_once(bench: Bench) -> None:
    bench.behave("refuse")
    job = bench.wait(bench.submit(), "failed")
    assert job.error is not None
    assert (job.error["code"], job.error["message"]) == ("refused", "this cannot be computed")
    assert job.error["detail"]["attempt"] == 1


def test_an_unexpected_error_is_retried_to_the_cap(bench: Bench) -> None:
    bench.behave("raise")
    job = bench.wait(bench.submit(), "failed")
    assert job.error is not None
    assert (job.error["code"], job.error["message"]) == ("internal_error", "ValueError: boom")
    assert job.error["detail"]["attempt"] == 2


def test_an_unexpected_error_that_passes_costs_nothing_but_time(bench: Bench) -> None:
    bench.behave("raise")
    job_id = bench.submit()
    until(lambda: any(shard.attempt == 1 for shard in bench.shards(job_id)))
    bench.behave("ok")
    until(lambda: bench.job(job_id).state in {"succeeded", "failed"})


def test_a_shard_that_kills_its_worker_fails_the_job_and_not_the_service(bench: Bench) -> None:
    bench.behave("kill")
    job = bench.wait(bench.submit(limit=16), "failed")
    assert job.error is not None
    assert job.error["code"] == "worker_lost"
    bench.behave("ok")
    bench.wait(bench.submit(), "succeeded")


def test_a_running_job_is_cancelled_at_the_next_heartbeat(bench: Bench) -> None:
    bench.behave("block")
    job_id = bench.submit()
    until(lambda: any(shard.state == "running" for shard in bench.shards(job_id)))
    with bench.database.session() as session:
        assert cancel(session, job_id).state == "running"
    bench.wait(job_id, "cancelled", seconds=5)
    bench.behave("ok")


def test_a_preempted_worker_gives_its_shards_back(bench: Bench, stack: Stack) -> None:
    bench.behave("block")
    job_id = bench.submit()
    until(lambda: sum(shard.state == "running" for shard in bench.shards(job_id)) == 2)
    pid = stack.pids["worker"]
    os.kill(pid, signal.SIGTERM)
    until(lambda: stack.pids.get("worker") != pid)
    assert all(shard.attempt <= 1 for shard in bench.shards(job_id))
    bench.behave("ok")
    bench.wait(job_id, "succeeded")
    assert {shard.attempt for shard in bench.shards(job_id)} == {1}


def test_being_asked_to_stop_is_no_error_even_if_the_clean_up_fails() -> None:
    def interrupted() -> None:
        try:
            raise SystemExit(3)
        finally:
            raise ValueError("the clean-up failed")

    def wrapped() -> None:
        try:
            interrupted()
        except ValueError as error:
            raise RuntimeError("a library's own") from error

    with pytest.raises(SystemExit) as stop, exits_unmasked():
        wrapped()
    assert stop.value.code == 3
    with pytest.raises(ValueError, match="no exit"), exits_unmasked():
        raise ValueError("no exit")


def test_a_model_check_makes_its_model_ready_or_rejects_it(bench: Bench) -> None:
    for behaviour, end, state in (("ok", "succeeded", "ready"), ("refuse", "failed", "rejected")):
        bench.behave(behaviour)
        with bench.database.session() as session:
            model = Model(sha256=behaviour, manifest={}, manifest_digest=behaviour)
            session.add(model)
            session.flush()
            job = submit_model_check(session, model)
        bench.wait(job.id, end)
        with bench.database.session() as session:
            checked = session.get_one(Model, model.id)
            assert checked.state == state
            assert (checked.parameters, (checked.reason or {}).get("code")) in {(7, None), (None, "refused")}


def test_shards_that_wait_run_after_the_other_and_are_handed_what_it_found(bench: Bench) -> None:
    """The counting module refuses a shard whose input is not what the search wrote."""
    job_id = bench.submit(algorithm="auto_mta")
    bench.wait(job_id, "succeeded")
    *_, search, first, second = bench.shards(job_id)
    assert (search.after, first.after, second.after) == (None, search.ordinal, search.ordinal)
    for waited in (first, second):
        assert waited.started_at is not None
        assert search.finished_at is not None
        assert search.finished_at <= waited.started_at


def test_shards_that_waited_overtake_the_jobs_that_were_submitted_meanwhile(bench: Bench) -> None:
    bench.behave("block")
    old = bench.submit(algorithm="auto_mta", limit=16)
    until(lambda: [shard.state for shard in bench.shards(old)] == ["running", "running", "queued"])
    later = [bench.submit() for _ in range(30)]
    until(lambda: bench.unsent() == 0)
    bench.behave("ok")
    for job_id in (old, *later):
        bench.wait(job_id, "succeeded", seconds=60)
    begun = bench.shards(old)[-1].started_at
    last = max(shard.started_at for job_id in later for shard in bench.shards(job_id) if shard.started_at)
    assert begun is not None
    assert begun < last


def test_rogue_messages_about_shards_that_wait_start_nothing(bench: Bench, stack: Stack) -> None:
    bench.behave("block")
    job_id = bench.submit(algorithm="auto_mta")
    with Celery(broker=stack.settings.broker_url, set_as_current=False) as rogue:
        rogue.conf.update(configure(stack.settings))
        for shard in bench.shards(job_id)[-2:] * 3:
            rogue.send_task(SHARD_TASK, args=[str(shard.id)], priority=PRIORITIES[Urgency.URGENT])
        until(lambda: sum(shard.state == "running" for shard in bench.shards(job_id)) == 2)
        before = bench.runs()
        bench.behave("ok")
        bench.wait(job_id, "succeeded")
    assert {shard.attempt for shard in bench.shards(job_id)} == {1}
    assert set((bench.runs() - before).values()) == {1}


def test_a_search_that_was_made_before_releases_those_that_wait_for_it_again(bench: Bench) -> None:
    bench.wait(bench.submit(eps=3, algorithm="auto_mta"), "succeeded")
    before = bench.runs()
    again = bench.submit(eps=3, algorithm="auto_mta")
    bench.wait(again, "succeeded")
    assert bench.runs() == before
    assert all(shard.reused for shard in bench.shards(again))


def test_a_chain_survives_workers_that_are_killed_at_every_link(bench: Bench) -> None:
    before = bench.runs()
    bench.behave("kill once")
    job_id = bench.submit(algorithm="auto_mta", limit=16)
    bench.wait(job_id, "succeeded", seconds=60)
    new = bench.runs() - before
    assert len(new) == len(bench.shards(job_id)) == 3
    assert set(new.values()) == {2}
    assert {shard.attempt for shard in bench.shards(job_id)} == {2}


def test_a_job_of_several_models_is_handed_them_in_the_specs_order(bench: Bench) -> None:
    other, third = bench.add_model(), bench.add_model()
    job = bench.wait(bench.submit_transferability(third, bench.model_id, other), "succeeded")
    assert job.shards_total == 3 * (1 + 2) * 2
    assert job.summary == {"models": 3, "samples": 3 * (1 + 2) * 64, "reliable": True}


Assemble = Callable[[Sequence[ShardOutputRef]], Assembled]


@pytest.fixture
def ending(database: Database, submit: Callable[..., Job], tmp_path: Path) -> Job:
    """A job whose shards are all done; each has found `b"found"`."""
    job, blob = submit(), FileBlobs(tmp_path).put(b"found")
    for shard in shards_of(database, job):
        finish_one(database, claim_one(database, shard), blob=blob)
    return job


@pytest.fixture
def finalise(database: Database, tmp_path: Path) -> Callable[[Finalisation, Assemble], None]:
    """Finalise with this as what puts the results together, under a lease of a second."""
    settings = Settings(database_url=database.url, lease_seconds=1, heartbeat_seconds=0.05)

    def finalise(begun: Finalisation, assemble: Assemble) -> None:
        def from_outputs(_spec: Any, _models: Any, outputs: Sequence[ShardOutputRef], **_: Any) -> Assembled:
            return assemble(outputs)

        execution = cast(Execution, SimpleNamespace(assemble=from_outputs))
        conclude(Workplace(settings, database, FileBlobs(tmp_path), execution, "test"), begun)

    return finalise


def test_a_finalisation_that_outlasts_its_lease_keeps_it(
    database: Database, ending: Job, finalise: Callable[[Finalisation, Assemble], None]
) -> None:
    def until_when() -> Any:
        with database.session() as session:
            return session.get_one(Job, ending.id).finalising_until

    def take_two_leases(_: Sequence[ShardOutputRef]) -> Assembled:
        first = until_when()
        until(lambda: until_when() > first + timedelta(seconds=1))
        with database.session() as session:
            assert begin_finalise(session, ending.id, lease_seconds=60, max_attempts=9) is None
        return Assembled([])

    finalise(begin(database, ending, lease_seconds=1), take_two_leases)
    assert state_of(database, ending) == "succeeded"


def test_a_finalisation_stops_at_its_next_output_when_another_has_taken_its_place(
    database: Database, ending: Job, finalise: Callable[[Finalisation, Assemble], None]
) -> None:
    others: list[Finalisation] = []
    stops: list[StopRequested] = []

    def lose_the_lease(outputs: Sequence[ShardOutputRef]) -> Assembled:
        assert outputs[0].read() == b"found"
        with database.session() as session:
            session.execute(update(Job).values(finalising_until=func.now() - timedelta(seconds=1)))
            other = begin_finalise(session, ending.id, lease_seconds=60, max_attempts=9)
            assert other is not None
            others.append(other)
        with pytest.raises(StopRequested) as stop:
            until(lambda: outputs[0].read() != b"found")
        stops.append(stop.value)
        raise stop.value

    finalise(begin(database, ending, lease_seconds=1), lose_the_lease)
    assert len(stops) == 1
    with database.session() as session:
        job = session.get_one(Job, ending.id)
        assert (job.state, job.finalise_attempts) == ("running", 2)
        assert complete(session, others[0], Assembled([]), replicates={})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RefusedError("no"), "refused"),
        (SoftTimeLimitExceeded(), "finalise_timeout"),
        (ValueError("boom"), "internal_error"),
    ],
)
def test_a_finalisation_that_fails_says_why(
    database: Database,
    ending: Job,
    finalise: Callable[[Finalisation, Assemble], None],
    error: Exception,
    code: str,
) -> None:
    def refuse(_: Sequence[ShardOutputRef]) -> Assembled:
        raise error

    finalise(begin(database, ending), refuse)
    with database.session() as session:
        failed = session.get_one(Job, ending.id)
    assert failed.error is not None
    assert (failed.state, failed.error["code"]) == ("failed", code)


def test_a_finalisation_that_cannot_reach_the_store_is_left_for_later(
    database: Database, ending: Job, finalise: Callable[[Finalisation, Assemble], None]
) -> None:
    def reach(_: Sequence[ShardOutputRef]) -> Assembled:
        raise BlobStoreUnavailableError("away")

    finalise(begin(database, ending), reach)
    assert state_of(database, ending) == "running"
    finalise(begin(database, ending), lambda _: Assembled([]))
    assert state_of(database, ending) == "succeeded"


def test_what_runs_beside_the_pool_processes_never_imports_torch() -> None:
    modules = "worker.cli, worker.app, worker.tasks, worker.finalising, worker.studies, worker.relay, worker.supervisor"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
