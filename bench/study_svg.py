"""Small SVG charts for the study's page, written out by hand: points with intervals, lines, labels at their ends.

One drawing serves light and dark pages: its colours follow the reader's preference.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.sax.saxutils import escape, quoteattr

from worker.demo.figures import spread

PANEL = (300.0, 250.0)  # width and height of the axes, in SVG units
MARGIN = (46.0, 32.0, 152.0, 44.0)  # left, top, right, bottom
LABEL_GAP = 13.0

LIGHT = ("#c2410c", "#1f66ad", "#0d7f63", "#7a4fb5", "#a1690a", "#b0306a")
DARK = ("#ff8a4c", "#6fb1f5", "#4fc7a1", "#b99af0", "#e0b050", "#f07fae")


@dataclass(frozen=True, slots=True)
class Point:
    """A value over a place on the x axis, its interval, and whether it is drawn filled."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    x_low: float | None = None
    x_high: float | None = None
    filled: bool = True


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one colour; joined by a line, or not."""

    label: str
    points: tuple[Point, ...]
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        x_ticks: places and what is written there; None for round numbers.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...] | None = None


def figure(panels: Sequence[Panel], *, about: str) -> str:
    """An SVG document with the panels side by side, on the same y axis where they say the same of it.

    Args:
        panels: each with at least one point.
        about: the figure in words, for those who do not see it.
    """
    step = MARGIN[0] + PANEL[0] + MARGIN[2]
    width, height = _number(step * len(panels)), _number(MARGIN[1] + PANEL[1] + MARGIN[3])
    spans = _spans(panels)
    drawn = [_placed(step * n, _panel(panel, spans[n])) for n, panel in enumerate(panels)]
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    said = f'role="img" aria-label={quoteattr(about)}'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {said}><style>{_style()}</style>{"".join(drawn)}</svg>\n'


def _placed(left: float, marks: Iterable[str]) -> str:
    return f'<g transform="translate({_number(left + MARGIN[0])} {_number(MARGIN[1])})">{"".join(marks)}</g>'


def _style() -> str:
    def colours(ink: str, grid: str, hues: Sequence[str]) -> str:
        lines = [f".s{n}{{stroke:{hue};color:{hue}}}.t{n}{{fill:{hue}}}" for n, hue in enumerate(hues)]
        return f"text{{fill:{ink}}}.g{{stroke:{grid}}}.a{{stroke:{ink}}}{''.join(lines)}"

    plain = "text{font:11px system-ui,sans-serif}.h{font-weight:600}.l{fill:none;stroke-width:1.6}"
    marks = ".w{stroke-width:1;opacity:.6}.m{fill:currentColor}.o{fill:none;stroke-width:1.4}.g,.a{stroke-width:.7}"
    dark = colours("#a19d95", "#34363d", DARK)
    return f"{plain}{marks}{colours('#66625b', '#e2ded6', LIGHT)}@media(prefers-color-scheme:dark){{{dark}}}"


Span = tuple[tuple[float, float], tuple[float, float]]


def _spans(panels: Sequence[Panel]) -> list[Span]:
    """Of both axes, by panel; panels with the same y label share theirs."""
    found: list[Span] = []
    for panel in panels:
        alike = [point for other in panels if other.y_label == panel.y_label for point in _points(other)]
        ys = [value for point in alike for value in (point.y, point.low, point.high) if value is not None]
        xs = [
            value
            for point in _points(panel)
            for value in (point.x, point.x_low, point.x_high)
            if value is not None
        ]
        xs += [place for place, _ in panel.x_ticks or ()]
        found.append((_padded(xs, 0.05), _padded([0.0, *ys], 0.04)))
    return found


def _points(panel: Panel) -> list[Point]:
    return [point for series in panel.series for point in series.points]


def _padded(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = share * (high - low) or 1.0
    return low - room, high + room


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie inside the axes."""

    span: Span

    def x(self, value: float) -> float:
        low, high = self.span[0]
        return PANEL[0] * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.span[1]
        return PANEL[1] * (1 - (value - low) / (high - low))


def _panel(panel: Panel, span: Span) -> Iterator[str]:
    frame = _Frame(span)
    drawn = [series for series in panel.series if series.points]
    yield from _axes(panel, frame)
    for n, series in enumerate(drawn):
        yield from _series(series, n, frame)
    wanted = [frame.y(series.points[-1].y) for series in drawn]
    places = spread(wanted, LABEL_GAP, low=6, high=PANEL[1] - 2)
    for n, (series, place) in enumerate(zip(drawn, places, strict=True)):
        yield _text(PANEL[0] + 8, place + 4, series.label, f"t{n}")


def _axes(panel: Panel, frame: _Frame) -> Iterator[str]:
    width, height = PANEL
    yield _text(4 - MARGIN[0], -20, panel.title, "h")
    yield _text(4 - MARGIN[0], -4, panel.y_label)
    for value in _ticks(*frame.span[1]):
        yield _line(0, frame.y(value), width, frame.y(value), "a" if value == 0 else "g")
        yield _text(-6, frame.y(value) + 4, f"{value:g}", anchor="end")
    for value, label in panel.x_ticks or [(value, f"{value:g}") for value in _ticks(*frame.span[0])]:
        yield _text(frame.x(value), height + 16, label, anchor="middle")
    yield _text(width / 2, height + 34, panel.x_label, anchor="middle")


def _series(series: Series, n: int, frame: _Frame) -> Iterator[str]:
    if series.joined:
        path = " ".join(f"{_number(frame.x(point.x))},{_number(frame.y(point.y))}" for point in series.points)
        yield f'<polyline class="l s{n}" points="{path}"/>'
    for point in series.points:
        x, y = frame.x(point.x), frame.y(point.y)
        if point.low is not None and point.high is not None:
            yield _line(x, frame.y(point.low), x, frame.y(point.high), f"w s{n}")
        if point.x_low is not None and point.x_high is not None:
            yield _line(frame.x(point.x_low), y, frame.x(point.x_high), y, f"w s{n}")
        kind, radius = ("m", "3") if point.filled else ("o", "3.5")
        yield f'<circle class="{kind} s{n}" cx="{_number(x)}" cy="{_number(y)}" r="{radius}"/>'


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers."""
    rough = (high - low) / 5
    unit = 10 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [round(step * n, 10) for n in range(ceil(low / step), floor(high / step) + 1)]


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    place = f'x="{_number(x)}" y="{_number(y)}"'
    return f'<text {place} class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    ends = " ".join(
        f'{name}="{_number(value)}"' for name, value in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2))
    )
    return f'<line class="{kind}" {ends}/>'


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
