"""Cancelling a job: a flag at once, the state when nothing of it runs any more."""

from uuid import UUID

from sqlalchemy.orm import Session

from core.jobs import events
from core.jobs.errors import JobNotFoundError
from core.jobs.progress import cancel_queued, lock_job, settle_cancel
from core.jobs.states import JOB_FINAL
from core.store.tables import Job


def cancel(session: Session, job_id: UUID) -> Job:
    """Ask for a job to stop. Queued shards are cancelled now; running ones notice at their next heartbeat.

    A job that is over stays as it is, and asking twice is the same as asking once.

    Raises:
        JobNotFoundError: there is no such job.
    """
    job = lock_job(session, job_id)
    if job is None:
        raise JobNotFoundError(job_id)
    if job.state in JOB_FINAL or job.cancel_requested:
        return job
    job.cancel_requested = True
    job.version += 1
    events.record(session, job.id, "job.cancelling", {})
    cancel_queued(session, job)
    settle_cancel(session, job)
    session.flush()
    session.refresh(job)
    return job
