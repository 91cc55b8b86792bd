"""What commands have in common: options, the client, and JSON documents from files or standard input."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from windthrow._calls import RETRIES
from windthrow.cli.output import say

if TYPE_CHECKING:
    from windthrow import Client

INTERRUPTED = 130
MODEL_FAILED, WRONGLY_ASKED, SERVICE_FAILED = 1, 2, 3
"""Exit codes by whose fault it is; 0 is well."""

RETRIES_VARIABLE = "WINDTHROW_RETRIES"
"""How often a call is repeated, where the environment says it."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
LimitOption = Annotated[int, typer.Option(min=1, help="Print so many at most.")]
TimeoutOption = Annotated[
    Optional[float], typer.Option(min=0.0, help="Seconds to wait; for ever unless said.")
]
JobArgument = Annotated[str, typer.Argument(help="A job's id.")]


@contextmanager
def connected(
    url: Optional[str] = None, key: Optional[str] = None, *, retries: Optional[int] = None
) -> Iterator["Client"]:
    """The client, saying on standard error when it has to try again.

    Raises:
        typer.Exit: the user interrupted it.
    """
    import windthrow

    count = said_retries() if retries is None else retries
    try:
        with windthrow.Client(url, key, retries=count, on_retry=say) as client:
            yield client
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(INTERRUPTED) from None


def said_retries() -> int:
    """How often calls are repeated.

    Raises:
        typer.BadParameter: the environment says no number.
    """
    said = os.environ.get(RETRIES_VARIABLE, "").strip()
    if said and not (said.isdecimal() and said.isascii()):
        raise typer.BadParameter(f"{RETRIES_VARIABLE} is a number of repetitions; got {said!r}")
    return int(said) if said else RETRIES


def read_document(source: str) -> dict[str, Any]:
    """A JSON object from a file, or with "-" from standard input.

    Raises:
        typer.BadParameter: there is none.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise typer.BadParameter(f"{source} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{source} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise typer.BadParameter(f"{source} is no JSON object")
    return document
