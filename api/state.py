"""What every request shares: settings, database, files and the event hub; and the session each route works in."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.hub import EventHub
from core.settings import Settings
from core.store.blobs import BlobStore
from core.store.database import Database
from core.store.staging import Staging
from core.store.uploads import Quota


@dataclass(frozen=True, slots=True)
class AppState:
    """One started application."""

    settings: Settings
    secret: bytes
    database: Database
    blobs: BlobStore
    staging: Staging
    hub: EventHub

    @property
    def quota(self) -> Quota:
        """How much may be uploaded."""
        return Quota.of(self.settings)


def get_state(request: Request) -> AppState:
    """The application's state."""
    return cast("AppState", request.app.state.windthrow)


State = Annotated[AppState, Depends(get_state)]


def _session(state: State) -> Iterator[Session]:
    with state.database.session() as session:
        yield session


Transaction = Annotated[Session, Depends(_session, scope="function")]
"""One transaction a request; committed *before* the response is sent, so that a failed commit is no success."""
