"""What happened to a job, in order: written in the transaction in which it happened, announced on commit."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.jobs.states import JobState
from core.store.tables import Event

EVENTS_CHANNEL = "windthrow_events"
"""NOTIFY channel; the payload is the job's id."""

EventType = Literal[
    "job.queued",
    "job.started",
    "shard.succeeded",
    "shard.retried",
    "training.progress",
    "job.succeeded",
    "job.failed",
    "job.cancelling",
    "job.cancelled",
    "part.submitted",
    "part.ended",
]

ENTERED: dict[JobState, EventType] = {
    "queued": "job.queued",
    "running": "job.started",
    "succeeded": "job.succeeded",
    "failed": "job.failed",
    "cancelled": "job.cancelled",
}
"""The event of a job that has come into a state."""


def record(session: Session, job_id: UUID, type: EventType, data: Mapping[str, Any]) -> None:  # noqa: A002 - its name
    """Write an event and wake whoever listens on `EVENTS_CHANNEL` once the transaction commits."""
    session.add(Event(job_id=job_id, type=type, data=dict(data)))
    session.flush()
    session.execute(select(func.pg_notify(EVENTS_CHANNEL, str(job_id))))


def after(session: Session, job_id: UUID, last_id: int, limit: int = 100) -> Sequence[Event]:
    """The job's events newer than `last_id`, oldest first; 0 is the beginning."""
    statement = (
        select(Event).where(Event.job_id == job_id, Event.id > last_id).order_by(Event.id).limit(limit)
    )
    return session.scalars(statement).all()
