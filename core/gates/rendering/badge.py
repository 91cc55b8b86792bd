"""A verdict as a badge: drawn, or as the JSON that shields.io draws one from."""

from typing import Any

from core.gates.verdict import Overall, Verdict

LABEL = "windthrow"

COLOURS: dict[Overall, tuple[str, str]] = {
    "passed": ("brightgreen", "#3a7d0a"),
    "failed": ("red", "#b9342b"),
    "inconclusive": ("yellow", "#8a6500"),
    "no_baseline": ("lightgrey", "#666"),
}
"""By name for shields, and dark enough for white letters."""

PADDING = 6
NARROW = frozenset("fijlrt.,:;|!'I ")
WIDE = frozenset("mwMW%@")

_SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{title}">
<title>{title}</title>
<clipPath id="corners"><rect width="{width}" height="20" rx="3" fill="#fff"/></clipPath>
<g clip-path="url(#corners)">
<rect width="{left}" height="20" fill="#444"/>
<rect x="{left}" width="{right}" height="20" fill="{colour}"/>
</g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{label_at}" y="14" textLength="{label_width}">{label}</text>
<text x="{said_at}" y="14" textLength="{said_width}">{said}</text>
</g>
</svg>
"""


def badge(verdict: Verdict) -> str:
    """An SVG of two fields, the label and what came of the gate, whose title reads aloud as both."""
    said = _said(verdict)
    left, right = _width(LABEL) + 2 * PADDING, _width(said) + 2 * PADDING
    return _SVG.format(
        title=f"{LABEL}: {said}",
        width=left + right,
        left=left,
        right=right,
        colour=COLOURS[verdict.status][1],
        label=LABEL,
        label_at=left / 2,
        label_width=_width(LABEL),
        said=said,
        said_at=left + right / 2,
        said_width=_width(said),
    )


def shields(verdict: Verdict) -> dict[str, Any]:
    """What an endpoint badge of shields.io is drawn from."""
    return {
        "schemaVersion": 1,
        "label": LABEL,
        "message": _said(verdict),
        "color": COLOURS[verdict.status][0],
    }


def _said(verdict: Verdict) -> str:
    return verdict.status.replace("_", " ")


def _width(text: str) -> int:
    """About how many pixels a text is wide, in Verdana of 11; `textLength` stretches it to that."""
    return round(sum(4.2 if letter in NARROW else 10 if letter in WIDE else 6.9 for letter in text))
