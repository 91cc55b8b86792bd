"""Is the process alive, can it serve, and how far behind are the workers."""

from http import HTTPStatus
from typing import Literal

import redis
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from api.state import AppState, State
from core.store.database import at_head
from core.store.tables import Outbox, Shard

router = APIRouter(tags=["health"])

BROKER_TIMEOUT_SECONDS = 1.0


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether requests can be served; a dead broker only delays jobs, so the service is degraded, not unready."""

    status: Literal["ready", "degraded", "unready"]
    database: Literal["ok", "unreachable", "not migrated"]
    broker: Literal["ok", "unreachable"]
    queued_shards: int | None = None
    oldest_queued_seconds: float | None = Field(default=None, description="The signal to scale workers on.")


@router.get("/livez")
def livez() -> Liveness:
    """Alive."""
    return Liveness()


@router.get("/readyz", responses={503: {"model": Readiness}})
def readyz(state: State, response: Response) -> Readiness:
    """Ready when the database answers and is migrated; degraded while the broker does not answer."""
    database = _database(state)
    broker: Literal["ok", "unreachable"] = (
        "ok" if _broker_answers(state.settings.broker_url) else "unreachable"
    )
    if database != "ok":
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness(status="unready", database=database, broker=broker)
    queued, oldest = _queue(state)
    status: Literal["ready", "degraded"] = "ready" if broker == "ok" else "degraded"
    return Readiness(
        status=status, database=database, broker=broker, queued_shards=queued, oldest_queued_seconds=oldest
    )


def _database(state: AppState) -> Literal["ok", "unreachable", "not migrated"]:
    try:
        return "ok" if at_head(state.database.engine) else "not migrated"
    except SQLAlchemyError:
        return "unreachable"


def _queue(state: AppState) -> tuple[int, float | None]:
    """How many shards a worker could take, and how long the oldest was there to be taken, in seconds.

    Shards that wait for another have no bell yet.
    """
    age = func.extract("epoch", func.now() - func.min(Outbox.created_at))
    bell = (Outbox.topic == "shard") & (Outbox.subject == Shard.id)
    statement = select(func.count(), age).select_from(Shard).join(Outbox, bell)
    with state.database.session() as session:
        count, oldest = session.execute(statement.where(Shard.state == "queued")).one()
    return count, None if oldest is None else float(oldest)


def _broker_answers(url: str) -> bool:
    address = url.replace("redis+socket://", "unix://")
    timeout = BROKER_TIMEOUT_SECONDS
    try:
        client = redis.Redis.from_url(address, socket_timeout=timeout, socket_connect_timeout=timeout)
        with client:
            return bool(client.ping())
    except (redis.RedisError, ValueError, OSError):
        return False
