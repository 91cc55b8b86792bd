"""The end of a job: all shards are done, and what they found becomes its results, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.jobs import events
from core.jobs.progress import NOW, fail_locked_job, interval, lock_job, move_job
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
        notes: what a reader should know about the numbers.
    """

    ordinal: int
    attack: dict[str, Any] | None
    metrics: Mapping[str, Any]
    task_arp: Mapping[str, float | None] | None
    arp: float | None
    samples: int
    cost: Mapping[str, Any]
    notes: Sequence[Any] = ()


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


def complete(session: Session, job_id: UUID, results: Sequence[ResultRow]) -> bool:
    """Write an evaluation's results and end the job; False if it is not running any more."""
    job = lock_job(session, job_id)
    if job is None or job.state != "running":
        return False
    session.add_all(
        Result(
            job_id=job.id,
            ordinal=row.ordinal,
            attack=row.attack,
            metrics=dict(row.metrics),
            task_arp=None if row.task_arp is None else dict(row.task_arp),
            arp=row.arp,
            samples=row.samples,
            cost=dict(row.cost),
            notes=list(row.notes),
        )
        for row in results
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
