"""The report's curves and strips of images: which attacks they show, and in what words."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.demo.figures import Curve, amplified_difference, draw_curves
from worker.demo.findings import APGD, CLEAN, FGSM, Findings, Way
from worker.demo.shown import STYLES, attack_name, number, way_name

SHOWN_SAMPLES = 2


def panels(models: Sequence[Findings], *, prefix: str) -> list[dict[str, str]]:
    """A drawing for each model, on a vertical scale that they share.

    Args:
        models: of one group.
        prefix: makes the drawings' ids unique in the page.
    """
    curves = [_curves(model) for model in models]
    reach = [value for group in curves for curve in group for value in curve.values]
    low, high = min([0.0, *reach]), max([0.0, *reach])
    return [
        {
            "title": model.title,
            "svg": draw_curves(group, span=(low * 1.05, high * 1.03 or 1.0), prefix=f"{prefix}-{number}"),
            "alt": _spoken(group),
        }
        for number, (model, group) in enumerate(zip(models, curves, strict=True), start=1)
        if group
    ]


def _curves(model: Findings) -> list[Curve]:
    """FGSM's first and faint, then SINGLE, the joint objectives, and AUTO-MTA on top."""
    order = [way for way in model.ways if way[0] == FGSM]
    order += [way for way in model.ways if way[0] == APGD and way not in STYLES]
    order += [way for way in reversed(STYLES) if way in model.ways]
    return [curve for way in order if (curve := _curve(model, way)) is not None]


def _curve(model: Findings, way: Way) -> Curve | None:
    found = [model.find(*way, eps=eps) for eps in model.sizes]
    rows = [
        (attack.eps, attack.arp, attack.interval) for attack in found if attack and attack.arp is not None
    ]
    if not rows:
        return None
    faint = way[0] == FGSM
    return Curve(
        label="" if faint else way_name(way).removeprefix("SINGLE "),
        style=STYLES.get(way, "other"),
        points=tuple((eps, arp) for eps, arp, _ in rows),
        intervals=()
        if faint
        else tuple((eps, span.low, span.high) for eps, _, span in rows if span is not None),
        faint=faint,
    )


def _spoken(curves: Sequence[Curve]) -> str:
    ends = [(curve, *curve.points[-1]) for curve in curves if curve.label]
    return "; ".join(f"{curve.label} {number(arp)}% at ε = {eps:g}" for curve, eps, arp in reversed(ends))


@dataclass(frozen=True, slots=True)
class Picture:
    """An image for the page."""

    source: str
    alt: str


@dataclass(frozen=True, slots=True)
class Strip:
    """A model's first images, clean and attacked, and what was added to them."""

    title: str
    columns: list[tuple[str, str]]
    samples: list[tuple[list[Picture], list[Picture | None]]] = field(default_factory=list)


def strip(model: Findings) -> Strip:
    """The clean image, the attacks worth seeing, and the differences."""
    kept = model.source.previews
    clean = kept.get(CLEAN, [])
    attacks = [attack for attack in model.pictured() if len(kept.get(attack.ordinal, [])) >= len(clean)]
    columns = [("clean", ""), *((way_name(attack.way), f"ε = {attack.eps:g}") for attack in attacks)]
    shown = Strip(model.title, columns)
    for sample, image in enumerate(clean[:SHOWN_SAMPLES]):
        pictures = [Picture(_data_uri(image), f"image {sample + 1}, clean")]
        changes: list[Picture | None] = [None]
        for attack in attacks:
            attacked = kept[attack.ordinal][sample]
            what = f"{attack_name(attack)} at ε = {attack.eps:g}"
            pictures.append(Picture(_data_uri(attacked), f"image {sample + 1} under {what}"))
            change = _data_uri(amplified_difference(image, attacked))
            changes.append(Picture(change, f"what {what} changed in image {sample + 1}, amplified"))
        shown.samples.append((pictures, changes))
    return shown


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
