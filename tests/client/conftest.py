"""Clients of the real service, and of one that misbehaves."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from windthrow import Client

from tests.client.misbehaving import KEY, Misbehaving, misbehaving_server
from worker.supervisor import Stack


@pytest.fixture
def client(service_stack: Stack) -> Iterator[Client]:
    """A client of the whole service."""
    with Client(service_stack.url, service_stack.key) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    """A server that answers as scripted."""
    with misbehaving_server() as script:
        yield script


@pytest.fixture
def notices() -> list[str]:
    """What the impatient client said of its repetitions."""
    return []


@pytest.fixture
def impatient(server: Misbehaving, notices: list[str]) -> Iterator[Client]:
    """A client of the misbehaving server that repeats three times, at once."""
    with Client(server.url, KEY, timeout=5, retries=3, backoff=0.001, on_retry=notices.append) as opened:
        yield opened


@pytest.fixture(autouse=True)
def nowhere_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing of the machine's own logins; returns where one would be kept."""
    for name in ("WINDTHROW_URL", "WINDTHROW_KEY", "WINDTHROW_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "windthrow" / "credentials.json"
