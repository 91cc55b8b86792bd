"""A verdict as one HTML file that needs nothing else: every outcome from the worst on, drawn beside its limit.

Well-formed XML too, without scripts, and nothing in it is loaded from anywhere.
"""

from collections.abc import Iterator
from html import escape

from core.gates.rendering.context import Context
from core.gates.rendering.plain import plain
from core.gates.rendering.saying import HEADINGS, counts, doubt, facts, limit, model, worst_first
from core.gates.rendering.strip import strip
from core.gates.rendering.style import STYLE
from core.gates.verdict import Outcome, Verdict
from core.gates.wording import percent

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header class="{status}">
<h1>{heading}</h1>
<p class="model">{model}</p>
<p>{message}</p>
</header>
<main>
<dl>
{facts}
</dl>
<h2>Outcomes <small>intervals at {level}, the worst first</small></h2>
{outcomes}
{doubts}
{notes}
</main>
</body>
</html>
"""


def page(verdict: Verdict, context: Context | None = None) -> str:
    """The verdict, what it rests on, and a row with a drawn interval for every outcome, whatever their number."""
    heading, of = HEADINGS[verdict.status], _written(model(verdict))
    return _PAGE.format(
        title=f"{heading}: {of}",
        style=STYLE,
        status=verdict.status,
        heading=heading,
        model=of,
        message=_written(verdict.message),
        facts="\n".join(_facts(verdict, context or Context())),
        level=_written(percent(verdict.level)),
        outcomes="\n".join(map(_outcome, worst_first(verdict.outcomes))),
        doubts="\n".join(_doubts(verdict)),
        notes="\n".join(_notes(verdict)),
    )


def _facts(verdict: Verdict, context: Context) -> Iterator[str]:
    for name, value in facts(verdict, context):
        yield f"<dt>{name}</dt><dd>{_written(value)}</dd>"
    if context.report is not None:
        address = escape(context.report)
        yield f'<dt>report</dt><dd><a href="{address}" rel="noreferrer">{address}</a></dd>'


def _doubts(verdict: Verdict) -> Iterator[str]:
    if verdict.doubts:
        yield "<h2>What the health checks found</h2>\n<ul>"
        yield from (f"<li><b>{one.severity}</b> {_written(doubt(one))}</li>" for one in verdict.doubts)
        yield "</ul>"


def _notes(verdict: Verdict) -> Iterator[str]:
    if verdict.notes:
        yield "<h2>Notes</h2>\n<ul>"
        yield from (f"<li>{_written(note.message)}</li>" for note in verdict.notes)
        yield "</ul>"


def _outcome(outcome: Outcome) -> str:
    attack = "" if outcome.attack is None else f" <code>{_written(outcome.attack)}</code>"
    level = "level warn" if outcome.level == "warn" else ""
    samples = "" if outcome.samples is None else f"{outcome.samples} samples"
    on = " · ".join(filter(None, [outcome.on, limit(outcome.limit), samples, level]))
    waived = ""
    if outcome.waiver is not None:
        waived = f"\n<p>Waived until {outcome.waiver.expires}: {_written(outcome.waiver.reason)}</p>"
    return (
        f'<article class="{outcome.status}{" counts" if counts(outcome) else ""}">\n'
        f"<h3><b>{outcome.status.replace('_', ' ')}</b> {_written(outcome.rule)}{attack}</h3>\n"
        f'<p class="on">{_written(on)}</p>\n{strip(outcome)}'
        f"<p>{_written(outcome.message)}</p>{waived}\n</article>"
    )


def _written(text: str) -> str:
    """A user's text as HTML that shows it and is nothing else; a number and its percent sign stay on one line."""
    return escape(plain(text)).replace(" %", "\u00a0%")
