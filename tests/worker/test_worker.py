import os
import signal
import subprocess
import sys

import pytest
from celery import Celery
from sqlalchemy import select

from core.jobs.cancel import cancel
from core.jobs.submission import submit_model_check
from core.store.blobs import BlobStore
from core.store.tables import Model, Result
from tests.worker.bench import ROOT, Bench, until
from worker.app import FINALISE_TASK, SHARD_TASK, URGENT, configure
from worker.supervisor import Stack
from worker.tasks import exits_unmasked


def test_a_job_runs_to_its_results(bench: Bench) -> None:
    job_id = bench.submit()
    job = bench.wait(job_id, "succeeded")
    assert (job.shards_done, job.work_done) == (job.shards_total, job.work_total)
    with bench.database.session() as session:
        rows = session.scalars(select(Result).where(Result.job_id == job_id).order_by(Result.ordinal)).all()
    assert [(row.ordinal, row.samples) for row in rows] == [(-1, 64), (0, 64)]
    assert rows[0].metrics == {"left": {"accuracy": None}}
    digests = [row.replicates for row in rows]
    blobs = BlobStore(bench.settings.blob_dir)
    assert [blobs.read(digest or "") for digest in digests] == [b"replicates of -1", b"replicates of 0"]
    assert job.summary == {"reliable": True}


def test_work_that_was_done_before_is_not_done_again(bench: Bench) -> None:
    bench.wait(bench.submit(eps=3), "succeeded")
    before = bench.runs()
    again = bench.submit(eps=3)
    bench.wait(again, "succeeded")
    assert bench.runs() == before
    assert all(shard.reused for shard in bench.shards(again))


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


def test_rogue_messages_about_shards_that_wait_start_nothing(bench: Bench, stack: Stack) -> None:
    bench.behave("block")
    job_id = bench.submit(algorithm="auto_mta")
    with Celery(broker=stack.settings.broker_url, set_as_current=False) as rogue:
        rogue.conf.update(configure(stack.settings))
        for shard in bench.shards(job_id)[-2:] * 3:
            rogue.send_task(SHARD_TASK, args=[str(shard.id)], priority=URGENT)
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


def test_what_runs_beside_the_pool_processes_never_imports_torch() -> None:
    modules = "worker.cli, worker.app, worker.tasks, worker.relay, worker.supervisor"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
