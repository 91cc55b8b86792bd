"""The command line as a process, which is what its users have."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]

Windthrow = Callable[..., "subprocess.CompletedProcess[str]"]

LISTENING = """
import signal
from windthrow.cli.app import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""The command line in a process that hears interrupts: what runs in a shell's background inherits that it does not."""


def on_a_terminal(*arguments: str) -> tuple[str, int]:
    """What a terminal of 80 columns is shown, and the exit code."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client" / "src"), "COLUMNS": "80", "TERM": "xterm"}
    command = [sys.executable, "-m", "windthrow", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # which is how Linux tells that nobody writes any more
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)
    return shown.decode(), process.returncode
