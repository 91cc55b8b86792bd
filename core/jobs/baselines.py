"""Baselines: which evaluation the verdicts on a repository's model compare with. A row is never rewritten, it ends.

Those who set the same one take turns, so what held at a time is one row: `set_at` up to it, and not yet `ended_at`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Select, func, select, tuple_, update
from sqlalchemy.orm import Session

from core.errors import InvalidError
from core.jobs.errors import JobNotFoundError
from core.jobs.reliability import reliable
from core.store.tables import Baseline, BaselineKind, Job, Result

ResolvedBy = Literal["merge_base", "branch", "tag"]

MAX_OTHERS = 20
"""So many other models are named where one has no baseline."""


class BaselineError(InvalidError):
    """The job is nothing to compare with."""

    code = "not_a_baseline"


class UnreliableBaselineError(InvalidError):
    """The evaluation has errors, and nobody said why it shall be a baseline all the same."""

    code = "unreliable_baseline"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A baseline, and which of the places that were asked for it stands at."""

    baseline: Baseline
    by: ResolvedBy


def set_baseline(
    session: Session,
    repository: str,
    *,
    kind: BaselineKind,
    ref: str,
    job_id: UUID,
    model_name: str = "",
    note: str | None = None,
    force: bool = False,
    key_id: UUID | None = None,
) -> Baseline:
    """Let verdicts on a repository's model compare with this evaluation; the one that stood there ends.

    The same job and note once more change nothing.

    Args:
        session: the transaction to do it in.
        repository: such as "github.com/acme/depth".
        kind: what `ref` is.
        ref: a commit's whole id, or the name of a branch or tag.
        job_id: a succeeded evaluation.
        model_name: what the repository calls the model, as its gate file does; "" where it has only one.
        note: why, for people.
        force: take an unreliable evaluation; `note` must say why.
        key_id: who sets it.

    Raises:
        JobNotFoundError: there is no such job.
        BaselineError: the job is no evaluation that has succeeded.
        UnreliableBaselineError: it has an error flag, and there is not both `force` and a note.
    """
    job = _evaluation(session, job_id)
    if not (force and note) and not _reliable(session, job):
        field = "note" if force else "job"
        raise UnreliableBaselineError(
            f"job {job.id} has errors, see the flags of its results; to take it all the same, send `force` and a "
            "note that says why",
            field=field,
        )
    _take_turns(session, repository, model_name, kind, ref)
    held = session.scalar(_held(repository, model_name, kind, ref).with_for_update())
    if held is not None and (held.job_id, held.note) == (job.id, note):
        return held
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    if held is not None:
        held.ended_at = now
        session.flush()  # before the new row, which the index would refuse beside it
    row = Baseline(repository=repository, kind=kind, ref=ref, job_id=job.id, model_id=job.model_id)
    row.model_name = model_name
    row.note, row.set_at, row.key_id = note, now, key_id
    session.add(row)
    session.flush()
    return row


def find_baseline(
    session: Session,
    repository: str,
    *,
    model_name: str = "",
    merge_base: str | None = None,
    branch: str | None = None,
    tag: str | None = None,
) -> Resolved | None:
    """A model's baseline at the merge base, else at the branch, else at the tag; None where none stands at any.

    That of another of the repository's models is none, and neither is one that was set without a model's name where
    one is asked for: they would be compared by accident.
    """
    for by, kind, ref in _places(merge_base, branch, tag):
        found = session.scalar(_held(repository, model_name, kind, ref))
        if found is not None:
            return Resolved(found, by)
    return None


def other_names(
    session: Session,
    repository: str,
    *,
    model_name: str = "",
    merge_base: str | None = None,
    branch: str | None = None,
    tag: str | None = None,
) -> list[str]:
    """The repository's other models that have a baseline at one of the places, sorted, the first `MAX_OTHERS`."""
    refs = [(kind, ref) for _, kind, ref in _places(merge_base, branch, tag)]
    there = list_baselines(repository).where(
        tuple_(Baseline.kind, Baseline.ref).in_(refs), Baseline.model_name != model_name
    )
    names = there.with_only_columns(Baseline.model_name).distinct().order_by(Baseline.model_name)
    return list(session.scalars(names.limit(MAX_OTHERS)))


def list_baselines(
    repository: str | None = None, *, model_name: str | None = None, ended: bool = False
) -> Select[Baseline]:
    """A query for baselines: of one repository or model name if said, and with `ended` also those that hold no more."""
    statement = select(Baseline)
    if repository is not None:
        statement = statement.where(Baseline.repository == repository)
    if model_name is not None:
        statement = statement.where(Baseline.model_name == model_name)
    return statement if ended else statement.where(Baseline.ended_at.is_(None))


def retire_baseline(session: Session, baseline_id: UUID) -> bool:
    """Let a baseline hold no more; False if it did not. What took its place in the meantime stays."""
    held = update(Baseline).where(Baseline.id == baseline_id, Baseline.ended_at.is_(None))
    ended = held.values(ended_at=func.clock_timestamp()).returning(Baseline.id)
    return session.scalar(ended) is not None


def _places(
    merge_base: str | None, branch: str | None, tag: str | None
) -> list[tuple[ResolvedBy, BaselineKind, str]]:
    """Where to look, in turn."""
    places: tuple[tuple[ResolvedBy, BaselineKind, str | None], ...] = (
        ("merge_base", "commit", merge_base),
        ("branch", "branch", branch),
        ("tag", "tag", tag),
    )
    return [(by, kind, ref) for by, kind, ref in places if ref is not None]


def _held(repository: str, model_name: str, kind: BaselineKind, ref: str) -> Select[Baseline]:
    model = list_baselines(repository, model_name=model_name)
    return model.where(Baseline.kind == kind, Baseline.ref == ref)


def _take_turns(session: Session, repository: str, model_name: str, kind: BaselineKind, ref: str) -> None:
    """Wait for others who set this baseline: until it is there, no row can be locked."""
    place = f"baseline {kind} {len(repository)} {repository} {len(model_name)} {model_name} {ref}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(place, 0))))


def _evaluation(session: Session, job_id: UUID) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise JobNotFoundError(job_id)
    if job.kind != "evaluation":
        raise BaselineError(f"job {job.id} is a {job.kind} job; a baseline is an evaluation", field="job")
    if job.state != "succeeded":
        raise BaselineError(f"job {job.id} is {job.state}; a baseline has succeeded", field="job")
    return job


def _reliable(session: Session, job: Job) -> bool:
    flags = session.scalars(select(Result.flags).where(Result.job_id == job.id))
    return reliable((job.summary or {}).get("flags", ()), *flags)
