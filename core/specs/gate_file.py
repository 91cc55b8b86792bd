"""`windthrow.yaml` as a document: a repository's model, what it is attacked with, and the policy that it must keep.

How its text is read, `core.gates.policy_file` knows; what a named suite is, `core.gates.suites` does.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID

from pydantic import BeforeValidator, Field, StrictBool, field_validator, model_validator

from core.errors import InvalidError, under
from core.specs.attack import AttackSpec
from core.specs.attack_fields import MAX_EPS
from core.specs.document import Document, Line
from core.specs.documents import (
    MAX_ATTACKS,
    MAX_SAMPLES,
    MAX_SHUFFLE,
    DatasetRef,
    check_distinct,
    check_single,
)
from core.specs.manifests import ManifestHints, tasks_of
from core.specs.policies import GatePolicy
from core.specs.suggestions import unknown
from core.tasks import Task

MAX_RADII = 16
MAX_EFFORT = 16
DEFAULT_EPS = (8.0,)
DAY = 24 * 60

SuiteName = Literal["quick", "standard", "thorough"]
SUITE_NAMES: tuple[SuiteName, ...] = get_args(SuiteName)

Radius = Annotated[float, Field(gt=0, le=MAX_EPS)]


class GatedModel(Document):
    """The checkpoint that is gated, and what it is."""

    file: Line = Field(
        description="Path of the checkpoint from the repository's root, with / between its parts."
    )
    name: Line | None = Field(
        default=None,
        description="What the model is called at the service, the file's name unless said; and what its baselines are "
        "kept under: a repository that gates several models names each. None is taken from the file's name for that.",
    )
    manifest: ManifestHints = Field(
        default=ManifestHints(),
        description="All that makes the model beside its weights. What the file tells by itself may be left out.",
    )

    @field_validator("file")
    @classmethod
    def _relative(cls, value: str) -> str:
        path = PurePosixPath(value)
        if (
            path.is_absolute()
            or ".." in path.parts
            or not path.parts
            or "\\" in value
            or ":" in path.parts[0]
        ):
            raise InvalidError(f"a path from the repository's root, that stays in it; got {value!r}")
        return value

    @model_validator(mode="after")
    def _known_tasks(self) -> Self:
        with under("manifest.tasks"):
            _ = self.tasks
        return self

    @property
    def tasks(self) -> tuple[Task, ...] | None:
        """The model's tasks; None if its file has to tell them."""
        return None if self.manifest.profile is None else tasks_of(self.manifest.said())


class GatedSamples(DatasetRef):
    """What is evaluated on: the first so many samples of a split, in an order that is drawn unless said otherwise."""

    shuffle: int | None = Field(
        default=0,
        ge=0,
        le=MAX_SHUFFLE,
        strict=True,
        description="The seed of the order that samples are taken in, so that the first of them are a random draw. "
        "null takes them in the data set's order.",
    )

    def first(self, samples: int | None) -> DatasetRef:
        """So many of them, as an evaluation names them; as many as `limit` says where it does."""
        return DatasetRef.model_validate({**self.model_dump(), "limit": self.limit or samples})


class ExplicitSuite(Document):
    """Attacks written out."""

    attacks: list[AttackSpec] = Field(
        min_length=1, max_length=MAX_ATTACKS, description="Each with a radius of its own."
    )
    samples: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SAMPLES,
        description="How many samples; as many as dataset.limit says, or else all, unless said.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        with under("attacks"):
            check_distinct(self.attacks)
        return self


def _suite(value: Any) -> Any:
    """Read a suite as what it is, so that errors name places in the file and not the members of a union."""
    if isinstance(value, Mapping):
        return ExplicitSuite.model_validate(value)
    if isinstance(value, str) and value not in SUITE_NAMES:
        raise InvalidError(unknown("suite", value, SUITE_NAMES))
    if not isinstance(value, str | ExplicitSuite):
        raise InvalidError(f"a suite is one of {', '.join(SUITE_NAMES)}, or has attacks")
    return value


class Compared(Document):
    """Which model a change is compared with: the baseline at its merge base, else at the branch, else at the tag."""

    branch: Line | None = Field(default=None, description="The baseline of this branch.")
    tag: Line | None = Field(default=None, description="The baseline of this tag.")
    model: UUID | None = Field(
        default=None, description="This registered model instead, whatever the repository's baselines are."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.model is not None and (self.branch, self.tag) != (None, None):
            raise InvalidError("a model is the baseline already; leave branch and tag out", field="model")
        return self


class Escalation(Document):
    """What to do where the suite does not settle it: first more samples, then more steps, then restarts as well."""

    samples: int | None = Field(
        default=None,
        ge=2,
        le=MAX_SAMPLES,
        description="Up to so many samples, as far as the split has them; no more than the suite's unless said.",
    )
    effort: int | None = Field(
        default=None,
        ge=2,
        le=MAX_EFFORT,
        description="Up to so many times the steps, then so many random restarts; as the suite has them unless said.",
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.samples, self.effort) == (None, None):
            raise InvalidError("say how far: samples, effort or both")
        return self


class GateFile(GatePolicy):
    """What a repository that gates its models in its CI says in `windthrow.yaml`."""

    model: GatedModel = Field(description="The checkpoint that is gated.")
    dataset: GatedSamples = Field(
        description="What it is evaluated on; a limit goes before the suite's samples."
    )
    suite: Annotated[SuiteName | ExplicitSuite, BeforeValidator(_suite)] = Field(
        description="What it is attacked with: quick, standard, thorough, or attacks written out."
    )
    eps: tuple[Radius, ...] = Field(
        default=DEFAULT_EPS,
        min_length=1,
        max_length=MAX_RADII,
        description="Radii of the named suites' balls, in pixel steps of 1/255; attacks written out say their own.",
    )
    stop_early: StrictBool = Field(
        default=True, description="Look at fewer samples first, and stop there if nothing more can change it."
    )
    escalate: Escalation | None = Field(
        default=None, description="What to do where the suite does not settle it; nothing unless said."
    )
    transferability: AttackSpec | None = Field(
        default=None,
        description="The attack of rules on transferability, without objective; PGD-20 with the first eps unless said.",
    )
    baseline: Compared | None = Field(
        default=None, description="Which model rules compare with; none unless said."
    )
    deadline_minutes: int = Field(
        default=60, ge=1, le=DAY, description="How long a CI waits for the evaluation before it gives up."
    )
    on_service_error: Literal["fail", "warn"] = Field(
        default="fail",
        description="What comes of a run that got no verdict, as when the service cannot be reached. "
        "fail: the gate fails. warn: it is said and no more.",
    )

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if len(set(self.eps)) != len(self.eps):
            raise InvalidError("eps names each radius once", field="eps")
        if isinstance(self.suite, ExplicitSuite):
            if self.eps != DEFAULT_EPS:
                raise InvalidError("the suite's attacks say their own eps; leave this out", field="eps")
            if None not in (self.suite.samples, self.dataset.limit):
                raise InvalidError("dataset.limit says how many samples already", field="suite.samples")
        return self

    @model_validator(mode="after")
    def _single(self) -> Self:
        if self.transferability is not None:
            with under("transferability"):
                check_single(self.transferability)
        return self

    @property
    def policy(self) -> GatePolicy:
        """The part that a verdict is about."""
        return GatePolicy(version=self.version, rules=self.rules, waivers=self.waivers)


def gate_file_schema() -> dict[str, Any]:
    """The JSON Schema of a gate file, for editors."""
    names = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:windthrow:gate-file:1"}
    return names | GateFile.model_json_schema() | {"title": "windthrow.yaml"}
