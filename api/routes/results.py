"""What a finished job found: JSON, CSV, and the pictures that were kept."""

import io
import json
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import Reader
from api.problems import ProblemError
from api.routes.jobs import find_job
from api.state import State, Transaction
from api.views.common import csv_answer
from api.views.evaluation import ResultsView
from api.views.study import StudyView
from api.views.training import TrainingView
from api.views.transferability import TransferabilityView
from core.jobs.planning import CLEAN
from core.jobs.states import SUBMITTED_KINDS, SubmittedKind
from core.specs.manifests import tasks_of
from core.store.blobs import BlobStore
from core.store.tables import Job, Model, Result, Shard, ShardResult

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])


@router.get("/results", response_model=ResultsView | TransferabilityView | TrainingView | StudyView)
def results(
    job_id: UUID,
    state: State,
    session: Transaction,
    _: Reader,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """What the job found: ARP and metrics by attack, matrices, a model and its curves, or a whole study."""
    job = finished_job(session, job_id)
    view: ResultsView | TransferabilityView | TrainingView | StudyView
    match job.kind:
        case "transferability":
            view = TransferabilityView.of(job)
        case "training":
            view = TrainingView.of(job, _curves(session, state.blobs, job))
        case "study":
            view = StudyView.of(job)
        case _:
            view = _evaluation(session, job)
    if form == "csv":
        return csv_answer(job, view.table())
    return JSONResponse(view.model_dump(mode="json"))


@router.get(
    "/images/{ordinal}/{sample}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def picture(
    job_id: UUID, ordinal: int, sample: int, state: State, session: Transaction, _: Reader
) -> Response:
    """One of the first images, attacked, or with ordinal -1 clean; the job's spec says how many `previews` to keep."""
    job = finished_job(session, job_id)
    shown = _previews(session, state.blobs, job, ordinal)
    if shown is None or not 0 <= sample < len(shown):
        kept = job.spec.get("previews", 0)
        detail = f"no picture of sample {sample} was kept; the job kept {kept} of each attack"
        raise ProblemError(HTTPStatus.NOT_FOUND, "picture_not_found", detail)
    buffer = io.BytesIO()
    Image.fromarray(shown[sample]).save(buffer, "png")
    return Response(
        buffer.getvalue(), media_type="image/png", headers={"Cache-Control": "private, immutable"}
    )


def finished_job(
    session: Session, job_id: UUID, *, kinds: tuple[SubmittedKind, ...] = SUBMITTED_KINDS
) -> Job:
    """A job of one of these kinds that has succeeded.

    Raises:
        JobNotFoundError: there is none of that id.
        ProblemError: 404, it is of another kind; 409, it has not succeeded.
    """
    job = find_job(session, job_id)
    if job.kind not in kinds:
        detail = f"job {job.id} is a {job.kind} job, which has no such results"
        raise ProblemError(HTTPStatus.NOT_FOUND, "no_results", detail)
    if job.state in ("failed", "cancelled"):
        error = job.error or {}
        detail = f"the job {job.state}" + (f": {error['message']}" if "message" in error else "")
        raise ProblemError(HTTPStatus.CONFLICT, f"job_{job.state}", detail)
    if job.state != "succeeded":
        detail = f"the job is {job.state}; wait for it at /v1/jobs/{job.id}"
        raise ProblemError(HTTPStatus.CONFLICT, "job_not_finished", detail, headers={"Retry-After": "5"})
    return job


def _curves(session: Session, blobs: BlobStore, job: Job) -> dict[str, list[float | None]]:
    """A training's curves, from what its shard found."""
    blob = session.scalar(
        select(ShardResult.blob)
        .join(Shard, Shard.result_key == ShardResult.key)
        .where(Shard.job_id == job.id)
    )
    assert blob is not None
    curves: dict[str, list[float | None]] = json.loads(blobs.read(blob))["curves"]
    return curves


def _evaluation(session: Session, job: Job) -> ResultsView:
    model = session.get_one(Model, job.model_id)
    assert model.manifest is not None
    tasks = tasks_of(model.manifest)
    rows = session.scalars(select(Result).where(Result.job_id == job.id).order_by(Result.ordinal))
    return ResultsView.of(job, model, rows.all(), tasks)


def _previews(session: Session, blobs: BlobStore, job: Job, ordinal: int) -> Any:
    """uint8 [P, H, W, 3], or None: the pictures in the statistics of the attack's first shard."""
    first = {"kind": "evaluation", "attack": None if ordinal == CLEAN else ordinal, "start": 0}
    blob = session.scalar(
        select(ShardResult.blob)
        .join(Shard, Shard.result_key == ShardResult.key)
        .where(Shard.job_id == job.id, Shard.payload.contains(first))
    )
    if blob is None:
        return None
    with np.load(io.BytesIO(blobs.read(blob)), allow_pickle=False) as archive:
        return archive["previews"] if "previews" in archive.files else None
