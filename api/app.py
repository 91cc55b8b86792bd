"""The application: routes, state, and what surrounds every request."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.hub import EventHub
from api.limits import BodyLimit
from api.routes import (
    baselines,
    catalogue,
    differences,
    health,
    jobs,
    models,
    policies,
    reports,
    results,
    uploads,
    verdicts,
)
from api.state import AppState
from core import __version__
from core.settings import Settings
from core.store.blobs import open_blobs
from core.store.database import Database
from core.store.staging import Staging

DESCRIPTION = "Evaluates adversarial attacks on multi-task models, with one number a CI can gate on: ARP."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's HTTP side, for `uvicorn api.app:create_app --factory`; by default of the environment."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(chosen.database_url)
        hub = EventHub(database.url)
        blobs, staging = open_blobs(chosen), Staging(chosen.staging)
        app.state.windthrow = AppState(chosen, chosen.secret(), database, blobs, staging, hub)
        await hub.start()
        try:
            yield
        finally:
            await hub.stop()
            database.dispose()

    app = FastAPI(
        title="Windthrow",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        responses={
            "4XX": {"model": problems.Problem, "description": "What is wrong, and what to do about it."}
        },
    )
    for module in (
        catalogue,
        uploads,
        models,
        jobs,
        results,
        differences,
        verdicts,
        baselines,
        reports,
        policies,
        health,
    ):
        app.include_router(module.router)
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=chosen.max_body_bytes)
    app.add_middleware(RequestId)
    logging.getLogger("api").setLevel(logging.INFO)
    return app


class RequestId:
    """Gives every request an id, in `X-Request-ID` and in problem documents."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self._app(scope, receive, tagged)
