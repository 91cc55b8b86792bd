"""The study's three figures, drawn from what the service answered."""

from collections.abc import Sequence

from bench.study_svg import Panel, Point, Series, figure
from bench.study_words import Json, level_of, name_of


def write_figures(results: Json) -> dict[str, str]:
    """SVG documents by name; none where there is nothing to draw."""
    drawn = {"arp": _arp(results), "transferability": _transferability(results), "pareto": _pareto(results)}
    return {name: drawing for name, drawing in drawn.items() if drawing is not None}


def _arp(results: Json) -> str | None:
    """Paper Figure 2: of the first mode, and beside it of the one trained against GB-MTA, or else the second."""
    names = [mode["name"] for mode in results["modes"]]
    beside = [name for name in names[1:] if "gb_mta" in name] or names[1:]
    panels = [panel for name in (names[0], *beside[:1]) if (panel := _arp_panel(results, name)) is not None]
    return figure(panels, about="Overall ARP by eps, a line for each objective") if panels else None


def _arp_panel(results: Json, mode: str) -> Panel | None:
    row = results["matrix"][[entry["name"] for entry in results["modes"]].index(mode)]
    series = []
    for curve in results["curves"]:
        points = tuple(
            _point(point["eps"], row[point["attack"]]["arp"])
            for point in curve["points"]
            if row[point["attack"]]["arp"]["value"] is not None
        )
        if curve["mode"] == mode and len(points) > 1:
            series.append(Series(name_of(curve["objective"]), points))
    sizes = sorted({point.x for one in series for point in one.points})
    ticks = tuple((eps, f"{eps:g}") for eps in sizes)
    return Panel(f"trained: {mode}", "eps", "ARP %", tuple(series), ticks) if series else None


def _transferability(results: Json) -> str | None:
    """Paper Figure 4."""
    found = results["transferability"]
    panels = [
        _transfer_panel(mode, list(results["metrics"])) for mode in (found["modes"][:2] if found else ())
    ]
    panels = [panel for panel in panels if any(series.points for series in panel.series)]
    return (
        figure(panels, about="Transferability by sharing level, a line for each attacked task")
        if panels
        else None
    )


def _transfer_panel(mode: Json, tasks: Sequence[str]) -> Panel:
    rows = sorted(mode["layouts"], key=level_of)
    series = tuple(
        Series(
            f"SINGLE-{task}",
            tuple(
                _point(level_of(row), row["tasks"][task], filled=not row["tasks"][task]["unstable"])
                for row in rows
                if row["tasks"][task]["value"] is not None
            ),
        )
        for task in tasks
    )
    ticks = tuple((level, f"{level}L") for level in sorted(set(map(level_of, rows))))
    return Panel(f"trained: {mode['mode']}", "levels that all tasks share", "transferability", series, ticks)


def _pareto(results: Json) -> str | None:
    """A point for each model, filled on the front."""
    found = results["pareto"]
    if found is None or not found["points"]:
        return None
    series = tuple(
        Series(
            mode["name"],
            tuple(
                _point(
                    point["ara"]["value"],
                    point["arp"],
                    across=point["ara"]["interval"],
                    filled=point["front"],
                )
                for point in found["points"]
                if point["mode"] == mode["name"]
            ),
            joined=False,
        )
        for mode in results["modes"]
    )
    panel = Panel("filled: on the front", "clean accuracy: ARA %", "ARP %", series)
    return figure(
        [panel], about="ARP under the strongest attack against clean accuracy, a point for each model"
    )


def _point(x: float, estimate: Json, *, across: Sequence[float] | None = None, filled: bool = True) -> Point:
    low, high = estimate["interval"] or (None, None)
    x_low, x_high = across or (None, None)
    return Point(x, estimate["value"], low, high, x_low, x_high, filled)
