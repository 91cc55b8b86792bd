"""Models: an uploaded checkpoint bound to a manifest. A worker reads the weights; here only the header is looked at."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.auth import Reader, Submitter
from api.paging import Cursor, Limit, Page, newest
from api.problems import FieldProblem, ProblemError, at
from api.state import State, Transaction
from core.backbones import backbone
from core.checkpoint_files import Format, recognise
from core.checkpoints import CheckpointError, check_tensors, expected_tensors, read_header
from core.datasets import DatasetInfo
from core.errors import InvalidError
from core.jobs.states import ModelState
from core.jobs.submission import submit_model_check
from core.specs.document import Line
from core.specs.manifests import ManifestHints, ModelManifest
from core.store import registered
from core.store.blobs import BlobStore
from core.store.tables import Job, Model, Upload
from core.store.types import uuid7

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelRequest(BaseModel):
    """A checkpoint and what it is."""

    upload: UUID = Field(description="A complete upload of a checkpoint file.")
    name: Line | None = None
    manifest: ManifestHints = Field(
        default=ManifestHints(),
        description="All that makes the model beside its weights. What the file tells by itself may be left out.",
    )
    dataset: Line | None = Field(
        default=None,
        description="Where its clean metrics are tried; a data set with labels for its tasks unless said.",
    )


class ModelView(BaseModel):
    """A registered model."""

    id: UUID
    name: str | None
    sha256: str
    weights: str | None = Field(
        description="Digest of the safetensors file that is used: the upload, or what it was converted to."
    )
    manifest: dict[str, Any] | None = Field(description="Null until the file was read, if it has to tell.")
    state: ModelState = Field(
        description="checking until a worker has read it, then ready, or rejected with a reason."
    )
    reason: dict[str, Any] | None
    parameters: int | None
    facts: dict[str, Any] | None
    lineage: dict[str, Any] | None = Field(
        description="Of a model that was trained here: its job, parent, data version, recipe and code version."
    )
    job: UUID | None = Field(
        description="The job that checks an uploaded model; its events tell when that is over."
    )
    created_at: datetime
    checked_at: datetime | None


@router.post("", status_code=202, responses={200: {"description": "The same model was registered before."}})
def register(
    request: ModelRequest, state: State, session: Transaction, principal: Submitter, response: Response
) -> ModelView:
    """Register a model. A file that cannot be read is refused at once; a worker reads and converts the weights.

    A model that was registered before is returned as it is; one that was rejected is checked again.
    """
    sha256 = _uploaded(session, request.upload)
    manifest = request.manifest.complete()
    _check_file(state.blobs, sha256, manifest)
    declared = request.manifest if manifest is None else manifest
    dataset = None if request.dataset is None else _dataset(session, request.dataset)
    values = {
        "id": uuid7(),
        "name": request.name,
        "sha256": sha256,
        "declared": declared.model_dump(mode="json"),
        "manifest": None if manifest is None else manifest.model_dump(mode="json"),
        "manifest_digest": declared.digest(),
        "state": "checking",
        "key_id": principal.key_id,
    }
    statement = (
        insert(Model).values(values).on_conflict_do_nothing(index_elements=["sha256", "manifest_digest"])
    )
    model = session.scalar(statement.returning(Model))
    if model is None:
        same = (Model.sha256 == sha256) & (Model.manifest_digest == declared.digest())
        model = session.scalars(select(Model).where(same).with_for_update()).one()
        response.status_code = HTTPStatus.ACCEPTED if model.state == "rejected" else HTTPStatus.OK
    if response.status_code != HTTPStatus.OK:
        submit_model_check(session, model, dataset=dataset)
    response.headers["Location"] = f"/v1/models/{model.id}"
    return _view(session, model)


@router.get("")
def list_models(
    session: Transaction,
    _: Reader,
    cursor: Cursor = None,
    limit: Limit = 50,
    name: Annotated[Line | None, Query(description="Only models of exactly this name.")] = None,
    sha256: Annotated[
        str | None, Query(pattern="^[0-9a-f]{64}$", description="Only models of the file with this digest.")
    ] = None,
) -> Page[ModelView]:
    """Models, newest first."""
    statement = select(Model) if name is None else select(Model).where(Model.name == name)
    if sha256 is not None:
        statement = statement.where(Model.sha256 == sha256)
    rows, following = newest(session, statement, Model.id, cursor=cursor, limit=limit)
    return Page(items=[_view(session, row) for row in rows], next_cursor=following)


@router.get("/{model_id}")
def show(model_id: UUID, session: Transaction, _: Reader) -> ModelView:
    """A model."""
    model = session.get(Model, model_id)
    if model is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "model_not_found", f"there is no model {model_id}")
    return _view(session, model)


def _uploaded(session: Session, upload_id: UUID) -> str:
    upload = session.get(Upload, upload_id)
    if upload is not None and upload.state == "complete":
        return upload.sha256
    code, status = ("upload_not_found", HTTPStatus.UNPROCESSABLE_ENTITY)
    message = f"there is no upload {upload_id}"
    if upload is not None:
        code, status = "upload_incomplete", HTTPStatus.CONFLICT
        message = f"upload {upload_id} is {upload.state}; PUT its bytes first"
    errors = [FieldProblem(pointer="#/upload", code=code, message=message)]
    raise ProblemError(status, code, message, errors=errors)


def _dataset(session: Session, name: str) -> DatasetInfo:
    try:
        return registered.find(session, name)
    except InvalidError as error:
        raise at(InvalidError(str(error)), "dataset") from error


def _check_file(blobs: BlobStore, sha256: str, manifest: ModelManifest | None) -> None:
    """Look at what kind of file it is, and where all is known of the model at the tensors that it lists."""
    try:
        with blobs.open(sha256) as file:
            tensors = read_header(file) if recognise(file) is Format.SAFETENSORS else None
    except CheckpointError as error:
        raise _checkpoint_problem(error, "upload") from error
    if manifest is None or tensors is None:
        return
    try:
        expected = expected_tensors(backbone(manifest.backbone), manifest.tree, manifest.task_list)
        check_tensors(tensors, expected)
    except CheckpointError as error:
        raise _checkpoint_problem(error, "manifest.layout") from error


def _checkpoint_problem(error: CheckpointError, place: str) -> ProblemError:
    """The error's own field is a tensor's name, which is no place in the request."""
    return at(type(error)(str(error)), place)


def _view(session: Session, model: Model) -> ModelView:
    job = session.scalar(
        select(Job.id)
        .where(Job.model_id == model.id, Job.kind == "model_check")
        .order_by(Job.id.desc())
        .limit(1)
    )
    return ModelView(
        id=model.id,
        name=model.name,
        sha256=model.sha256,
        weights=model.weights,
        manifest=model.manifest,
        state=model.state,
        reason=model.reason,
        parameters=model.parameters,
        facts=model.facts,
        lineage=model.lineage,
        job=job,
        created_at=model.created_at,
        checked_at=model.checked_at,
    )
