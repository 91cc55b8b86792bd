"""What a stack keeps in its data directory beside the servers' data: a lock, and small private files."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from core.errors import WindthrowError
from worker import warden

WAIT_SECONDS = 20.0
POLL_SECONDS = 0.1


class InUseError(WindthrowError):
    """Another stack runs on the data directory."""

    code = "data_in_use"

    def __init__(self, directory: Path, owner: str) -> None:
        super().__init__(
            f"{directory} is in use by process {owner}: stop it, or choose another data directory"
        )


def hold(directory: Path) -> IO[str]:
    """Lock the directory until the returned file is closed here and in the warden, which inherits it.

    If the owner was killed, its warden is still stopping things: that is waited for.

    Raises:
        InUseError: another stack runs on it.
    """
    file = (directory / "lock").open("a+")
    deadline = time.monotonic() + WAIT_SECONDS
    while not _locked(file):
        file.seek(0)
        owner = file.read().strip()
        if not owner.isdigit() or warden.alive(int(owner)) or time.monotonic() > deadline:
            file.close()
            raise InUseError(directory, owner)
        time.sleep(POLL_SECONDS)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600, exist_ok=False)
    draft.write_text(text)
    draft.replace(path)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
