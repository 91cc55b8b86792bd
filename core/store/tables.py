"""The tables. States are text with a CHECK, times are UTC, ids are time-ordered UUIDs; no relationships."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.jobs.states import (
    JOB_KINDS,
    JOB_STATES,
    MODEL_STATES,
    SHARD_STATES,
    TOPICS,
    UPLOAD_STATES,
    Urgency,
)
from core.store.types import Json, uuid7

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

BaselineKind = Literal["commit", "branch", "tag"]
BASELINE_KINDS: tuple[BaselineKind, ...] = get_args(BaselineKind)
REPORT_STATUSES = ("passed", "failed", "inconclusive", "no_baseline")


class Table(DeclarativeBase):
    """The base of every table."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's attribute
        str: Text,
        float: Double,
        datetime: DateTime(timezone=True),
        dict[str, Any]: Json,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(Integer),
        list[UUID]: ARRAY(Uuid),
        list[dict[str, Any]]: Json,
    }


def _among(column: str, values: Sequence[str]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _line(column: str, *, least: int = 1) -> CheckConstraint:
    """Up to 200 characters without control characters, as `core.specs.document.Line`."""
    return CheckConstraint(rf"{column} ~ '^[^\u0001-\u001f\u007f]{{{least},200}}$'", name=column)


def _id() -> Mapped[UUID]:
    return mapped_column(Uuid, primary_key=True, default=uuid7)


def _created() -> Mapped[datetime]:
    return mapped_column(server_default=func.now())


def _key() -> Mapped[UUID | None]:
    return mapped_column(ForeignKey("api_keys.id"))


class ApiKey(Table):
    """An API key: only its HMAC-SHA256 is kept, in hex, and a prefix by which its owner knows it."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = _id()
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = _created()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Upload(Table):
    """A file on its way in; once complete its bytes are the blob of that digest. Sizes in bytes.

    `received` bytes of it are safe on disk, and `progressed_at` is when that last grew.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        _among("state", UPLOAD_STATES),
        CheckConstraint("received >= 0 AND received <= size", name="received"),
        Index("ix_uploads_open", "key_id", postgresql_where=text("state = 'open'")),
    )

    id: Mapped[UUID] = _id()
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[str] = mapped_column(default="open")
    name: Mapped[str | None]
    created_at: Mapped[datetime] = _created()
    progressed_at: Mapped[datetime] = _created()
    completed_at: Mapped[datetime | None]
    key_id: Mapped[UUID | None] = _key()


class Dataset(Table):
    """A data set that an operator registered: a version of it is a row, and never changes but for being retired.

    `fingerprint` is the version of its files, `version` names that and the options it is read with. `splits`
    counts the samples.
    """

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[UUID] = _id()
    name: Mapped[str]
    version: Mapped[str]
    title: Mapped[str]
    format: Mapped[str]
    location: Mapped[str]
    fingerprint: Mapped[str]
    options: Mapped[dict[str, Any]]
    profile: Mapped[str]
    tasks: Mapped[list[dict[str, Any]]]
    splits: Mapped[dict[str, Any]]
    image_shape: Mapped[list[int]]
    created_at: Mapped[datetime] = _created()
    retired_at: Mapped[datetime | None]


class Model(Table):
    """A checkpoint bound to a manifest: `checking` until a worker has read it, then `ready` or `rejected`.

    `declared` is what the user said of it, and `manifest_digest` that one's digest; `manifest` is null until all of
    it is known. `weights` is the digest of the safetensors file that is used: `sha256` itself, or what that was
    converted to. `lineage` is how one that was trained here came about; null for one that was uploaded.
    """

    __tablename__ = "models"
    __table_args__ = (_among("state", MODEL_STATES), UniqueConstraint("sha256", "manifest_digest"))

    id: Mapped[UUID] = _id()
    name: Mapped[str | None]
    sha256: Mapped[str]
    weights: Mapped[str | None]
    lineage: Mapped[dict[str, Any] | None]
    declared: Mapped[dict[str, Any]] = mapped_column(default=dict)
    manifest: Mapped[dict[str, Any] | None] = mapped_column(Json)
    manifest_digest: Mapped[str]
    state: Mapped[str] = mapped_column(default="checking")
    reason: Mapped[dict[str, Any] | None]
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    facts: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = _created()
    checked_at: Mapped[datetime | None]
    key_id: Mapped[UUID | None] = _key()


class Job(Table):
    """A spec being worked off. `version` grows with every change; work counts passes over one sample.

    `model_ids` are the spec's models in its order, and `model_id` is the first; a training from random weights and a
    study have none. `summary` is what the finished job found beside its results. A job that a study asked for has
    the `study_id` and is that study's `part`.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        _among("kind", JOB_KINDS),
        _among("state", JOB_STATES),
        CheckConstraint("shards_done >= 0 AND shards_done <= shards_total", name="shards"),
        CheckConstraint("(state IN ('queued', 'running')) = (finished_at IS NULL)", name="finished"),
        CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
        UniqueConstraint("study_id", "part"),
        CheckConstraint("model_ids[1] IS NOT DISTINCT FROM model_id", name="models"),
        CheckConstraint("(study_id IS NULL) = (part IS NULL)", name="part"),
        CheckConstraint("(finalising_token IS NULL) = (finalising_until IS NULL)", name="finalising"),
        Index("ix_jobs_model_ids", "model_ids", postgresql_using="gin"),
        Index("ix_jobs_open", "state", postgresql_where=text("state IN ('queued', 'running')")),
    )

    id: Mapped[UUID] = _id()
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    spec: Mapped[dict[str, Any]]
    spec_digest: Mapped[str]
    model_id: Mapped[UUID | None] = mapped_column(ForeignKey("models.id"), index=True)
    model_ids: Mapped[list[UUID]]
    client_ref: Mapped[str | None] = mapped_column(unique=True)
    study_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    part: Mapped[str | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    shards_total: Mapped[int]
    shards_done: Mapped[int] = mapped_column(default=0)
    work_total: Mapped[float]
    work_done: Mapped[float] = mapped_column(default=0.0)
    finalise_attempts: Mapped[int] = mapped_column(default=0)
    finalising_token: Mapped[UUID | None]
    finalising_until: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)
    error: Mapped[dict[str, Any] | None]
    summary: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = _created()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    key_id: Mapped[UUID | None] = _key()


class Shard(Table):
    """A piece of a job that one worker does in one go, under a lease.

    `after` is the ordinal of an earlier shard of the job whose output it needs; until that has succeeded it waits.
    `kept` is how much of its work would survive the loss of its worker.
    """

    __tablename__ = "shards"
    __table_args__ = (
        UniqueConstraint("job_id", "ordinal"),
        ForeignKeyConstraint(["job_id", "after"], ["shards.job_id", "shards.ordinal"]),
        _among("state", SHARD_STATES),
        CheckConstraint("after < ordinal", name="after"),
        CheckConstraint("(state = 'running') = (lease_token IS NOT NULL)", name="lease_token"),
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease"),
        CheckConstraint("(state = 'succeeded') = (result_key IS NOT NULL)", name="result"),
        CheckConstraint("attempt >= 0", name="attempt"),
        CheckConstraint("kept >= 0 AND kept <= work", name="kept"),
        Index("ix_shards_after", "job_id", "after", postgresql_where=text("after IS NOT NULL")),
        Index("ix_shards_lease_expires_at", "lease_expires_at", postgresql_where=text("state = 'running'")),
        Index("ix_shards_queued", "created_at", postgresql_where=text("state = 'queued'")),
        Index("ix_shards_started_at", "started_at"),
    )

    id: Mapped[UUID] = _id()
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    payload: Mapped[dict[str, Any]]
    work: Mapped[float]
    kept: Mapped[float] = mapped_column(default=0.0)
    after: Mapped[int | None]
    state: Mapped[str] = mapped_column(default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None]
    result_key: Mapped[str | None] = mapped_column(ForeignKey("shard_results.key"))
    reused: Mapped[bool] = mapped_column(default=False)
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = _created()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class ShardResult(Table):
    """The statistics of one piece of work, by everything that went into them: never computed twice."""

    __tablename__ = "shard_results"

    key: Mapped[str] = mapped_column(primary_key=True)
    blob: Mapped[str]
    samples: Mapped[int]
    cost: Mapped[dict[str, Any]]
    code_version: Mapped[str]
    created_at: Mapped[datetime] = _created()


class KeptState(Table):
    """How far a long piece of work has come, by the key that its result will have: whoever does it goes on from here.

    `position` grows with every state that is kept; `blob` is the newest.
    """

    __tablename__ = "kept_states"

    key: Mapped[str] = mapped_column(primary_key=True)
    blob: Mapped[str]
    position: Mapped[int]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    kept_at: Mapped[datetime] = _created()


class Result(Table):
    """What a finished evaluation found: one row for the clean pass (ordinal -1) and one for each attack.

    `replicates` is the digest of the blob with the bootstrap's replicates.
    """

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("job_id", "ordinal"),)

    id: Mapped[UUID] = _id()
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    attack: Mapped[dict[str, Any] | None]
    metrics: Mapped[dict[str, Any]]
    task_arp: Mapped[dict[str, Any] | None]
    arp: Mapped[float | None]
    arp_8bit: Mapped[float | None]
    intervals: Mapped[dict[str, Any] | None]
    samples: Mapped[int]
    cost: Mapped[dict[str, Any]]
    flags: Mapped[list[dict[str, Any]]]
    replicates: Mapped[str | None]


class Outbox(Table):
    """A bell to ring at the broker: one per subject, unsent while `sent_at` is null. `attempts`: rings.

    `created_at` is when its reason last came about, and `urgency` a `core.jobs.states.Urgency`.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        _among("topic", TOPICS),
        UniqueConstraint("topic", "subject"),
        CheckConstraint("urgency BETWEEN 0 AND 2", name="urgency"),
        Index("ix_outbox_unsent", "urgency", "id", postgresql_where=text("sent_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    topic: Mapped[str]
    subject: Mapped[UUID]
    created_at: Mapped[datetime] = _created()
    sent_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    urgency: Mapped[int] = mapped_column(default=Urgency.ORDINARY)


class Event(Table):
    """Something that happened to a job. Ids grow in the order in which one job's events were committed."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_job_id_id", "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    type: Mapped[str]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = _created()


class Idempotency(Table):
    """A request that was made under an Idempotency-Key, and its answer once there is one."""

    __tablename__ = "idempotency"

    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[str]
    status: Mapped[int | None]
    response: Mapped[Any | None] = mapped_column(Json)
    headers: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class Baseline(Table):
    """An evaluation that verdicts on a model of a repository compare with, at a commit, branch or tag: one at a time.

    `model_name` is what the repository calls the model, "" where it names none: unlike a registered model, that stays
    from build to build.

    It held from `set_at` until `ended_at`, when another took its place or it was retired; null while it holds.
    """

    __tablename__ = "baselines"
    __table_args__ = (
        _among("kind", BASELINE_KINDS),
        _line("repository"),
        _line("model_name", least=0),
        _line("ref"),
        Index(
            "uq_baselines_held",
            "repository",
            "model_name",
            "kind",
            "ref",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = _id()
    repository: Mapped[str]
    model_name: Mapped[str] = mapped_column(server_default="")
    kind: Mapped[str]
    ref: Mapped[str]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"))
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id"))
    note: Mapped[str | None]
    set_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    key_id: Mapped[UUID | None] = _key()


class Report(Table):
    """A verdict as it was rendered, for whoever has its link: only the SHA-256 of that's token is kept, in hex."""

    __tablename__ = "reports"
    __table_args__ = (_among("status", REPORT_STATUSES),)

    id: Mapped[UUID] = _id()
    token_digest: Mapped[str] = mapped_column(unique=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    status: Mapped[str]
    exit_code: Mapped[int]
    page: Mapped[str] = mapped_column(deferred=True)
    badge: Mapped[str] = mapped_column(deferred=True)
    created_at: Mapped[datetime] = _created()
    expires_at: Mapped[datetime] = mapped_column(index=True)
    key_id: Mapped[UUID | None] = _key()
