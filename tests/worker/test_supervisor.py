import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from core.errors import WindthrowError
from core.settings import Settings
from tests.worker.bench import EXECUTION, ROOT, until
from worker.cli import cli
from worker.command import MissingExtraError
from worker.data_directory import InUseError
from worker.processes import StartError
from worker.supervisor import Stack

RUN = """
import json, signal, sys
from pathlib import Path
from core.settings import Settings
from worker.supervisor import Stack

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, interrupt)
components = {"postgres", "valkey", "relay", "worker"}
with Stack(data_dir=Path(sys.argv[1]), components=components, settings=Settings(execution_module=sys.argv[2])) as stack:
    print(json.dumps(stack.pids), flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in a process of its own, with its servers and a worker."""
    command = [sys.executable, "-c", RUN, str(tmp_path / "data"), EXECUTION]
    clean = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "BROKER_URL"}}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=clean) as process:
        yield process
        process.kill()


def running(pids: list[int]) -> list[int]:
    """Those that still run; a process that only waits to be reaped does not."""
    alive = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
        except psutil.NoSuchProcess:
            continue
    return alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_supervisor_leaves_no_process_however_it_ends(
    supervisor: subprocess.Popen[str], number: signal.Signals, tmp_path: Path
) -> None:
    assert supervisor.stdout is not None
    pids = json.loads(supervisor.stdout.readline())
    assert set(pids) == {"postgres", "valkey", "relay", "worker"}
    until(lambda: psutil.Process(pids["worker"]).children())
    family = psutil.Process(supervisor.pid).children(recursive=True)
    everyone = [process.pid for process in family]
    assert set(pids.values()) < set(everyone)
    with pytest.raises(InUseError, match=str(supervisor.pid)):
        Stack(data_dir=tmp_path / "data", components=()).start()
    supervisor.send_signal(number)
    if number == signal.SIGKILL:
        supervisor.wait()
        with Stack(data_dir=tmp_path / "data", components={"postgres"}, settings=Settings(database_url="")):
            assert running(everyone) == []
    until(lambda: not running(everyone), seconds=10, why=lambda: f"for {running(everyone)} of {pids}")


def test_a_server_that_died_is_started_again_and_the_next_stack_has_the_same_key(tmp_path: Path) -> None:
    keys = []
    for crash in (True, False):
        with Stack(data_dir=tmp_path, components={"postgres"}, settings=Settings(database_url="")) as stack:
            keys.append(stack.key)
            if crash:
                postmaster = stack.pids["postgres"]
                os.kill(postmaster, signal.SIGQUIT)
                until(lambda before=postmaster: stack.pids.get("postgres") != before)  # type: ignore[misc]
                until(stack._children[0].command.ready)
    assert keys[0] == keys[1]
    assert (tmp_path / "key").read_text() == keys[0]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "stack.json").exists()


def test_what_does_not_start_shows_the_end_of_its_log(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=database_url, broker_url="nonsense://nowhere")
    with pytest.raises(StartError, match=r"worker ended with [\s\S]*nonsense"):
        Stack(data_dir=tmp_path, components={"worker"}, settings=settings).__enter__()


def test_keys_are_made_listed_and_revoked_on_the_command_line(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("WINDTHROW_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    runner = CliRunner()
    made = runner.invoke(cli, ["keys", "create", "ci", "--scope", "submit", "--days", "30"])
    assert made.exit_code == 0, made.output
    plaintext = made.output.split()[-1]
    listed = runner.invoke(cli, ["keys", "list"])
    assert plaintext not in listed.output
    assert plaintext[:11] in listed.output
    key_id = next(word for word in listed.output.split() if word.count("-") == 4)
    assert runner.invoke(cli, ["keys", "revoke", key_id]).exit_code == 0
    assert runner.invoke(cli, ["keys", "revoke", key_id]).exit_code == 1


def test_commands_without_a_database_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for arguments in (["migrate"], ["keys", "list", "--data", str(tmp_path)]):
        result = CliRunner().invoke(cli, arguments)
        assert isinstance(result.exception, WindthrowError)
        assert "DATABASE_URL" in str(result.exception)


@pytest.mark.parametrize("command", ["relay", "worker", "demo"])
def test_commands_whose_packages_are_missing_say_which(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    error = CliRunner().invoke(cli, [command]).exception
    assert isinstance(error, MissingExtraError)
    assert "windthrow-server[worker]" in str(error)
