"""What the service keeps, as small frozen records. `document` has all that it said, as JSON; results stay JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from windthrow._documents import flag, mapping, name, names, number, reason, text, whole

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

Json = dict[str, Any]

ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""States in which a job stays."""


@dataclass(frozen=True)
class Upload:
    """A file on its way in (`open`), or there (`complete`).

    Attributes:
        received: bytes that are safe at the service.
    """

    id: str
    sha256: str
    size: int
    received: int
    state: str
    name: str | None
    document: Json = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Json) -> Upload:
        """An upload as the service describes it."""
        size, received = whole(document["size"]), whole(document["received"])
        if not 0 <= received <= size:
            raise ValueError("more than all of it")
        return cls(
            id=name(document["id"]),
            sha256=text(document["sha256"]),
            size=size,
            received=received,
            state=name(document["state"]),
            name=_unless_none(text, document["name"]),
            document=document,
        )


@dataclass(frozen=True)
class Model:
    """A checkpoint and what it is: `checking` until a worker has read it, then `ready` or `rejected`.

    Attributes:
        reason: why it was rejected: `code` and `message`.
        facts: what the worker found, the proof of its clean metrics among it.
        job: the job that checks it.
        created_at: ISO 8601.
    """

    id: str
    name: str | None
    sha256: str
    state: str
    manifest: Json | None
    reason: Json | None
    parameters: int | None
    facts: Json | None
    job: str | None
    created_at: str
    document: Json = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Json) -> Model:
        """A model as the service describes it."""
        return cls(
            id=name(document["id"]),
            name=_unless_none(text, document["name"]),
            sha256=text(document["sha256"]),
            state=name(document["state"]),
            manifest=_unless_none(mapping, document["manifest"]),
            reason=reason(document["reason"]),
            parameters=_unless_none(whole, document["parameters"]),
            facts=_unless_none(mapping, document["facts"]),
            job=_unless_none(name, document["job"]),
            created_at=text(document["created_at"]),
            document=document,
        )


@dataclass(frozen=True)
class Progress:
    """How far a job is: `fraction` of its expected cost, 0 to 1; no `eta_seconds` before the first shard is done."""

    shards_done: int
    shards_total: int
    fraction: float
    eta_seconds: float | None


@dataclass(frozen=True)
class Job:
    """An evaluation, a transferability job, a training or a study.

    Attributes:
        state: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
        models: ids, in the spec's order.
        error: why it failed: `code` and `message`.
        created_at: ISO 8601.
        attached: whether the `submit` that this is the answer to found it there, instead of making it.
    """

    id: str
    kind: str
    state: str
    cancel_requested: bool
    models: tuple[str, ...]
    client_ref: str | None
    progress: Progress
    error: Json | None
    created_at: str
    document: Json = field(repr=False, compare=False)
    attached: bool = field(default=False, compare=False)

    @property
    def over(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in ENDED

    @classmethod
    def read(cls, document: Json) -> Job:
        """A job as the service describes it."""
        progress = document["progress"]
        return cls(
            id=name(document["id"]),
            kind=text(document["kind"]),
            state=name(document["state"]),
            cancel_requested=flag(document["cancel_requested"]),
            models=names(document["models"]),
            client_ref=_unless_none(text, document["client_ref"]),
            progress=Progress(
                shards_done=whole(progress["shards_done"]),
                shards_total=whole(progress["shards_total"]),
                fraction=number(progress["fraction"]),
                eta_seconds=_unless_none(number, progress["eta_seconds"]),
            ),
            error=reason(document["error"]),
            created_at=text(document["created_at"]),
            document=document,
        )


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    Attributes:
        id: grows from event to event; 0 for what the client itself noticed because events could not be streamed.
        type: such as `job.started`, `shard.succeeded`, `training.progress`, or the client's own `job.progress`.
        data: as the event has it; the work done so far is `work_done` of `work_total` where it is told.
    """

    id: int
    type: str
    data: Json

    @property
    def fraction(self) -> float | None:
        """How much of the job's expected cost is done, 0 to 1, if the event tells."""
        try:
            share = number(self.data.get("work_done")) / number(self.data.get("work_total"))
        except (TypeError, ArithmeticError):
            return None
        return min(1.0, max(0.0, share))


def _unless_none(read: Callable[[object], T], value: object) -> T | None:
    return None if value is None else read(value)
