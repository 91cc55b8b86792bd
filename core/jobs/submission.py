"""Jobs come into being here: job, shards, bells and the first event in one transaction."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.jobs import events, outbox
from core.jobs.errors import ClientRefConflictError, JobTooLargeError, ModelNotFoundError, ModelNotReadyError
from core.jobs.planning import ShardPlan, plan_evaluation
from core.jobs.states import JobKind
from core.specs.documents import EvaluationSpec, ModelManifest
from core.store.tables import Job, Model, Shard
from core.store.types import uuid7

SHARD_SAMPLES = 256
MAX_SHARDS = 20_000


def submit_evaluation(
    session: Session,
    spec: EvaluationSpec,
    *,
    key_id: UUID | None,
    client_ref: str | None = None,
    shard_samples: int = SHARD_SAMPLES,
) -> Job:
    """Queue an evaluation, or return the job that already has this `client_ref` and the same spec.

    A job that failed or was cancelled gives its `client_ref` up to the new one.

    Raises:
        ModelNotFoundError: the model is not registered.
        ModelNotReadyError: it is, and cannot be used.
        ClientRefConflictError: another spec was submitted under this `client_ref`.
        JobTooLargeError: it would take more than `MAX_SHARDS` shards.
        InvalidError: an attack names a task that the model does not have.
    """
    digest = spec.digest()
    if client_ref is not None and (existing := _attach(session, client_ref, digest)):
        return existing
    model = session.get(Model, spec.model)
    if model is None:
        raise ModelNotFoundError(spec.model)
    if model.state != "ready":
        raise ModelNotReadyError(model.id, model.state)
    manifest = ModelManifest.model_validate(model.manifest)
    spec.check_model(manifest)
    tasks = len(manifest.task_list)
    plan = plan_evaluation(spec, samples=spec.dataset.samples, shard_samples=shard_samples, tasks=tasks)
    return _queue(
        session,
        plan,
        kind="evaluation",
        spec=spec.model_dump(mode="json"),
        spec_digest=digest,
        model_id=model.id,
        key_id=key_id,
        client_ref=client_ref,
    )


def submit_model_check(session: Session, model: Model) -> Job:
    """Queue the job that reads a model's checkpoint; it ends with the model `ready` or `rejected`."""
    model.state, model.reason, model.checked_at = "checking", None, None
    session.flush()
    kind: JobKind = "model_check"
    spec = {"kind": kind, "model": str(model.id)}
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    plan = [ShardPlan(payload={"kind": kind}, work=1.0)]
    columns: dict[str, Any] = {"kind": kind, "spec": spec, "spec_digest": digest, "model_id": model.id}
    return _queue(session, plan, **columns, key_id=model.key_id)


def _queue(
    session: Session, plan: Sequence[ShardPlan], *, client_ref: str | None = None, **columns: Any
) -> Job:
    """Write the job and everything that goes with it; another transaction may win the race for `client_ref`.

    Raises:
        JobTooLargeError: the plan has more than `MAX_SHARDS` shards.
    """
    if len(plan) > MAX_SHARDS:
        raise JobTooLargeError(len(plan), MAX_SHARDS)
    totals = {"shards_total": len(plan), "work_total": sum(shard.work for shard in plan)}
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
    rows: list[dict[str, Any]] = [
        {"id": uuid7(), "job_id": job.id, "ordinal": ordinal, "payload": shard.payload, "work": shard.work}
        for ordinal, shard in enumerate(plan)
    ]
    session.execute(insert(Shard), rows)
    outbox.ring(session, "shard", [row["id"] for row in rows], urgent=job.kind == "model_check")


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
