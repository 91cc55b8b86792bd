"""Large files in: declared first, then their raw bytes, hashed while they are written."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import func

from api.auth import Submitter
from api.problems import FieldProblem, ProblemError
from api.state import AppState, State, Transaction
from api.text import Line
from core.store.blobs import BlobWriter, DigestMismatchError
from core.store.tables import Upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

BUFFER_BYTES = 1 << 20


class UploadRequest(BaseModel):
    """A file about to be sent."""

    sha256: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$", description="Digest of the bytes, lower-case hex.")
    ]
    size: Annotated[int, Field(ge=1, description="Bytes.")]
    name: Line | None = None


class UploadView(BaseModel):
    """A file on its way in, or here."""

    id: UUID
    sha256: str
    size: int
    state: str = Field(description="open: send the bytes to `content`. complete: they are here.")
    content: str = Field(description="Where to PUT the raw bytes.")
    created_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, upload: Upload) -> "UploadView":
        """Describe an upload."""
        return cls(
            id=upload.id,
            sha256=upload.sha256,
            size=upload.size,
            state=upload.state,
            content=f"/v1/uploads/{upload.id}/content",
            created_at=upload.created_at,
            completed_at=upload.completed_at,
        )


@router.post("", status_code=201, responses={200: {"description": "The bytes are already here."}})
def declare(
    request: UploadRequest, state: State, session: Transaction, principal: Submitter, response: Response
) -> UploadView:
    """Declare a file by digest and size. Bytes that are already stored need not be sent: the state is `complete`."""
    if request.size > state.settings.max_upload_bytes:
        message = f"files may have at most {state.settings.max_upload_bytes} bytes"
        errors = [FieldProblem(pointer="#/size", code="upload_too_large", message=message)]
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "upload_too_large", message, errors=errors)
    upload = Upload(sha256=request.sha256, size=request.size, name=request.name, key_id=principal.key_id)
    if state.blobs.exists(request.sha256):
        _complete(upload, state.blobs.path(request.sha256).stat().st_size)
        response.status_code = HTTPStatus.OK
    session.add(upload)
    session.flush()
    session.refresh(upload)
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return UploadView.of(upload)


@router.get("/{upload_id}")
def show(upload_id: UUID, session: Transaction, _: Submitter) -> UploadView:
    """An upload."""
    upload = session.get(Upload, upload_id)
    if upload is None:
        raise _not_found(upload_id)
    return UploadView.of(upload)


BINARY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"format": "binary"}}},
    }
}


@router.put("/{upload_id}/content", openapi_extra=BINARY_BODY)
async def receive(upload_id: UUID, request: Request, state: State, _: Submitter) -> UploadView:
    """Take the raw bytes. Nothing is kept unless all of them arrive and hash to the declared digest."""
    upload = await to_thread.run_sync(_open_upload, state, upload_id)
    if upload.state == "complete":
        return UploadView.of(upload)
    with state.blobs.writer() as writer:
        await _stream(request, writer, limit=upload.size)
        if writer.size != upload.size:
            raise _size_problem(f"{writer.size} bytes arrived; {upload.size} were declared")
        try:
            await to_thread.run_sync(writer.commit, upload.sha256)
        except DigestMismatchError as error:
            errors = [FieldProblem(pointer="#/sha256", code=error.code, message=str(error))]
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY, error.code, str(error), errors=errors
            ) from error
    return await to_thread.run_sync(_mark_complete, state, upload_id)


async def _stream(request: Request, writer: BlobWriter, *, limit: int) -> None:
    """Body to disk through a bounded buffer: memory does not grow with the file."""
    buffer = bytearray()
    arrived = 0
    async for chunk in request.stream():
        arrived += len(chunk)
        if arrived > limit:
            raise _size_problem(f"more than the declared {limit} bytes arrived")
        buffer += chunk
        if len(buffer) >= BUFFER_BYTES:
            await to_thread.run_sync(writer.write, bytes(buffer))
            buffer.clear()
    await to_thread.run_sync(writer.write, bytes(buffer))


def _open_upload(state: AppState, upload_id: UUID) -> Upload:
    with state.database.session() as session:
        upload = session.get(Upload, upload_id)
        if upload is None:
            raise _not_found(upload_id)
        return upload


def _mark_complete(state: AppState, upload_id: UUID) -> UploadView:
    with state.database.session() as session:
        upload = session.get_one(Upload, upload_id)
        _complete(upload, upload.size)
        session.flush()
        session.refresh(upload)
        return UploadView.of(upload)


def _complete(upload: Upload, size: int) -> None:
    upload.state, upload.size, upload.received = "complete", size, size
    upload.completed_at = func.now()


def _size_problem(message: str) -> ProblemError:
    errors = [FieldProblem(pointer="#/size", code="size_mismatch", message=message)]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "size_mismatch", message, errors=errors)


def _not_found(upload_id: UUID) -> ProblemError:
    return ProblemError(HTTPStatus.NOT_FOUND, "upload_not_found", f"there is no upload {upload_id}")
