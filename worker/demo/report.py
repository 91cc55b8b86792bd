"""The demo's report: one HTML file without scripts or anything to load.

Finished evaluations go in; what each part of the page shows is prepared here, `report.html.j2` lays it out, and
`worker.demo.figures` draws. Numbers are compared as they are shown, to one decimal: what looks level is called level.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

from core.specs.attack import SINGLE
from worker.demo.figures import (
    AMPLIFICATION,
    Curve,
    CurveStyle,
    amplified_difference,
    can_draw_curves,
    draw_curves,
)

CLEAN = -1
GB_MTA, TOTAL, SIGN_TOTAL = "gb_mta", "total", "sign_total"
OBJECTIVE_NAMES = {GB_MTA: "GB-MTA", TOTAL: "TOTAL", SIGN_TOTAL: "SIGN-TOTAL"}
CURVE_STYLES: dict[str, CurveStyle] = {GB_MTA: "gb_mta", TOTAL: "total", SIGN_TOTAL: "sign_total"}
METRIC_NAMES = {
    "miou": "mIoU",
    "mean": "mean angle",
    "median": "median angle",
    "within_11.25": "within 11.25°",
    "within_22.5": "within 22.5°",
    "within_30": "within 30°",
    "abs_error": "absolute error",
    "rel_error": "relative error",
    "within_1.25": "ratio below 1.25",
    "within_1.25^2": "ratio below 1.25²",
    "within_1.25^3": "ratio below 1.25³",
}
UNITS = {"%": "%", "degrees": "°", "metres": " m"}
FLAGS = {
    "floored": "the division by a vanishing loss was floored",
    "non_finite": "a loss was not finite",
}
NONE = "–"
SHOWN_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A finished evaluation of one model.

    Attributes:
        title: of the model, for a reader.
        results: the service's `ResultsView` as JSON; one attack per algorithm, objective and eps.
        previews: PNGs of the first few images by ordinal, -1 the clean ones.
        layout_drawing: a tree as text.
        parameters: of the whole model.
    """

    title: str
    results: dict[str, Any]
    previews: dict[int, list[bytes]]
    layout_drawing: str
    parameters: int


def write_report(path: Path, evaluated: Sequence[Evaluated], *, facts: Mapping[str, str]) -> None:
    """Write the page.

    Args:
        evaluated: at least one model, each attacked at least once; models with the same attacks share a table.
        facts: shown at the end, such as samples, versions and seconds.
    """
    models = [_Model(number, item) for number, item in enumerate(evaluated, start=1)]
    groups = [_Group(members) for members in _grouped(models)]
    page = _environment().get_template("report.html.j2")
    html = page.render(
        headline=_headline(models),
        cards=[_card(model) for model in models],
        groups=[_group_view(group) for group in groups],
        curves=[panel for group in groups for panel in _panels(group)] if can_draw_curves() else None,
        matrices=[_matrix(model, group.limit_by_task) for group in groups for model in group.models],
        strips=[_strip(model) for model in models],
        models=[_anatomy(model) for model in models],
        faint=sorted({name.upper() for model in models for name in model.algorithms[1:]}),
        facts=facts,
        amplification=AMPLIFICATION,
        dash=NONE,
    )
    path.write_text(html, encoding="utf-8")


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


# --- what an evaluation says


@dataclass(frozen=True, slots=True)
class _Attack:
    """One attack's row of the results; ARP in percent, as shown."""

    ordinal: int
    algorithm: str
    objective: str
    eps: float
    arp: float | None
    task_arp: dict[str, float | None]
    metrics: dict[str, dict[str, float | None]]

    @property
    def objective_name(self) -> str:
        """SINGLE segmentation, TOTAL, SIGN-TOTAL, GB-MTA."""
        return _objective_name(self.objective)

    @property
    def name(self) -> str:
        """With its algorithm in front: PGD GB-MTA."""
        return f"{self.algorithm.upper()} {self.objective_name}"


class _Model:
    """An evaluation's attacks, and those of them that the page speaks of."""

    def __init__(self, number: int, source: Evaluated) -> None:
        self.number = number
        self.source = source
        self.title = source.title
        self.results = source.results
        self.attacks = [_attack(row) for row in source.results["attacks"]]
        self.sizes = sorted({attack.eps for attack in self.attacks})
        self.largest = self.sizes[-1]
        self.algorithms = _main_first(attack.algorithm for attack in self.attacks)
        self.objectives = list(dict.fromkeys(attack.objective for attack in self.attacks))
        self.tasks: list[str] = list(source.results["metrics"])
        self._table = {(attack.algorithm, attack.objective, attack.eps): attack for attack in self.attacks}

    def find(self, objective: str, eps: float, algorithm: str | None = None) -> _Attack | None:
        """An attack; by the main algorithm unless said."""
        return self._table.get((algorithm or self.algorithms[0], objective, eps))

    def at_largest(self) -> list[_Attack]:
        """The main algorithm's attacks at the largest eps, in the order asked for."""
        found = (self.find(objective, self.largest) for objective in self.objectives)
        return [attack for attack in found if attack is not None]

    def strongest(self, eps: float) -> list[_Attack]:
        """The attack of highest ARP at that eps, whatever its algorithm, and those level with it.

        Nothing where no attack does damage.
        """
        top = _highest(attack for attack in self.attacks if attack.eps == eps)
        return [attack for attack in top if attack.arp is not None and attack.arp > 0]

    def best_single(self) -> _Attack | None:
        """The main algorithm's strongest attack on one task alone, at the largest eps."""
        singles = _highest(attack for attack in self.at_largest() if attack.objective.startswith(SINGLE))
        return singles[0] if singles else None


class _Group:
    """Models that underwent the same attacks, and the scales they share."""

    def __init__(self, models: Sequence[_Model]) -> None:
        self.models = models
        attacks = [attack for model in models for attack in model.attacks]
        values = [attack.arp for attack in attacks if attack.arp is not None]
        largest = [value for model in models for row in model.at_largest() for value in row.task_arp.values()]
        self.limit = max((abs(value) for value in values), default=0.0)
        self.limit_by_task = max((abs(value) for value in largest if value is not None), default=0.0)
        low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
        self.span = (low * 1.05, high * 1.05 or 1.0)


def _attack(row: Mapping[str, Any]) -> _Attack:
    attack = row["attack"]
    return _Attack(
        ordinal=row["ordinal"],
        algorithm=attack["algorithm"],
        objective=attack["objective"],
        eps=attack["eps"],
        arp=_as_shown(row["arp"]),
        task_arp={task: _as_shown(value) for task, value in (row["task_arp"] or {}).items()},
        metrics=row["metrics"],
    )


def _grouped(models: Iterable[_Model]) -> list[list[_Model]]:
    groups: dict[object, list[_Model]] = {}
    for model in models:
        attacks = tuple((attack.algorithm, attack.objective, attack.eps) for attack in model.attacks)
        groups.setdefault((model.results["dataset"]["name"], attacks), []).append(model)
    return list(groups.values())


def _main_first(algorithms: Iterable[str]) -> list[str]:
    """PGD first: the others are there for comparison."""
    return sorted(dict.fromkeys(algorithms), key=lambda name: name != "pgd")


def _highest(attacks: Iterable[_Attack]) -> list[_Attack]:
    known = [(attack.arp, attack) for attack in attacks if attack.arp is not None]
    top = max((arp for arp, _ in known), default=None)
    return [attack for arp, attack in known if arp == top]


# --- in words


@dataclass(frozen=True, slots=True)
class _Card:
    """What stands out about one model, at its largest eps."""

    title: str
    arp: str
    sentences: list[str]


def _headline(models: Sequence[_Model]) -> str:
    """Whether GB-MTA is the strongest attack, over all models."""
    asked = [model for model in models if GB_MTA in model.objectives]
    tops = [[attack.objective for attack in model.strongest(model.largest)] for model in asked]
    if not any(tops):
        return "How far attacks move multi-task models"
    wins = sum(set(top) == {GB_MTA} for top in tops)
    level = sum(GB_MTA in top for top in tops) - wins
    sizes = {model.largest for model in asked}
    at = f"at ε = {sizes.pop():g}" if len(sizes) == 1 else "at the largest ε"
    if len(asked) == 1:
        place = (
            "the strongest attack" if wins else "level with another" if level else "not the strongest attack"
        )
        return f"GB-MTA is {place} on “{asked[0].title}” {at}"
    return f"GB-MTA is the strongest attack on {_share(wins, level, len(asked))} {at}"


def _share(wins: int, level: int, models: int) -> str:
    """On how many of the models it is strongest, alone or level with another."""
    if wins == models:
        return f"all {models} models"
    tied = f", level with another on {level}," if level else ""
    return f"{wins or 'none'} of {models} models{tied}"


def _card(model: _Model) -> _Card:
    top = model.strongest(model.largest)
    if not top:
        known = any(attack.arp is not None for attack in model.attacks)
        why = "No attack does damage" if known else "No attack has an ARP"
        return _Card(model.title, NONE, [f"{why} at ε = {model.largest:g}."])
    verb = "is the strongest attack" if len(top) == 1 else "are level as the strongest attacks"
    sentences = [f"{_names(top)} {verb} at ε = {model.largest:g}."]
    ours = model.find(GB_MTA, model.largest)
    if ours is not None and ours.arp is not None:
        sentences += _standing(ours, ours.arp, model, top)
    sentences += _elsewhere(model, top)
    return _Card(model.title, _percent(top[0].arp), sentences)


def _standing(ours: _Attack, arp: float, model: _Model, top: Sequence[_Attack]) -> list[str]:
    """How GB-MTA compares with TOTAL and the best SINGLE by the same algorithm."""
    against = []
    if (total := model.find(TOTAL, model.largest)) is not None and total.arp is not None:
        against.append(f"{_gap(arp - total.arp)} TOTAL ({_number(total.arp)})")
    if (single := model.best_single()) is not None and single.arp is not None:
        task = single.objective.removeprefix(SINGLE)
        against.append(f"{_gap(arp - single.arp)} the best SINGLE, {task} ({_number(single.arp)})")
    sentences = []
    if all(attack.objective != GB_MTA for attack in top):
        sentences.append(f"GB-MTA is not: {ours.name} reaches {_percent(arp)}.")
    if against:
        subject = "It" if sentences or list(top) == [ours] else ours.name
        sentences.append(f"{subject} is {' and '.join(against)}.")
    return sentences


def _elsewhere(model: _Model, top: Sequence[_Attack]) -> list[str]:
    """Which attacks lead at the smaller eps, where none of those at the largest does."""
    leaders: dict[str, list[str]] = {}
    ways = {(attack.algorithm, attack.objective) for attack in top}
    for eps in model.sizes[:-1]:
        there = model.strongest(eps)
        if there and not any((attack.algorithm, attack.objective) in ways for attack in there):
            lead = f"{_names(there)} {'leads' if len(there) == 1 else 'lead'}"
            leaders.setdefault(lead, []).append(f"{eps:g}")
    return [f"At ε = {_listed(sizes)}, {lead}." for lead, sizes in leaders.items()]


def _gap(points: float) -> str:
    size = round(abs(points), 1)
    if size == 0:
        return "level with"
    return f"{size:.1f} points {'above' if points > 0 else 'below'}"


def _names(attacks: Sequence[_Attack]) -> str:
    return _listed([attack.name for attack in attacks])


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


# --- tables of coloured cells


@dataclass(frozen=True, slots=True)
class _Cell:
    """A number on a coloured ground.

    Attributes:
        heat: 0 to 100, of the scale.
        helped: below zero; shown in the opposite colour.
        marked: the strongest of its column, or the task that the attack aims at.
    """

    text: str
    heat: int
    helped: bool
    marked: bool


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    emphasised: bool
    cells: list[_Cell]


def _cell(value: float | None, limit: float, *, marked: bool) -> _Cell:
    heat = round(100 * abs(value) / limit) if value is not None and limit else 0
    return _Cell(_number(value), min(heat, 100), value is not None and value < 0, marked)


def _group_view(group: _Group) -> dict[str, Any]:
    """Rows: objective within algorithm. Columns: model times eps."""
    first = group.models[0]
    columns = [(model, eps) for model in group.models for eps in first.sizes]
    tops = [model.strongest(eps) for model, eps in columns]
    bodies = []
    for algorithm in first.algorithms:
        rows = []
        for objective in first.objectives:
            found = [model.find(objective, eps, algorithm) for model, eps in columns]
            if any(found):
                cells = [
                    _cell(attack.arp if attack else None, group.limit, marked=attack in top)
                    for attack, top in zip(found, tops, strict=True)
                ]
                rows.append(_Row(_objective_name(objective), objective == GB_MTA, cells))
        bodies.append({"algorithm": algorithm.upper(), "rows": rows})
    return {
        "dataset": first.results["dataset"]["name"],
        "samples": first.results["clean"]["samples"],
        "models": [model.title for model in group.models],
        "sizes": [f"{eps:g}" for eps in first.sizes],
        "bodies": bodies,
        "without_arp": any(attack.arp is None for model in group.models for attack in model.attacks),
        "notes": [note for model in group.models for note in _notes(model)],
    }


def _notes(model: _Model) -> list[str]:
    """What the service remarked on the model's results: metrics left out of ARP, and flags with their counts."""
    remarks = [note for row in model.results["attacks"] for note in row["notes"]]
    left_out = sorted({metric for note in remarks for metric in note.get("metrics", ())})
    lines = []
    if left_out:
        lines.append(
            f"{model.title}: {', '.join(left_out)} left out of ARP, with no value or a clean value of 0."
        )
    counted = sorted((note["code"], note["samples"]) for note in remarks if "samples" in note)
    for code, group in groupby(counted, key=lambda item: item[0]):
        counts = [count for _, count in group]
        where = f"in {len(counts)} of {len(model.attacks)} attacks, on up to {max(counts)} images"
        lines.append(f"{model.title}: {FLAGS.get(code, _plain(code))} {where}.")
    return lines


def _matrix(model: _Model, limit: float) -> dict[str, Any]:
    """Rows: the main algorithm's attacks at the largest eps. Columns: the tasks they damage."""
    rows = []
    for attack in model.at_largest():
        aim = attack.objective.removeprefix(SINGLE)
        cells = [_cell(attack.task_arp.get(task), limit, marked=task == aim) for task in model.tasks]
        rows.append(
            {
                "row": _Row(attack.objective_name, attack.objective == GB_MTA, cells),
                "mean": _number(attack.arp),
            }
        )
    return {
        "title": model.title,
        "algorithm": model.algorithms[0].upper(),
        "eps": f"{model.largest:g}",
        "tasks": model.tasks,
        "rows": rows,
    }


# --- curves


def _panels(group: _Group) -> list[dict[str, str]]:
    return [
        {
            "title": model.title,
            "algorithm": model.algorithms[0].upper(),
            "svg": draw_curves(curves, span=group.span, prefix=f"curves-{model.number}"),
            "alt": _spoken(curves),
        }
        for model in group.models
        if (curves := _curves(model))
    ]


def _curves(model: _Model) -> list[Curve]:
    """The faint algorithms first, then the main one with GB-MTA on top."""
    curves = []
    for algorithm in reversed(model.algorithms):
        faint = algorithm != model.algorithms[0]
        for objective in sorted(model.objectives, key=lambda name: (name == GB_MTA, name in CURVE_STYLES)):
            found = (model.find(objective, eps, algorithm) for eps in model.sizes)
            points = tuple((row.eps, row.arp) for row in found if row is not None and row.arp is not None)
            if points:
                style = CURVE_STYLES.get(objective, "other")
                curves.append(Curve("" if faint else _curve_label(objective), style, points, faint))
    return curves


def _curve_label(objective: str) -> str:
    return OBJECTIVE_NAMES.get(objective, objective.removeprefix(SINGLE))


def _spoken(curves: Sequence[Curve]) -> str:
    ends = [(curve.label, *curve.points[-1]) for curve in curves if curve.label]
    return "; ".join(f"{label} {_number(arp)}% at ε = {eps:g}" for label, eps, arp in reversed(ends))


# --- images


@dataclass(frozen=True, slots=True)
class _Picture:
    source: str
    alt: str


@dataclass(frozen=True, slots=True)
class _Strip:
    """A model's first images, clean and attacked, and what was added to them."""

    title: str
    columns: list[tuple[str, str]]
    samples: list[tuple[list[_Picture], list[_Picture | None]]] = field(default_factory=list)


def _strip(model: _Model) -> _Strip:
    """The clean image, a few attacks at the largest eps, GB-MTA at every eps."""
    kept = model.source.previews
    clean = kept.get(CLEAN, [])
    attacks = [attack for attack in _shown_attacks(model) if len(kept.get(attack.ordinal, [])) >= len(clean)]
    strip = _Strip(
        model.title, [("clean", ""), *((attack.objective_name, f"ε = {attack.eps:g}") for attack in attacks)]
    )
    for sample, image in enumerate(clean[:SHOWN_SAMPLES]):
        pictures = [_Picture(_data_uri(image), f"image {sample + 1}, clean")]
        changes: list[_Picture | None] = [None]
        for attack in attacks:
            attacked = kept[attack.ordinal][sample]
            what = f"{attack.name} at ε = {attack.eps:g}"
            pictures.append(_Picture(_data_uri(attacked), f"image {sample + 1} under {what}"))
            change = _data_uri(amplified_difference(image, attacked))
            changes.append(_Picture(change, f"what {what} changed in image {sample + 1}, amplified"))
        strip.samples.append((pictures, changes))
    return strip


def _shown_attacks(model: _Model) -> list[_Attack]:
    joint = [model.find(objective, model.largest) for objective in (TOTAL, SIGN_TOTAL)]
    ours = [model.find(GB_MTA, eps) for eps in model.sizes]
    return [attack for attack in (model.best_single(), *joint, *ours) if attack is not None]


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


# --- the models themselves


def _anatomy(model: _Model) -> dict[str, Any]:
    """Size, layout, clean metrics, and the same metrics under the strongest attack."""
    top = model.strongest(model.largest)
    clean = model.results["clean"]["metrics"]
    tasks = [
        (task, [_metric_row(name, info, clean[task][name], top, task) for name, info in metrics.items()])
        for task, metrics in model.results["metrics"].items()
    ]
    return {
        "title": model.title,
        "parameters": f"{model.source.parameters:,}",
        "drawing": model.source.layout_drawing,
        "attack": f"{top[0].name}, ε = {model.largest:g}" if top else "",
        "tasks": tasks,
        "results": model.results,
    }


def _metric_row(
    name: str, info: Mapping[str, str], clean: float | None, top: Sequence[_Attack], task: str
) -> dict[str, str]:
    attacked = top[0].metrics[task][name] if top else None
    return {
        "name": METRIC_NAMES.get(name, _plain(name)),
        "arrow": "↑" if info["direction"] == "higher" else "↓",
        "direction": f"{info['direction']} is better",
        "clean": _with_unit(clean, info["unit"]),
        "attacked": _with_unit(attacked, info["unit"]),
    }


def _plain(name: str) -> str:
    return name.replace("_", " ")


# --- numbers and names as shown


def _objective_name(objective: str) -> str:
    if objective.startswith(SINGLE):
        return f"SINGLE {objective.removeprefix(SINGLE)}"
    return OBJECTIVE_NAMES.get(objective, objective)


def _as_shown(value: float | None) -> float | None:
    return None if value is None else round(value, 1) + 0.0  # no negative zero


def _number(value: float | None) -> str:
    """One decimal, a true minus sign; an en dash for no value."""
    return NONE if value is None else f"{value:.1f}".replace("-", "\N{MINUS SIGN}")


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{_number(value)}%"


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return NONE
    digits = 1 if unit in ("%", "degrees") else 3
    return f"{value:.{digits}f}{UNITS.get(unit, f' {unit}' if unit else '')}".replace("-", "\N{MINUS SIGN}")
