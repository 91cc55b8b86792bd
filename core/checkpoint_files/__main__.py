"""The child process of `core.checkpoint_files.limited`: one JSON argument in, one JSON line out."""

import errno
import json
import resource
import sys
from pathlib import Path
from typing import Any

from core.checkpoint_files.convert import convert
from core.checkpoint_files.errors import TooHungryError
from core.checkpoint_files.identity import Hints
from core.errors import InvalidError, WindthrowError

OPEN_FILES = 16


def main() -> None:
    """Convert one file, as the first argument says, and answer with what it is or why it is not taken."""
    order = json.loads(sys.argv[1])
    _limit(order["limits"])
    sys.stdout.write(json.dumps(_answer(order)) + "\n")


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    hints = order["hints"]
    if hints["tasks"] is not None:
        hints["tasks"] = tuple(hints["tasks"])
    try:
        return convert(Path(order["path"]), Path(order["out"]), hints=Hints(**hints)).to_json()
    except WindthrowError as error:
        field = error.field if isinstance(error, InvalidError) else ""
        return {"code": error.code, "message": str(error), "field": field}
    except MemoryError:
        return _too_hungry("memory")
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        return _too_hungry("space")


def _too_hungry(what: str) -> dict[str, Any]:
    return {
        "code": TooHungryError.code,
        "message": f"reading the file took more {what} than it may",
        "field": "",
    }


def _limit(limits: dict[str, Any]) -> None:
    """Before the file is opened, give up what reading it does not need."""
    bounds = {
        resource.RLIMIT_FSIZE: limits["output_bytes"],
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":
        bounds[resource.RLIMIT_AS] = limits["memory_bytes"]
    for kind, most in bounds.items():
        _, hard = resource.getrlimit(kind)
        ceiling = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (ceiling, ceiling))


if __name__ == "__main__":
    main()
