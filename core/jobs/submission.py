"""Jobs come into being here: job, shards, bells and the first event in one transaction."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.datasets import DatasetInfo
from core.errors import under
from core.jobs import events, outbox
from core.jobs.errors import ClientRefConflictError, JobTooLargeError, ModelNotFoundError, ModelNotReadyError
from core.jobs.planning import ShardPlan, plan_evaluation, plan_transferability
from core.jobs.states import JobKind, Urgency
from core.specs.documents import EvaluationSpec, TransferabilitySpec
from core.specs.manifests import ModelManifest, manifest_of
from core.store import registered
from core.store.tables import Job, Model, Shard
from core.store.types import uuid7

SHARD_SAMPLES = 256
MAX_SHARDS = 20_000

JobSpec = EvaluationSpec | TransferabilitySpec
"""What users submit."""


def submit_job(
    session: Session,
    spec: JobSpec,
    *,
    key_id: UUID | None,
    client_ref: str | None = None,
    shard_samples: int = SHARD_SAMPLES,
) -> Job:
    """Queue a job, or return the job that already has this `client_ref` and the same spec.

    A job that failed or was cancelled gives its `client_ref` up to the new one.

    Raises:
        ModelNotFoundError: a model is not registered; `field` names the place.
        ModelNotReadyError: it is, and cannot be used.
        ClientRefConflictError: another spec was submitted under this `client_ref`.
        JobTooLargeError: it would take more than `MAX_SHARDS` shards.
        InvalidError: the spec and its models do not fit; `field` names the place.
    """
    digest = spec.digest()
    if client_ref is not None and (existing := _attach(session, client_ref, digest)):
        return existing
    named = _named_models(spec)
    manifests = [_ready(session, model_id, field) for field, model_id in named.items()]
    with under("dataset"):
        info = registered.find(session, spec.dataset.name, spec.dataset.version)
        pinned = spec.model_copy(update={"dataset": spec.dataset.pinned(info)})
    return _queue(
        session,
        _plan(pinned, manifests, info, shard_samples),
        kind=spec.kind,
        spec=pinned.model_dump(mode="json"),
        spec_digest=digest,
        models=list(named.values()),
        key_id=key_id,
        client_ref=client_ref,
    )


def _named_models(spec: JobSpec) -> dict[str, UUID]:
    """The spec's models in its order, by the field that names them."""
    match spec:
        case EvaluationSpec():
            return {"model": spec.model}
        case TransferabilitySpec():
            return {f"models.{position}": model_id for position, model_id in enumerate(spec.models)}
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
    spec: JobSpec, manifests: Sequence[ModelManifest], info: DatasetInfo, shard_samples: int
) -> list[ShardPlan]:
    """Check the spec against its models, and cut it."""
    samples, tasks = spec.dataset.samples, [task.name for task in manifests[0].task_list]
    match spec:
        case EvaluationSpec():
            spec.check_model(manifests[0], info)
            return plan_evaluation(spec, samples=samples, shard_samples=shard_samples, tasks=len(tasks))
        case TransferabilitySpec():
            spec.check_models(manifests, info)
            return plan_transferability(spec, samples=samples, shard_samples=shard_samples, tasks=tasks)
        case _:
            assert_never(spec)


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
    return _queue(session, plan, models=[model.id], **columns)


def _queue(
    session: Session,
    plan: Sequence[ShardPlan],
    *,
    models: Sequence[UUID],
    client_ref: str | None = None,
    **columns: Any,
) -> Job:
    """Write the job and everything that goes with it; another transaction may win the race for `client_ref`.

    Raises:
        JobTooLargeError: the plan has more than `MAX_SHARDS` shards.
    """
    if len(plan) > MAX_SHARDS:
        raise JobTooLargeError(len(plan), MAX_SHARDS)
    waits = [(ordinal, shard.after) for ordinal, shard in enumerate(plan) if shard.after is not None]
    assert all(0 <= after < ordinal for ordinal, after in waits), "a shard waits for an earlier one"
    totals = {"shards_total": len(plan), "work_total": sum(shard.work for shard in plan)}
    columns |= {"model_id": models[0], "model_ids": list(models)}
    statement = upsert(Job).values(id=uuid7(), client_ref=client_ref, **totals, **columns)
    unless_taken = statement.on_conflict_do_nothing(index_elements=["client_ref"]).returning(Job)
    job: Job | None = session.scalar(unless_taken)
    if job is None:
        assert client_ref is not None
        winner = _attach(session, client_ref, columns["spec_digest"])
        assert winner is not None
        return winner
    _queue_shards(session, job, plan)
    events.record(session, job.id, "job.queued", totals)
    return job


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


def _attach(session: Session, client_ref: str, digest: str) -> Job | None:
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
