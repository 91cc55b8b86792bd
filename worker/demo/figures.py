"""The report's pictures: ARP curves as inline SVG, and amplified differences between images.

Matplotlib is loaded when the first curve is drawn. What the pictures show is decided in `worker.demo.panels`.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

CurveStyle = Literal["auto_mta", "gb_mta", "total", "sign_total", "other"]

AMPLIFICATION = 16
"""A difference of 8/255, the demo's largest, spans the whole range from black to white."""

MAX_LABEL = 20

_COLOURS = {
    "auto_mta": "#000007",
    "gb_mta": "#000001",
    "total": "#000002",
    "sign_total": "#000003",
    "other": "#000004",
    "muted": "#000005",
    "grid": "#000006",
}
"""Stand-ins, replaced by the page's CSS variables so that one drawing serves the light and the dark page."""

_MARKERS: dict[CurveStyle, str] = {
    "auto_mta": "o",
    "gb_mta": "D",
    "total": "s",
    "sign_total": "^",
    "other": "",
}
_WIDTHS: dict[CurveStyle, float] = {
    "auto_mta": 2.4,
    "gb_mta": 1.8,
    "total": 1.4,
    "sign_total": 1.4,
    "other": 1.1,
}
_BANDS = ("auto_mta", "gb_mta")
"""Their intervals are shaded; the others' would hide each other, and are thin lines at the sizes."""
_SIZE = (5.4, 3.3)  # inches of 72 units
_AXES = (0.075, 0.12, 0.62, 0.79)  # left, bottom, width, height of the figure
_FONT = 8.0
_LINE_GAP = 10.5 / (72 * _SIZE[1] * _AXES[3])  # between two labels, as a share of the axes' height
_RC: "dict[RcKeyType, Any]" = {
    "svg.fonttype": "none",
    "svg.hashsalt": "windthrow",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": _FONT,
    "text.parse_math": False,
}


@dataclass(frozen=True, slots=True)
class Curve:
    """ARP of one attack as its size grows.

    Attributes:
        label: written at the curve's end; empty for a faint curve.
        points: (eps, ARP), eps ascending.
        intervals: (eps, low, high), where there is one.
        faint: dashed, in the background.
    """

    label: str
    style: CurveStyle
    points: tuple[tuple[float, float], ...]
    intervals: tuple[tuple[float, float, float], ...] = ()
    faint: bool = False

    @property
    def values(self) -> list[float]:
        """Every ARP that is drawn, the intervals' ends with them."""
        ends = [value for _, *ends in self.intervals for value in ends]
        return [*(arp for _, arp in self.points), *ends]


def can_draw_curves() -> bool:
    """Whether matplotlib, of the extra `demo`, is installed."""
    return find_spec("matplotlib") is not None


def draw_curves(curves: Sequence[Curve], *, span: tuple[float, float], prefix: str) -> str:
    """An inline `<svg>` element: every curve from the clean model at (0, 0), its label at its end.

    Args:
        curves: each with at least one point; the last is drawn on top.
        span: lowest and highest ARP of the axis.
        prefix: makes the ids unique in the page.
    """
    import matplotlib as mpl  # noqa: PLC0415 - only the report needs it
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_RC):
        figure = Figure(figsize=_SIZE)
        FigureCanvasSVG(figure)
        axes = figure.add_axes(_AXES)
        _draw_axes(axes, sizes=sorted({eps for curve in curves for eps, _ in curve.points}), span=span)
        for layer, curve in enumerate(curves, start=2):
            _draw_curve(axes, curve, layer)
        _draw_labels(axes, [curve for curve in curves if curve.label], span)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), prefix)


def spread(wanted: Sequence[float], gap: float, *, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in the same order, at least `gap` apart and within [low, high].

    Where they do not all fit, they are spaced evenly.
    """
    if len(wanted) > 1:
        gap = min(gap, (high - low) / (len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    floor = low
    for index in order:
        placed[index] = max(wanted[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed


def amplified_difference(clean: bytes, attacked: bytes) -> bytes:
    """PNG of `AMPLIFICATION` times (attacked - clean) about mid-grey, clipped; both PNGs have the same size."""
    before, after = (_pixels(image).astype(np.int16) for image in (clean, attacked))
    shown = np.clip(128 + AMPLIFICATION * (after - before), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def _draw_axes(axes: "Axes", *, sizes: Sequence[float], span: tuple[float, float]) -> None:
    axes.set_xlim(0, max(sizes))
    axes.set_ylim(*span)
    axes.set_xticks([0, *sizes], ["clean", *(f"{eps:g}" for eps in sizes)])
    axes.locator_params(axis="y", nbins=6)
    axes.tick_params(length=0, pad=5, labelcolor=_COLOURS["muted"])
    axes.grid(axis="y", color=_COLOURS["grid"], linewidth=0.6)
    axes.axhline(0, color=_COLOURS["muted"], linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(-0.02, 1.04, "ARP %", transform=axes.transAxes, color=_COLOURS["muted"], ha="right")


def _draw_curve(axes: "Axes", curve: Curve, layer: int) -> None:
    eps, values = zip((0.0, 0.0), *curve.points, strict=True)
    _draw_intervals(axes, curve, layer)
    axes.plot(
        eps,
        values,
        color=_COLOURS[curve.style],
        linewidth=0.8 if curve.faint else _WIDTHS[curve.style],
        linestyle=(0, (3, 2.5)) if curve.faint else "-",
        alpha=0.55 if curve.faint else 1.0,
        marker="" if curve.faint else _MARKERS[curve.style],
        markersize=5 if curve.style == "auto_mta" else 4,
        markevery=slice(1, None),
        clip_on=False,
        zorder=layer,
    )


def _draw_intervals(axes: "Axes", curve: Curve, layer: int) -> None:
    if not curve.intervals:
        return
    colour = _COLOURS[curve.style]
    if curve.style in _BANDS:
        eps, low, high = zip((0.0, 0.0, 0.0), *curve.intervals, strict=True)
        axes.fill_between(eps, low, high, color=colour, alpha=0.14, linewidth=0, clip_on=False, zorder=layer)
    else:
        eps, low, high = zip(*curve.intervals, strict=True)
        axes.vlines(eps, low, high, color=colour, linewidth=0.8, alpha=0.7, clip_on=False, zorder=layer)


def _draw_labels(axes: "Axes", curves: Sequence[Curve], span: tuple[float, float]) -> None:
    """Each label right of its curve's last point, a thin line leading to it, none on top of another."""
    low, high = span
    ends = [curve.points[-1] for curve in curves]
    places = spread([value for _, value in ends], _LINE_GAP * (high - low), low=low, high=high)
    for curve, (_, value), place in zip(curves, ends, places, strict=True):
        colour = _COLOURS[curve.style]
        axes.plot(
            (1.02, 1.055),
            (value, place),
            transform=axes.get_yaxis_transform(),
            color=colour,
            linewidth=0.6,
            clip_on=False,
        )
        axes.text(
            1.07,
            place,
            _shortened(curve.label),
            transform=axes.get_yaxis_transform(),
            color=_COLOURS["muted"] if curve.style == "other" else colour,
            fontweight="bold" if curve.style == "auto_mta" else "normal",
            va="center_baseline",
        )


def _shortened(label: str) -> str:
    return label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 1] + "…"


def _inline(document: str, prefix: str) -> str:
    """The drawing without prologue, metadata and fonts of its own, its ids unique, in the page's colours."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1)
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*(; )?", "", svg).replace("xlink:href=", "href=")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--curve-{name.replace('_', '-')})")
    return svg
