"""What a finished evaluation found: JSON, CSV, and the pictures that were kept."""

import csv
import io
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import Reader
from api.problems import ProblemError
from api.routes.jobs import find_job
from api.state import State, Transaction
from core.jobs.planning import CLEAN
from core.specs.attack import AttackSpec
from core.specs.documents import ModelManifest
from core.store.blobs import BlobStore
from core.store.tables import Job, Model, Result, Shard, ShardResult
from core.tasks import METRIC_VERSION, Task

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])


class ResultView(BaseModel):
    """The clean pass, or one attack."""

    ordinal: int = Field(description="Position of the attack in the spec; -1 is the clean pass.")
    label: str
    attack: dict[str, Any] | None
    arp: float | None = Field(description="ARP in percent; higher is a stronger attack (paper Eq. 10).")
    task_arp: dict[str, float | None] | None
    metrics: dict[str, dict[str, float | None]]
    samples: int
    cost: dict[str, Any]
    notes: list[Any]


class MetricInfo(BaseModel):
    """Which values of a metric are better, and its unit."""

    direction: Literal["higher", "lower"]
    unit: str


class ResultsView(BaseModel):
    """Everything that an evaluation found."""

    job: UUID
    model: UUID
    model_name: str | None
    dataset: dict[str, Any]
    metric_version: str
    metric_rules: str
    metrics: dict[str, dict[str, MetricInfo]] = Field(description="By task and metric.")
    clean: ResultView
    attacks: list[ResultView]


@router.get("/results", response_model=ResultsView)
def results(
    job_id: UUID,
    session: Transaction,
    _: Reader,
    format: Annotated[Literal["json", "csv"], Query()] = "json",  # noqa: A002 - the parameter's name in the URL
) -> Response:
    """ARP, per-task ARP and metrics of every attack."""
    job = _finished(session, job_id)
    model = session.get_one(Model, job.model_id)
    tasks = ModelManifest.model_validate(model.manifest).task_list
    rows = session.scalars(select(Result).where(Result.job_id == job.id).order_by(Result.ordinal))
    views = [_view(row) for row in rows]
    if format == "csv":
        disposition = {"Content-Disposition": f'attachment; filename="windthrow-{job.id}.csv"'}
        return Response(_csv(views, tasks), media_type="text/csv", headers=disposition)
    view = ResultsView(
        job=job.id,
        model=model.id,
        model_name=model.name,
        dataset=job.spec["dataset"],
        metric_version=METRIC_VERSION,
        metric_rules=job.spec["metric_rules"],
        metrics={
            task.name: {
                metric.name: MetricInfo(direction=metric.direction, unit=metric.unit)
                for metric in task.reported
            }
            for task in tasks
        },
        clean=views[0],
        attacks=views[1:],
    )
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
    job = _finished(session, job_id)
    shown = _previews(session, state.blobs, job, ordinal)
    if shown is None or not 0 <= sample < len(shown):
        detail = f"no picture of sample {sample} was kept; the job kept {job.spec['previews']} of each attack"
        raise ProblemError(HTTPStatus.NOT_FOUND, "picture_not_found", detail)
    buffer = io.BytesIO()
    Image.fromarray(shown[sample]).save(buffer, "png")
    return Response(
        buffer.getvalue(), media_type="image/png", headers={"Cache-Control": "private, immutable"}
    )


def _finished(session: Session, job_id: UUID) -> Job:
    job = find_job(session, job_id)
    if job.kind != "evaluation":
        raise ProblemError(HTTPStatus.NOT_FOUND, "no_results", f"a {job.kind} job has no results")
    if job.state in ("failed", "cancelled"):
        error = job.error or {}
        detail = f"the job {job.state}" + (f": {error['message']}" if "message" in error else "")
        raise ProblemError(HTTPStatus.CONFLICT, f"job_{job.state}", detail)
    if job.state != "succeeded":
        detail = f"the job is {job.state}; wait for it at /v1/jobs/{job.id}"
        raise ProblemError(HTTPStatus.CONFLICT, "job_not_finished", detail, headers={"Retry-After": "5"})
    return job


def _view(row: Result) -> ResultView:
    label = "clean" if row.attack is None else AttackSpec(**row.attack).label
    return ResultView.model_validate(
        {
            "ordinal": row.ordinal,
            "label": label,
            "attack": row.attack,
            "arp": row.arp,
            "task_arp": row.task_arp,
            "metrics": row.metrics,
            "samples": row.samples,
            "cost": row.cost,
            "notes": row.notes,
        }
    )


def _csv(views: list[ResultView], tasks: tuple[Task, ...]) -> str:
    """One row an attack, the clean pass first: what it was, ARP, ARP by task, every metric."""
    metrics = [(task.name, metric.name) for task in tasks for metric in task.reported]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    names = ["attack", "algorithm", "objective", "eps", "samples", "arp_percent"]
    names += [f"arp_percent.{task.name}" for task in tasks] + [f"{task}.{metric}" for task, metric in metrics]
    writer.writerow(names)
    for view in views:
        attack = view.attack or {}
        row = [
            view.label,
            *(attack.get(name) for name in ("algorithm", "objective", "eps")),
            view.samples,
            view.arp,
        ]
        row += [(view.task_arp or {}).get(task.name) for task in tasks]
        writer.writerow(row + [view.metrics[task][metric] for task, metric in metrics])
    return buffer.getvalue()


def _previews(session: Session, blobs: BlobStore, job: Job, ordinal: int) -> Any:
    """uint8 [P, H, W, 3], or None: the pictures in the statistics of the attack's first shard."""
    attack = None if ordinal == CLEAN else ordinal
    statement = (
        select(Shard.payload, ShardResult.blob)
        .join(ShardResult, ShardResult.key == Shard.result_key)
        .where(Shard.job_id == job.id)
        .order_by(Shard.ordinal)
    )
    for payload, blob in session.execute(statement):
        if payload["attack"] == attack and payload["start"] == 0:
            with np.load(blobs.path(blob), allow_pickle=False) as archive:
                return archive["previews"] if "previews" in archive.files else None
    return None
