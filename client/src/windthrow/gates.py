"""Gating as records: what a gate file plans, the steps on the way to a verdict, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from windthrow._documents import flag, mapping, name, whole
from windthrow._gate_text import DAY
from windthrow.errors import ServiceError

if TYPE_CHECKING:
    from windthrow.records import Job, Json, Model

EXIT_CODES = {"passed": 0, "failed": 1, "inconclusive": 4, "no_baseline": 4}
"""By a verdict's status."""

STATUSES = frozenset({"pass", "fail", "warn", "inconclusive", "waived", "error", "no_baseline"})
"""What an outcome may be."""
UNMET = frozenset({"fail", "error", "inconclusive", "no_baseline"})
"""What an outcome of the level `warn` alone may be where a verdict has passed."""


@dataclass(frozen=True)
class Look:
    """One of the evaluations that a gate file plans.

    Attributes:
        number: from 1.
        evaluation: what to submit, without kind and model.
        digest: of what it evaluates, whichever model.
    """

    number: int
    evaluation: Json
    digest: str

    @classmethod
    def read(cls, document: Json) -> Look:
        """A look as the service describes it."""
        return cls(whole(document["number"]), mapping(document["evaluation"]), name(document["digest"]))


@dataclass(frozen=True)
class Plan:
    """What a gate file says, as the service read it.

    Attributes:
        file: the whole of it as JSON, with its defaults.
        compares: whether a rule needs a baseline.
        looks: the evaluations that may be taken, in turn; None while the model's tasks are not known.
        transferability: a job's spec without kind and models, and its digest.
    """

    file: Json
    lines: Json
    compares: bool
    looks: tuple[Look, ...] | None
    transferability: tuple[Json, str] | None
    document: Json = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Json) -> Plan:
        """A plan as the service describes it."""
        file, looks, other = document["file"], document["looks"], document.get("transferability")
        model = mapping(mapping(file)["model"])
        name(model["file"])
        mapping(model.get("manifest") or {})
        name(model.get("name") or "unnamed")
        mapping(file.get("baseline") or {})
        if not 1 <= whole(file["deadline_minutes"]) <= DAY:
            raise ValueError("no deadline")
        if looks is not None and not looks:
            raise ValueError("no looks")
        return cls(
            file=file,
            lines=mapping(document["lines"]),
            compares=flag(document["compares"]),
            looks=None if looks is None else tuple(Look.read(one) for one in looks),
            transferability=None if other is None else (mapping(other["spec"]), name(other["digest"])),
            document=document,
        )


@dataclass(frozen=True)
class Step:
    """Something that happened on the way to a verdict.

    Attributes:
        kind: `checked`, `pushing`, `model`, `baseline`, `submitting`, `job`, `event`, `note`, `verdict` or `report`.
        message: a sentence for people.
        job: that was submitted or attached to, where `kind` is `job`.
        mine: whether this call of `gate` created the job.
        document: the checked file, the verdict, or the published report.
        done: how much is done of what an `event` is about, 0 to 1, if it tells.
    """

    kind: str
    message: str
    job: Job | None = None
    mine: bool = False
    document: Json | None = field(default=None, repr=False, compare=False)
    done: float | None = None


@dataclass(frozen=True)
class Gated:
    """A gate that got its verdict.

    Attributes:
        jobs: the model's evaluations, one for each look that was taken; the verdict is on the last.
        baseline: the evaluation that it was compared with.
        asked: how the verdict was asked for: arguments of `verdict` and `verdict_file`.
    """

    verdict: Json
    plan: Plan
    model: Model
    jobs: tuple[Job, ...]
    baseline: Job | None
    transferability: Job | None
    asked: Json = field(repr=False)

    @property
    def job(self) -> Job:
        """The evaluation that the verdict is on."""
        return self.jobs[-1]

    @property
    def report(self) -> str | None:
        """What its files point to: the published page, or what the caller said."""
        found: str | None = self.asked.get("report")
        return found

    @property
    def document(self) -> Json:
        """The verdict, and what its files point to as `report`, if there is that."""
        return self.verdict if self.report is None else {**self.verdict, "report": self.report}

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 4 inconclusive or without a baseline."""
        return EXIT_CODES[self.verdict["status"]]


def check_verdict(verdict: Json, job_id: str, model_id: str) -> Json:
    """The verdict itself if it can be believed.

    Args:
        verdict: as the service gave it.
        job_id: the evaluation that it was asked for on.
        model_id: the evaluated model's.

    Raises:
        ServiceError: it contradicts itself, is on something else, or is none.
    """
    status, code = verdict.get("status"), verdict.get("exit_code")
    if not isinstance(status, str) or status not in EXIT_CODES:
        raise ServiceError(f"the verdict makes no sense: its status is {status!r}")
    if type(code) is not int or code != EXIT_CODES[status]:
        raise ServiceError(f"the verdict contradicts itself: {status}, with exit code {code!r}")
    if verdict.get("job") != job_id:
        raise ServiceError(f"the verdict is on job {verdict.get('job')!r}, and was asked for on {job_id}")
    if verdict.get("model") != model_id:
        raise ServiceError(
            f"the verdict is on model {verdict.get('model')!r}, and was asked for on {model_id}"
        )
    if not isinstance(verdict.get("message"), str) or "next" not in verdict:
        raise ServiceError("the verdict makes no sense: it does not say what it decided")
    _check_outcomes(status, verdict.get("outcomes"))
    return verdict


def _check_outcomes(status: str, outcomes: object) -> None:
    if not isinstance(outcomes, list) or not outcomes or not all(isinstance(one, dict) for one in outcomes):
        raise ServiceError("the verdict makes no sense: it does not say what it decided")
    for one in outcomes:
        found = one.get("status")
        if not isinstance(found, str) or found not in STATUSES:
            raise ServiceError(f"the verdict makes no sense: a rule's status is {found!r}")
        if status == "passed" and one.get("level") != "warn" and found in UNMET:
            raise ServiceError(f"the verdict contradicts itself: passed, with a rule that is {found}")


def following(verdict: Json, looks: tuple[Look, ...], now: Look) -> Look | None:
    """The look that a verdict asks for next.

    Raises:
        ServiceError: it is not on this look, or asks for one that there is not, or that was taken.
    """
    on, asked = verdict.get("look"), verdict.get("next")
    if not isinstance(on, dict) or (on.get("number"), on.get("of")) != (now.number, len(looks)):
        raise ServiceError(f"the verdict is not on look {now.number} of {len(looks)}; run the gate again")
    if asked is None:
        return None
    number = asked.get("number") if isinstance(asked, dict) else None
    found = [look for look in looks if look.number == number and look.number > now.number]
    if not found:
        raise ServiceError(f"the verdict asks for look {number!r}, which is none of those left")
    return found[0]
