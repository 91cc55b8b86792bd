"""The whole service on one machine: `Stack` starts it, restarts what dies, and leaves nothing behind."""

import http.client
import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self, get_args

import worker
from core.settings import Settings
from core.store.database import Database
from core.store.keys import SCOPES, authenticate, issue_key
from core.store.schema import upgrade
from worker.data_directory import hold, write_private
from worker.processes import Child, Command, Warden
from worker.servers import postgres, valkey

log = logging.getLogger(__name__)

Component = Literal["postgres", "valkey", "api", "relay", "worker"]
COMPONENTS: tuple[Component, ...] = get_args(Component)

START_SECONDS = 60.0
STOP_SECONDS = 6.0
SERVER_STOP_SECONDS = 3.0
GRACE_SECONDS = 2
"""How long the API lets open requests end."""

WATCH_SECONDS = 0.2
FIRST_PAUSE = 0.5
MAX_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""A child that ran for so long and died is restarted without a growing pause."""


class Stack:
    """PostgreSQL, Valkey, API, relay and worker as child processes; a context manager.

    `DATABASE_URL` and `BROKER_URL` in the settings stand in for the servers it would start.

    Attributes:
        url: where the API answers.
        key: an API key with every scope, kept in `data_dir/key`.
        settings: what the children run with, URLs included.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        workers: int = 1,
        host: str = "127.0.0.1",
        port: int = 0,
        components: Collection[Component] = COMPONENTS,
        settings: Settings | None = None,
    ) -> None:
        self.settings = (settings or Settings()).model_copy(update={"data_dir": data_dir.absolute()})
        self.data_dir = data_dir.absolute()
        self.key = ""
        self._workers = workers
        self._host = host
        self._port = port
        self._components = frozenset(components)
        self._lock: IO[str] | None = None
        self._warden: Warden | None = None
        self._children: list[Child] = []
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    @property
    def url(self) -> str:
        """Where the API answers."""
        host = "127.0.0.1" if self._host in {"0.0.0.0", "::"} else self._host  # noqa: S104 - compared, not bound
        return f"http://{host}:{self._port}"

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the children, by name."""
        return {child.command.name: child.pid for child in self._children if child.pid is not None}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return once it answers.

        Raises:
            InUseError: another stack runs on the data directory.
            StartError: something did not come up; the message has the tail of its log.
            LocalServersError: servers are needed, and their wheels are not installed.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = hold(self.data_dir)
        self._warden = Warden(keep=[self._lock.fileno()])
        self._start_servers()
        upgrade(self.settings.database_url)
        self.key = self._kept_key()
        self._start_processes()
        state = {"pid": os.getpid(), "url": self.url, "database_url": self.settings.database_url}
        write_private(self.data_dir / "stack.json", json.dumps(state))
        self._watcher.start()

    def stop(self) -> None:
        """Stop everything: API, relay and worker together, then the servers; by force if need be."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        servers = [child for child in self._children if child.command.name in {"postgres", "valkey"}]
        processes = [child for child in self._children if child not in servers]
        for group, seconds in ((processes, STOP_SECONDS), (servers, SERVER_STOP_SECONDS)):
            deadline = time.monotonic() + seconds
            for child in group:
                child.ask_to_stop()
            for child in group:
                child.stop(max(0.0, deadline - time.monotonic()))
        self._children.clear()
        if self._warden is not None:
            self._warden.close()
            self._warden = None
        if self._lock is not None:
            (self.data_dir / "stack.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _start_servers(self) -> None:
        urls = {}
        if "postgres" in self._components and not self.settings.database_url:
            command, urls["database_url"] = postgres(self.data_dir / "postgres")
            self._launch(command)
        if "valkey" in self._components and not self.settings.broker_url:
            command, urls["broker_url"] = valkey(self.data_dir / "valkey")
            self._launch(command)
        for child in self._children:
            child.wait_ready(START_SECONDS)
        self.settings = self.settings.model_copy(update=urls)

    def _start_processes(self) -> None:
        if "api" in self._components and not self._port:
            self._port = _free_port(self._host)
        made = {"api": self._api, "relay": self._relay, "worker": self._worker}
        started = [self._launch(made[name]()) for name in made if name in self._components]
        for child in started:
            child.wait_ready(START_SECONDS)

    def _launch(self, command: Command) -> Child:
        assert self._warden is not None
        child = Child(command, log=self.data_dir / "logs" / f"{command.name}.log", warden=self._warden)
        self._children.append(child)
        child.start()
        return child

    def _api(self) -> Command:
        place = ["--host", self._host, "--port", str(self._port)]
        grace = ["--timeout-graceful-shutdown", str(GRACE_SECONDS)]
        argv = [sys.executable, "-m", "uvicorn", "api.app:create_app", "--factory", *place, *grace]
        variables = api_environment(self.settings)
        return Command(name="api", argv=argv, environment=variables, ready=self._api_answers)

    def _relay(self) -> Command:
        argv = [sys.executable, "-m", "worker", "relay"]
        return Command(name="relay", argv=argv, environment=environment(self.settings))

    def _worker(self) -> Command:
        ready = self.data_dir / "worker.ready"
        ready.unlink(missing_ok=True)
        variables = worker_environment(self.settings) | {"WINDTHROW_READY_FILE": str(ready)}
        return Command(
            name="worker", argv=worker_argv(self._workers), environment=variables, ready=ready.exists
        )

    def _api_answers(self) -> bool:
        host = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _kept_key(self) -> str:
        """The key of this data directory; a new one if there is none or the database does not know it."""
        path, secret = self.data_dir / "key", self.settings.secret()
        database = Database(self.settings.database_url, pool_size=1)
        try:
            with database.session() as session:
                kept = path.read_text().strip() if path.exists() else ""
                if authenticate(session, kept, secret=secret) is not None:
                    return kept
                _, plaintext = issue_key(session, "first key", SCOPES, secret=secret)
            write_private(path, plaintext)
        finally:
            database.dispose()
        return plaintext

    def _watch(self) -> None:
        """Restart children that died, with a growing pause for those that die again at once."""
        pauses: dict[str, float] = {}
        due: dict[str, float] = {}
        while not self._stopping.wait(WATCH_SECONDS):
            for child in self._children:
                code, name = child.poll(), child.command.name
                if code is None:
                    continue
                now = time.monotonic()
                if name not in due:
                    steady = now - child.started_at > STEADY_SECONDS
                    pauses[name] = (
                        FIRST_PAUSE if steady else min(MAX_PAUSE, 2 * pauses.get(name, FIRST_PAUSE / 2))
                    )
                    due[name] = now + pauses[name]
                    log.warning("%s ended with %s; it starts again in %g s", name, code, pauses[name])
                    child.kill_group()
                elif now >= due[name]:
                    del due[name]
                    child.start()


def worker_argv(processes: int) -> list[str]:
    """The command line of a Celery worker with so many pool processes, one shard each."""
    name = f"windthrow-{secrets.token_hex(4)}@%h"
    options = ["--concurrency", str(processes), "--hostname", name, "--loglevel", "INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options, *quiet]


def api_environment(settings: Settings) -> dict[str, str]:
    """What the API needs beside that: glibc keeps some of what is freed, or else page faults halve an upload's pace."""
    return environment(settings) | {
        "MALLOC_MMAP_THRESHOLD_": str(2**23),
        "MALLOC_TRIM_THRESHOLD_": str(2**25),
    }


def worker_environment(settings: Settings) -> dict[str, str]:
    """What a worker needs beside that: glibc keeps what is freed, or else page faults cost small models dearly."""
    return environment(settings) | {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


def environment(settings: Settings) -> dict[str, str]:
    """What our processes need in their environment: the settings, thread counts, and the way to a checkout."""
    threads = str(settings.threads)
    found = {
        **settings.environment(),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "REMAP_SIGTERM": "SIGQUIT",
        "PYTHONUNBUFFERED": "1",
    }
    root = Path(worker.__file__).parent.parent
    if (root / "pyproject.toml").exists():
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return found


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
