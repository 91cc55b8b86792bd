"""The end of a job: all shards are done, and what they found becomes its results, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.jobs import events
from core.jobs.progress import NOW, fail_locked_job, interval, lock_job, move_job
from core.jobs.reliability import Flag, reliable
from core.store.tables import Job, Model, Result, Shard, ShardResult

FINALISE_SECONDS = 300
"""One worker at a time finalises a job; after this many seconds another may try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One row of a job's results.

    Attributes:
        ordinal: position of the attack in the spec; -1 is the clean pass.
        attack: the attack as JSON; None for the clean pass.
        metrics: `{task: {metric: value}}`.
        task_arp: ARP by task in percent; None for the clean pass.
        arp: the mean over tasks.
        samples: how many samples were measured.
        cost: forward and backward passes, seconds.
        arp_8bit: the mean over tasks of the images rounded to 8 bits.
        intervals: `{"arp": [low, high], "tasks": {task: [low, high]}, "metrics": {task: {metric: [low, high]}}}`, each
            null where there is none.
        flags: what a reader should know about the numbers, see `core.jobs.reliability`.
        replicates: the bootstrap's, as `core.intervals.Replicates` writes them.
    """

    ordinal: int
    attack: dict[str, Any] | None
    metrics: Mapping[str, Any]
    task_arp: Mapping[str, float | None] | None
    arp: float | None
    samples: int
    cost: Mapping[str, Any]
    arp_8bit: float | None = None
    intervals: Mapping[str, Any] | None = None
    flags: Sequence[Flag] = ()
    replicates: bytes | None = None


@dataclass(frozen=True, slots=True)
class Assembled:
    """What a job found.

    Attributes:
        rows: an evaluation's results; a transferability job has none.
        summary: what is not one attack's, as JSON; its `flags`, if any, are about everything.
    """

    rows: Sequence[ResultRow]
    summary: Mapping[str, Any] = field(default_factory=dict)


def begin_finalise(
    session: Session, job_id: UUID, *, max_attempts: int = 3
) -> list[tuple[Shard, ShardResult]] | None:
    """The shards in order with what they found, if this worker is to finalise the job now.

    None when there is nothing to do: shards are missing, the job is over, or another worker is at it. A job
    whose finalisation was begun `max_attempts` times and never ended fails with code "worker_lost".
    """
    job = lock_job(session, job_id)
    if job is None or job.state != "running" or job.cancel_requested or job.shards_done < job.shards_total:
        return None
    if job.finalising_until is not None and session.scalar(select(job.finalising_until > NOW)):
        return None
    if job.finalise_attempts >= max_attempts:
        message = f"the worker was lost {max_attempts} times while it put the results together"
        fail_locked_job(session, job, error={"code": "worker_lost", "message": message})
        return None
    job.finalise_attempts += 1
    job.finalising_until = NOW + interval(FINALISE_SECONDS)
    statement = (
        select(Shard, ShardResult)
        .join(ShardResult, ShardResult.key == Shard.result_key)
        .where(Shard.job_id == job_id)
        .order_by(Shard.ordinal)
    )
    return [(shard, result) for shard, result in session.execute(statement)]


def abandon_finalise(session: Session, job_id: UUID) -> None:
    """Let another worker finalise the job: this one is asked to stop, and the attempt does not count."""
    job = lock_job(session, job_id)
    if job is not None and job.state == "running" and job.finalising_until is not None:
        job.finalising_until = None
        job.finalise_attempts -= 1


def complete(session: Session, job_id: UUID, found: Assembled, *, replicates: Mapping[int, str]) -> bool:
    """Write what a job found and end it; False if it is not running any more.

    `replicates` are the digests of the rows' replicates in the blob store, by ordinal.
    """
    job = lock_job(session, job_id)
    if job is None or job.state != "running":
        return False
    flags = [found.summary.get("flags", ()), *(row.flags for row in found.rows)]
    job.summary = {**found.summary, "reliable": reliable(*flags)}
    session.add_all(
        Result(
            job_id=job.id,
            ordinal=row.ordinal,
            attack=row.attack,
            metrics=dict(row.metrics),
            task_arp=None if row.task_arp is None else dict(row.task_arp),
            arp=row.arp,
            arp_8bit=row.arp_8bit,
            intervals=None if row.intervals is None else dict(row.intervals),
            samples=row.samples,
            cost=dict(row.cost),
            flags=[dict(flag) for flag in row.flags],
            replicates=replicates.get(row.ordinal),
        )
        for row in found.rows
    )
    _succeed(session, job)
    return True


def complete_model_check(
    session: Session, job_id: UUID, *, parameters: int, facts: Mapping[str, Any]
) -> bool:
    """End a model's check: the model is ready. False if the job is not running any more."""
    job = lock_job(session, job_id)
    if job is None or job.state != "running":
        return False
    values = {
        "state": "ready",
        "reason": None,
        "parameters": parameters,
        "facts": dict(facts),
        "checked_at": NOW,
    }
    session.execute(update(Model).where(Model.id == job.model_id).values(values))
    _succeed(session, job)
    return True


def _succeed(session: Session, job: Job) -> None:
    move_job(job, "succeeded")
    job.finalising_until = None
    events.record(session, job.id, "job.succeeded", {"shards_total": job.shards_total})
