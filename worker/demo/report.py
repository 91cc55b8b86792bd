"""The demo's report: one HTML file without scripts or anything to load.

What each part of the page shows is prepared in `headlines`, `trust`, `tables` and `panels`, `figures` draws, and
`report.html.j2` lays it out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from worker.demo.figures import AMPLIFICATION, can_draw_curves
from worker.demo.findings import Evaluated, Findings, grouped
from worker.demo.headlines import card, headline
from worker.demo.panels import panels, strip
from worker.demo.shown import NONE
from worker.demo.tables import anatomy, every_attack, matrix, ranking
from worker.demo.trust import verdict


def write_report(path: Path, evaluated: Sequence[Evaluated], *, facts: Mapping[str, str]) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        evaluated: at least one model, each attacked at least once; models with the same attacks share a table.
        facts: shown at the end, such as samples, versions and seconds.
    """
    models = [Findings(item) for item in evaluated]
    groups = grouped(models)
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            headline=headline(models),
            cards=[card(model) for model in models],
            groups=[every_attack(group) for group in groups],
            rankings=[ranking(model, group) for group in groups for model in group],
            verdicts=[verdict(model) for model in models],
            curves=_panels(groups) if can_draw_curves() else None,
            matrices=[matrix(model, group) for group in groups for model in group],
            strips=[strip(model) for model in models],
            models=[anatomy(model) for model in models],
            facts=facts,
            amplification=AMPLIFICATION,
            dash=NONE,
        )
    )
    path.write_text(html, encoding="utf-8")


def _panels(groups: Sequence[Sequence[Findings]]) -> list[dict[str, str]]:
    return [
        panel
        for number, group in enumerate(groups, start=1)
        for panel in panels(group, prefix=f"curves-{number}")
    ]


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
