"""Reports: rendered verdicts, each had by a token that only its publisher was told; here is its SHA-256 alone.

A row is deleted when its report is withdrawn, expires, or makes room for newer ones of its job.
"""

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from core.errors import InvalidError
from core.gates.verdict import EXIT_CODES, Overall
from core.store.tables import Report

TOKEN_BYTES = 32
MAX_OF_A_JOB = 20
"""So many reports of a job are kept; the oldest ones make room."""
MAX_PAGE_BYTES = 8 * 2**20


class ReportTooLargeError(InvalidError):
    """The verdict has too many outcomes for one page to be kept."""

    code = "report_too_large"


def publish(
    session: Session,
    job_id: UUID,
    *,
    status: Overall,
    page: str,
    badge: str,
    days: int,
    key_id: UUID | None = None,
) -> tuple[Report, str]:
    """Keep a report for so many days; returns it and its token, which is told this once.

    Args:
        session: the transaction to do it in.
        job_id: the evaluation that the verdict is on.
        status: the verdict's.
        page: HTML.
        badge: SVG.
        days: that it is kept.
        key_id: who publishes it.

    Raises:
        ReportTooLargeError: the page is larger than `MAX_PAGE_BYTES`.
    """
    size = len(page.encode())
    if size > MAX_PAGE_BYTES:
        raise ReportTooLargeError(f"the page has {size} bytes; {MAX_PAGE_BYTES} are kept at most")
    _take_turns(session, job_id)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    row = Report(token_digest=_digest(token), job_id=job_id, status=status, exit_code=EXIT_CODES[status])
    row.page, row.badge, row.key_id = page, badge, key_id
    row.expires_at = session.scalars(select(func.now() + timedelta(days=days))).one()
    session.add(row)
    session.flush()
    oldest = select(Report.id).where(Report.job_id == job_id).order_by(Report.id.desc()).offset(MAX_OF_A_JOB)
    session.execute(delete(Report).where(Report.id.in_(oldest)))
    return row, token


def find_report(session: Session, token: str) -> Report | None:
    """The report that a token is for; None where there is none, or none any more."""
    return session.scalar(live_reports().where(Report.token_digest == _digest(token)))


def live_reports(job_id: UUID | None = None) -> Select[Report]:
    """A query for reports that have not expired, of one job if said."""
    statement = select(Report).where(Report.expires_at > func.now())
    return statement if job_id is None else statement.where(Report.job_id == job_id)


def withdraw(session: Session, report_id: UUID) -> bool:
    """Delete a report; False if there is none."""
    return session.scalar(delete(Report).where(Report.id == report_id).returning(Report.id)) is not None


def forget_expired(session: Session) -> int:
    """Delete what has expired; returns how many."""
    gone = delete(Report).where(Report.expires_at <= func.now()).returning(Report.id)
    return len(session.scalars(gone).all())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _take_turns(session: Session, job_id: UUID) -> None:
    """Wait for others who publish on the job, so that it never keeps more than it may."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"reports of {job_id}", 0))))
