"""What an operator may set in the environment: DATABASE_URL, BROKER_URL, the rest as WINDTHROW_<NAME>."""

import os
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

GIB = 2**30
MIB = 2**20

UNPREFIXED = {"database_url", "broker_url"}
PREFIX = "WINDTHROW_"


class Settings(BaseSettings):
    """One process's configuration. Durations are in seconds, sizes in bytes.

    Attributes:
        database_url: PostgreSQL; empty until `windthrow-server up` has started its own.
        broker_url: Redis or Valkey; likewise.
        data_dir: blobs, logs, the key secret, and the servers that `up` starts.
        cache_dir: rendered and downloaded data sets; without it, `data_dir/cache`.
        key_secret: keys the digests of API keys; without it, one is made and kept in `data_dir/secret`.
        lease_seconds: a shard whose worker is silent for this long is given to another.
        max_attempts: how often a shard is started before its job fails.
        ring_after_seconds: a queued shard that others overtook, or idle workers leave alone, for so long is rung again.
        shard_samples: samples per shard, rounded down to whole batches.
        keep_seconds: how often a training's state is kept; no more of it is lost with its worker.
        state_expiry_seconds: for how long the state of a training that failed or was cancelled is kept.
        turn_seconds: a training that has run for so long goes back to the queue, and on from there.
        training_processes: that share a training, each a part of every batch; None is one on every GPU of the worker,
            at least one. Without as many GPUs, they are on the CPU.
        threads: torch threads per worker process.
        blob_url: where blobs lie: `file:///directory` or `s3://bucket/prefix?endpoint_url=…&region=…`; without it,
            in `data_dir/blobs`.
        blob_cache_dir: copies of blobs that lie in S3; without it, `data_dir/blob-cache`.
        blob_cache_bytes: how large these may become, apart from files in use.
        staging_dir: files on their way in, shared by all API and relay processes; without it, `data_dir/staging`.
        public_url: where users reach the API, such as `https://windthrow.example.com`; links to reports begin with it.
            Without it they are paths, and clients know where they asked.
        max_open_uploads: how many files one API key may have on their way in at once.
        max_open_upload_bytes: how many bytes these may have together.
        max_store_bytes: how many bytes all uploads may have together; None is no limit.
        keep_free_bytes: what uploads leave free on the disk.
        upload_expiry_seconds: an upload that nobody sends to for so long is dropped.
        upload_idle_seconds: a connection that brings nothing for so long is closed; what it brought is kept.
        execution_module: what turns a shard into statistics.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, populate_by_name=True, frozen=True, extra="ignore")

    database_url: Annotated[str, Field(validation_alias=AliasChoices("DATABASE_URL", "database_url"))] = ""
    broker_url: Annotated[str, Field(validation_alias=AliasChoices("BROKER_URL", "broker_url"))] = ""
    data_dir: Path = Path(".windthrow")
    cache_dir: Path | None = None
    key_secret: SecretStr | None = None

    lease_seconds: float = Field(default=45, gt=0)
    heartbeat_seconds: float = Field(default=10, gt=0)
    max_attempts: int = Field(default=3, ge=1)
    reap_seconds: float = Field(default=5, gt=0)
    ring_after_seconds: float = Field(default=60, gt=0)
    shard_soft_limit: int = Field(default=600, ge=1)
    shard_hard_limit: int = Field(default=660, ge=1)
    soft_shutdown_seconds: float = Field(default=3, ge=0)

    blob_url: str = ""
    blob_cache_dir: Path | None = None
    blob_cache_bytes: int = Field(default=20 * GIB, ge=0)
    staging_dir: Path | None = None
    public_url: Annotated[str, Field(pattern=r"^(https?://[A-Za-z0-9\-._~:/\[\]%]+)?$", max_length=1000)] = ""

    max_upload_bytes: int = Field(default=4 * GIB, ge=1)
    max_open_uploads: int = Field(default=16, ge=1)
    max_open_upload_bytes: int = Field(default=32 * GIB, ge=1)
    max_store_bytes: int | None = Field(default=None, ge=1)
    keep_free_bytes: int = Field(default=GIB, ge=0)
    upload_expiry_seconds: float = Field(default=86_400, gt=0)
    upload_idle_seconds: float = Field(default=60, gt=0)
    max_body_bytes: int = MIB
    shard_samples: int = Field(default=256, ge=1)
    keep_seconds: float = Field(default=30, ge=0)
    state_expiry_seconds: float = Field(default=30 * 86_400, gt=0)
    turn_seconds: float = Field(default=300, gt=0)
    training_processes: int | None = Field(default=None, ge=1)
    threads: int = Field(default=1, ge=1)
    execution_module: str = "worker.execution"

    @field_validator("database_url")
    @classmethod
    def _driver(cls, value: str) -> str:
        return normalise_database_url(value)

    @property
    def blob_dir(self) -> Path:
        """Where blobs lie unless `blob_url` says otherwise."""
        return self.data_dir / "blobs"

    @property
    def blob_cache(self) -> Path:
        """Where copies of remote blobs lie."""
        return self.blob_cache_dir or self.data_dir / "blob-cache"

    @property
    def staging(self) -> Path:
        """Where files lie until all of their bytes are here."""
        return self.staging_dir or self.data_dir / "staging"

    @property
    def cache(self) -> Path:
        """Where data sets are kept once rendered or read."""
        return self.cache_dir or self.data_dir / "cache"

    def secret(self) -> bytes:
        """The key of API key digests; made on first use, in `data_dir/secret` with mode 0600."""
        if self.key_secret is not None:
            return self.key_secret.get_secret_value().encode()
        return kept_secret(self.data_dir / "secret").encode()

    def environment(self) -> dict[str, str]:
        """The environment variables from which another process reads the same settings."""
        found = {}
        for name, value in self:
            if value is None or value == "":
                continue
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
            else:
                text = str(value.absolute() if isinstance(value, Path) else value)
            found[name.upper() if name in UNPREFIXED else PREFIX + name.upper()] = text
        return found


def normalise_database_url(url: str) -> str:
    """The URL with the driver spelled out: `postgres://` and `postgresql://` become `postgresql+psycopg://`."""
    for plain in ("postgres://", "postgresql://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def kept_secret(path: Path) -> str:
    """The secret in `path`, made if there is none; safe when several processes start at once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
