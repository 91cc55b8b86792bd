"""API keys at the door: `Authorization: Bearer wt_…`, and the scope that each route asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError
from api.state import State
from core.store.keys import Scope, authenticate

_bearer = HTTPBearer(auto_error=False, description="An API key, `wt_…`.")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    key_id: UUID
    scopes: frozenset[str]


def _authenticated(
    state: State, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    headers = {"WWW-Authenticate": "Bearer"}
    if credentials is None:
        detail = "send an API key: Authorization: Bearer wt_…"
        raise ProblemError(HTTPStatus.UNAUTHORIZED, "no_key", detail, headers=headers)
    with state.database.session() as session:
        key = authenticate(session, credentials.credentials, secret=state.secret)
    if key is None:
        detail = "the API key is unknown, expired or revoked"
        raise ProblemError(HTTPStatus.UNAUTHORIZED, "invalid_key", detail, headers=headers)
    return Principal(key.id, frozenset(key.scopes))


def _requires(scope: Scope) -> Callable[[Principal], Principal]:
    def check(principal: Annotated[Principal, Depends(_authenticated)]) -> Principal:
        if scope not in principal.scopes and "admin" not in principal.scopes:
            raise ProblemError(
                HTTPStatus.FORBIDDEN, "missing_scope", f"this needs a key with the scope {scope!r}"
            )
        return principal

    return check


Reader = Annotated[Principal, Depends(_requires("read"))]
Submitter = Annotated[Principal, Depends(_requires("submit"))]
