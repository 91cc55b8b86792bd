"""What the worker hands to the module that computes, and what it gets back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from core.jobs.finalise import ResultRow
from core.store.blobs import BlobStore

__all__ = ["Execution", "ModelRecord", "ResultRow", "ShardJob", "ShardOutput", "StopRequested"]


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """The shard is not wanted any more: its job is over or being cancelled, or its lease is lost."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A registered model: `sha256` is its checkpoint's blob."""

    id: UUID
    sha256: str
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ShardJob:
    """A shard with everything that decides its result."""

    job_id: UUID
    kind: str
    spec: dict[str, Any]
    payload: dict[str, Any]
    model: ModelRecord


@dataclass(frozen=True, slots=True)
class ShardOutput:
    """What a shard found; `cost` counts passes and seconds."""

    blob: bytes
    samples: int
    cost: Mapping[str, Any]


class Execution(Protocol):
    """A module that computes; `Settings.execution_module` names it, and only pool processes import it."""

    def result_key(self, shard: ShardJob) -> str:
        """A digest of everything that the shard's output depends on, code version included."""
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
        self,
        spec: dict[str, Any],
        model: ModelRecord,
        outputs: Sequence[tuple[dict[str, Any], bytes, Mapping[str, Any]]],
    ) -> Sequence[ResultRow]:
        """An evaluation's results from its shards' (payload, blob, cost), in shard order."""
        ...
