"""`windthrow-server`: starts the service or parts of it, migrates, and manages API keys."""

import logging
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from core.errors import WindthrowError
from core.settings import Settings
from core.store.database import Database
from core.store.keys import SCOPES, issue_key, revoke_key
from core.store.schema import head, upgrade
from core.store.tables import ApiKey
from worker.command import DataOption, database_session, require, settings_of
from worker.convert_cli import convert
from worker.datasets_cli import datasets
from worker.supervisor import Stack, worker_argv, worker_environment

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")
cli.add_typer(keys, name="keys")
cli.add_typer(datasets, name="datasets")
cli.command()(convert)
console = Console(highlight=False)


def main() -> None:
    """Run the command line; errors that a user can act on are one sentence on standard error, and exit code 3."""
    try:
        cli()
    except WindthrowError as error:
        Console(stderr=True, highlight=False).print(str(error), markup=False, soft_wrap=True)
        sys.exit(3)


@cli.command()
def up(
    data: DataOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; one per core unless said.")
    ] = None,
) -> None:
    """Start everything on this machine, and stop it with Ctrl-C.

    PostgreSQL and Valkey are started too unless DATABASE_URL and BROKER_URL name them.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _stop_on_signals()
    settings = settings_of(data)
    began = time.monotonic()
    stack = Stack(
        data_dir=settings.data_dir,
        workers=workers or os.cpu_count() or 1,
        host=host,
        port=port,
        settings=settings,
    )
    try:
        with stack:
            _announce(stack, seconds=time.monotonic() - began)
            signal.pause()
    except KeyboardInterrupt:
        console.print("Stopped.")


@cli.command()
def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="One eps, fewer images and steps: about a minute.")
    ] = False,
    report: Annotated[Path, typer.Option(help="Where to write the HTML report.")] = Path(
        "windthrow-report.html"
    ),
    data: DataOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; one per core unless said.")
    ] = None,
) -> None:
    """Attack the models that come with Windthrow, over HTTP, and write a report."""
    require("celery", "torch")
    from worker.demo.client import Service  # noqa: PLC0415 - likewise
    from worker.demo.run import FULL, QUICK, run_demo  # noqa: PLC0415 - other commands do without

    _stop_on_signals()
    settings = settings_of(data)
    console.print("Starting PostgreSQL, Valkey, the API and the workers …")
    try:
        with (
            Stack(
                data_dir=settings.data_dir, workers=workers or os.cpu_count() or 1, settings=settings
            ) as stack,
            Service.at(stack.url, stack.key) as service,
        ):
            console.print(f"The service answers at {stack.url}.")
            run_demo(service, QUICK if quick else FULL, report, console)
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(130) from None


@cli.command()
def migrate() -> None:
    """Bring the database at DATABASE_URL to this version's schema."""
    upgrade(Database(Settings().database_url).url)
    console.print(f"The database is at revision {head()}.")


@cli.command("worker")
def run_worker(
    processes: Annotated[
        int, typer.Option(min=1, help="Shards to work on at once: one per core or GPU.")
    ] = 1,
) -> None:
    """Work on shards. SIGTERM gives running ones back."""
    require("celery", "torch")
    argv = worker_argv(processes)
    os.execve(argv[0], argv, {**os.environ, **worker_environment(Settings())})  # noqa: S606 - our own command


@cli.command()
def relay() -> None:
    """Announce queued shards to the workers, and take back those of lost workers. Any number may run."""
    require("celery")
    from worker.relay import main as run  # noqa: PLC0415 - imports Celery, which other commands do without

    run()


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whom or what it is for.")],
    scope: Annotated[list[str] | None, typer.Option(help="read, submit or admin; may be repeated.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; never unless said.")] = None,
    data: DataOption = None,
) -> None:
    """Make a key and show it, this once."""
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with database_session(data) as (session, settings):
        row, plaintext = issue_key(session, name, scope or SCOPES[:2], expires, secret=settings.secret())
    console.print(f"{row.name}: {', '.join(row.scopes)}. Keep it safe, it is not shown again:")
    print(plaintext)


@keys.command("list")
def list_keys(data: DataOption = None) -> None:
    """Show every key that was ever made."""
    table = Table("id", "name", "prefix", "scopes", "created", "expires", "last used", "revoked")
    with database_session(data) as (session, _):
        for key in session.scalars(select(ApiKey).order_by(ApiKey.id)):
            times = (key.created_at, key.expires_at, key.last_used_at, key.revoked_at)
            shown = ("" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in times)
            table.add_row(str(key.id), key.name, key.prefix, ", ".join(key.scopes), *shown)
    console.print(table)


@keys.command("revoke")
def revoke(
    key_id: Annotated[UUID, typer.Argument(help="Its id, as listed.")], data: DataOption = None
) -> None:
    """Stop a key from working, at once and for good."""
    with database_session(data) as (session, _):
        revoked = revoke_key(session, key_id)
    console.print("Revoked." if revoked else f"There is no such key, or it was revoked before: {key_id}")
    raise typer.Exit(0 if revoked else 1)


def _announce(stack: Stack, *, seconds: float) -> None:
    console.print(f"[bold]Windthrow[/bold] is up after {seconds:.1f} s. Ctrl-C stops it.")
    console.print(f"  API   {stack.url}   (documentation at {stack.url}/docs)")
    console.print(f"  key   {stack.key}")
    console.print(f"  data  {stack.data_dir}   (logs in logs/)")


def _stop_on_signals() -> None:
    """Ctrl-C and SIGTERM stop the service, also where a shell started it in the background and ignores SIGINT."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
