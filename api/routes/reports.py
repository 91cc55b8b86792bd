"""Reports: a verdict's page, kept as it was decided, for people who have its link and no key."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.auth import Reader, Submitter
from api.paging import Cursor, Limit, Page, newest
from api.problems import ProblemError
from api.routes.verdicts import VerdictRequest, judge, measured_at
from api.state import State, Transaction
from api.views.reports import PublishedView, ReportView
from core.gates.rendering import MEDIA_TYPES, badge, page
from core.store.reports import find_report, live_reports, publish, withdraw
from core.store.tables import Report

router = APIRouter(tags=["reports"])

HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}
"""The address is a secret and the page another repository's text: neither is to get anywhere from here."""

GONE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"/><title>No report</title></head>
<body>
<h1>There is no report here</h1>
<p>The address is not complete, or the report has expired or was withdrawn. The gate makes a new one when it is run \
again.</p>
</body>
</html>
"""


class ReportRequest(VerdictRequest):
    """What to decide on which evaluation, and for how long to keep what is said of it."""

    job: UUID = Field(description="An evaluation that has succeeded.")
    days: int = Field(default=90, ge=1, le=3650, description="The report is deleted after so many.")


@router.post("/v1/reports", status_code=201)
def publish_report(
    request: ReportRequest, state: State, session: Transaction, principal: Submitter
) -> PublishedView:
    """Decide as `POST /v1/jobs/{id}/verdict` does, and keep the page and the badge of that for whoever has the link.

    They stay as they are, whatever is measured or set later. An evaluation has 20 reports at most: with the next one
    the oldest ends.
    """
    found = measured_at("job", session, state.blobs, request.job)
    said = judge(session, state.blobs, found, request)
    row, token = publish(
        session,
        request.job,
        status=said.verdict.status,
        page=page(said.verdict, said.context),
        badge=badge(said.verdict),
        days=request.days,
        key_id=principal.key_id,
    )
    return PublishedView.told(row, f"{state.settings.public_url.rstrip('/')}/r/{token}")


@router.get("/v1/reports")
def list_them(
    session: Transaction,
    _: Reader,
    job: Annotated[UUID | None, Query(description="Only those on this evaluation.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[ReportView]:
    """Reports that are kept, newest first, without their addresses."""
    rows, following = newest(session, live_reports(job), Report.id, cursor=cursor, limit=limit)
    return Page(items=[ReportView.of(row) for row in rows], next_cursor=following)


@router.delete("/v1/reports/{report_id}", status_code=204)
def withdraw_report(report_id: UUID, session: Transaction, _: Submitter) -> None:
    """Withdraw a report: its link leads nowhere from now on."""
    if not withdraw(session, report_id):
        raise ProblemError(HTTPStatus.NOT_FOUND, "report_not_found", f"there is no report {report_id}")


@router.get("/r/{token}", response_class=Response, responses={200: {"content": {"text/html": {}}}})
def read(token: str, session: Transaction) -> Response:
    """A report's page; needs no key, for the address is one. 404 as a page where there is none, or none any more."""
    row = find_report(session, token)
    return _gone() if row is None else _file(row.page, MEDIA_TYPES["html"])


@router.get(
    "/r/{token}/badge.svg", response_class=Response, responses={200: {"content": {"image/svg+xml": {}}}}
)
def read_badge(token: str, session: Transaction) -> Response:
    """The badge of a report's verdict."""
    row = find_report(session, token)
    return _gone() if row is None else _file(row.badge, MEDIA_TYPES["badge"])


def _file(text: str, media_type: str) -> Response:
    return Response(text, media_type=media_type, headers=HEADERS)


def _gone() -> Response:
    return Response(GONE, HTTPStatus.NOT_FOUND, media_type=MEDIA_TYPES["html"], headers=HEADERS)
