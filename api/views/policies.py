"""What a gate file says, spelled out, and what is wrong with one."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, Field, SerializeAsAny, WithJsonSchema

from api.problems import TYPE_PREFIX, FieldProblem, Problem
from core.gates.policy_file import GateFileError, PolicyFile
from core.gates.suites import suite_evaluation
from core.tasks import Task


class GateFileView(BaseModel):
    """A gate file that was read."""

    file: dict[str, Any] = Field(description="The whole file as JSON, with its defaults spelled out.")
    policy: dict[str, Any] = Field(description="The part that a verdict is asked for with.")
    evaluation: dict[str, Any] | None = Field(
        description="The evaluation to submit, without kind and model; null while the model's tasks are not known."
    )
    lines: dict[str, int] = Field(
        description='The line of every field and item, from 1, by JSON pointer ("#/rules/0").'
    )
    digest: str = Field(description="SHA-256 of the policy, as its verdicts name it.")

    @classmethod
    def of(cls, read: PolicyFile, tasks: Sequence[Task] | None) -> "GateFileView":
        """What a file says of a model with these tasks.

        Raises:
            InvalidError: it attacks a task that the model has not; `field` names the place in the file.
        """
        policy = read.file.policy
        evaluation = None if tasks is None else suite_evaluation(read.file, tasks).model_dump(mode="json")
        return cls(
            file=read.file.model_dump(mode="json"),
            policy=policy.model_dump(mode="json"),
            evaluation=evaluation,
            lines=read.lines,
            digest=policy.digest(),
        )


class LineProblem(FieldProblem):
    """One offending place of a gate file."""

    line: int = Field(description="From 1.")
    column: int = Field(description="From 1.")


class GateFileProblem(Problem):
    """What is wrong with a gate file, with the lines; pointers are into the file."""

    errors: list[Annotated[FieldProblem, SerializeAsAny(), WithJsonSchema(LineProblem.model_json_schema())]]

    @classmethod
    def of(cls, error: GateFileError, request_id: str | None) -> "GateFileProblem":
        """All that an error says."""
        status, count = HTTPStatus.UNPROCESSABLE_ENTITY, len(error.problems)
        first = str(error)
        return cls(
            type=TYPE_PREFIX + error.code,
            title=status.phrase,
            status=status,
            detail=first if count == 1 else f"{count} things are not acceptable; the first: {first}",
            code=error.code,
            request_id=request_id,
            errors=[
                LineProblem(
                    pointer=problem.pointer,
                    code=problem.code,
                    message=problem.text,
                    line=problem.place.line,
                    column=problem.place.column,
                )
                for problem in error.problems
            ],
        )
