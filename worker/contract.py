"""What the worker hands to the module that computes, and what it gets back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from uuid import UUID

from core.datasets import measured, samples_identity
from core.jobs.finalise import Assembled, ResultRow
from core.store.blobs import BlobStore
from core.tasks import Task
from worker.keeping import Keeping

__all__ = [
    "Assembled",
    "DatasetRecord",
    "Execution",
    "ModelRecord",
    "ResultRow",
    "ShardJob",
    "ShardOutput",
    "ShardOutputRef",
    "StopRequested",
    "TurnOver",
]


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """The shard is not wanted any more: its job is over or being cancelled, or its lease is lost."""


class TurnOver(Exception):  # noqa: N818 - as above
    """The shard has had its turn: what it has come to is kept, and it waits for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """A data set as a job keeps to it.

    Attributes:
        tasks: what it has labels for, and how they are measured.
        format: of its folder; None for a data set that came along, for which the rest says nothing.
        fingerprint: the version of the files in the folder.
        size: height and width that samples are resized to.
        on_bad: what is done about bad samples.
    """

    name: str
    version: str
    tasks: tuple[Task, ...]
    splits: Mapping[str, int] = field(hash=False)
    format: str | None = None
    location: str = ""
    fingerprint: str = ""
    size: tuple[int, int] | None = None
    on_bad: Literal["error", "skip"] = "error"

    def measured(self, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """A model's tasks as they are measured here; see `core.datasets.DatasetInfo.measured`."""
        return measured(self.name, self.tasks, tasks)

    def identity(self, split: str, shuffle: int | None = None) -> str:
        """See `core.datasets.samples_identity`."""
        return samples_identity(self.name, self.version, split, shuffle)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A registered model: `sha256` is the blob of its weights, or while it is checked of what was uploaded.

    Attributes:
        manifest: while the model is checked, what is known of it.
    """

    id: UUID
    sha256: str
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """A shard with everything that decides its result.

    Attributes:
        kind: the job's; `payload` says what the shard is, see `core.jobs.planning`.
        models: in the spec's order.
        dataset: that the spec names, if it names one.
        fitting: for a model check, finds a data set with labels for some tasks.
        input_key: result key of the shard that this one waited for; None where it waits for none.
        read_input: that shard's output. Only to be called where `input_key` is not None.
    """

    job_id: UUID
    kind: str
    spec: dict[str, Any]
    payload: dict[str, Any]
    models: tuple[ModelRecord, ...]
    dataset: DatasetRecord | None
    fitting: Callable[[Sequence[Task]], DatasetRecord | None]
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

    def run_shard(
        self, shard: ShardJob, *, blobs: BlobStore, keeping: Keeping, check: Callable[[], None]
    ) -> ShardOutput:
        """Compute. Calls `check` between batches and lets its StopRequested pass.

        For a model check the blob is JSON, `{"parameters": …, "facts": {…}, "manifest": {…}, "weights": digest}`;
        for a training it is that and more, see `core.jobs.trained`.

        Raises:
            TurnOver: what there is so far is kept; the shard goes back to the queue.
            WindthrowError: the user's doing; not tried again. Any other exception is.
        """
        ...

    def code_version(self) -> str:
        """What is stored with results to say which code made them."""
        ...

    def assemble(
        self,
        spec: dict[str, Any],
        models: Sequence[ModelRecord],
        outputs: Sequence[ShardOutputRef],
        *,
        dataset: DatasetRecord,
    ) -> Assembled:
        """What a job that measures has found, from its shards' outputs in the plan's order.

        Outputs are read when asked for, and none is kept: memory need not grow with their number.
        """
        ...
