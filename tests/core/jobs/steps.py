"""What the tests do to a job: work its shards off, lose workers and bells, look at what is there."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, text, update

from core.jobs import events, outbox
from core.jobs.finalise import Finalisation, begin_finalise
from core.jobs.leases import Claim, claim, fail, finish
from core.jobs.reaper import Reaped, reap
from core.store.database import Database
from core.store.tables import Job, Outbox, Shard


def shards_of(database: Database, job: Job) -> Sequence[Shard]:
    with database.session() as session:
        return session.scalars(select(Shard).where(Shard.job_id == job.id).order_by(Shard.ordinal)).all()


def state_of(database: Database, job: Job) -> str:
    with database.session() as session:
        return session.get_one(Job, job.id).state


def events_of(database: Database, job: Job) -> list[str]:
    with database.session() as session:
        return [event.type for event in events.after(session, job.id, 0)]


def claim_one(database: Database, shard: Shard, *, lease_seconds: float = 60) -> Claim:
    with database.session() as session:
        claimed = claim(session, shard.id, worker="test", lease_seconds=lease_seconds)
    assert claimed is not None
    return claimed


def finish_one(
    database: Database,
    claimed: Claim,
    *,
    key: str | None = None,
    blob: str = "0" * 64,
    lost_blob: str | None = None,
) -> bool:
    with database.session() as session:
        return finish(
            session,
            claimed,
            result_key=key or uuid4().hex,
            blob=blob,
            samples=16,
            cost={"seconds": 1.0},
            code_version="1",
            reused=False,
            lost_blob=lost_blob,
        )


def fail_one(database: Database, claimed: Claim, *, retry: bool = True) -> bool:
    with database.session() as session:
        return fail(session, claimed, code="boom", message="it broke", retry=retry, max_attempts=2)


def rung(database: Database, topic: str) -> set[UUID]:
    with database.session() as session:
        return set(
            session.scalars(select(Outbox.subject).where(Outbox.topic == topic, Outbox.sent_at.is_(None)))
        )


def all_sent(database: Database) -> None:
    with database.session() as session:
        outbox.mark_sent(session, [row.id for row in outbox.pending(session, limit=1000)])


def work_off(database: Database, job: Job) -> None:
    for shard in shards_of(database, job):
        assert finish_one(database, claim_one(database, shard))


def begin(database: Database, job: Job, *, lease_seconds: float = 60) -> Finalisation:
    with database.session() as session:
        begun = begin_finalise(session, job.id, lease_seconds=lease_seconds, max_attempts=9)
    assert begun is not None
    return begun


def reap_now(database: Database, *, ring_after: float = 60) -> Reaped:
    with database.session() as session:
        return reap(session, max_attempts=2, ring_after=ring_after)


def expire(database: Database, claimed: Claim) -> None:
    with database.session() as session:
        past = func.now() - text("interval '1 second'")
        session.execute(update(Shard).where(Shard.id == claimed.shard_id).values(lease_expires_at=past))


def expire_finalisation(database: Database, job: Job) -> None:
    with database.session() as session:
        past = func.now() - text("interval '1 second'")
        session.execute(update(Job).where(Job.id == job.id).values(finalising_until=past))


def let_pass(database: Database, seconds: float) -> None:
    """What has happened happened so much earlier; leases last as long as before."""
    earlier: Any = text(f"interval '{seconds} seconds'")
    with database.session() as session:
        session.execute(
            update(Outbox).values(created_at=Outbox.created_at - earlier, sent_at=Outbox.sent_at - earlier)
        )
        session.execute(
            update(Shard).values(
                started_at=Shard.started_at - earlier, finished_at=Shard.finished_at - earlier
            )
        )
