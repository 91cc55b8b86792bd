"""Large files in: declared first, then their raw bytes, whole or piece by piece, hashed while they are written.

The headers are those of the IETF's resumable uploads (draft-ietf-httpbis-resumable-upload).
"""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import select

from api.auth import Submitter
from api.paging import Cursor, Limit, Page, newest
from api.problems import ProblemError
from api.receiving import Delivery, find, not_found, receive
from api.state import AppState, State, Transaction
from core.jobs.states import UploadState
from core.specs.document import Line
from core.store import uploads
from core.store.tables import Upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the bytes, lower-case hex.")]


class UploadRequest(BaseModel):
    """A file about to be sent."""

    sha256: Digest
    size: Annotated[int, Field(ge=1, le=2**63 - 1, description="Bytes.")]
    name: Line | None = None


class UploadView(BaseModel):
    """A file on its way in, or here."""

    id: UUID
    sha256: str
    size: int
    received: int = Field(description="How many bytes are safe here: sending goes on from there.")
    name: str | None
    state: UploadState = Field(description="open: send the bytes to `content`. complete: they are here.")
    content: str = Field(description="Where to PUT the raw bytes.")
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None = Field(description="When it is dropped, unless something is sent before.")

    @classmethod
    def of(cls, upload: Upload, state: AppState) -> "UploadView":
        """Describe an upload."""
        patience = timedelta(seconds=state.settings.upload_expiry_seconds)
        return cls(
            id=upload.id,
            sha256=upload.sha256,
            size=upload.size,
            received=upload.received,
            name=upload.name,
            state=upload.state,
            content=f"/v1/uploads/{upload.id}/content",
            created_at=upload.created_at,
            completed_at=upload.completed_at,
            expires_at=upload.progressed_at + patience if upload.state == "open" else None,
        )


def _described(upload: Upload, state: AppState, response: Response) -> UploadView:
    """Describe an upload in the headers as well."""
    response.headers["Upload-Offset"] = str(upload.received)
    response.headers["Upload-Length"] = str(upload.size)
    response.headers["Upload-Complete"] = "?1" if upload.state == "complete" else "?0"
    response.headers["Cache-Control"] = "no-store"
    return UploadView.of(upload, state)


@router.post("", status_code=201, responses={200: {"description": "The bytes are already here."}})
def declare(
    request: UploadRequest, state: State, session: Transaction, principal: Submitter, response: Response
) -> UploadView:
    """Declare a file by digest and size. Bytes that are already stored need not be sent: the state is `complete`."""
    uploads.check_size(request.size, state.quota)
    upload = Upload(sha256=request.sha256, size=request.size, name=request.name, key_id=principal.key_id)
    stored = state.blobs.size(request.sha256)
    if stored is None:
        free = state.staging.free()
        uploads.admit(session, key_id=principal.key_id, size=request.size, quota=state.quota, free=free)
    session.add(upload)
    session.flush()
    if stored is not None:
        uploads.complete(session, request.sha256, stored)
        response.status_code = HTTPStatus.OK
    session.refresh(upload)
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return _described(upload, state, response)


@router.get("")
def list_uploads(
    state: State,
    session: Transaction,
    principal: Submitter,
    cursor: Cursor = None,
    limit: Limit = 50,
    in_state: Annotated[UploadState | None, Query(alias="state")] = None,
    sha256: Annotated[Digest | None, Query(description="Only uploads of exactly these bytes.")] = None,
) -> Page[UploadView]:
    """The uploads of your own key, newest first."""
    statement = select(Upload).where(Upload.key_id == principal.key_id)
    if in_state is not None:
        statement = statement.where(Upload.state == in_state)
    if sha256 is not None:
        statement = statement.where(Upload.sha256 == sha256)
    rows, following = newest(session, statement, Upload.id, cursor=cursor, limit=limit)
    return Page(items=[UploadView.of(row, state) for row in rows], next_cursor=following)


@router.get("/{upload_id}")
def show(upload_id: UUID, state: State, _: Submitter, response: Response) -> UploadView:
    """An upload, and how much of it is here."""
    return _described(find(state, upload_id), state, response)


@router.head("/{upload_id}", response_class=Response)
def look(upload_id: UUID, state: State, _: Submitter, response: Response) -> None:
    """How much of an upload is here: `Upload-Offset`, `Upload-Length`, `Upload-Complete`."""
    _described(find(state, upload_id), state, response)


@router.delete("/{upload_id}", status_code=204)
def abandon(upload_id: UUID, state: State, _: Submitter) -> None:
    """Abandon an upload that is open: what arrived is deleted, and its room is free again."""
    with state.database.session() as session:
        gone = uploads.forget(session, upload_id)
        upload = None if gone else session.get(Upload, upload_id)
    if gone:
        state.staging.drop(upload_id)
    elif upload is None:
        raise not_found(upload_id)
    else:
        detail = "the upload is complete: its bytes are in the store, and models may use them"
        raise ProblemError(HTTPStatus.CONFLICT, "upload_complete", detail)


BINARY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"format": "binary"}}},
    }
}


@router.put("/{upload_id}/content", openapi_extra=BINARY_BODY)
async def take(
    upload_id: UUID,
    request: Request,
    state: State,
    _: Submitter,
    response: Response,
    upload_offset: Annotated[
        str | None,
        Header(
            pattern=r"^[0-9]{1,15}$",
            description="The place of the body's first byte: as many bytes as are here. Without it, the body is"
            " the file from its beginning, whatever is here.",
        ),
    ] = None,
    upload_complete: Annotated[
        str | None, Header(pattern=r"^\?[01]$", description="?0: more will follow in another request.")
    ] = None,
) -> UploadView:
    """Take the raw bytes, or the rest of them. What arrives stays, until all are here and hash to something else."""
    delivery = Delivery.of(request, offset=upload_offset, complete=upload_complete)
    return _described(await receive(request, state, upload_id, delivery), state, response)
