"""Working on a shard: claim it, keep the lease alive, end it once. Every end is fenced by the lease's token.

A worker that was silent for too long holds a token that no row has any more: what it brings is dropped.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.jobs import events, outbox
from core.jobs.progress import (
    NOW,
    announce,
    interval,
    lock_job,
    move_job,
    move_shard,
    ready,
    requeue,
    requeue_or_fail,
    settle_cancel,
)
from core.jobs.states import JOB_OPEN, Urgency, shards_before
from core.store.tables import Job, Shard, ShardResult

log = logging.getLogger(__name__)

LeaseState = Literal["held", "cancelled", "lost"]


@dataclass(frozen=True, slots=True)
class Input:
    """What the shard that this one waited for has found: its result's key and blob."""

    key: str
    blob: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A shard that is this worker's until the lease ends.

    Attributes:
        model_ids: the job's models, in the spec's order.
        input: None for a shard that waits for no other.
    """

    shard_id: UUID
    job_id: UUID
    token: UUID
    attempt: int
    kind: str
    spec: dict[str, Any]
    payload: dict[str, Any]
    model_ids: tuple[UUID, ...]
    input: Input | None


def claim(session: Session, shard_id: UUID, *, worker: str, lease_seconds: float) -> Claim | None:
    """Take a queued shard; None if it is not to be had: taken, done, waiting, or its job over or being cancelled.

    The UPDATE decides; the job's lock before it keeps a concurrent cancel from missing the shard.
    """
    job = session.scalar(
        select(Job)
        .join(Shard, Shard.job_id == Job.id)
        .where(Shard.id == shard_id)
        .with_for_update(key_share=True, of=Job)
        .execution_options(populate_existing=True)
    )
    if job is None or job.cancel_requested or job.state not in JOB_OPEN:
        return None
    token = uuid4()
    lease = {"lease_token": token, "lease_expires_at": NOW + interval(lease_seconds), "worker": worker}
    row = session.execute(
        update(Shard)
        .where(
            Shard.id == shard_id, Shard.state == "queued", Shard.state.in_(shards_before("running")), ready()
        )
        .values(state="running", attempt=Shard.attempt + 1, started_at=NOW, **lease)
        .returning(Shard.attempt, Shard.payload, Shard.after)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    if job.state == "queued":
        move_job(job, "running")
        announce(session, job, {"worker": worker})
    return Claim(
        shard_id=shard_id,
        job_id=job.id,
        token=token,
        attempt=row.attempt,
        kind=job.kind,
        spec=job.spec,
        payload=row.payload,
        model_ids=tuple(job.model_ids),
        input=None if row.after is None else _input(session, job, row.after),
    )


def renew(session: Session, claim: Claim, lease_seconds: float) -> LeaseState:
    """Extend the lease; "cancelled" when the job no longer wants the shard, "lost" when it is another's."""
    unwanted = (
        select(or_(Job.cancel_requested, Job.state != "running"))
        .where(Job.id == claim.job_id)
        .scalar_subquery()
    )
    row = session.execute(
        update(Shard)
        .where(*_fence(claim))
        .values(lease_expires_at=NOW + interval(lease_seconds))
        .returning(unwanted)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return "lost"
    return "cancelled" if row[0] else "held"


def find_result(session: Session, key: str) -> ShardResult | None:
    """What an earlier shard with the same key has found."""
    return session.get(ShardResult, key)


def finish(
    session: Session,
    claim: Claim,
    *,
    result_key: str,
    blob: str,
    samples: int,
    cost: Mapping[str, Any],
    code_version: str,
    reused: bool,
    lost_blob: str | None = None,
) -> bool:
    """The shard succeeded; False, and nothing is written, if the lease is no longer this worker's.

    Shards that waited for this one are rung for; the last shard of a job rings for its finalisation.

    A key that already has another blob keeps it, unless that is `lost_blob`: one that the store has no more.
    """
    job, shard = held(session, claim)
    if job is None or shard is None:
        return False
    result = {
        "key": result_key,
        "blob": blob,
        "samples": samples,
        "cost": dict(cost),
        "code_version": code_version,
    }
    _keep(session, result, lost_blob=lost_blob)
    shard.result_key, shard.reused, shard.error = result_key, reused, None
    move_shard(shard, "succeeded")
    _progress(session, job, shard)
    _ring_waiting(session, shard)
    settle_cancel(session, job)
    return True


def fail(session: Session, claim: Claim, *, code: str, message: str, retry: bool, max_attempts: int) -> bool:
    """The shard did not succeed: queued again if `retry` and attempts are left, else the job fails so.

    False if the lease is no longer this worker's.
    """
    job, shard = held(session, claim)
    if job is None or shard is None:
        return False
    error = {"code": code, "message": message}
    requeue_or_fail(session, job, shard, error=error, retry=retry, max_attempts=max_attempts)
    return True


def release(session: Session, claim: Claim, *, urgency: Urgency = Urgency.RESUMED) -> bool:
    """The worker is asked to stop: the shard is queued again and the attempt does not count.

    False if the lease is no longer this worker's. With ORDINARY urgency, others have their turn first.
    """
    job, shard = held(session, claim)
    if job is None or shard is None:
        return False
    if job.cancel_requested or job.state != "running":
        move_shard(shard, "cancelled")
        settle_cancel(session, job)
    else:
        shard.attempt -= 1
        requeue(session, shard, urgency=urgency)
    return True


def held(session: Session, claim: Claim) -> tuple[Job | None, Shard | None]:
    """Job and shard, locked, if the lease is still this worker's."""
    job = lock_job(session, claim.job_id)
    statement = select(Shard).where(*_fence(claim)).with_for_update(key_share=True)
    return job, session.scalar(statement.execution_options(populate_existing=True))


def _fence(claim: Claim) -> tuple[Any, ...]:
    return Shard.id == claim.shard_id, Shard.lease_token == claim.token, Shard.state == "running"


def _keep(session: Session, result: dict[str, Any], *, lost_blob: str | None) -> None:
    """Store what a key gives. What it gave first stays: jobs that have ended and shards that waited have read it."""
    session.execute(insert(ShardResult).values(result).on_conflict_do_nothing())
    same_key = select(ShardResult).where(ShardResult.key == result["key"]).with_for_update(key_share=True)
    stored = session.scalars(same_key.execution_options(populate_existing=True)).one()
    if stored.blob == result["blob"]:
        return
    log.warning(
        "result %s is not deterministic: blob %s is stored, blob %s was found",
        stored.key,
        stored.blob,
        result["blob"],
    )
    if stored.blob == lost_blob:
        for name, value in result.items():
            setattr(stored, name, value)


def _input(session: Session, job: Job, ordinal: int) -> Input:
    """What a shard that has succeeded found."""
    statement = (
        select(ShardResult.key, ShardResult.blob)
        .join(Shard, Shard.result_key == ShardResult.key)
        .where(Shard.job_id == job.id, Shard.ordinal == ordinal)
    )
    return Input(*session.execute(statement).one())


def _ring_waiting(session: Session, shard: Shard) -> None:
    """Ring for the shards that wait for this one, as far as their job still wants them."""
    waiting = Shard.job_id == shard.job_id, Shard.after == shard.ordinal, Shard.state == "queued"
    released = session.scalars(select(Shard.id).where(*waiting)).all()
    outbox.ring(session, "shard", released, urgency=Urgency.RESUMED)


def _progress(session: Session, job: Job, shard: Shard) -> None:
    if job.state != "running":
        return
    job.shards_done += 1
    job.work_done += shard.work - shard.kept
    job.version += 1
    done = {"shards_done": job.shards_done, "shards_total": job.shards_total}
    work = {"work_done": job.work_done, "work_total": job.work_total}
    data = {"ordinal": shard.ordinal, "reused": shard.reused, **done, **work}
    events.record(session, job.id, "shard.succeeded", data)
    if job.shards_done == job.shards_total and not job.cancel_requested:
        outbox.ring(session, "finalise", [job.id], urgency=Urgency.URGENT)
