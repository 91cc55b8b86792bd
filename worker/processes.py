"""Child processes that are stopped for certain: each leads a process group, and the warden knows them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from core.errors import WindthrowError
from worker import warden

POLL_SECONDS = 0.02
TAIL_LINES = 25


class StartError(WindthrowError):
    """Something did not start; the message ends with the tail of its log."""

    code = "start_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How one process is run.

    Attributes:
        name: what its log is called.
        argv: program and arguments.
        environment: variables on top of this process's own.
        stop_signal: what asks it to stop.
        user: the user it runs as, if another.
        ready: whether it does its work yet; asked until it answers yes.
    """

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    ready: Callable[[], bool] = field(default=lambda: True)


class Warden:
    """The supervisor's end of the warden's pipe; it holds the files in `keep` open until all is stopped."""

    def __init__(self, keep: Sequence[int] = ()) -> None:
        script = [sys.executable, "-I", "-S", str(Path(warden.__file__))]
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            script, stdin=subprocess.PIPE, start_new_session=True, pass_fds=keep, text=True
        )

    def watch(self, pid: int, number: int) -> None:
        """Stop this process group with this signal when the supervisor dies."""
        self._tell(f"watch {pid} {number}")

    def forget(self, pid: int) -> None:
        """The process is gone."""
        self._tell(f"forget {pid}")

    def close(self) -> None:
        """Let the warden stop whatever it still watches, and wait for it."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class Child:
    """One child process, started and stopped as often as need be."""

    def __init__(self, command: Command, *, log: Path, warden: Warden) -> None:
        self.command = command
        self.log = log
        self._warden = warden
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        self.started_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process id, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, with its output appended to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = self._open(log)
        self._asked = False
        self.started_at = time.monotonic()
        self._warden.watch(self._process.pid, self.command.stop_signal)

    def _open(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own commands
            list(self.command.argv),
            env={**os.environ, **self.command.environment},
            cwd=None if self.command.user is None else "/",  # another user may not read ours
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **switch_user(self.command.user),
        )

    def wait_ready(self, seconds: float) -> None:
        """Wait until it does its work.

        Raises:
            StartError: it died, or took too long.
        """
        deadline = time.monotonic() + seconds
        while not self.command.ready():
            if (code := self.poll()) is not None:
                raise StartError(f"{self.command.name} ended with {code} at its start.\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.command.name} was not ready in {seconds:g} s.\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return None if self._process is None else self._process.poll()

    def ask_to_stop(self) -> None:
        """Send the stop signal, once: to Celery a second one means less patience. Returns at once."""
        if self._process is not None and self._process.poll() is None and not self._asked:
            self._process.send_signal(self.command.stop_signal)
            self._asked = True

    def stop(self, seconds: float) -> None:
        """Stop it and whatever it has started; by force after so many seconds."""
        if self._process is None:
            return
        self.ask_to_stop()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._warden.forget(self._process.pid)
        self._process = None

    def kill_group(self) -> None:
        """End what the dead process has left of its group."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._warden.forget(self._process.pid)

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"The end of {self.log}:", *(f"  {line}" for line in lines[-TAIL_LINES:])])


def switch_user(user: str | None) -> dict[str, Any]:
    """Arguments for `subprocess` to run as another user without any of this user's groups."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}
