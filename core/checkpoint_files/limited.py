"""Conversion in a process of its own that has no more memory, time, space and files than it needs."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import core
from core.backbones import BACKBONES
from core.checkpoint_files.convert import Converted
from core.checkpoint_files.errors import ReaderFailedError, TooHungryError, error_of
from core.checkpoint_files.identity import NO_HINTS, Hints

MAX_ANSWER_BYTES = 16 * 2**20
KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
"""What a Python may need to start; nothing else, such as a database's password, reaches the reader."""

START = (
    "import json, sys; sys.path += json.loads(sys.argv.pop(1)); "
    "from core.checkpoint_files.__main__ import main; main()"
)
ISOLATED = ("-I", "-S", "-B")
"""No environment variables, no site packages nor their .pth files, no compiled files written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What reading one file may take.

    Attributes:
        memory_bytes: of address space; enforced on Linux.
        output_bytes: of the safetensors file.
        cpu_seconds: of computing.
        wall_seconds: until the process is killed, whatever it does.
    """

    memory_bytes: int = 2**30
    output_bytes: int = 8 * 2**30
    cpu_seconds: int = 300
    wall_seconds: float = 600


USUAL_LIMITS = Limits()


def run_limited(
    path: Path, out: Path, *, hints: Hints = NO_HINTS, limits: Limits = USUAL_LIMITS
) -> Converted:
    """`convert` in a child process under limits; the child has the standard library and this package, no torch.

    Nothing but the finished file is left behind, however the child ends.

    Raises:
        CheckpointError: as `convert`.
        TooHungryError: the child was stopped at one of its limits.
        ReaderFailedError: it ended without an answer.
    """
    with (
        TemporaryDirectory(dir=out.absolute().parent, prefix=".converting-") as folder,
        TemporaryFile() as answer,
    ):
        fresh = Path(folder) / "weights.safetensors"
        order = {
            "path": str(path.absolute()),
            "out": str(fresh),
            "hints": asdict(hints),
            "limits": asdict(limits),
        }
        arguments = json.dumps(_search_path(hints)), json.dumps(order)
        child = subprocess.Popen(  # noqa: S603 - our own interpreter, and what it is told is two JSON arguments
            [sys.executable, *ISOLATED, "-c", START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=answer,
            env={name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ},
            cwd="/",
            start_new_session=True,
        )
        try:
            status = child.wait(limits.wall_seconds)
        except subprocess.TimeoutExpired:
            raise TooHungryError(
                f"reading the file took more than {limits.wall_seconds:g} seconds and was stopped"
            ) from None
        finally:
            child.kill()
            child.wait()
        answer.seek(0)
        converted = _understood(status, answer.read(MAX_ANSWER_BYTES))
        fresh.replace(out)
    return converted


def _search_path(hints: Hints) -> list[str]:
    """Where the child finds modules beside Python's own: here alone, or where a package with the backbone may be."""
    named = hints.backbone if isinstance(hints.backbone, str) else None
    return [str(Path(core.__file__).parents[1])] if named is None or named in BACKBONES else sys.path


def _understood(status: int, answer: bytes) -> Converted:
    if status < 0:
        raise TooHungryError("reading the file took more memory or time than it may, and was stopped")
    try:
        document: dict[str, Any] = json.loads(answer)
    except ValueError as error:
        raise ReaderFailedError(f"the reader of checkpoint files ended with status {status}") from error
    if "code" in document:
        raise error_of(document["code"], document["message"], field=document["field"])
    return Converted.from_json(document)
