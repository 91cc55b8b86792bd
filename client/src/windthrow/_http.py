"""Requests and answers as values, and what an answer means. Nothing here does input or output."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, NoReturn

from windthrow._documents import parsed
from windthrow.errors import (
    AuthError,
    FieldProblem,
    JobFailed,
    RequestError,
    ServiceError,
    Unavailable,
    WindthrowError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windthrow._files import FilePart
    from windthrow.records import Json

OK = 200
NOT_MODIFIED = 304
PASSING = frozenset({408, 429, 502, 503, 504})
"""Statuses of troubles that may pass by themselves."""
OF_THE_JOB = frozenset({"job_failed", "job_cancelled"})
"""Codes of refusals whose reason is how the job ended."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        path: below the service's URL, its variable parts quoted.
        patience: seconds in which something must come; the client's own timeout unless said.
        repeatable: that doing it twice is doing it once.
        deadline: when, on the monotonic clock, nobody waits for it any more.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FilePart | None = None
    patience: float | None = None
    repeatable: bool = True
    deadline: float = math.inf

    @classmethod
    def sending(
        cls,
        path: str,
        document: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        params: Mapping[str, str] | None = None,
    ) -> Request:
        """Send a JSON document.

        Raises:
            RequestError: it cannot be written as JSON.
        """
        try:
            body = json.dumps(document, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise RequestError(f"the document is not JSON: {error}", code="json_invalid") from error
        headers = {"Content-Type": "application/json", **(headers or {})}
        return cls(method, path, params=params or {}, headers=headers, body=body)


@dataclass(frozen=True)
class Answer:
    """An answer's status, headers (looked up in any case) and whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The body as a JSON object.

        Raises:
            ServiceError: it is none.
        """
        try:
            return parsed(self.body)
        except (TypeError, ValueError) as error:
            raise ServiceError(_nonsense(self)) from error

    def file(self, kind: str | None) -> bytes:
        """The body as a file of a media type; of any, with None.

        Raises:
            ServiceError: it is none.
        """
        if self.status != OK or kind not in (None, self._kind):
            raise ServiceError(_nonsense(self))
        return self.body

    @property
    def _kind(self) -> str:
        return self.headers.get("content-type", "no content type").split(";")[0].strip().lower()

    def check(self) -> Answer:
        """The answer itself if it is what was asked for.

        Raises:
            Unavailable: the service asks to come back, or something before it cannot reach it.
            ServiceError: it broke, or this is not the service.
            AuthError: the key is not accepted.
            JobFailed: there is nothing to be had of the job, for it failed or was cancelled.
            RequestError: it refuses the request.
        """
        if 200 <= self.status < 300 or self.status == NOT_MODIFIED:
            return self
        raise _error(self)


def _error(answer: Answer) -> WindthrowError:
    problem = _problem(answer)
    detail = problem["detail"] if problem else _nonsense(answer)
    pause = _retry_after(answer)
    if answer.status in (401, 403):  # in other words than the service's it is a proxy that refuses
        return AuthError(detail) if problem else ServiceError(detail)
    if answer.status in PASSING and not (answer.status == 429 and problem and pause is None):
        return Unavailable(detail, retry_after=pause)
    if problem is None or answer.status >= 500:
        request_id = _id(problem) if problem else None
        return ServiceError(detail + (f" (request {request_id})" if request_id else ""))
    if problem["code"] in OF_THE_JOB:
        return JobFailed(detail)
    return RequestError(
        detail,
        code=problem["code"],
        status=answer.status,
        errors=_places(problem),
        request_id=_id(problem),
    )


def _problem(answer: Answer) -> Json | None:
    try:
        document = answer.json()
    except ServiceError:
        return None
    well = isinstance(document.get("code"), str) and isinstance(document.get("detail"), str)
    return document if well else None


def _id(problem: Json) -> str | None:
    said = problem.get("request_id")
    return said if isinstance(said, str) else None


def _places(problem: Json) -> list[FieldProblem]:
    listed = problem.get("errors")
    return [
        FieldProblem(
            str(entry.get("pointer", "")),
            str(entry.get("code", "")),
            str(entry.get("message", "")),
            line=_whole(entry.get("line")),
            column=_whole(entry.get("column")),
        )
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict)
    ]


def _whole(said: object) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) else None


def _nonsense(answer: Answer) -> str:
    kind = answer.headers.get("content-type", "no content type").split(";")[0]
    to = f", a redirection to {answer.headers['location']}" if "location" in answer.headers else ""
    return f"the answer makes no sense: {answer.status}, {kind}{to}; is this the URL of a Windthrow service?"


def _retry_after(answer: Answer) -> float | None:
    """Seconds, from either form that the header has."""
    said = answer.headers.get("retry-after")
    if said is None:
        return None
    if said.isascii() and said.strip().isdigit():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def nonsense(answer: Answer, cause: Exception) -> NoReturn:
    """Refuse a document that lacks what every one of its kind has.

    Raises:
        ServiceError: always.
    """
    raise ServiceError(_nonsense(answer)) from cause
