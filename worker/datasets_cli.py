"""`windthrow-server datasets`: register data sets, list them, check their files, and retire them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from sqlalchemy import select

from core.datasets import DatasetInfo
from core.errors import InvalidError
from core.settings import Settings
from core.store import registered
from core.store.tables import Dataset
from worker.command import DataOption, database_session, require, settings_of
from worker.locations import is_remote

datasets = typer.Typer(no_args_is_help=True, help="Register, list, check and retire data sets.")
console = Console(highlight=False)

Size = Annotated[str | None, typer.Option(help="Resize samples to HEIGHTxWIDTH; their own size unless said.")]


@datasets.command("formats")
def list_formats() -> None:
    """Show the formats that folders are read in."""
    require("torch")
    from core.data.folders import FORMATS  # noqa: PLC0415 - imports torch, which other commands do without

    table = Table("format", "what it is", "tasks", "splits")
    for form in FORMATS.values():
        table.add_row(form.name, form.title, form.tasks, form.splits)
    console.print(table)


@datasets.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What jobs call it.")],
    location: Annotated[
        str, typer.Argument(help="Its folder as the workers see it, or a URL that has dataset.json below it.")
    ],
    form: Annotated[str, typer.Option("--format", help="One of `datasets formats`.")] = "windthrow",
    title: Annotated[str | None, typer.Option(help="For people.")] = None,
    size: Size = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad samples out, counted, rather than refuse them.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Fingerprint a data set and offer it to jobs. Registered again after a change, it is a new version."""
    require("torch")
    from core.data.folders import describe, fingerprint, open_folder  # noqa: PLC0415 - likewise

    settings, shape = settings_of(data), _shape(size)
    root = _root(location, form, settings)
    on_bad: Literal["error", "skip"] = "skip" if skip_bad else "error"
    described = describe(form, root)
    with _progress() as advance:
        found = fingerprint(form, root, cache=settings.cache, progress=advance)
    splits = {}
    for split, count in described.splits.items():
        opened = open_folder(
            form,
            root,
            split,
            cache=settings.cache,
            size=shape,
            on_bad=on_bad,
            version=found.version,
        )
        splits[split] = len(opened)
        if len(opened) < count:
            console.print(f"{split}: {count - len(opened)} of {count} samples are bad and left out.")
    info = DatasetInfo(
        name=name,
        version=_version(found.version, shape, skip_bad=skip_bad),
        title=title or described.title,
        profile=described.name,
        tasks=described.tasks,
        splits=splits,
        image_shape=described.image_shape if shape is None else (described.image_shape[0], *shape),
    )
    with database_session(data) as (session, _):
        registered.register(
            session,
            info,
            form=form,
            location=location if is_remote(location) else str(root),
            fingerprint=found.version,
            size=shape,
            on_bad=on_bad,
        )
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    console.print(f"{name} {info.version}: {counts}.")


@datasets.command("list")
def list_datasets(data: DataOption = None) -> None:
    """Show every version that is offered, newest first."""
    table = Table("name", "version", "format", "samples", "tasks", "folder")
    with database_session(data) as (session, _):
        rows = select(Dataset).where(Dataset.retired_at.is_(None)).order_by(Dataset.created_at.desc())
        for row in session.scalars(rows):
            samples = ", ".join(f"{count} {split}" for split, count in row.splits.items())
            tasks = ", ".join(str(task["name"]) for task in row.tasks)
            table.add_row(row.name, row.version, row.format, samples, tasks, row.location)
    console.print(table)


@datasets.command("check")
def check(
    name: Annotated[str, typer.Argument(help="As it was registered.")],
    reread: Annotated[
        bool, typer.Option("--reread", help="Read every file, also those that look untouched.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Compare the files of a data set with what they were when it was registered."""
    require("torch")
    from core.data.folders import verify  # noqa: PLC0415 - likewise

    with database_session(data) as (session, settings):
        row = registered.registration(session, name, registered.find(session, name).version)
        if row is None:
            raise InvalidError(f"{name} comes along; it has no files to check", field="name")
        location, form, known = row.location, row.format, row.fingerprint
    root = _root(location, form, settings)
    with _progress() as advance:
        changes = verify(root, known, cache=settings.cache, reread=reread, progress=advance)
    console.print(f"{name}: {changes}.", markup=False)
    raise typer.Exit(1 if changes else 0)


@datasets.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="As it was registered.")], data: DataOption = None
) -> None:
    """Offer a data set to new jobs no more. Its files, and jobs that use it, are left alone."""
    with database_session(data) as (session, _):
        count = registered.retire(session, name)
    console.print(f"{name} is offered no more." if count else f"There is no data set {name}.", markup=False)
    raise typer.Exit(0 if count else 1)


def _root(location: str, form: str, settings: Settings) -> Path:
    """The folder that is read here: the one that is named, or this machine's copy of what lies at the URL."""
    if not is_remote(location):
        return Path(location).absolute()
    from worker.mirror import REMOTE_FORMAT, mirrored  # noqa: PLC0415 - likewise

    if form != REMOTE_FORMAT:
        raise InvalidError(f"only data sets of the format {REMOTE_FORMAT} are read from URLs", field="format")
    return mirrored(location, cache=settings.cache, refresh=True)


def _shape(size: str | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, _, width = size.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise InvalidError(f"a size is HEIGHTxWIDTH, such as 288x384; got {size!r}", field="size")
    return int(height), int(width)


def _version(fingerprint: str, size: tuple[int, int] | None, *, skip_bad: bool) -> str:
    """The version of the files, and of how they are read."""
    shape = "" if size is None else f"-{size[0]}x{size[1]}"
    return f"{fingerprint}{shape}{'-skip' if skip_bad else ''}"


@contextmanager
def _progress() -> "Iterator[_Advance]":
    columns = TextColumn("reading"), BarColumn(), DownloadColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Advance(progress)


class _Advance:
    """Shows how many bytes were read, and how many are to be."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task("reading")

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._bar, completed=done, total=total)
