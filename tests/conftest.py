"""One real PostgreSQL for the whole run, and a freshly migrated database for each test that asks for one."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from core.jobs.submission import submit_job
from core.settings import normalise_database_url
from core.specs.documents import EvaluationSpec
from core.specs.manifests import ModelManifest
from core.store.database import Database
from core.store.schema import upgrade
from core.store.tables import Job, Model
from tests.service import DIGITS, Caller, random_checkpoint
from worker.processes import Child, Warden
from worker.servers import postgres
from worker.supervisor import Stack

TEMPLATE = "migrated"
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")


@pytest.fixture(scope="session")
def warden() -> Iterator[Warden]:
    """Stops what the tests start, should they be killed."""
    guard = Warden()
    yield guard
    guard.close()


@pytest.fixture(scope="session")
def postgres_url(warden: Warden) -> Iterator[str]:
    """A server with a migrated template database."""
    directory = Path(tempfile.mkdtemp(prefix="wt-"))
    command, url = postgres(directory / "pg", settings=FAST)
    server = Child(command, log=directory / "postgres.log", warden=warden)
    try:
        server.start()
        server.wait_ready(30)
        with _administrator(url) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        upgrade(_in_database(url, TEMPLATE))
        yield url
    finally:
        server.stop(10)
        shutil.rmtree(directory)


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """An empty, migrated database of the test's own."""
    with _fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(postgres_url: str) -> Iterator[str]:
    """An empty, migrated database for all the tests of a module."""
    with _fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The test's database, ready for sessions."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def manifest() -> ModelManifest:
    return ModelManifest(backbone="sapling", layout="all-shared", profile="digits")


@pytest.fixture
def model_id(database: Database, manifest: ModelManifest) -> UUID:
    """A model that is ready to be attacked."""
    with database.session() as session:
        model = Model(name="digits", sha256="0" * 64, state="ready")
        model.manifest, model.manifest_digest = manifest.model_dump(mode="json"), manifest.digest()
        session.add(model)
        session.flush()
        return model.id


@pytest.fixture
def make_spec(model_id: UUID) -> Callable[..., EvaluationSpec]:
    """Evaluation specs for the ready model; FGSM on 64 samples, no probe, unless said otherwise."""

    def make(**changes: Any) -> EvaluationSpec:
        document = {
            "kind": "evaluation",
            "model": str(model_id),
            "dataset": {"name": "digits", "limit": 64},
            "attacks": [{"algorithm": "fgsm", "objective": "total", "eps": 8}],
            "batch_size": 16,
            "health": False,
        }
        return EvaluationSpec.model_validate(document | changes)

    return make


@pytest.fixture
def submit(database: Database, make_spec: Callable[..., EvaluationSpec]) -> Callable[..., Job]:
    """Submit an evaluation in its own transaction; four shards: two slices of the clean and the attacked pass."""

    def submit(*, client_ref: str | None = None, shard_samples: int = 32, **changes: Any) -> Job:
        with database.session() as session:
            return submit_job(
                session, make_spec(**changes), key_id=None, client_ref=client_ref, shard_samples=shard_samples
            ).job

    return submit


@contextmanager
def _fresh_database(server: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with _administrator(server) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield _in_database(server, name)
    with _administrator(server) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _administrator(url: str) -> psycopg.Connection[Any]:
    plain = url.replace("+psycopg", "", 1)
    return psycopg.connect(plain, autocommit=True)


def _in_database(url: str, name: str) -> str:
    return make_url(normalise_database_url(url)).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def service_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, Valkey, API, relay and one worker process, as `windthrow-server up` starts them."""
    with Stack(data_dir=tmp_path_factory.mktemp("service"), workers=1) as stack:
        yield stack


@pytest.fixture(scope="session")
def caller(service_stack: Stack) -> Iterator[Caller]:
    """Somebody with a key to the service."""
    headers = {"Authorization": f"Bearer {service_stack.key}"}
    with httpx.Client(base_url=service_stack.url, headers=headers, timeout=60) as http:
        yield Caller(service_stack, http)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A digits model of random weights."""
    return random_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def ready_model(caller: Caller, checkpoint: Path) -> str:
    """The id of a registered model that a worker has read."""
    return str(caller.service.push("random digits", checkpoint, DIGITS)["id"])
