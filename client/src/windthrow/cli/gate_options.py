"""What the command line says of a gate, and the text of its file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from windthrow.cli.gate_places import Places
from windthrow.cli.outputs import Outputs
from windthrow.errors import RequestError


@dataclass(frozen=True)
class Options:
    """What the command line says of a gate."""

    file: Path
    checkpoint: Optional[Path]
    places: Places
    deadline: Optional[float]
    outputs: Outputs
    report: Optional[str]
    publish: bool
    set_baseline: bool
    keep_running: bool
    as_json: bool


def read_gate_file(path: Path) -> str:
    """A gate file's text; bytes that are no text are kept for the service to name.

    Raises:
        RequestError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise RequestError(message, code="no_gate_file") from error
