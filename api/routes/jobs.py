"""Jobs: submitted, watched, cancelled. What they found is in `results`."""

import re
from collections.abc import AsyncIterator
from datetime import datetime
from http import HTTPStatus
from time import monotonic
from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.auth import Reader, Submitter
from api.idempotency import IdempotencyKey, answer_once
from api.paging import Cursor, Limit, Page, newest
from api.state import AppState, State, Transaction
from api.text import Line
from core.jobs import events
from core.jobs.cancel import cancel
from core.jobs.errors import JobNotFoundError
from core.jobs.states import JOB_FINAL, JobKind, JobState
from core.jobs.submission import submit_evaluation
from core.specs.documents import EvaluationSpec
from core.store.tables import Event, Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_WAIT_SECONDS = 60.0
STREAM_SECONDS = 600.0
"""An event stream ends after this long; the client resumes it with Last-Event-ID."""
WAIT = re.compile(r"\bwait=(\d{1,9})\b")


class EvaluationRequest(EvaluationSpec):
    """An evaluation, and optionally the caller's own name for it."""

    client_ref: Line | None = Field(
        default=None,
        description="Submitting the same spec under the same name again returns the job that already has it.",
    )

    @property
    def spec(self) -> EvaluationSpec:
        """The evaluation by itself."""
        return EvaluationSpec.model_validate(self.model_dump(exclude={"client_ref"}))


class ProgressView(BaseModel):
    """How far a job is, by expected cost."""

    shards_done: int
    shards_total: int
    fraction: float = Field(description="0 to 1, of the expected passes through the model.")
    passes_total: float = Field(description="Expected cost: forward-backward passes of one sample.")
    eta_seconds: float | None = Field(description="None before the first shard is done and after the end.")


class JobView(BaseModel):
    """A job."""

    id: UUID
    kind: JobKind
    state: JobState
    cancel_requested: bool
    model: UUID
    client_ref: str | None
    progress: ProgressView
    error: dict[str, Any] | None = Field(description="Why it failed: code, message, and what to do.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str]
    spec: dict[str, Any]


def job_view(job: Job, now: datetime) -> JobView:
    """Describe a job at a moment of the database's clock."""
    path = f"/v1/jobs/{job.id}"
    links = {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"}
    if job.kind == "evaluation":
        links["results"] = f"{path}/results"
    return JobView(
        id=job.id,
        kind=job.kind,
        state=job.state,
        cancel_requested=job.cancel_requested,
        model=job.model_id,
        client_ref=job.client_ref,
        progress=_progress(job, now),
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links=links,
        spec=job.spec,
    )


def _progress(job: Job, now: datetime) -> ProgressView:
    fraction = min(1.0, job.work_done / job.work_total) if job.work_total else 0.0
    eta = None
    if job.started_at is not None and job.finished_at is None and fraction > 0:
        eta = (now - job.started_at).total_seconds() * (1 - fraction) / fraction
    return ProgressView(
        shards_done=job.shards_done,
        shards_total=job.shards_total,
        fraction=fraction,
        passes_total=job.work_total,
        eta_seconds=eta,
    )


@router.post("", status_code=202, response_model=JobView)
def submit(
    request: EvaluationRequest,
    state: State,
    session: Transaction,
    principal: Submitter,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Queue a job. With an Idempotency-Key or a `client_ref` it is safe to repeat; works while the broker is down."""

    def make() -> JSONResponse:
        job = submit_evaluation(
            session,
            request.spec,
            key_id=principal.key_id,
            client_ref=request.client_ref,
            shard_samples=state.settings.shard_samples,
        )
        session.flush()
        session.refresh(job)
        body = job_view(job, _now(session)).model_dump(mode="json")
        return JSONResponse(body, HTTPStatus.ACCEPTED, {"Location": f"/v1/jobs/{job.id}", "ETag": _etag(job)})

    return answer_once(session, principal.key_id, key, request.model_dump_json(), make)


@router.get("")
def list_jobs(
    session: Transaction,
    _: Reader,
    cursor: Cursor = None,
    limit: Limit = 50,
    state: Annotated[JobState | None, Query()] = None,
    kind: Annotated[JobKind | None, Query()] = None,
) -> Page[JobView]:
    """Jobs, newest first."""
    statement = select(Job)
    if state is not None:
        statement = statement.where(Job.state == state)
    if kind is not None:
        statement = statement.where(Job.kind == kind)
    rows, following = newest(session, statement, Job.id, cursor=cursor, limit=limit)
    now = _now(session)
    return Page(items=[job_view(row, now) for row in rows], next_cursor=following)


@router.get("/{job_id}", response_model=JobView, responses={304: {"description": "Nothing changed."}})
async def show(
    job_id: UUID,
    state: State,
    _: Reader,
    if_none_match: Annotated[str | None, Header()] = None,
    prefer: Annotated[str | None, Header(description="wait=30 answers once something changed.")] = None,
) -> Response:
    """A job. `Prefer: wait=n` waits up to n seconds (60 at most) until it is over or differs from If-None-Match."""
    found = WAIT.search(prefer or "")
    deadline = monotonic() + min(float(found[1]), MAX_WAIT_SECONDS) if found else 0.0
    while True:
        etag, view = await to_thread.run_sync(_snapshot, state, job_id)
        changed = if_none_match is not None and etag != if_none_match
        left = deadline - monotonic()
        if left <= 0 or changed or view.state in JOB_FINAL:
            break
        await state.hub.wait(str(job_id), left)
    headers = {"ETag": etag, "Preference-Applied": f"wait={found[1]}"} if found else {"ETag": etag}
    if etag == if_none_match:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return JSONResponse(view.model_dump(mode="json"), headers=headers)


@router.post("/{job_id}/cancel", status_code=202)
def request_cancel(job_id: UUID, session: Transaction, _: Submitter) -> JobView:
    """Ask a job to stop. It is `cancelled` once nothing of it runs any more; a job that is over stays as it is."""
    job = cancel(session, job_id)
    session.flush()
    session.refresh(job)
    return job_view(job, _now(session))


def existing_job(job_id: UUID, state: State) -> UUID:
    """The id of a job that exists.

    Raises:
        JobNotFoundError: it does not.
    """
    _snapshot(state, job_id)
    return job_id


@router.get("/{job_id}/events", response_class=EventSourceResponse)
async def stream_events(
    job_id: Annotated[UUID, Depends(existing_job)],
    request: Request,
    state: State,
    _: Reader,
    last_event_id: Annotated[int, Header(ge=0)] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """The job's events from the beginning, or after Last-Event-ID, until it is over."""
    deadline = monotonic() + STREAM_SECONDS
    while (left := deadline - monotonic()) > 0 and not await request.is_disconnected():
        batch = await to_thread.run_sync(_events_after, state, job_id, last_event_id)
        for event in batch:
            last_event_id = event.id
            data = {**event.data, "at": event.created_at.isoformat()}
            yield ServerSentEvent(id=str(event.id), event=event.type, data=data)
            if event.type.removeprefix("job.") in JOB_FINAL:
                return
        if not batch:
            await state.hub.wait(str(job_id), min(left, 15.0))


def _events_after(state: AppState, job_id: UUID, last_id: int) -> list[Event]:
    with state.database.session() as session:
        return list(events.after(session, job_id, last_id))


def _snapshot(state: AppState, job_id: UUID) -> tuple[str, JobView]:
    with state.database.session() as session:
        job = find_job(session, job_id)
        return _etag(job), job_view(job, _now(session))


def find_job(session: Session, job_id: UUID) -> Job:
    """The job of that id.

    Raises:
        JobNotFoundError: there is none.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise JobNotFoundError(job_id)
    return job


def _etag(job: Job) -> str:
    return f'"{job.version}"'


def _now(session: Session) -> datetime:
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now
