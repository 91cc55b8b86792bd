"""What the tests do to a study: its document, and what becomes of its parts."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from core.jobs import events
from core.jobs.cancel import cancel
from core.jobs.finalise import Assembled, ResultRow, complete
from core.jobs.studies import advance, submit_study
from core.jobs.trained import complete_training
from core.specs.manifests import ModelManifest
from core.specs.studies import StudySpec
from core.store.database import Database
from core.store.tables import Job, Model
from tests.core.jobs.steps import begin, claim_one, fail_one, shards_of, work_off

ATTACK = {"algorithm": "fgsm", "objective": "total", "eps": 8}

STUDY: dict[str, Any] = {
    "kind": "study",
    "model": {"backbone": "sapling", "profile": "digits"},
    "layouts": ["all-shared", "independent"],
    "dataset": {"name": "digits", "limit": 64},
    "modes": [
        {"name": "clean", "recipe": {"epochs": 2}},
        {"name": "fat", "recipe": {"epochs": 1, "adversarial": {"attack": ATTACK}}, "start": "clean"},
    ],
    "evaluation": {
        "dataset": {"name": "digits", "limit": 32},
        "attacks": [ATTACK],
        "batch_size": 16,
        "health": False,
    },
    "transferability": {"attack": {"algorithm": "fgsm", "eps": 8}},
}
"""Two layouts in two modes, the second from the first's weights; transferability of the first."""

FIRST = ["layout 0/clean/training", "layout 1/clean/training"]


def study_spec(**changes: Any) -> StudySpec:
    return StudySpec.model_validate(STUDY | changes)


def submit(database: Database, *, client_ref: str | None = None, **changes: Any) -> Job:
    with database.session() as session:
        return submit_study(
            session, study_spec(**changes), key_id=None, client_ref=client_ref, shard_samples=16
        ).job


def advance_now(database: Database, study: Job) -> bool:
    with database.session() as session:
        return advance(session, study.id, shard_samples=16)


def cancel_now(database: Database, job: Job) -> None:
    with database.session() as session:
        cancel(session, job.id)


def job_of(database: Database, job: Job) -> Job:
    with database.session() as session:
        return session.get_one(Job, job.id)


def parts_of(database: Database, study: Job) -> dict[str, Job]:
    with database.session() as session:
        jobs = session.scalars(select(Job).where(Job.study_id == study.id).order_by(Job.id))
        return {str(job.part): job for job in jobs}


def open_parts(database: Database, study: Job) -> list[str]:
    return [name for name, job in parts_of(database, study).items() if job.finished_at is None]


def train(database: Database, job: Job, weights: str | None = None) -> UUID:
    """Let a training succeed; the model that it gave."""
    work_off(database, job)
    with database.session() as session:
        parent = None if job.model_id is None else session.get_one(Model, job.model_id).manifest
    manifest = ModelManifest.model_validate(job.spec["manifest"] or parent)
    report = {
        "parameters": 7,
        "facts": {},
        "manifest": manifest.model_dump(mode="json"),
        "weights": weights or uuid4().hex * 2,
        "iterations": 2,
        "figures": {},
    }
    begun = begin(database, job)
    with database.session() as session:
        assert complete_training(session, begun, report, code_version="1", shard_samples=16)
    summary = job_of(database, job).summary
    assert summary is not None
    return UUID(summary["model"])


def measure(
    database: Database,
    job: Job,
    rows: Sequence[ResultRow] = (),
    *,
    replicates: Mapping[int, str] | None = None,
) -> None:
    """Let an evaluation or a transferability job succeed with these results."""
    work_off(database, job)
    begun = begin(database, job)
    with database.session() as session:
        assert complete(session, begun, Assembled(rows), replicates=replicates or {})


def end(database: Database, job: Job) -> None:
    """Let a part succeed, whatever it is."""
    if job.kind == "training":
        train(database, job)
    else:
        measure(database, job)


def fail_part(database: Database, job: Job) -> None:
    """Let a part fail for good."""
    assert fail_one(database, claim_one(database, shards_of(database, job)[0]), retry=False)


def work_through(database: Database, study: Job) -> bool:
    """Let all that can be done succeed; whether the study is ready to be put together."""
    while not (ready := advance_now(database, study)) and (waiting := open_parts(database, study)):
        there = parts_of(database, study)
        for name in waiting:
            end(database, there[name])
    return ready


def events_with_data(database: Database, study: Job, kind: str) -> list[dict[str, Any]]:
    with database.session() as session:
        return [event.data for event in events.after(session, study.id, 0) if event.type == kind]


def ended(database: Database, study: Job) -> list[tuple[str, str]]:
    return [(data["part"], data["state"]) for data in events_with_data(database, study, "part.ended")]
