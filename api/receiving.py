"""One request that brings bytes of an upload: whether they are wanted, taking them, and what they make of it."""

import asyncio
import errno
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from anyio import to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from api.intake import Intake, UploadGoneError
from api.problems import FieldProblem, ProblemError
from api.state import AppState
from core.store import uploads
from core.store.blobs import DigestMismatchError
from core.store.staging import Part, PartBusyError
from core.store.tables import Upload

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a request says of the bytes it brings.

    Attributes:
        offset: where in the file they begin; None brings the file anew, from its beginning.
        last: whether the file ends where they do.
        length: how many there are, if it says so.
    """

    offset: int | None
    last: bool
    length: int | None

    @classmethod
    def of(cls, request: Request, *, offset: str | None, complete: str | None) -> "Delivery":
        """What the headers say.

        Raises:
            ProblemError: they contradict themselves, or mean what is not offered here.
        """
        for name in ("upload-offset", "upload-complete", "content-length"):
            if len(set(request.headers.getlist(name))) > 1:
                raise ProblemError(
                    HTTPStatus.BAD_REQUEST, "invalid_request", f"{name} is given more than once"
                )
        if "content-range" in request.headers:
            detail = "send Upload-Offset with the first byte's place instead of Content-Range"
            raise ProblemError(HTTPStatus.BAD_REQUEST, "content_range", detail)
        length = request.headers.get("content-length")
        return cls(
            offset=None if offset is None else int(offset),
            last=complete != "?0",
            length=int(length) if length is not None and re.fullmatch(r"[0-9]+", length) else None,
        )


async def receive(request: Request, state: AppState, upload_id: UUID, delivery: Delivery) -> Upload:
    """Take what a request brings; the upload as it is then.

    Whatever arrives in order is kept, also when the connection breaks, until the whole hashes to something else.

    Raises:
        ProblemError: it is not wanted, or not what was announced. The connection is closed: who knows how much of
            the body is still to come.
    """
    try:
        reception = await to_thread.run_sync(_begin, state, upload_id, delivery)
        if isinstance(reception, Upload):
            return reception
        try:
            trouble = await _stream(request, reception, idle=state.settings.upload_idle_seconds)
        except BaseException:  # the server stops, and there may be no other chance
            reception.keep()
            raise
        return await to_thread.run_sync(reception.end, trouble)
    except ProblemError as problem:
        problem.headers["Connection"] = "close"
        raise


async def _stream(request: Request, reception: "Reception", *, idle: float) -> ProblemError | None:
    """Body to disk; what made it end early, if it did."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(idle) as clock:
            async for piece in request.stream():
                clock.reschedule(None)
                await reception.take(piece)
                clock.reschedule(loop.time() + idle)
    except ClientDisconnect:
        return ProblemError(HTTPStatus.BAD_REQUEST, "upload_interrupted", "the connection broke")
    except TimeoutError:
        detail = f"nothing came for {idle:g} s; what came before is kept"
        return ProblemError(HTTPStatus.REQUEST_TIMEOUT, "upload_stalled", detail)
    except ProblemError as problem:
        return problem
    except (UploadGoneError, OSError):
        return None  # `end` meets it again
    return None


def _begin(state: AppState, upload_id: UUID, delivery: Delivery) -> "Reception | Upload":
    """Hold the upload's part and check what is announced; the upload alone if its bytes are all here."""
    upload = find(state, upload_id)
    if upload.state == "complete":
        return upload
    with _room_or_refusal(), ExitStack() as held:
        part = _hold(state, upload_id)
        held.callback(part.close)
        upload = find(state, upload_id)  # as it is now that nobody else writes
        if upload.state == "open" and (size := state.blobs.size(upload.sha256)) is not None:
            upload = _complete(state, upload, size)
        if upload.state == "complete":
            part.cut(0)
            return upload
        _make_ready(state, upload, part, delivery)
        held.pop_all()
        return Reception(state, upload, part, last=delivery.last)


def _hold(state: AppState, upload_id: UUID) -> Part:
    try:
        return state.staging.hold(upload_id)
    except PartBusyError as busy:
        detail = f"{busy}: wait until it ends"
        raise ProblemError(HTTPStatus.CONFLICT, busy.code, detail, headers={"Retry-After": "1"}) from busy


def _make_ready(state: AppState, upload: Upload, part: Part, delivery: Delivery) -> None:
    """Cut the part to where the request goes on, if that is acceptable."""
    here = min(upload.received, part.size)
    offset = delivery.offset or 0
    if delivery.offset not in (None, here):
        raise _wrong_offset(offset, here)
    if delivery.length is not None:
        end = offset + delivery.length
        if end > upload.size or (end < upload.size and delivery.last):
            raise _wrong_size(f"the body would end at byte {end}; {upload.size} were declared")
    uploads.check_room(upload.size - offset, quota=state.quota, free=state.staging.free())
    part.cut(offset)
    if offset != upload.received:
        with state.database.session() as session:
            uploads.note_received(session, upload.id, offset)


class Reception:
    """A request whose bytes are wanted. Holds the upload's part until `end`, or `keep`."""

    def __init__(self, state: AppState, upload: Upload, part: Part, *, last: bool) -> None:
        self._state = state
        self._upload = upload
        self._part = part
        self._last = last
        self._end = part.size
        self._intake = Intake(part, hashing=last, note=self._note)

    async def take(self, piece: bytes) -> None:
        """Take bytes.

        Raises:
            ProblemError: there are more of them than were declared.
        """
        self._end += len(piece)
        if self._end > self._upload.size:
            raise _wrong_size(f"more than the declared {self._upload.size} bytes arrived")
        await self._intake.take(piece)

    def keep(self) -> None:
        """Keep what came, and leave the part to others."""
        try:
            self._intake.finish()
        finally:
            self._part.close()

    def end(self, trouble: ProblemError | None) -> Upload:
        """What the bytes make of the upload.

        Args:
            trouble: why there are no more of them, if that is not because they ended.

        Raises:
            ProblemError: that, or what is wrong with them.
        """
        try:
            with _room_or_refusal():
                return self._settle(trouble)
        except UploadGoneError:
            self._part.cut(0)
            return find(self._state, self._upload.id)
        except ProblemError as problem:
            problem.headers["Upload-Offset"] = str(self._part.size)
            raise
        finally:
            self._part.close()

    def _settle(self, trouble: ProblemError | None) -> Upload:
        upload, part = self._upload, self._part
        digest = self._intake.finish()
        if self._end > upload.size:
            self._drop_all()
        if trouble is not None:
            raise trouble
        if not self._last:
            return find(self._state, upload.id)
        if part.size != upload.size:
            message = f"{part.size} bytes are here; {upload.size} were declared: go on from there"
            raise _wrong_size(message)
        if digest != upload.sha256:
            self._drop_all()
            raise _wrong_digest(f"the bytes hash to {digest}, not to the announced {upload.sha256}")
        self._state.blobs.adopt(part.path, digest)
        return _complete(self._state, upload, upload.size)

    def _drop_all(self) -> None:
        self._part.cut(0)
        if not self._note(0):
            raise UploadGoneError

    def _note(self, size: int) -> bool:
        with self._state.database.session() as session:
            return uploads.note_received(session, self._upload.id, size)


def find(state: AppState, upload_id: UUID) -> Upload:
    """An upload.

    Raises:
        ProblemError: there is none.
    """
    with state.database.session() as session:
        upload = session.get(Upload, upload_id)
    if upload is None:
        raise not_found(upload_id)
    return upload


def not_found(upload_id: UUID) -> ProblemError:
    """There is no upload, or no more."""
    detail = f"there is no upload {upload_id}; abandoned and expired ones are gone: declare the file again"
    return ProblemError(HTTPStatus.NOT_FOUND, "upload_not_found", detail)


def _complete(state: AppState, upload: Upload, size: int) -> Upload:
    """Note that the bytes are stored, for every upload that was waiting for them."""
    with state.database.session() as session:
        completed = uploads.complete(session, upload.sha256, size)
    for other in set(completed) - {upload.id}:
        state.staging.drop(other)
    return find(state, upload.id)


@contextmanager
def _room_or_refusal() -> Iterator[None]:
    try:
        yield
    except (OSError, uploads.DiskFullError) as error:
        if isinstance(error, OSError) and error.errno not in NO_ROOM:
            raise
        detail = "the disk is full; what is safe is kept: go on from there once there is room"
        raise ProblemError(HTTPStatus.INSUFFICIENT_STORAGE, uploads.DiskFullError.code, detail) from error


def _wrong_offset(given: int, here: int) -> ProblemError:
    code = "offset_mismatch"
    message = f"the first {here} bytes are here, so the rest begins at {here}; got {given}"
    return ProblemError(
        HTTPStatus.CONFLICT,
        code,
        message,
        errors=[FieldProblem(pointer="Upload-Offset", code=code, message=message)],
        headers={"Upload-Offset": str(here)},
        extensions={"expected_offset": here, "provided_offset": given},
    )


def _wrong_size(message: str) -> ProblemError:
    errors = [FieldProblem(pointer="#/size", code="size_mismatch", message=message)]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "size_mismatch", message, errors=errors)


def _wrong_digest(message: str) -> ProblemError:
    code = DigestMismatchError.code
    errors = [FieldProblem(pointer="#/sha256", code=code, message=message)]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, code, message, errors=errors)
