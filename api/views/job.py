"""A job as its submitter sees it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from core.jobs.states import SUBMITTED_KINDS, JobKind, JobState
from core.store.tables import Job


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
    model: UUID | None = Field(description="The first of `models`.")
    models: list[UUID] = Field(
        description="In the spec's order: several of a transferability job, none of a study and of a training that "
        "begins with random weights, one of every other."
    )
    study: UUID | None = Field(description="The study that asked for it.")
    part: str | None = Field(
        description='Which of the study\'s parts it is, such as "layout 3/clean/training".'
    )
    client_ref: str | None
    progress: ProgressView
    error: dict[str, Any] | None = Field(description="Why it failed: code, message, and what to do.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str]
    spec: dict[str, Any]

    @classmethod
    def of(cls, job: Job, now: datetime) -> "JobView":
        """Describe a job at a moment of the database's clock."""
        path = f"/v1/jobs/{job.id}"
        links = {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"}
        if job.kind in SUBMITTED_KINDS:
            links["results"] = f"{path}/results"
        if job.kind == "study":
            links["parts"] = f"/v1/jobs?study={job.id}"
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,
            cancel_requested=job.cancel_requested,
            model=job.model_id,
            models=job.model_ids,
            study=job.study_id,
            part=job.part,
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
