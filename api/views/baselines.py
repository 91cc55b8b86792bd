"""Baselines as requests name them and as answers show them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, model_validator

from core.errors import InvalidError
from core.gates import Verdict
from core.gates.verdict import Baseline as Compared
from core.jobs.baselines import Resolved, ResolvedBy
from core.specs.document import Document, Line, LineOrNone
from core.store.tables import Baseline, BaselineKind

_ids = TypeAdapter(UUID)


class BaselinePlace(Document):
    """Where to look for a model's baseline: at the merge base, else at the branch, else at the tag."""

    repository: Line = Field(description="As the baseline was set, such as github.com/acme/depth.")
    model_name: LineOrNone | None = Field(
        default=None,
        description="What the repository calls the model, as its baseline was set; empty or left out where it names "
        "none. In a verdict that is asked for with a gate_file it is that file's model.name, and may be left out.",
    )
    merge_base: Line | None = Field(default=None, description="A commit's whole id.")
    branch: Line | None = None
    tag: Line | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.merge_base is None and self.branch is None and self.tag is None:
            raise InvalidError("say where to look: a merge_base, a branch or a tag")
        return self

    @property
    def places(self) -> dict[str, str | None]:
        """Where in the repository to look."""
        return self.model_dump(include={"merge_base", "branch", "tag"})


class ComparedPlace(BaselinePlace):
    """Where to look, and perhaps what to compare with then."""

    evaluation: UUID | None = Field(
        default=None,
        description="Another evaluation of the model whose baseline is found, done like the one at hand; its own "
        "unless said.",
    )


def _read(value: Any) -> UUID | ComparedPlace:
    """Read by what it looks like, so that errors name places in the body and not the members of a union."""
    return ComparedPlace.model_validate(value) if isinstance(value, Mapping) else _ids.validate_python(value)


BaselineReference = Annotated[UUID | ComparedPlace, BeforeValidator(_read)]
"""An evaluation's id, or where to look for one."""


class BaselineRequest(Document):
    """Which evaluation shall be the baseline of a repository's model, and where."""

    repository: Line = Field(description="Such as github.com/acme/depth; taken as it is written.")
    model_name: LineOrNone = Field(
        default="",
        description="What the repository calls the model: model.name of its gate file; empty where that says none.",
    )
    kind: BaselineKind = Field(description="What `ref` is.")
    ref: Line = Field(description="A commit's whole id, or the name of a branch or tag.")
    job: UUID = Field(description="An evaluation that has succeeded.")
    note: Line | None = Field(default=None, description="Why, for people.")
    force: bool = Field(
        default=False, description="Take an evaluation with error flags; `note` must say why."
    )


class BaselineView(BaseModel):
    """A baseline, as it holds or held."""

    id: UUID
    repository: str
    model_name: str = Field(
        description="What the repository calls the model; empty where it names none. Not what `model` is registered as."
    )
    kind: BaselineKind
    ref: str
    job: UUID
    model: UUID
    note: str | None
    set_at: datetime
    ended_at: datetime | None = Field(
        description="When another took its place or it was retired; null: it holds."
    )
    key: UUID | None = Field(description="Id of the API key that set it.")

    @classmethod
    def of(cls, row: Baseline) -> Self:
        """What a row says."""
        return cls.model_validate(
            {
                "id": row.id,
                "repository": row.repository,
                "model_name": row.model_name,
                "kind": row.kind,
                "ref": row.ref,
                "job": row.job_id,
                "model": row.model_id,
                "note": row.note,
                "set_at": row.set_at,
                "ended_at": row.ended_at,
                "key": row.key_id,
            }
        )


class ResolutionView(BaseModel):
    """What was found at a place."""

    baseline: BaselineView | None
    resolved_by: ResolvedBy | None = Field(
        description="What it was found by; null where there is no baseline."
    )
    other_names: list[str] = Field(
        description="Where there is no baseline: the repository's other models that have one there, a few of them."
    )

    @classmethod
    def of(cls, found: Resolved | None, others: Sequence[str]) -> Self:
        """The view of what `find_baseline` found, or else `other_names`."""
        if found is None:
            return cls(baseline=None, resolved_by=None, other_names=list(others))
        return cls(baseline=BaselineView.of(found.baseline), resolved_by=found.by, other_names=[])


FoundBy = Literal[ResolvedBy, "job"]


class ComparedView(Compared):
    """What the model was compared with, and how that was found."""

    resolved_by: FoundBy = Field(description="job: the request named the evaluation itself.")


class VerdictView(Verdict):
    """A verdict that says how its baseline was found."""

    baseline: ComparedView | None

    @classmethod
    def of(cls, verdict: Verdict, found_by: FoundBy) -> Self:
        """The verdict; `found_by` counts where there is a baseline."""
        compared = verdict.baseline
        said = None if compared is None else ComparedView(**dict(compared), resolved_by=found_by)
        return cls(**{**dict(verdict), "baseline": said})
