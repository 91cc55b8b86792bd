"""The files that a gate leaves: what the service makes of its verdict, or that there is none."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from windthrow.cli import unjudged
from windthrow.cli.endings import Ending

if TYPE_CHECKING:
    from windthrow import Client
    from windthrow.gates import Gated

JSON, SUMMARY, JUNIT, SARIF = "verdict.json", "summary.md", "junit.xml", "windthrow.sarif"
FORMS = {
    SUMMARY: "markdown",
    JUNIT: "junit",
    SARIF: "sarif",
    "badge.svg": "badge",
    "badge.json": "shields",
    "report.html": "html",
}
"""By the name of its file, what the service is asked for."""


LOOKED_AT = 500
"""Bytes of a file by which a report is known."""

MARKER = ".windthrow-gate"
"""In a directory of reports: what is called like a report there is one."""


@dataclass(frozen=True)
class Outputs:
    """Where the files of a gate go.

    Attributes:
        out: a directory for all of them.
        summary: is appended to; the others are written anew.
    """

    out: Optional[Path]
    summary: Optional[Path]
    junit: Optional[Path]
    sarif: Optional[Path]

    def prepare(self, gate_file: Path, checkpoint: Optional[Path] = None) -> None:
        """Take away what an earlier run left, and see that there is room for this one's.

        Raises:
            typer.BadParameter: something cannot be written there, or is somebody's.
        """
        try:
            for path, mark in ((self.summary, b""), (self.junit, b"<?xml"), (self.sarif, b"sarif")):
                if path is not None and path.is_file():
                    _check_ours(path, mark, (gate_file, checkpoint))
            if self.out is not None:
                _claim(self.out)
            self.remove()
            if self.summary is not None:
                self.summary.open("ab").close()
            for path in (self.junit, self.sarif):
                if path is not None and not path.parent.is_dir():
                    raise typer.BadParameter(f"there is no directory {path.parent}")
        except OSError as error:
            raise typer.BadParameter(f"{error.filename} cannot be written: {error.strerror}") from error

    def decided(self, gated: "Gated") -> None:
        """Write the verdict itself, which nothing has to be had for."""
        if self.out is not None:
            text = json.dumps(gated.document, indent=2) + "\n"
            (self.out / JSON).write_text(text, encoding="utf-8")

    def judged(self, client: "Client", gated: "Gated") -> None:
        """Write what the service makes of a verdict; all of it is had before any of it is written."""
        targets = list(self._targets())
        made = {
            form: client.verdict_file(gated.job.id, form, **gated.asked)
            for form in dict.fromkeys(self._forms())
        }
        for path, form in targets:
            path.write_bytes(made[form])
        if self.summary is not None:
            self._append(made[FORMS[SUMMARY]])

    def unjudged(self, ending: Ending, file: str, *, warned: bool) -> None:
        """Write that there is no verdict, and why."""
        self.remove()
        texts = {
            SUMMARY: unjudged.summary(ending, file, warned=warned),
            JUNIT: unjudged.junit(ending, file),
            SARIF: unjudged.sarif(ending, file, warned=warned),
        }
        single = {JUNIT: self.junit, SARIF: self.sarif}
        for name, text in texts.items():
            inside = None if self.out is None else self.out / name
            for path in (inside, single.get(name)):
                if path is not None:
                    path.write_bytes(text.encode())
        if self.summary is not None:
            self._append(texts[SUMMARY].encode())

    def remove(self) -> None:
        """Take away what was written so far, but for the summary, which others write to as well."""
        for path in (*self._all(), self.junit, self.sarif):
            if path is not None:
                path.unlink(missing_ok=True)

    def _all(self) -> list[Path]:
        return [] if self.out is None else [self.out / name for name in (JSON, *FORMS)]

    def _targets(self) -> Iterator[tuple[Path, str]]:
        if self.out is not None:
            yield from ((self.out / name, form) for name, form in FORMS.items())
        for path, name in ((self.junit, JUNIT), (self.sarif, SARIF)):
            if path is not None:
                yield path, FORMS[name]

    def _forms(self) -> Iterator[str]:
        yield from (form for _, form in self._targets())
        if self.summary is not None:
            yield FORMS[SUMMARY]

    def _append(self, text: bytes) -> None:
        assert self.summary is not None
        with self.summary.open("ab") as file:
            file.write(text if text.endswith(b"\n") else text + b"\n")


def _claim(out: Path) -> None:
    """Take a directory for reports.

    Raises:
        typer.BadParameter: it has files that may be no reports, or is elsewhere.
    """
    if out.is_symlink():
        raise typer.BadParameter(f"{out} is a link; --out names a directory itself")
    out.mkdir(parents=True, exist_ok=True)
    marker = out / MARKER
    if not marker.is_file() and any(out.iterdir()):
        raise typer.BadParameter(f"{out} is a directory of other things; --out names a new or empty one")
    marker.touch()


def _check_ours(path: Path, mark: bytes, read: tuple[Optional[Path], ...]) -> None:
    """Refuse to write a report over what is read, or over what has not the mark of such a report near its beginning."""
    if any(one is not None and one.exists() and path.samefile(one) for one in read):
        raise typer.BadParameter(f"{path} is what is gated; name another file for a report")
    with path.open("rb") as file:
        head = file.read(LOOKED_AT)
    if head and mark not in head:
        raise typer.BadParameter(f"{path} is no report of an earlier run; name another file for one")
