"""Clients of the real service, and of one that misbehaves."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from windthrow import Client

from tests.client.gating import GATE_FILE
from tests.client.misbehaving import KEY, Misbehaving, misbehaving_server
from tests.client.processes import ROOT, Windthrow
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
    """Nothing of the machine's own logins, nor of the CI that tests run in; returns where one would be kept."""
    for name in list(os.environ):
        if name.startswith(("WINDTHROW_", "GITHUB_", "CI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "windthrow" / "credentials.json"


@pytest.fixture
def windthrow(monkeypatch: pytest.MonkeyPatch) -> Windthrow:
    """Run the command line without a terminal."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "client" / "src"))

    def run(*arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-W", "error", "-m", "windthrow", *arguments]
        ended = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | environment,
            timeout=200,
        )
        if environment.get("WINDTHROW_DEBUG") is None:
            assert "Traceback" not in ended.stderr
        assert "\x1b" not in ended.stdout + ended.stderr
        return ended

    return run


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch, service_stack: Stack) -> None:
    monkeypatch.setenv("WINDTHROW_URL", service_stack.url)
    monkeypatch.setenv("WINDTHROW_KEY", service_stack.key)


@pytest.fixture
def to_misbehaving(monkeypatch: pytest.MonkeyPatch, server: Misbehaving) -> Misbehaving:
    monkeypatch.setenv("WINDTHROW_URL", server.url)
    monkeypatch.setenv("WINDTHROW_KEY", KEY)
    return server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a gate file and something to gate, in no repository."""
    place = tmp_path / "here"
    place.mkdir()
    (place / "windthrow.yaml").write_text(GATE_FILE)
    (place / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(place)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("WINDTHROW_RETRIES", "0")
    return place
