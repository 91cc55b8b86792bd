"""Studies: jobs without shards of their own that fan out into other jobs, their parts.

What a study has come to is what its parts are: nothing else is remembered, so that `advance` can be called at any time
and as often as one likes. It locks the study, and reads the parts without a lock: a part that starts or ends meanwhile
rings for the study, and so for another `advance`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from core.errors import InvalidError, WindthrowError, under
from core.jobs import events
from core.jobs.progress import announce, fail_locked_job, lock_job, move_job, settle_cancel
from core.jobs.states import JOB_FINAL, JOB_OPEN
from core.jobs.study_parts import PartKind, StudyPart, job_spec, part_name, parts, planned_work
from core.jobs.submission import SHARD_SAMPLES, Part, Submitted, attach, pin, submit_job, write_job
from core.specs.studies import StudySpec, study_of
from core.store.tables import Event, Job

__all__ = ["PartKind", "StudyPart", "advance", "children", "part_name", "parts", "submit_study"]

REASONS = 3
"""Failures that the study's error tells of in its message; its detail has up to `LISTED`."""

LISTED = 20


def submit_study(
    session: Session,
    spec: StudySpec,
    *,
    key_id: UUID | None,
    client_ref: str | None = None,
    shard_samples: int = SHARD_SAMPLES,
) -> Submitted:
    """Queue a study and the trainings that need nothing, or find the job that already has this `client_ref`.

    See `core.jobs.submission.submit_job`. Whatever its parts will ask is checked now, and all of them keep to the
    versions that its data sets have now.

    Raises:
        ClientRefConflictError: another spec was submitted under this `client_ref`.
        JobTooLargeError: one of its parts would take too many shards.
        InvalidError: the models cannot be trained or measured so; `field` names the place.
    """
    digest = spec.digest()
    if client_ref is not None and (existing := attach(session, client_ref, digest)):
        return Submitted(existing, made=False)
    pinned = _checked(session, spec)
    submitted = write_job(
        session,
        kind=spec.kind,
        spec=pinned.model_dump(mode="json"),
        spec_digest=digest,
        model_ids=[],
        key_id=key_id,
        client_ref=client_ref,
        shards_total=len(parts(pinned)),
        work_total=planned_work(pinned, shard_samples=shard_samples),
    )
    if submitted.made:
        for part in parts(pinned):
            if part.needs is None:
                _submit(session, submitted.job, pinned, part, None, shard_samples=shard_samples)
    return submitted


def _checked(session: Session, spec: StudySpec) -> StudySpec:
    """The study with its data sets pinned."""
    with under("dataset"):
        pinned, trained_on = pin(session, spec)
    with under("evaluation.dataset"):
        evaluation, evaluated_on = pin(session, spec.evaluation)
    pinned = pinned.model_copy(update={"evaluation": evaluation})
    pinned.check(trained_on, evaluated_on)
    return pinned


def advance(session: Session, study_id: UUID, *, shard_samples: int = SHARD_SAMPLES) -> bool:
    """Note which parts have ended, submit those that can begin, and end a study of which parts are missing.

    Parts that need a failed or cancelled one are left out; the others go on. A study that is over, or is none, stays as
    it is.

    Returns:
        Whether all parts have succeeded, so that the study can be put together.
    """
    study = lock_job(session, study_id)
    if study is None or study.kind != "study" or study.state in JOB_FINAL:
        return False
    there = children(session, study_id)
    _note(session, study, there)
    if study.cancel_requested:
        settle_cancel(session, study)
        return False
    try:
        spec = study_of(study.spec)
    except InvalidError as error:
        _fail(session, study, {"code": error.code, "message": str(error)})
        return False
    refused = _submit_ready(session, study, spec, there, shard_samples=shard_samples)
    if any(part.state in JOB_OPEN for part in there.values()):
        return False
    missing = [part for part in parts(spec) if not _succeeded(there.get(part.name))]
    if missing:
        _fail(session, study, _incomplete(spec, missing, there, refused))
    return not missing


def children(session: Session, study_id: UUID) -> dict[str, Job]:
    """The jobs of a study's parts by the parts' names, as they are now; their specs are loaded when asked for."""
    statement = select(Job).where(Job.study_id == study_id).order_by(Job.id).options(defer(Job.spec))
    found = session.scalars(statement.execution_options(populate_existing=True))
    return {str(job.part): job for job in found}


def _note(session: Session, study: Job, there: Mapping[str, Job]) -> None:
    """Count the parts that have ended since it was last done, with an event for each; a study runs with its first."""
    if study.state == "queued" and any(job.state != "queued" for job in there.values()):
        move_job(study, "running")
        announce(session, study, {})
    study.work_done = sum(job.work_done for job in there.values())
    told = select(Event.data).where(Event.job_id == study.id, Event.type == "part.ended")
    known = {data["part"] for data in session.scalars(told)}
    for name, job in there.items():
        if job.state not in JOB_FINAL or name in known:
            continue
        study.shards_done += 1
        study.version += 1
        done = {"shards_done": study.shards_done, "shards_total": study.shards_total}
        work = {"work_done": study.work_done, "work_total": study.work_total}
        ended = {"part": name, "job": str(job.id), "state": job.state}
        events.record(session, study.id, "part.ended", {**ended, **done, **work})


def _submit_ready(
    session: Session, study: Job, spec: StudySpec, there: dict[str, Job], *, shard_samples: int
) -> dict[str, WindthrowError]:
    """Submit the parts that can begin, and add them to those that are there; what is refused, by the part's name."""
    refused: dict[str, WindthrowError] = {}
    for part in parts(spec):
        needed = None if part.needs is None else there.get(part.needs)
        if part.name in there or not (part.needs is None or _succeeded(needed)):
            continue
        model = None if needed is None else _model(needed)
        try:
            there[part.name] = _submit(session, study, spec, part, model, shard_samples=shard_samples)
        except WindthrowError as error:
            refused[part.name] = error
    return refused


def _submit(
    session: Session, study: Job, spec: StudySpec, part: StudyPart, model: UUID | None, *, shard_samples: int
) -> Job:
    job = submit_job(
        session,
        job_spec(spec, part, model),
        key_id=study.key_id,
        shard_samples=shard_samples,
        part=Part(study.id, part.name),
    ).job
    study.version += 1
    submitted = {"part": part.name, "job": str(job.id), "kind": job.kind}
    events.record(session, study.id, "part.submitted", submitted)
    return job


def _succeeded(job: Job | None) -> bool:
    return job is not None and job.state == "succeeded"


def _model(training: Job) -> UUID:
    """The model that a training gave."""
    assert training.summary is not None
    return UUID(training.summary["model"])


def _fail(session: Session, study: Job, error: dict[str, Any]) -> None:
    """End a study with an error; nothing is failed that has not begun."""
    if study.state == "queued":
        move_job(study, "running")
    fail_locked_job(session, study, error=error)


def _incomplete(
    spec: StudySpec,
    missing: Sequence[StudyPart],
    there: Mapping[str, Job],
    refused: Mapping[str, WindthrowError],
) -> dict[str, Any]:
    """Why a study fails of which these parts are missing."""
    failed = [reason for part in missing if (reason := _reason(part, there, refused)) is not None]
    left_out = len(missing) - len(failed)
    shown = [f"{one['part']}: {one['message']}" for one in failed[:REASONS]]
    more = ["…"] if len(failed) > REASONS else []
    also = f", and {left_out} that need them were left out" if left_out else ""
    message = f"{len(failed)} of {len(parts(spec))} parts did not succeed{also}; " + "; ".join(shown + more)
    detail = {"failed": failed[:LISTED], "failures": len(failed), "left_out": left_out}
    return {"code": "study_incomplete", "message": message, "detail": detail}


def _reason(
    part: StudyPart, there: Mapping[str, Job], refused: Mapping[str, WindthrowError]
) -> dict[str, Any] | None:
    """Why a part is missing; None for one that was left out."""
    if part.name in refused:
        error = refused[part.name]
        return {"part": part.name, "job": None, "code": error.code, "message": str(error)}
    job = there.get(part.name)
    if job is None:
        return None
    found = job.error or {"code": "cancelled", "message": "it was cancelled"}
    return {"part": part.name, "job": str(job.id), "code": found["code"], "message": found["message"]}
