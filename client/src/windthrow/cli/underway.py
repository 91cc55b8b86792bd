"""What a gate is waiting for, and how far that is: a bar on a terminal until it is done, else lines now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable, Optional

from windthrow.cli.output import clean, say

QUIET_SECONDS = 10.0
"""Without a terminal, how far it is is said this often."""

Show = Callable[[str, Optional[float]], None]


@contextmanager
def underway() -> Iterator[Show]:
    """Show what is under way, details after a colon, and how much is done, 0 to 1, if that is known; "" is nothing."""
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines()


class _Lines:
    """Lines on standard error, the first and the last of everything among them."""

    def __init__(self) -> None:
        self._label = ""
        self._said = 0.0

    def __call__(self, what: str, done: Optional[float]) -> None:
        label, now = what.partition(":")[0], time.monotonic()
        if what and (done == 1 or label != self._label or now - self._said >= QUIET_SECONDS):
            self._label, self._said = label, now
            say(what if done is None else f"{what}, {100 * done:.0f} %")


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    label = TextColumn("{task.description}", markup=False)
    columns = (label, BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task("", total=1.0, visible=False)

        def show(what: str, done: Optional[float]) -> None:
            if not what:
                progress.update(task, visible=False, refresh=True)
                return
            label = clean(what.partition(":")[0])
            if label != progress.tasks[0].description:
                progress.reset(task, total=1.0, description=label)
            progress.update(task, completed=done or 0.0, visible=True)

        yield show
