"""What nobody else will notice: lost workers and lost bells. Safe to run often, and twice at once."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, false, func, literal, or_, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core.jobs import outbox
from core.jobs.progress import NOW, interval, lock_job, ready, requeue_or_fail
from core.jobs.states import JOB_OPEN, Topic, Urgency
from core.store.tables import Job, Outbox, Shard

MAX_DOUBLINGS = 10
BATCH = 100
FORGET_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Reaped:
    """How much there was to do.

    Attributes:
        studies: open ones that were looked at again, which of those that wait for long parts is no sign of a loss.
    """

    expired: int
    rung: int
    finalised: int
    studies: int


def reap(session: Session, *, max_attempts: int, ring_after: float) -> Reaped:
    """Requeue shards whose lease has expired, and ring overdue bells again.

    Args:
        session: the transaction to do it in.
        max_attempts: a shard whose worker was lost that often fails with code "worker_lost".
        ring_after: seconds after which a bell is overdue; twice as long after each further ring.
    """
    expired = _expire(session, max_attempts=max_attempts)
    session.flush()
    rung = _ring_shards(session, ring_after=ring_after)
    finalised = _ring_jobs(session, ring_after=ring_after)
    studies = _ring_studies(session, ring_after=ring_after)
    _forget(session)
    return Reaped(expired=expired, rung=rung, finalised=finalised, studies=studies)


def _expire(session: Session, *, max_attempts: int) -> int:
    overdue = Shard.state == "running", Shard.lease_expires_at < NOW
    found = session.execute(select(Shard.id, Shard.job_id).where(*overdue).limit(BATCH)).all()
    count = 0
    for shard_id, job_id in found:
        still = select(Shard).where(Shard.id == shard_id, *overdue).with_for_update(key_share=True)
        job = lock_job(session, job_id, skip_locked=True)
        shard = None if job is None else session.scalar(still.execution_options(populate_existing=True))
        if job is None or shard is None:
            continue
        message = f"worker {shard.worker} was lost in attempt {shard.attempt}"
        error = {"code": "worker_lost", "message": message}
        requeue_or_fail(session, job, shard, error=error, retry=True, max_attempts=max_attempts)
        count += 1
    return count


def _ring_shards(session: Session, *, ring_after: float) -> int:
    """Announce queued shards that are ready again, if their messages must have been lost: a backlog is no loss."""
    queued = exists().where(Shard.id == Outbox.subject, Shard.state == "queued", ready())
    lost = true() if _idle(session, ring_after) else _overtaken(session, ring_after)
    return _ring_again(session, "shard", queued, lost, _overdue(ring_after))


def _idle(session: Session, ring_after: float) -> bool:
    """Whether no shard runs, and none was begun lately: between two shards a worker is not idle."""
    running = exists().where(Shard.state == "running")
    begun = exists().where(Shard.started_at > func.now() - interval(ring_after))
    return not session.scalar(select(or_(running, begun)))


def _overtaken(session: Session, ring_after: float) -> ColumnElement[bool]:
    """Which bells were sent before another that is no more urgent, and whose shard was begun `ring_after` seconds ago.

    The broker hands out equally urgent messages in the order in which they were sent. So by then a worker had been
    handed theirs, and has had time to claim. A bell that was rung several times proves nothing: any of its messages
    may have been the one that was answered. Relays that run side by side may order a batch otherwise; then bells of
    that batch are rung twice, which is harmless.
    """
    answered = (
        select(Outbox.urgency, Outbox.sent_at, Outbox.id)
        .join(Shard, Shard.id == Outbox.subject)
        .where(Outbox.topic == "shard", Outbox.attempts == 1, Outbox.sent_at.is_not(None))
        .where(Shard.started_at > Outbox.created_at)
        .where(Shard.started_at < func.now() - interval(ring_after))
        .where(Shard.started_at > func.now() - interval(ring_after + FORGET_SECONDS))
        .order_by(Outbox.urgency, Outbox.sent_at.desc(), Outbox.id.desc())
        .ext(distinct_on(Outbox.urgency))
    )
    before = (
        (Outbox.urgency <= bell.urgency)
        & (tuple_(Outbox.sent_at, Outbox.id) < tuple_(literal(bell.sent_at), literal(bell.id)))
        for bell in session.execute(answered)
    )
    return or_(false(), *before)


def _ring_jobs(session: Session, *, ring_after: float) -> int:
    """Announce finished jobs again whose finalisation nobody has begun, or whose finaliser was lost."""
    waiting = exists().where(
        Job.id == Outbox.subject,
        Job.state == "running",
        Job.shards_done == Job.shards_total,
        or_(Job.finalising_until.is_(None), Job.finalising_until < NOW),
    )
    return _ring_again(session, "finalise", waiting, _overdue(ring_after))


def _ring_studies(session: Session, *, ring_after: float) -> int:
    """Announce open studies again, whether or not a message was lost: looking at one in vain costs nearly nothing."""
    waiting = exists().where(
        Job.id == Outbox.subject,
        Job.state.in_(JOB_OPEN),
        or_(Job.finalising_until.is_(None), Job.finalising_until < NOW),
    )
    return _ring_again(session, "study", waiting, _overdue(ring_after))


def _ring_again(session: Session, topic: Topic, *conditions: ColumnElement[bool]) -> int:
    rung = session.scalars(
        update(Outbox)
        .where(Outbox.topic == topic, *conditions)
        .values(sent_at=None, urgency=func.least(Outbox.urgency, Urgency.RESUMED))
        .returning(Outbox.id)
        .execution_options(synchronize_session=False)
    ).all()
    if rung:
        session.execute(select(func.pg_notify(outbox.OUTBOX_CHANNEL, "")))
    return len(rung)


def _overdue(ring_after: float) -> ColumnElement[bool]:
    """Sent longer ago than `ring_after` seconds, doubled for every further ring."""
    doublings = func.least(func.greatest(Outbox.attempts - 1, 0), MAX_DOUBLINGS)
    patience = interval(1) * ring_after * func.power(2, doublings)
    return Outbox.sent_at < NOW - patience


def _forget(session: Session) -> None:
    """Delete bells that have nothing left to announce, and say nothing any more about those sent before them."""
    shard_open = exists().where(Shard.id == Outbox.subject, Shard.state.in_(("queued", "running")))
    shard_begun = exists().where(
        Shard.id == Outbox.subject, Shard.started_at > func.now() - interval(FORGET_SECONDS)
    )
    job_open = exists().where(Job.id == Outbox.subject, Job.state.in_(JOB_OPEN))
    old = Outbox.sent_at < NOW - interval(FORGET_SECONDS)
    done = delete(Outbox).where(old, ~shard_open, ~shard_begun, ~job_open)
    session.execute(done.execution_options(synchronize_session=False))
