"""Bells to ring at the broker: written with the change that is their reason, rung by the relay afterwards."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.jobs.states import Topic, Urgency
from core.store.tables import Outbox

OUTBOX_CHANNEL = "windthrow_outbox"
"""NOTIFY channel on which the relay listens; no payload."""


def ring(
    session: Session, topic: Topic, subjects: Collection[UUID], *, urgency: Urgency = Urgency.ORDINARY
) -> None:
    """Ask for a message about each subject; one that was rung before is rung again, no less urgently than then."""
    if not subjects:
        return
    bell = insert(Outbox)
    again = {
        "sent_at": None,
        "attempts": 0,
        "created_at": func.now(),
        "urgency": func.least(Outbox.urgency, bell.excluded.urgency),
    }
    statement = bell.on_conflict_do_update(index_elements=["topic", "subject"], set_=again)
    session.execute(
        statement, [{"topic": topic, "subject": subject, "urgency": urgency} for subject in subjects]
    )
    session.execute(select(func.pg_notify(OUTBOX_CHANNEL, "")))


def pending(session: Session, limit: int = 100) -> Sequence[Outbox]:
    """Unsent rows, first to be sent first, locked for this transaction; rows that another relay holds are left out."""
    statement = (
        select(Outbox).where(Outbox.sent_at.is_(None)).order_by(Outbox.urgency, Outbox.id).limit(limit)
    )
    return session.scalars(statement.with_for_update(skip_locked=True)).all()


def mark_sent(session: Session, ids: Collection[int]) -> None:
    """Note that the broker has taken the messages: all at one time, in which equally urgent ones were sent by id."""
    session.execute(
        update(Outbox)
        .where(Outbox.id.in_(ids))
        .values(sent_at=func.statement_timestamp(), attempts=Outbox.attempts + 1)
        .execution_options(synchronize_session=False)
    )
