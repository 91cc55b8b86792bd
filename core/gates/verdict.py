"""What a gate says: a document that a reader can check, since whatever was decided stands beside what decided it."""

from datetime import date
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from core.gates.limits import Finding
from core.intervals import LEVEL
from core.specs.document import Document
from core.specs.policies import Bound, Level

Status = Literal["pass", "fail", "warn", "inconclusive", "waived", "error", "no_baseline"]
Overall = Literal["passed", "failed", "inconclusive", "no_baseline"]

EXIT_CODES: dict[Overall, int] = {"passed": 0, "failed": 1, "inconclusive": 4, "no_baseline": 4}


class Number(Document):
    """A number as it was measured."""

    value: float | None
    interval: tuple[float, float] | None = Field(
        description="By bootstrap over the samples, at the verdict's `level`; at 95 % where it is of transferability."
    )
    unit: str


class LimitSaid(Document):
    """What was asked of the number."""

    bound: Bound
    value: float
    unit: str
    relative: bool = Field(
        description="Whether `worse_by` is held against it, and not `observed`: the limit is on the difference."
    )
    strict: bool = Field(description="Whether the whole interval must keep it.")


class WaiverSaid(Document):
    """Why an unmet rule does not count, and until when."""

    reason: str
    expires: date


class Outcome(Document):
    """What came of a rule under one attack, or on the clean pass."""

    rule: str
    on: str
    level: Level
    status: Status
    finding: Finding = Field(
        description="Before level and waivers: a `warn` or `waived` would have been this."
    )
    message: str = Field(description="What was measured, what was allowed, how far off.")
    attack: str | None = Field(
        default=None, description="Label of the attack, or of the attacks that transferability is of."
    )
    ordinal: int | None = Field(
        default=None, description="Its position in the job's spec; -1 is the clean pass."
    )
    observed: Number | None = None
    limit: LimitSaid | None = None
    baseline: Number | None = Field(default=None, description="The same number on the baseline.")
    worse_by: Number | None = Field(
        default=None, description="How much worse than the baseline's it is; a paired interval."
    )
    samples: int | None = None
    samples_needed: int | None = Field(
        default=None,
        description="How many would settle what is inconclusive if the estimate stayed; an interval shrinks with the "
        "square root of their number. Null where not even as many as may be taken would.",
    )
    flags: list[str] = Field(default=[], description="Codes of the flags that make it unreliable.")
    waiver: WaiverSaid | None = None


class Note(Document):
    """Something about the policy's waivers."""

    code: Literal["waiver_expired", "waiver_expires_soon", "waiver_unknown_rule", "waiver_not_needed"]
    rule: str
    message: str


class Doubt(Document):
    """A health flag that makes numbers doubtful; see the results of the evaluation for its evidence."""

    code: str
    severity: Literal["error", "warning"] = Field(description="An error makes the numbers unreliable.")
    message: str = Field(description="What it means.")
    attacks: list[str] = Field(
        default=[],
        description="Labels of the attacks that it was raised on; none where it is about all numbers.",
    )
    of_baseline: bool = Field(default=False, description="It is about the baseline's numbers.")


class Baseline(Document):
    """What the model was compared with."""

    job: UUID
    model: UUID
    model_name: str | None


class LookSaid(Document):
    """One of the evaluations that a gate file allows."""

    number: int = Field(ge=1, description="From 1.")
    of: int = Field(ge=1, description="How many there may be.")
    samples: int
    effort: int = Field(ge=1, description="How many times the file's steps; 1 as written.")
    restarts: int | None = Field(description="Random starts, at least; null for as many as the file says.")


class NextLook(Document):
    """The evaluation that may say more."""

    number: int = Field(ge=1, description="From 1.")
    samples: int
    effort: int = Field(ge=1, description="How many times the file's steps; 1 as written.")
    restarts: int | None = Field(
        default=None, description="Random starts, at least; null for as many as the file says."
    )
    why: str


class Verdict(Document):
    """Whether a model keeps a policy, and why. The same results, policy, level and day give the same verdict."""

    status: Overall
    exit_code: int = Field(description="0 passed, 1 failed, 4 inconclusive or without a baseline.")
    message: str
    job: UUID
    model: UUID
    model_name: str | None
    baseline: Baseline | None
    dataset: dict[str, Any]
    metric_version: str
    metric_rules: str
    policy: str = Field(description="SHA-256 of the policy's canonical JSON.")
    gate_file: str | None = Field(
        default=None, description="SHA-256 of the gate file's, where this is one of its looks."
    )
    today: date = Field(description="The day on which waivers were looked at.")
    level: float = Field(
        default=LEVEL, gt=0, lt=1, description="How often an interval should hold the true value."
    )
    counts: dict[Status, int] = Field(description="Outcomes by status; those that are 0 left out.")
    outcomes: list[Outcome] = Field(description="In the policy's order, then in the order of the attacks.")
    notes: list[Note]
    doubts: list[Doubt] = Field(
        default=[], description="What the health checks found that makes numbers doubtful, errors first."
    )
    transferability: UUID | None = Field(
        default=None, description="The job that rules on transferability were decided by."
    )
    look: LookSaid | None = Field(
        default=None,
        description="Which of the gate file's looks this is; null for any other evaluation, which is decided by "
        "itself.",
    )
    next: NextLook | None = Field(
        default=None, description="The look to take next, because this one does not settle it."
    )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return self.model_dump(mode="json")
