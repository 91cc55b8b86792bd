"""A running stack with a module that only counts."""

from collections.abc import Iterator

import pytest

from core.settings import Settings
from core.specs.manifests import ModelManifest
from tests.worker.bench import EXECUTION, Bench
from worker.supervisor import Component, Stack


@pytest.fixture(scope="module")
def quick(module_database_url: str) -> Settings:
    """Settings under which everything that takes patience takes seconds."""
    return Settings(
        database_url=module_database_url,
        execution_module=EXECUTION,
        lease_seconds=3,
        heartbeat_seconds=0.2,
        reap_seconds=0.2,
        soft_shutdown_seconds=0,
        max_attempts=2,
    )


@pytest.fixture(scope="module")
def stack(quick: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Valkey, relay and a worker with two pool processes on the module's database."""
    directory = tmp_path_factory.mktemp("stack")
    components: tuple[Component, ...] = ("valkey", "relay", "worker")
    with Stack(data_dir=directory, workers=2, components=components, settings=quick) as running:
        yield running


@pytest.fixture(scope="module")
def shared_bench(stack: Stack) -> Iterator[Bench]:
    manifest = ModelManifest(backbone="sapling", layout="all-shared", profile="digits")
    made = Bench(stack.settings, manifest)
    yield made
    made.database.dispose()


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    """The running stack, behaving well."""
    shared_bench.behave("ok")
    return shared_bench
