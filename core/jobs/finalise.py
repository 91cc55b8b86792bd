"""The end of a job: all shards are done, and what they found becomes its results, once.

A worker finalises under a lease that it renews while it works, and writes under the lease's token: one that was silent
for too long finds that another has taken its place, and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.jobs.leases import LeaseState
from core.jobs.progress import NOW, announce, fail_locked_job, interval, lock_job, move_job
from core.jobs.reliability import Flag, reliable
from core.store.tables import Job, Model, Result, Shard, ShardResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalisation:
    """A job that is this worker's to finalise until the lease ends.

    Attributes:
        found: its shards in order, with what they found.
    """

    job_id: UUID
    token: UUID
    found: Sequence[tuple[Shard, ShardResult]]


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
    session: Session, job_id: UUID, *, lease_seconds: float, max_attempts: int
) -> Finalisation | None:
    """Take a job whose shards are all done, to finalise it.

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
    token = uuid4()
    job.finalise_attempts += 1
    job.finalising_token, job.finalising_until = token, NOW + interval(lease_seconds)
    statement = (
        select(Shard, ShardResult)
        .join(ShardResult, ShardResult.key == Shard.result_key)
        .where(Shard.job_id == job_id)
        .order_by(Shard.ordinal)
    )
    found = [(shard, result) for shard, result in session.execute(statement)]
    return Finalisation(job_id=job.id, token=token, found=found)


def renew_finalise(session: Session, begun: Finalisation, lease_seconds: float) -> LeaseState:
    """Extend the lease; "lost" when it is another's, or the job is over."""
    held = session.scalar(
        update(Job)
        .where(Job.id == begun.job_id, Job.finalising_token == begun.token)
        .values(finalising_until=NOW + interval(lease_seconds))
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return "lost" if held is None else "held"


def abandon_finalise(session: Session, begun: Finalisation) -> bool:
    """Let another worker finalise the job: this one is asked to stop, and the attempt does not count.

    False if the lease is no longer this worker's.
    """
    job = held_job(session, begun)
    if job is None:
        return False
    job.finalising_token = job.finalising_until = None
    job.finalise_attempts -= 1
    return True


def fail_finalise(session: Session, begun: Finalisation, *, code: str, message: str) -> bool:
    """End the job with an error; False if the lease is no longer this worker's."""
    job = held_job(session, begun)
    if job is None:
        return False
    fail_locked_job(session, job, error={"code": code, "message": message})
    return True


def complete(
    session: Session, begun: Finalisation, found: Assembled, *, replicates: Mapping[int, str]
) -> bool:
    """Write what the job found and end it; False, and nothing is written, if the lease is no longer this worker's.

    `replicates` are the digests of the rows' replicates in the blob store, by ordinal.
    """
    job = held_job(session, begun)
    if job is None:
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
    end_well(session, job)
    return True


def complete_model_check(
    session: Session,
    begun: Finalisation,
    *,
    parameters: int,
    facts: Mapping[str, Any],
    manifest: Mapping[str, Any],
    weights: str,
) -> bool:
    """End a model's check: the model is ready. False if the lease is no longer this worker's.

    Args:
        session: the transaction to do it in.
        begun: whose model it is.
        parameters: how many the model has.
        facts: what else was found.
        manifest: complete, whatever the user left to the file.
        weights: digest of the safetensors file that is used from here on.
    """
    job = held_job(session, begun)
    if job is None:
        return False
    values = {
        "state": "ready",
        "reason": None,
        "parameters": parameters,
        "facts": dict(facts),
        "manifest": dict(manifest),
        "weights": weights,
        "checked_at": NOW,
    }
    session.execute(update(Model).where(Model.id == job.model_id).values(values))
    end_well(session, job)
    return True


def complete_study(session: Session, begun: Finalisation, summary: Mapping[str, Any]) -> bool:
    """Write what a study shows and end it. False if the lease is no longer this worker's."""
    job = held_job(session, begun)
    if job is None:
        return False
    job.summary = dict(summary)
    end_well(session, job)
    return True


def held_job(session: Session, begun: Finalisation) -> Job | None:
    """The job, locked, if the lease is still this worker's; a job that is over has none. For what ends jobs."""
    job = lock_job(session, begun.job_id)
    return None if job is None or job.finalising_token != begun.token else job


def end_well(session: Session, job: Job) -> None:
    """End a locked job whose results are written."""
    move_job(job, "succeeded")
    announce(session, job, {"shards_total": job.shards_total})
