"""Jobs: submitted, watched, cancelled. What they found is in `results`."""

import re
from collections.abc import AsyncIterator
from datetime import datetime
from http import HTTPStatus
from time import monotonic
from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer

from api.auth import Reader, Submitter
from api.idempotency import IdempotencyKey, answer_once
from api.paging import Cursor, Limit, Page, newest
from api.state import AppState, State, Transaction
from api.views.job import JobView
from core.jobs import events
from core.jobs.cancel import cancel
from core.jobs.errors import JobNotFoundError
from core.jobs.states import JOB_FINAL, JobKind, JobState
from core.jobs.studies import submit_study
from core.jobs.submission import Submitted, submit_job
from core.specs.document import Document, Line
from core.specs.documents import EvaluationSpec, TransferabilitySpec
from core.specs.studies import StudySpec
from core.specs.trainings import TrainingSpec
from core.store.tables import Event, Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_WAIT_SECONDS = 60.0
STREAM_SECONDS = 600.0
"""An event stream ends after this long; the client resumes it with Last-Event-ID."""
WAIT = re.compile(r"\bwait=(\d{1,9})\b")


class _Named(Document):
    """Optionally, the caller's own name for the job."""

    client_ref: Line | None = Field(
        default=None,
        description="Submitting the same spec under the same name again returns the job that already has it.",
    )


class EvaluationRequest(_Named, EvaluationSpec):
    """An evaluation to queue."""

    @property
    def spec(self) -> EvaluationSpec:
        """The evaluation by itself."""
        return EvaluationSpec.model_validate(self.model_dump(exclude={"client_ref"}))


class TransferabilityRequest(_Named, TransferabilitySpec):
    """A transferability job to queue."""

    @property
    def spec(self) -> TransferabilitySpec:
        """The spec by itself."""
        return TransferabilitySpec.model_validate(self.model_dump(exclude={"client_ref"}))


class TrainingRequest(_Named, TrainingSpec):
    """A training to queue."""

    @property
    def spec(self) -> TrainingSpec:
        """The spec by itself."""
        return TrainingSpec.model_validate(self.model_dump(exclude={"client_ref"}))


class StudyRequest(_Named, StudySpec):
    """A study to queue."""

    @property
    def spec(self) -> StudySpec:
        """The spec by itself."""
        return StudySpec.model_validate(self.model_dump(exclude={"client_ref"}))


JobRequest = Annotated[
    EvaluationRequest | TransferabilityRequest | TrainingRequest | StudyRequest, Body(discriminator="kind")
]
"""A spec; `kind` says which."""

ATTACHED: dict[int | str, dict[str, Any]] = {
    200: {"model": JobView, "description": "No job was made: this one has the same `client_ref` and spec."}
}


@router.post("", status_code=202, response_model=JobView, responses=ATTACHED)
def submit(
    request: JobRequest,
    state: State,
    session: Transaction,
    principal: Submitter,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Queue a job, 202, or find the one that has its `client_ref`, 200. Works while the broker is down.

    With an Idempotency-Key a repeat is answered as the first time, and so still tells whether that made the job.
    """

    def make() -> JSONResponse:
        submitted = _submit(
            session, request, key_id=principal.key_id, shard_samples=state.settings.shard_samples
        )
        job, status = submitted.job, HTTPStatus.ACCEPTED if submitted.made else HTTPStatus.OK
        session.flush()
        session.refresh(job)
        body = JobView.of(job, _now(session)).model_dump(mode="json")
        return JSONResponse(body, status, {"Location": f"/v1/jobs/{job.id}", "ETag": _etag(job)})

    return answer_once(session, principal.key_id, key, request.model_dump_json(), make)


def _submit(session: Session, request: JobRequest, *, key_id: UUID | None, shard_samples: int) -> Submitted:
    spec, client_ref = request.spec, request.client_ref
    if isinstance(spec, StudySpec):
        return submit_study(session, spec, key_id=key_id, client_ref=client_ref, shard_samples=shard_samples)
    return submit_job(session, spec, key_id=key_id, client_ref=client_ref, shard_samples=shard_samples)


@router.get("")
def list_jobs(
    session: Transaction,
    _: Reader,
    cursor: Cursor = None,
    limit: Limit = 50,
    state: Annotated[JobState | None, Query()] = None,
    kind: Annotated[JobKind | None, Query()] = None,
    model: Annotated[
        UUID | None, Query(description="Only jobs on this model, among others or alone.")
    ] = None,
    study: Annotated[UUID | None, Query(description="Only the parts of this study.")] = None,
) -> Page[JobView]:
    """Jobs, newest first."""
    statement = select(Job).options(defer(Job.summary))  # a study's is large
    if state is not None:
        statement = statement.where(Job.state == state)
    if kind is not None:
        statement = statement.where(Job.kind == kind)
    if model is not None:
        statement = statement.where(Job.model_ids.contains([model]))
    if study is not None:
        statement = statement.where(Job.study_id == study)
    rows, following = newest(session, statement, Job.id, cursor=cursor, limit=limit)
    now = _now(session)
    return Page(items=[JobView.of(row, now) for row in rows], next_cursor=following)


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
    return JobView.of(job, _now(session))


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
        return _etag(job), JobView.of(job, _now(session))


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
