"""Cancelling a job: a flag at once, the state when nothing of it runs any more."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.jobs import events
from core.jobs.errors import JobNotFoundError
from core.jobs.progress import cancel_queued, lock_job, settle_cancel
from core.jobs.states import JOB_FINAL, JOB_OPEN
from core.store.tables import Job


def cancel(session: Session, job_id: UUID) -> Job:
    """Ask for a job to stop. Queued shards are cancelled now; running ones notice at their next heartbeat.

    A study's parts are asked with it. A job that is over stays as it is, and asking twice is the same as asking once.

    Raises:
        JobNotFoundError: there is no such job.
    """
    job = lock_job(session, job_id)
    if job is None:
        raise JobNotFoundError(job_id)
    if job.state in JOB_FINAL or job.cancel_requested:
        return job
    _flag(session, job)
    for part in _lock_parts(session, job):
        if not part.cancel_requested:
            _flag(session, part)
            _stop(session, part)
    _stop(session, job)
    session.flush()
    session.refresh(job)
    return job


def _flag(session: Session, job: Job) -> None:
    job.cancel_requested = True
    job.version += 1
    events.record(session, job.id, "job.cancelling", {})


def _stop(session: Session, job: Job) -> None:
    cancel_queued(session, job)
    settle_cancel(session, job)


def _lock_parts(session: Session, study: Job) -> Sequence[Job]:
    """The open parts of a locked study, all locked before the first one rings: whoever rings waits for no job."""
    statement = select(Job).where(Job.study_id == study.id, Job.state.in_(JOB_OPEN)).order_by(Job.id)
    locked = statement.with_for_update(key_share=True).execution_options(populate_existing=True)
    return session.scalars(locked).all()
