"""A number and its interval drawn beside the limit, as SVG that is as wide as it may be."""

from dataclasses import dataclass
from html import escape

from core.gates.rendering.saying import held
from core.gates.verdict import LimitSaid, Number, Outcome
from core.gates.wording import shown

HALF_LETTER = 1.3
"""How wide that is on a telephone, in percent of a strip: nearer to an end, a label is not centred on its place."""

_STRIP = """<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{told}">
<rect class="allowed" x="{left}" y="18" width="{width}" height="28"/><line class="axis" x2="100%" y1="32" y2="32"/>
<line class="bar" x1="{low}" x2="{high}" y1="32" y2="32"/>
<line class="limit" x1="{bound}" x2="{bound}" y1="18" y2="46"/>
<circle cx="{value}" cy="32" r="6"/>
{labels}
</svg>
"""


@dataclass(frozen=True, slots=True)
class _Scale:
    """From numbers to percent of the strip's width, with a tenth to spare at either end."""

    low: float
    high: float

    def place(self, value: float) -> float:
        reach = self.high / 2 - self.low / 2  # halves: the whole may be more than a float holds
        return 10 + 80 * ((value / 2 - self.low / 2) / reach) if reach else 50.0


def strip(outcome: Outcome) -> str:
    """The interval as a bar, the estimate as a dot, the limit as a line, and the side shaded that it allows.

    Nothing where the outcome has no number or no limit.
    """
    number, limit = held(outcome), outcome.limit
    if number is None or number.value is None or limit is None:
        return ""
    ends = number.interval or (number.value, number.value)
    drawn = (*ends, number.value, limit.value)
    scale = _Scale(min(drawn), max(drawn))
    low, high, value, bound = map(scale.place, drawn)
    left, right = (0.0, bound) if limit.bound == "at_most" else (bound, 100.0)
    said, allowed = _said(number.value, number, limit), _allowed(limit)
    between = "" if number.interval is None else f", from {shown(ends[0], '')} to {shown(ends[1], '')}"
    return _STRIP.format(
        told=escape(f"{said}{between}; {allowed}"),
        left=_at(left),
        width=_at(right - left),
        low=_at(low),
        high=_at(high),
        value=_at(value),
        bound=_at(bound),
        labels=_label(said, value, 12) + _label(allowed, bound, 60),
    )


def _said(value: float, number: Number, limit: LimitSaid) -> str:
    return shown(value, number.unit) + (" worse" if limit.relative else "")


def _allowed(limit: LimitSaid) -> str:
    sign = "≤" if limit.bound == "at_most" else "≥"
    return f"{sign} {shown(limit.value, limit.unit)}{' worse' if limit.relative else ''}"


def _label(text: str, at: float, y: int) -> str:
    room = HALF_LETTER * len(text)
    anchor = "start" if at < room else "end" if at > 100 - room else "middle"
    return f'<text x="{_at(at)}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _at(share: float) -> str:
    return f"{share:.2f}%"
