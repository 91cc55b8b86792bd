"""What a gate file says, spelled out, and what is to be run for it."""

from hashlib import sha256
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, Field

from core.gates.looks import Look, level_of
from core.gates.plan import GatePlan
from core.gates.policy_file import PolicyFile
from core.gates.suites import compares
from core.specs.document import Document

VERSION = version("windthrow-server")


class LookView(BaseModel):
    """One evaluation that a gate may take."""

    number: int = Field(description="From 1.")
    samples: int
    effort: int = Field(description="How many times the steps that the file says.")
    restarts: int | None = Field(description="At least so many; null: as many as the file says.")
    early: bool = Field(description="Before the samples that the file asks for.")
    evaluation: dict[str, Any] = Field(
        description="To be submitted with kind and model; its data set is pinned."
    )
    digest: str = Field(
        description="Of the evaluation and the service's version: with the model's id it makes a client_ref by which "
        "the same look is the same job, until the service is another."
    )

    @classmethod
    def of(cls, look: Look) -> "LookView":
        """A look of a plan."""
        return cls(
            number=look.number,
            samples=look.samples,
            effort=look.effort,
            restarts=look.restarts,
            early=look.early,
            evaluation=look.evaluation.model_dump(mode="json"),
            digest=_digest(look.evaluation),
        )


class TransferredView(BaseModel):
    """The transferability job that a gate needs."""

    spec: dict[str, Any] = Field(description="To be submitted with kind and models.")
    digest: str = Field(description="As that of a look.")


class GateFileView(BaseModel):
    """A gate file that was read."""

    file: dict[str, Any] = Field(description="The whole file as JSON, with its defaults spelled out.")
    policy: dict[str, Any] = Field(description="The part that a verdict is asked for with.")
    evaluation: dict[str, Any] | None = Field(
        description="The evaluation that the file asks for, without kind and model; null while the model's tasks are "
        "not known."
    )
    looks: list[LookView] | None = Field(
        description="The evaluations that a gate may take, in order: a verdict that is asked for with the file's text "
        "says which is next. Null while the model's tasks are not known."
    )
    level: float | None = Field(
        description="Of the intervals at each look, so that those of all looks together hold with 95 %."
    )
    transferability: TransferredView | None = Field(
        description="What rules on transferability need; null if there are none, or the model's tasks are not known."
    )
    compares: bool = Field(description="Whether a rule needs a baseline.")
    lines: dict[str, int] = Field(
        description='The line of every field and item, from 1, by JSON pointer ("#/rules/0").'
    )
    digest: str = Field(description="SHA-256 of the policy, as its verdicts name it.")

    @classmethod
    def of(cls, read: PolicyFile, plan: GatePlan | None) -> "GateFileView":
        """What a file says, and where the model's tasks are known what is to be done about it."""
        policy = read.file.policy
        transferred = None if plan is None else plan.transferability
        return cls(
            file=read.file.model_dump(mode="json"),
            policy=policy.model_dump(mode="json"),
            evaluation=None if plan is None else plan.evaluation.model_dump(mode="json"),
            looks=None if plan is None else [LookView.of(look) for look in plan.looks],
            level=None if plan is None else level_of(plan.looks),
            transferability=None
            if transferred is None
            else TransferredView(spec=transferred.model_dump(mode="json"), digest=_digest(transferred)),
            compares=any(compares(rule) for rule in policy.rules),
            lines=read.lines,
            digest=policy.digest(),
        )


def _digest(document: Document) -> str:
    return sha256(f"{VERSION} {document.canonical()}".encode()).hexdigest()
