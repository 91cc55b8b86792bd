"""Errors as `application/problem+json` (RFC 9457): the one place where the domain's errors meet HTTP statuses."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, SerializeAsAny, WithJsonSchema
from starlette.exceptions import HTTPException

from core.errors import InvalidError, WindthrowError
from core.gates.policy_file import GateFileError
from core.jobs.errors import ClientRefConflictError, JobNotFoundError, ModelError, ModelNotReadyError
from core.jobs.states import SUBMITTED_KINDS
from core.store.blobs import BlobNotFoundError, BlobStoreUnavailableError
from core.store.uploads import (
    DiskFullError,
    StoreFullError,
    TooManyUploadBytesError,
    TooManyUploadsError,
    UploadTooLargeError,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:windthrow:problem:"

JOBS_PATH = "/v1/jobs"
"""Where a body is one of several kinds of spec."""


class FieldProblem(BaseModel):
    """One offending place of a request."""

    pointer: str
    """JSON pointer into the body as a URI fragment ("#/attacks/0/eps"), or the name of a query or path parameter."""
    code: str
    message: str


class Problem(BaseModel):
    """What went wrong and what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    errors: list[FieldProblem] = []


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


class ProblemError(Exception):
    """An answer other than success, said by a route itself."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: dict[str, str] | None = None,
        extensions: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.errors = list(errors)
        self.headers = headers or {}
        self.extensions = extensions or {}


STATUSES: dict[type[WindthrowError], HTTPStatus] = {
    JobNotFoundError: HTTPStatus.NOT_FOUND,
    BlobNotFoundError: HTTPStatus.NOT_FOUND,
    ModelNotReadyError: HTTPStatus.CONFLICT,
    ClientRefConflictError: HTTPStatus.CONFLICT,
    UploadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooManyUploadsError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyUploadBytesError: HTTPStatus.TOO_MANY_REQUESTS,
    StoreFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    DiskFullError: HTTPStatus.INSUFFICIENT_STORAGE,
}
"""Every other error that a user can act on is 422: the request was understood and cannot be done as written."""

FIELDS: dict[type[WindthrowError], str] = {
    ClientRefConflictError: "client_ref",
    UploadTooLargeError: "size",
    TooManyUploadBytesError: "size",
    StoreFullError: "size",
    DiskFullError: "size",
}
"""Where in a body the value stands that an error is about, for errors that know no field of their own."""


def at(error: InvalidError, prefix: str) -> ProblemError:
    """An error about a value that stands at `prefix` ("manifest", "upload") in the body."""
    path = f"{prefix}.{error.field}" if error.field else prefix
    problem = FieldProblem(pointer=pointer(path.split(".")), code=error.code, message=str(error))
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, str(error), errors=[problem])


def pointer(path: Iterable[object]) -> str:
    """A JSON pointer as a URI fragment (RFC 6901)."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in path if part != ""]
    return "#/" + "/".join(parts) if parts else "#"


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""
    app.add_exception_handler(ProblemError, _problem_error)
    app.add_exception_handler(WindthrowError, _windthrow_error)
    app.add_exception_handler(GateFileError, _gate_file_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(BlobStoreUnavailableError, _store_unavailable)
    app.add_exception_handler(Exception, _internal_error)


def _answer(
    request: Request,
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    headers: dict[str, str] | None = None,
    extensions: Mapping[str, int] | None = None,
) -> JSONResponse:
    problem = Problem(
        type=TYPE_PREFIX + code,
        title=status.phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=getattr(request.state, "request_id", None),
        errors=list(errors),
    )
    document = problem.model_dump() | dict(extensions or {})
    return JSONResponse(document, status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def _problem_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return _answer(
        request,
        error.status,
        error.code,
        str(error),
        errors=error.errors,
        headers=error.headers,
        extensions=error.extensions,
    )


async def _windthrow_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WindthrowError)
    status = STATUSES.get(type(error), HTTPStatus.UNPROCESSABLE_ENTITY)
    field = error.field if isinstance(error, InvalidError | ModelError) else FIELDS.get(type(error), "")
    errors = (
        [FieldProblem(pointer=pointer(field.split(".")), code=error.code, message=str(error))]
        if field
        else []
    )
    return _answer(request, status, error.code, str(error), errors=errors)


async def _gate_file_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GateFileError)
    problem = GateFileProblem.of(error, getattr(request.state, "request_id", None))
    return JSONResponse(problem.model_dump(), status_code=problem.status, media_type=MEDIA_TYPE)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [_field_problem(entry, request.url.path) for entry in error.errors()]
    count = len(errors)
    detail = (
        errors[0].message
        if count == 1
        else f"{count} fields are not acceptable; the first: {errors[0].message}"
    )
    return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail, errors=errors)


def _field_problem(entry: dict[str, Any], url_path: str) -> FieldProblem:
    place, *path = entry["loc"]
    if url_path == JOBS_PATH and path and path[0] in SUBMITTED_KINDS:
        del path[0]  # Pydantic names the kind that it read a spec as, which is no place in the body
    cause = entry.get("ctx", {}).get("error")
    if entry["type"].startswith("union_tag"):
        return _unknown_kind(entry["ctx"].get("tag"))
    if entry["type"] == "json_invalid":
        message = f"the body is not JSON: {entry.get('ctx', {}).get('error', 'syntax error')}"
        return FieldProblem(pointer="#", code="json_invalid", message=message)
    if isinstance(cause, InvalidError):
        path += cause.field.split(".") if cause.field else []
        return FieldProblem(pointer=pointer(path), code=cause.code, message=str(cause))
    where = pointer(path) if place == "body" else ".".join(map(str, path))
    return FieldProblem(pointer=where, code=entry["type"], message=entry["msg"])


def _unknown_kind(kind: str | None) -> FieldProblem:
    got = "it is missing" if kind is None else f"got {kind!r}"
    message = f"kind must be one of {', '.join(SUBMITTED_KINDS)}; {got}"
    return FieldProblem(pointer="#/kind", code="unknown_kind", message=message)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return http_problem(request, error)


def http_problem(request: Request, error: HTTPException) -> JSONResponse:
    """The problem document of an error that the framework knows by its status alone."""
    status = HTTPStatus(error.status_code)
    codes = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large", HTTPStatus.NOT_FOUND: "not_found"}
    code = codes.get(status, status.phrase.lower().replace(" ", "_"))
    return _answer(request, status, code, str(error.detail), headers=dict(error.headers or {}))


async def _store_unavailable(request: Request, error: Exception) -> JSONResponse:
    log.error("%s", error)
    detail = "the store of files does not answer; what was uploaded is kept: try again in a moment"
    status, headers = HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"}
    return _answer(request, status, "store_unavailable", detail, headers=headers)


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    del error  # Starlette raises it again after this answer, and the server logs it
    detail = "something broke on our side; the request id finds it in the log"
    return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail)
