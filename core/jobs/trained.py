"""The end of a training: its model is registered, and what was asked of it is queued."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import WindthrowError
from core.jobs.finalise import Finalisation, end_well, held_job
from core.jobs.submission import submit_job
from core.specs.manifests import ModelManifest
from core.specs.trainings import TrainedEvaluation, TrainingSpec
from core.store.tables import Job, Model
from core.store.types import uuid7


def complete_training(
    session: Session,
    begun: Finalisation,
    report: Mapping[str, Any],
    *,
    code_version: str,
    shard_samples: int,
) -> bool:
    """Register the trained model and end the job. False if the lease is no longer this worker's.

    Args:
        session: the transaction to do it in.
        begun: whose training it is.
        report: what the shard found: `parameters`, `facts` and `manifest` as of a model's check, `weights` the
            digest of the safetensors file, `iterations`, and whatever is to stand in the job's summary as `figures`.
        code_version: that it was trained by.
        shard_samples: the size of the evaluation's shards, where one was asked for.
    """
    job = held_job(session, begun)
    if job is None:
        return False
    spec = TrainingSpec.model_validate(job.spec)
    model_id = _register(session, job, spec, report, code_version=code_version)
    job.summary = {
        "model": str(model_id),
        "parent": None if spec.model is None else str(spec.model),
        "iterations": report["iterations"],
        **report["figures"],
        **_evaluations(session, job, spec, model_id, shard_samples=shard_samples),
        "reliable": True,
    }
    end_well(session, job)
    return True


def _register(
    session: Session, job: Job, spec: TrainingSpec, report: Mapping[str, Any], *, code_version: str
) -> UUID:
    """The model's id; the same weights under the same manifest are the same model, and keep their lineage."""
    manifest = ModelManifest.model_validate(report["manifest"])
    lineage = {
        "job": str(job.id),
        "spec_digest": job.spec_digest,
        "parent": None if spec.model is None else str(spec.model),
        "dataset": spec.dataset.model_dump(mode="json"),
        "recipe": spec.recipe.to_json(),
        "code_version": code_version,
    }
    ready = {
        "state": "ready",
        "reason": None,
        "weights": report["weights"],
        "manifest": report["manifest"],
        "parameters": report["parameters"],
        "facts": report["facts"],
        "checked_at": func.now(),
    }
    statement = insert(Model).values(
        id=uuid7(),
        name=spec.name,
        sha256=report["weights"],
        declared=report["manifest"],
        manifest_digest=manifest.digest(),
        lineage=lineage,
        key_id=job.key_id,
        **ready,
    )
    kept = {"lineage": func.coalesce(Model.lineage, statement.excluded.lineage)}
    known = statement.on_conflict_do_update(index_elements=["sha256", "manifest_digest"], set_=ready | kept)
    model_id: UUID = session.execute(known.returning(Model.id)).scalar_one()
    return model_id


def _evaluations(
    session: Session, job: Job, spec: TrainingSpec, model_id: UUID, *, shard_samples: int
) -> dict[str, Any]:
    """The jobs that evaluate the model and its baseline, or why there are none: the model is there all the same."""
    if spec.evaluation is None:
        return {}
    baseline = spec.evaluation.baseline or spec.model
    try:
        with session.begin_nested():
            return {
                "evaluation": _ask(session, job, spec.evaluation, model_id, shard_samples),
                "baseline_evaluation": None
                if baseline is None
                else _ask(session, job, spec.evaluation, baseline, shard_samples),
            }
    except WindthrowError as error:
        return {"evaluation_error": {"code": error.code, "message": str(error)}}


def _ask(session: Session, job: Job, asked: TrainedEvaluation, model_id: UUID, shard_samples: int) -> str:
    submitted = submit_job(session, asked.of(model_id), key_id=job.key_id, shard_samples=shard_samples)
    return str(submitted.job.id)
