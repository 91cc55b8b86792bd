"""The commands put together, and how they end.

Exit codes: 0 well, 1 the model or job failed, 2 wrongly asked, 3 service or timeout, 4 a gate that cannot decide.
"""

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from windthrow._version import __version__
from windthrow.cli import baselines, gate, init, jobs, login, models
from windthrow.cli.output import say
from windthrow.cli.session import MODEL_FAILED, SERVICE_FAILED, WRONGLY_ASKED
from windthrow.errors import (
    AuthError,
    JobFailed,
    ModelRejected,
    RequestError,
    WindthrowError,
)

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Attack multi-task models on a Windthrow service: push a checkpoint, submit a job, read its results.",
    epilog="Exit codes: 0 well, 1 the model or job failed, 2 wrongly asked, 3 service or timeout, 4 a gate that cannot "
    "decide. "
    "WINDTHROW_URL and WINDTHROW_KEY go before what login stored; WINDTHROW_DEBUG=1 shows tracebacks.",
)
cli.command()(login.login)
cli.add_typer(models.cli, name="models")
cli.command()(jobs.submit)
cli.command()(jobs.watch)
cli.command()(jobs.cancel)
cli.command()(jobs.results)
cli.command()(jobs.compare)
cli.add_typer(jobs.cli, name="jobs")
cli.command()(init.init)
cli.command()(gate.gate)
cli.add_typer(baselines.cli, name="baseline")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"windthrow {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version  # its callback has dealt with it


def main() -> None:
    """Run the command line; an error is a sentence on standard error, and an exit code."""
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        cli(prog_name="windthrow")
    except WindthrowError as error:
        _unless_debugging(error)
        _explain(error)
        sys.exit(exit_code(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, a user's terminal is no place for a traceback
        _unless_debugging(error)
        say(
            f"windthrow: something unexpected: {type(error).__name__}: {error}; WINDTHROW_DEBUG=1 shows where"
        )
        sys.exit(SERVICE_FAILED)


def _open_closed() -> None:
    """Have streams that the caller closed go nowhere."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115 - until the end
            setattr(sys, name, nowhere)


def exit_code(error: WindthrowError) -> int:
    """Who has to do something: 1 whoever made the model, 2 the caller, 3 whoever runs the service."""
    if isinstance(error, (JobFailed, ModelRejected)):
        return MODEL_FAILED
    return WRONGLY_ASKED if isinstance(error, (RequestError, AuthError)) else SERVICE_FAILED


def _unless_debugging(error: Exception) -> None:
    if os.environ.get("WINDTHROW_DEBUG", "") not in ("", "0"):
        raise error


def _explain(error: WindthrowError) -> None:
    say(f"windthrow: {error}")
    for place in error.errors if isinstance(error, RequestError) else ():
        say(
            f"  at {place.pointer}"
            if place.message == str(error)
            else f"  at {place.pointer}: {place.message}"
        )
    if isinstance(error, RequestError) and error.request_id:
        say(f"  request {error.request_id}")
