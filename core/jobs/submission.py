"""Jobs come into being here: job, shards, bells and the first event in one transaction."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, assert_never
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.datasets import DatasetInfo
from core.errors import under
from core.jobs import events, outbox
from core.jobs.errors import ClientRefConflictError, JobTooLargeError, ModelNotFoundError, ModelNotReadyError
from core.jobs.planning import ShardPlan, plan_evaluation, plan_training, plan_transferability
from core.jobs.states import JobKind, Urgency
from core.specs.documents import EvaluationSpec, OnSamples, TransferabilitySpec
from core.specs.manifests import ModelManifest, manifest_of
from core.specs.trainings import TrainedEvaluation, TrainingSpec
from core.store import registered
from core.store.tables import Job, Model, Shard
from core.store.types import uuid7

SHARD_SAMPLES = 256
MAX_SHARDS = 20_000

JobSpec = EvaluationSpec | TransferabilitySpec | TrainingSpec
"""What is cut into shards."""

Pinnable = TypeVar("Pinnable", bound=OnSamples)


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of which study a job is."""

    study_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """What came of a submission: the job, and whether it was made for this one or was there."""

    job: Job
    made: bool


def submit_job(
    session: Session,
    spec: JobSpec,
    *,
    key_id: UUID | None,
    client_ref: str | None = None,
    shard_samples: int = SHARD_SAMPLES,
    part: Part | None = None,
) -> Submitted:
    """Queue a job, or find the job that already has this `client_ref` and the same spec.

    A job that failed or was cancelled gives its `client_ref` up to the new one.

    Args:
        session: the transaction to do it in.
        spec: what is to be done.
        key_id: the API key that asks for it.
        client_ref: the caller's own name for it.
        shard_samples: the target size of a shard.
        part: of which study it is.

    Raises:
        ModelNotFoundError: a model is not registered; `field` names the place.
        ModelNotReadyError: it is, and cannot be used.
        ClientRefConflictError: another spec was submitted under this `client_ref`.
        JobTooLargeError: it would take more than `MAX_SHARDS` shards.
        InvalidError: the spec and its models do not fit; `field` names the place.
    """
    digest = spec.digest()
    if client_ref is not None and (existing := attach(session, client_ref, digest)):
        return Submitted(existing, made=False)
    named = _named_models(spec)
    manifests = [_ready(session, model_id, field) for field, model_id in named.items()]
    with under("dataset"):
        pinned, info = pin(session, spec, retired=part is not None)
    if isinstance(pinned, TrainingSpec) and pinned.evaluation is not None:
        with under("evaluation.dataset"):
            evaluation, _ = pin(session, pinned.evaluation)
        pinned = pinned.model_copy(update={"evaluation": evaluation})
    return _queue(
        session,
        _plan(session, pinned, manifests, info, shard_samples),
        kind=spec.kind,
        spec=pinned.model_dump(mode="json"),
        spec_digest=digest,
        models=list(named.values()),
        key_id=key_id,
        client_ref=client_ref,
        study_id=None if part is None else part.study_id,
        part=None if part is None else part.name,
    )


def pin(session: Session, spec: Pinnable, *, retired: bool = False) -> tuple[Pinnable, DatasetInfo]:
    """The same spec with version and number of samples spelled out, and the data set that it names.

    Args:
        session: where to look.
        spec: what names it.
        retired: whether a version will do that was retired: a study keeps to the one it began with.

    Raises:
        InvalidError: there is no such data set, or it has not so many samples; `field` names the place below it.
    """
    named = spec.dataset
    kept = registered.registration(session, named.name, named.version) if retired and named.version else None
    info = registered.find(session, named.name, named.version) if kept is None else registered.described(kept)
    return spec.model_copy(update={"dataset": spec.dataset.pinned(info)}), info


def _named_models(spec: JobSpec) -> dict[str, UUID]:
    """The spec's models in its order, by the field that names them."""
    match spec:
        case EvaluationSpec():
            return {"model": spec.model}
        case TransferabilitySpec():
            return {f"models.{position}": model_id for position, model_id in enumerate(spec.models)}
        case TrainingSpec():
            return {} if spec.model is None else {"model": spec.model}
        case _:
            assert_never(spec)


def _ready(session: Session, model_id: UUID, field: str) -> ModelManifest:
    model = session.get(Model, model_id)
    if model is None:
        raise ModelNotFoundError(model_id, field=field)
    if model.state != "ready":
        raise ModelNotReadyError(model.id, model.state, field=field)
    with under(field):
        return manifest_of(model.manifest)


def _plan(
    session: Session,
    spec: JobSpec,
    manifests: Sequence[ModelManifest],
    info: DatasetInfo,
    shard_samples: int,
) -> list[ShardPlan]:
    """Check the spec against its models, and cut it."""
    if isinstance(spec, TrainingSpec) and spec.manifest is not None:
        manifests = [spec.manifest]
    match spec:
        case EvaluationSpec():
            spec.check_model(manifests[0], info)
        case TransferabilitySpec():
            spec.check_models(manifests, info)
        case TrainingSpec():
            spec.check(manifests[0], info)
            if spec.evaluation is not None:
                with under("evaluation"):
                    _check_evaluation(session, spec.evaluation, manifests[0])
        case _:
            assert_never(spec)
    return cut(spec, [task.name for task in manifests[0].task_list], shard_samples=shard_samples)


def cut(spec: JobSpec, tasks: Sequence[str], *, shard_samples: int) -> list[ShardPlan]:
    """The shards of a job whose data set is pinned, on models of these tasks.

    Raises:
        JobTooLargeError: they are more than `MAX_SHARDS`.
    """
    samples = spec.dataset.samples
    match spec:
        case EvaluationSpec():
            plan = plan_evaluation(spec, samples=samples, shard_samples=shard_samples, tasks=len(tasks))
        case TransferabilitySpec():
            plan = plan_transferability(spec, samples=samples, shard_samples=shard_samples, tasks=tasks)
        case TrainingSpec():
            plan = plan_training(spec, samples=samples, tasks=len(tasks))
        case _:
            assert_never(spec)
    if len(plan) > MAX_SHARDS:
        raise JobTooLargeError(len(plan), MAX_SHARDS)
    return plan


def _check_evaluation(session: Session, asked: TrainedEvaluation, manifest: ModelManifest) -> None:
    """Check now what will be asked of a trained model, and whether its baseline can be asked the same."""
    info = registered.find(session, asked.dataset.name, asked.dataset.version)
    asked.check_model(manifest, info)
    if asked.baseline is not None:
        asked.check_model(_ready(session, asked.baseline, "evaluation.baseline"), info)


def submit_model_check(session: Session, model: Model, *, dataset: DatasetInfo | None = None) -> Job:
    """Queue the job that reads a model's checkpoint; it ends with the model `ready` or `rejected`.

    Args:
        session: the transaction to do it in.
        model: what to check.
        dataset: where it is tried on; one with labels for its tasks unless said.
    """
    model.state, model.reason, model.checked_at = "checking", None, None
    session.flush()
    kind: JobKind = "model_check"
    spec: dict[str, Any] = {"kind": kind, "model": str(model.id)}
    if dataset is not None:
        spec["dataset"] = {"name": dataset.name, "version": dataset.version}
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    plan = [ShardPlan(payload={"kind": kind}, work=1.0)]
    columns: dict[str, Any] = {"kind": kind, "spec": spec, "spec_digest": digest, "key_id": model.key_id}
    return _queue(session, plan, models=[model.id], **columns).job


def _queue(
    session: Session, plan: Sequence[ShardPlan], *, models: Sequence[UUID], **columns: Any
) -> Submitted:
    """Write the job and everything that goes with it, unless it is there."""
    waits = [(ordinal, shard.after) for ordinal, shard in enumerate(plan) if shard.after is not None]
    assert all(0 <= after < ordinal for ordinal, after in waits), "a shard waits for an earlier one"
    columns |= {"model_id": models[0] if models else None, "model_ids": list(models)}
    work = sum(shard.work for shard in plan)
    submitted = write_job(session, shards_total=len(plan), work_total=work, **columns)
    if submitted.made:
        _queue_shards(session, submitted.job, plan)
    return submitted


def write_job(
    session: Session,
    *,
    spec_digest: str,
    shards_total: int,
    work_total: float,
    client_ref: str | None = None,
    **columns: Any,
) -> Submitted:
    """Write a job's row and its first event; another transaction may win the race for `client_ref`."""
    totals = {"shards_total": shards_total, "work_total": work_total}
    values = {"id": uuid7(), "client_ref": client_ref, "spec_digest": spec_digest, **totals, **columns}
    statement = upsert(Job).values(**values)
    unless_taken = statement.on_conflict_do_nothing(index_elements=["client_ref"]).returning(Job)
    job: Job | None
    while (job := session.scalar(unless_taken)) is None:
        assert client_ref is not None
        if winner := attach(session, client_ref, spec_digest):  # else it was cancelled meanwhile
            return Submitted(winner, made=False)
    events.record(session, job.id, "job.queued", totals)
    return Submitted(job, made=True)


def _queue_shards(session: Session, job: Job, plan: Sequence[ShardPlan]) -> None:
    """Write the shards; those that wait for another are rung for once it is done."""
    rows: list[dict[str, Any]] = [
        {
            "id": uuid7(),
            "job_id": job.id,
            "ordinal": ordinal,
            "payload": shard.payload,
            "work": shard.work,
            "after": shard.after,
        }
        for ordinal, shard in enumerate(plan)
    ]
    session.execute(insert(Shard), rows)
    ready = [row["id"] for row in rows if row["after"] is None]
    urgency = Urgency.URGENT if job.kind == "model_check" else Urgency.ORDINARY
    outbox.ring(session, "shard", ready, urgency=urgency)


def attach(session: Session, client_ref: str, digest: str) -> Job | None:
    """The job that holds the `client_ref`; one that failed or was cancelled loses it, as a repeat tries again."""
    existing = session.scalar(select(Job).where(Job.client_ref == client_ref).with_for_update())
    if existing is None:
        return None
    if existing.spec_digest != digest:
        raise ClientRefConflictError(client_ref, existing.id)
    if existing.state in ("failed", "cancelled"):
        existing.client_ref = None
        session.flush()
        return None
    return existing
