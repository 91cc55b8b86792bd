"""What the worker hands to the module that computes, and what it gets back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from core.jobs.finalise import Assembled, ResultRow
from core.store.blobs import BlobStore

__all__ = [
    "Assembled",
    "Execution",
    "ModelRecord",
    "ResultRow",
    "ShardJob",
    "ShardOutput",
    "ShardOutputRef",
    "StopRequested",
]


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """The shard is not wanted any more: its job is over or being cancelled, or its lease is lost."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A registered model: `sha256` is its checkpoint's blob."""

    id: UUID
    sha256: str
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """A shard with everything that decides its result.

    Attributes:
        kind: the job's; `payload` says what the shard is, see `core.jobs.planning`.
        models: in the spec's order.
        input_key: result key of the shard that this one waited for; None where it waits for none.
        read_input: that shard's output. Only to be called where `input_key` is not None.
    """

    job_id: UUID
    kind: str
    spec: dict[str, Any]
    payload: dict[str, Any]
    models: tuple[ModelRecord, ...]
    input_key: str | None
    read_input: Callable[[], bytes]

    @property
    def model(self) -> ModelRecord:
        """The first model, and of an evaluation the only one."""
        return self.models[0]


@dataclass(frozen=True, slots=True)
class ShardOutput:
    """What a shard found; `cost` counts passes and seconds."""

    blob: bytes
    samples: int
    cost: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ShardOutputRef:
    """A finished shard's output, its bytes still in the store: `read` fetches them, each time anew.

    Raises:
        BlobNotFoundError: on reading, they are not there any more.
    """

    payload: dict[str, Any]
    cost: Mapping[str, Any]
    samples: int
    read: Callable[[], bytes]


class Execution(Protocol):
    """A module that computes; `Settings.execution_module` names it, and only pool processes import it."""

    def result_key(self, shard: ShardJob) -> str:
        """A digest of everything that the shard's output depends on: code version and `input_key` included."""
        ...

    def run_shard(self, shard: ShardJob, *, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
        """Compute. Calls `check` between batches and lets its StopRequested pass.

        For a model check the blob is JSON, `{"parameters": …, "facts": {…}}`.

        Raises:
            WindthrowError: the user's doing; not tried again. Any other exception is.
        """
        ...

    def code_version(self) -> str:
        """What is stored with results to say which code made them."""
        ...

    def assemble(
        self, spec: dict[str, Any], models: Sequence[ModelRecord], outputs: Sequence[ShardOutputRef]
    ) -> Assembled:
        """What a job that measures has found, from its shards' outputs in the plan's order.

        Outputs are read when asked for, and none is kept: memory need not grow with their number.
        """
        ...
