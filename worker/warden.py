"""A process that outlives its supervisor by seconds, and then stops all that the supervisor had started.

Run as a script, on the standard library alone. Its input says what to watch, one line each (`watch PID SIGNAL`
or `forget PID`; every PID leads a process group). The end of its input means that the supervisor is dead.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 6.0
POLL_SECONDS = 0.05


def main() -> None:
    """Watch until the input ends, then stop what is left, the newest first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    stop_all(reversed(read_watched(sys.stdin).items()))


def read_watched(lines: Iterable[str]) -> dict[int, int]:
    """Follow the supervisor's lines to their end: process ids and the signal that each should get."""
    watched: dict[int, int] = {}
    for line in lines:
        verb, pid, *rest = line.split()
        if verb == "watch":
            watched[int(pid)] = int(rest[0])
        else:
            watched.pop(int(pid), None)
    return watched


def stop_all(watched: Iterable[tuple[int, int]]) -> None:
    """Ask each to stop, wait, and kill the groups of all in the end."""
    pids = []
    for pid, number in watched:
        pids.append(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and any(alive(pid) for pid in pids):
        time.sleep(POLL_SECONDS)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
