"""Idempotency-Key: the same request made twice is done once, and answered alike.

The key is written in the transaction that does the work. A second request waits for the first one's commit on the key's
unique index, then finds the answer; if the first failed, its key is gone with it and the second does the work.
"""

import hashlib
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Header
from fastapi.responses import JSONResponse
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.problems import ProblemError
from core.specs.document import Line
from core.store.tables import Idempotency

IdempotencyKey = Annotated[Line | None, Header(alias="Idempotency-Key", description="Makes a repeat safe.")]


def answer_once(
    session: Session, key_id: UUID, key: str | None, request: str, make: Callable[[], JSONResponse]
) -> JSONResponse:
    """The answer of `make`, or under a key that was used before the answer it had then.

    Raises:
        ProblemError: 422, the key was used for another request.
    """
    if key is None:
        return make()
    digest = hashlib.sha256(request.encode()).hexdigest()
    row = {"key_id": key_id, "key": key, "request_digest": digest}
    claim = insert(Idempotency).values(row).on_conflict_do_nothing().returning(Idempotency.key)
    if session.scalar(claim) is None:
        return _replay(session.get_one(Idempotency, (key_id, key)), digest)
    answer = make()
    kept = {
        "status": answer.status_code,
        "response": json.loads(bytes(answer.body)),
        "headers": _kept_headers(answer),
    }
    this = (Idempotency.key_id == key_id) & (Idempotency.key == key)
    session.execute(update(Idempotency).where(this).values(kept))
    return answer


def _kept_headers(answer: JSONResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in ("location", "etag") if name in answer.headers}


def _replay(kept: Idempotency, digest: str) -> JSONResponse:
    if kept.request_digest != digest:
        detail = "this Idempotency-Key was used for another request; choose a new one"
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
    assert kept.status is not None
    headers = {**(kept.headers or {}), "Idempotent-Replay": "true"}
    return JSONResponse(kept.response, kept.status, headers)
