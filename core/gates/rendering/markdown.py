"""A verdict as Markdown, for the summary of a CI step or a comment."""

import html
import re
from collections.abc import Iterable, Iterator

from core.gates.rendering.context import Context
from core.gates.rendering.plain import plain
from core.gates.rendering.saying import HEADINGS, counts, doubt, facts, limit, model, observed, worst_first
from core.gates.verdict import Outcome, Verdict
from core.gates.wording import percent

MAX_BYTES = 640 * 1024
"""GitHub refuses a step's summary above 1 MiB altogether, and other steps may write to the same one."""

NOTES_BYTES = 64 * 1024
HEAD_BYTES = 64 * 1024
CELL = 600


def markdown(verdict: Verdict, context: Context | None = None) -> str:
    """The verdict, a table of its outcomes from the worst on, doubts and notes; well below 1 MiB whatever it holds."""
    head = f"## {HEADINGS[verdict.status]}: {_written(model(verdict))}\n\n{_written(verdict.message)}\n\n"
    head += "".join(f"- {name}: {value}\n" for name, value in _facts(verdict, context or Context()))
    columns = ["status", "rule", f"observed ({percent(verdict.level)})", "limit", "samples", "message"]
    head += "\n" + _row(columns) + _row("---" for _ in columns)
    ranked = worst_first(verdict.outcomes)
    table = _within(map(_outcome, ranked), MAX_BYTES - 2 * NOTES_BYTES - HEAD_BYTES)
    doubted = (f"- **{found.severity}** {_written(doubt(found))}\n" for found in verdict.doubts)
    doubts = _within(doubted, NOTES_BYTES)
    notes = _within((f"- {_written(note.message)}\n" for note in verdict.notes), NOTES_BYTES)
    left = [
        _left_out(len(ranked) - len(table), "more outcomes, none of them worse than those above,"),
        _left_out(len(verdict.doubts) - len(doubts), "more findings"),
        _left_out(len(verdict.notes) - len(notes), "more notes"),
    ]
    found = "\nWhat the health checks found\n\n" + "".join(doubts) + left[1] if doubts else ""
    said = "\nNotes\n\n" + "".join(notes) + left[2] if notes else ""
    return head + "".join(table) + left[0] + found + said


def _facts(verdict: Verdict, context: Context) -> Iterator[tuple[str, str]]:
    for name, value in facts(verdict, context):
        yield name, _written(value)
    if context.report is not None:
        yield "report", f"<{context.report}>"


def _outcome(outcome: Outcome) -> str:
    status = f"**{outcome.status}**" if counts(outcome) else outcome.status
    samples = "" if outcome.samples is None else str(outcome.samples)
    told = [outcome.rule, observed(outcome), limit(outcome.limit), samples, _message(outcome)]
    return _row([status, *map(_written, told)])


def _message(outcome: Outcome) -> str:
    if outcome.waiver is None:
        return outcome.message
    return f"{outcome.message} (waived until {outcome.waiver.expires}: {outcome.waiver.reason})"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _written(text: str) -> str:
    """A user's text as Markdown that shows it, and is nothing else: no markup, no link, no end of a cell."""
    marked = re.sub(r"([\\`*_\[\]~#$!])", r"\\\1", plain(text, CELL))
    escaped = html.escape(marked, quote=False).replace("|", "&#124;")
    return escaped.replace("://", "&#58;//").replace("www.", "www&#46;")


def _within(lines: Iterable[str], most: int) -> list[str]:
    """The lines from the first on that fit into so many bytes."""
    kept: list[str] = []
    for line in lines:
        most -= len(line.encode())
        if most < 0:
            break
        kept.append(line)
    return kept


def _left_out(number: int, what: str) -> str:
    return f"\n{number} {what} are left out.\n" if number else ""
