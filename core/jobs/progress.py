"""How jobs and shards move through their states. Whoever changes either holds the job's row lock."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from core.jobs import events, outbox
from core.jobs.states import (
    JOB_OPEN,
    JOB_TRANSITIONS,
    SHARD_TRANSITIONS,
    JobState,
    ShardState,
    Urgency,
    shards_before,
)
from core.store.tables import Job, Model, Shard

NOW = func.clock_timestamp()
"""The database's clock, not the transaction's start: a transaction may have waited for a lock."""


REASON = ("code", "message")


def lock_job(session: Session, job_id: UUID, *, skip_locked: bool = False) -> Job | None:
    """The job as it is now, locked against every other change until this transaction ends."""
    statement = select(Job).where(Job.id == job_id).with_for_update(key_share=True, skip_locked=skip_locked)
    return session.scalar(statement.execution_options(populate_existing=True))


def move_job(job: Job, state: JobState) -> None:
    """Change the state of a locked job, and with it version and times; nobody finalises one that is over."""
    assert state in JOB_TRANSITIONS[_job_state(job)], f"no job goes from {job.state} to {state}"
    job.state = state
    job.version += 1
    if state == "running":
        job.started_at = NOW
    else:
        job.finished_at = NOW
        job.finalising_token = job.finalising_until = None


def announce(session: Session, job: Job, data: Mapping[str, Any]) -> None:
    """Tell of a locked job's new state: an event, and a bell for the study that it is a part of.

    The study's own row is left alone: whoever locks both locks the study first.
    """
    events.record(session, job.id, events.ENTERED[_job_state(job)], data)
    if job.study_id is not None:
        outbox.ring(session, "study", [job.study_id], urgency=Urgency.URGENT)


def move_shard(shard: Shard, state: ShardState) -> None:
    """Change the state of a shard of a locked job and end its lease."""
    assert state in SHARD_TRANSITIONS[_shard_state(shard)], f"no shard goes from {shard.state} to {state}"
    shard.state = state
    shard.lease_token = shard.lease_expires_at = None
    if state != "queued":
        shard.finished_at = NOW


def requeue(session: Session, shard: Shard, *, urgency: Urgency = Urgency.RESUMED) -> None:
    """Put a running shard back into the queue and ring its bell: it came in its turn, and need not wait for another."""
    move_shard(shard, "queued")
    session.flush()
    outbox.ring(session, "shard", [shard.id], urgency=urgency)


def requeue_or_fail(
    session: Session, job: Job, shard: Shard, *, error: dict[str, Any], retry: bool, max_attempts: int
) -> None:
    """A running shard did not succeed: again, if that may help, or else the job fails with this error.

    Nothing is tried again for a job that is being cancelled or is over.
    """
    shard.error = error
    if job.cancel_requested or job.state != "running":
        move_shard(shard, "cancelled")
        settle_cancel(session, job)
    elif retry and shard.attempt < max_attempts:
        requeue(session, shard)
        job.version += 1
        data = {
            "ordinal": shard.ordinal,
            "attempt": shard.attempt,
            "max_attempts": max_attempts,
            "error": error,
        }
        events.record(session, job.id, "shard.retried", data)
    else:
        move_shard(shard, "failed")
        detail = {"shard": shard.ordinal, "attempt": shard.attempt, "payload": shard.payload}
        fail_locked_job(session, job, error={**error, "detail": detail})


def fail_locked_job(session: Session, job: Job, *, error: dict[str, Any]) -> None:
    """End a running job with an error: queued shards are cancelled, running ones notice by heartbeat."""
    job.error = error
    move_job(job, "failed")
    cancel_queued(session, job)
    reject_model(session, job, error)
    announce(session, job, {"error": error})


def cancel_queued(session: Session, job: Job) -> None:
    """Cancel the shards of a locked job that nobody has started."""
    session.flush()
    session.execute(
        update(Shard)
        .where(Shard.job_id == job.id, Shard.state == "queued", Shard.state.in_(shards_before("cancelled")))
        .values(state="cancelled", finished_at=NOW)
        .execution_options(synchronize_session=False)
    )


def settle_cancel(session: Session, job: Job) -> None:
    """Call a locked job cancelled if that was asked for and nothing of it runs any more."""
    session.flush()
    if not job.cancel_requested or not JOB_TRANSITIONS[_job_state(job)] or _any_running(session, job.id):
        return
    move_job(job, "cancelled")
    reject_model(session, job, {"code": "cancelled", "message": "the check was cancelled; ask for another"})
    announce(session, job, {})


def reject_model(session: Session, job: Job, reason: dict[str, Any]) -> None:
    """If the job was a model's check, the model is rejected for this reason."""
    if job.kind == "model_check":
        session.execute(
            update(Model)
            .where(Model.id == job.model_id, Model.state == "checking")
            .values(
                state="rejected", checked_at=NOW, reason={key: reason[key] for key in ("code", "message")}
            )
        )


def ready() -> ColumnElement[bool]:
    """In a query on `Shard`: whether it waits for no other, or no longer."""
    other = aliased(Shard)
    awaited = other.job_id == Shard.job_id, other.ordinal == Shard.after
    return or_(Shard.after.is_(None), exists().where(*awaited, other.state == "succeeded"))


def interval(seconds: float) -> ColumnElement[Any]:
    """A duration in SQL."""
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _any_running(session: Session, job_id: UUID) -> bool:
    """Whether a worker is at one of the job's shards, or one of its parts is still open."""
    shard = exists().where(Shard.job_id == job_id, Shard.state == "running")
    part = exists().where(Job.study_id == job_id, Job.state.in_(JOB_OPEN))
    return bool(session.scalar(select(or_(shard, part))))


def _job_state(job: Job) -> JobState:
    return job.state  # type: ignore[return-value]  # the CHECK on the column says so


def _shard_state(shard: Shard) -> ShardState:
    return shard.state  # type: ignore[return-value]  # likewise
