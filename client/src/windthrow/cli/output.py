"""Documents and tables go to standard output, everything else to standard error; plainly where that is no terminal."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    from windthrow.records import Event

NONE = "–"
"""A table's cell without a value."""

LINE_SECONDS = 5.0
"""Without a terminal, a transfer says this often how far it is."""


def clean(text: object) -> str:
    """Text without what a terminal or GitHub Actions would obey."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
    shown = shown.replace("##[", "## [")
    return f"| {shown}" if shown.lstrip().startswith("::") else shown


def say(text: str) -> None:
    """A line on standard error, if anybody reads that."""
    say_as_it_is("\n".join(clean(line) for line in text.splitlines()))


def say_as_it_is(text: str) -> None:
    """A line on standard error that something may obey; nothing happens where nobody reads any more."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        unheard(2)


def unheard(number: int) -> None:
    """Let standard output, 1, or error, 2, go nowhere from now on; else Python's exit would complain about it."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


def print_json(document: Any) -> None:
    """A document on standard output."""
    print(json.dumps(document, indent=2))


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Names and values, a line each, without those that have none."""
    width = max(map(len, pairs))
    for name, value in pairs.items():
        if value is not None:
            print(f"{name:<{width}}  {clean(value)}")


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()
) -> None:
    """A table on standard output: drawn on a terminal, else aligned columns of whole cells.

    Args:
        head: names of the columns.
        rows: a cell for each column.
        numbers: columns that are aligned to the right.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(head, cells, numbers)
        return
    widths = [max(map(len, column)) for column in zip(head, *cells)]
    for row in (head, *cells):
        columns = zip(head, row, widths)
        padded = [
            cell.rjust(width) if name in numbers else cell.ljust(width) for name, cell, width in columns
        ]
        print("  ".join(padded).rstrip())


def _draw(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name in head:
        table.add_column(Text(name), justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


@contextmanager
def transfer(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much of a file is sent: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        with _bar(what, bytes_=True) as update:
            yield update
        return
    said = time.monotonic()

    def line(sent: int, size: int) -> None:
        nonlocal said
        if sent == size or time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            say(f"{what}: {sent} of {size} bytes")

    yield line


@contextmanager
def watching(job_id: str) -> Iterator[Callable[["Event"], None]]:
    """Show what happens to a job: a bar on a terminal, else a line for each event."""
    if not sys.stderr.isatty():
        yield lambda event: say(describe(event))
        return
    with _bar(job_id, bytes_=False) as update:

        def show(event: "Event") -> None:
            fraction = event.fraction
            update(None if fraction is None else round(1000 * fraction), 1000, note=describe(event))

        yield show


def describe(event: "Event") -> str:
    """An event in a line."""
    data = event.data
    parts = [event.type]
    if "shards_done" in data:
        parts.append(f"{data['shards_done']}/{data.get('shards_total', '?')}")
    if event.fraction is not None:
        parts.append(f"{100 * event.fraction:.0f} %")
    if "iteration" in data:
        parts.append(f"iteration {data['iteration']}/{data.get('iterations', '?')}")
    parts += [str(data[name]) for name in ("part", "message") if name in data]
    return clean(" ".join(parts))


@contextmanager
def _bar(what: str, *, bytes_: bool) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if bytes_ else TextColumn("{task.percentage:>3.0f} %")
    label = TextColumn("{task.description}", markup=False)
    columns = (label, BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=not bytes_) as progress:
        task = progress.add_task(clean(what), total=None)

        def update(done: Optional[int], total: int, *, note: str = "") -> None:
            progress.update(task, description=note or clean(what), total=total, completed=done)

        yield update
