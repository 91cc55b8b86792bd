"""What commands have in common: options, the client, and JSON documents from files or standard input."""

import json
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

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
LimitOption = Annotated[int, typer.Option(min=1, help="Print so many at most.")]
TimeoutOption = Annotated[
    Optional[float], typer.Option(min=0.0, help="Seconds to wait; for ever unless said.")
]
JobArgument = Annotated[str, typer.Argument(help="A job's id.")]


@contextmanager
def connected(
    url: Optional[str] = None, key: Optional[str] = None, *, retries: int = RETRIES
) -> Iterator["Client"]:
    """The client, saying on standard error when it has to try again.

    Raises:
        typer.Exit: the user interrupted it.
    """
    import windthrow

    try:
        with windthrow.Client(url, key, retries=retries, on_retry=say) as client:
            yield client
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(INTERRUPTED) from None


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
