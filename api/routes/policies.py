"""Gate files over HTTP: their text in, what they say and where out. Nothing is run, and nothing is kept."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

from api.auth import Reader
from api.problems import FieldProblem, GateFileProblem, ProblemError
from api.state import Transaction
from api.views.policies import GateFileView
from core.errors import InvalidError, under
from core.gates.plan import GatePlan, plan_file
from core.gates.policy_file import PolicyFile, read_gate_file
from core.specs.document import Document
from core.specs.gate_file import gate_file_schema
from core.specs.manifests import tasks_of
from core.store import registered
from core.store.tables import Model
from core.tasks import Task

router = APIRouter(prefix="/v1", tags=["verdicts"])

YAML_TYPES = ("text/yaml", "application/yaml")
JSON_TYPE = "application/json"


class GateFileText(Document):
    """A gate file in a JSON body."""

    text: str = Field(description="The text of a windthrow.yaml.")


BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON_TYPE: {"schema": GateFileText.model_json_schema()},
        **{media_type: {"schema": {"type": "string"}} for media_type in YAML_TYPES},
    },
}


async def _text(request: Request) -> str:
    """The text that a body is, or holds."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if media_type == JSON_TYPE:
        try:
            return GateFileText.model_validate_json(body).text
        except ValidationError as error:
            errors = error.errors(include_url=False)
            raise RequestValidationError(
                [{**entry, "loc": ("body", *entry["loc"])} for entry in errors]
            ) from error
    if media_type not in YAML_TYPES:
        detail = f"send the text as {' or '.join(YAML_TYPES)}, or {JSON_TYPE} with a field text"
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        message = f"the text is not UTF-8: byte {error.start} is not"
        problem = FieldProblem(pointer="#", code="not_utf8", message=message)
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "not_utf8", message, errors=[problem]) from error


@router.post(
    "/policies/check",
    responses={422: {"model": GateFileProblem, "description": "What is wrong with the file, and where."}},
    openapi_extra={"requestBody": BODY},
)
def check(
    _: Reader,
    text: Annotated[str, Depends(_text)],
    session: Transaction,
    model: Annotated[
        UUID | None, Query(description="A registered model: its tasks are those that are attacked.")
    ] = None,
) -> GateFileView:
    """What a `windthrow.yaml` says: its policy, and the evaluations that it asks for.

    The evaluations need the model's tasks: of the query's model, or else of the profile that the file names. Rules
    that they could not decide are refused then.
    """
    known = None if model is None else _tasks(session, model)
    read = read_gate_file(text)
    tasks = known or read.file.model.tasks
    return GateFileView.of(read, None if tasks is None else _plan(session, read, tasks))


@router.get("/gate-file-schema")
def schema(_: Reader) -> dict[str, Any]:
    """The JSON Schema of a `windthrow.yaml`, for editors."""
    return gate_file_schema()


def _plan(session: Session, read: PolicyFile, tasks: Sequence[Task]) -> GatePlan:
    named = read.file.dataset
    try:
        with under("dataset"):
            info = registered.find(session, named.name, named.version)
    except InvalidError as error:
        raise read.error(error) from error
    return plan_file(read, tasks, info)


def _tasks(session: Session, model_id: UUID) -> tuple[Task, ...] | None:
    """A model's tasks; None while its file is being read."""
    model = session.get(Model, model_id)
    if model is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "model_not_found", f"there is no model {model_id}")
    return None if model.manifest is None else tasks_of(model.manifest)
