"""The report's tables: every attack, the ranking at the largest eps, damage by task, the models' own metrics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

from core.intervals import Interval
from worker.demo.findings import APGD, AUTO_MTA, FGSM, NOISE, Attack, Findings
from worker.demo.headlines import settled
from worker.demo.shown import (
    METRIC_NAMES,
    STYLES,
    attack_name,
    digits_of,
    number,
    plain,
    span,
    way_name,
    with_unit,
)

SHOWN = (AUTO_MTA, APGD, NOISE)
"""Algorithms of the ranking and of the damage by task: FGSM adds little to APGD there."""
TITLES = {AUTO_MTA: "searched for", APGD: "APGD", FGSM: "FGSM, a single step", NOISE: "no gradients"}
"""Of the algorithms' parts of the table of every attack."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number on a coloured ground.

    Attributes:
        interval: in small type below it; empty for none.
        heat: 0 to 100, of the scale.
        helped: below zero; shown in the opposite colour.
        mark: "best", the strongest of its column; "level", not told from that; "aim", the task attacked; or "".
    """

    text: str
    interval: str
    heat: int
    helped: bool
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of cells."""

    name: str
    emphasised: bool
    cells: list[Cell]


def _cell(value: float | None, limit: float, mark: str, interval: Interval | None = None) -> Cell:
    heat = round(100 * abs(value) / limit) if value is not None and limit else 0
    return Cell(number(value), span(interval), min(heat, 100), value is not None and value < 0, mark)


def _limit(values: Iterable[float | None]) -> float:
    """What the deepest colour stands for."""
    return max((abs(value) for value in values if value is not None), default=0.0)


def every_attack(models: Sequence[Findings]) -> dict[str, Any]:
    """Rows: objective within algorithm. Columns: model times eps. The models underwent the same attacks."""
    first = models[0]
    limit = _limit(attack.arp for model in models for attack in model.attacks)
    columns = [(model, eps, _marks(model, eps)) for model in models for eps in first.sizes]
    bodies = []
    for algorithm, ways in groupby(first.ways, key=lambda way: way[0]):
        rows = []
        for way in ways:
            found = [(model.find(*way, eps=eps), marks) for model, eps, marks in columns]
            cells = [
                _cell(attack.arp, limit, marks.get(attack.ordinal, ""), attack.interval)
                for attack, marks in found
                if attack is not None
            ]
            rows.append(Row(way_name(way), way[0] == AUTO_MTA, cells))
        bodies.append({"title": TITLES[algorithm], "rows": rows})
    return {
        "dataset": first.results["dataset"]["name"],
        "samples": first.results["clean"]["samples"],
        "models": [model.title for model in models],
        "sizes": [f"{eps:g}" for eps in first.sizes],
        "bodies": bodies,
        "without_arp": any(attack.arp is None for model in models for attack in model.attacks),
    }


def _marks(model: Findings, eps: float) -> dict[int, str]:
    """By ordinal, the strongest attack and those that it is not told from."""
    top = model.strongest(eps)
    if top is None:
        return {}
    return dict.fromkeys((attack.ordinal for attack in model.level(eps)), "level") | {top.ordinal: "best"}


def ranking(model: Findings, models: Sequence[Findings]) -> dict[str, Any]:
    """Attacks at the largest eps as bars with intervals, the strongest first, on a scale that the models share."""
    known = [attack for other in models for attack in other.at_largest(*SHOWN) if attack.arp is not None]
    reach = [value for attack in known for value in (*_ends(attack), 0.0)]
    scale = _Scale(min(reach, default=0.0), max(reach, default=0.0))
    rows = sorted(
        (attack for attack in model.at_largest(*SHOWN) if attack.arp is not None),
        key=lambda attack: -(attack.arp or 0.0),
    )
    marks = _marks(model, model.largest)
    return {
        "title": model.title,
        "eps": f"{model.largest:g}",
        "zero": scale.at(0.0),
        "settled": settled(model),
        "rows": [_bar(attack, scale, marks.get(attack.ordinal, "")) for attack in rows],
    }


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float

    def at(self, value: float) -> float:
        """Position in percent of the width."""
        return round(100 * (value - self.low) / ((self.high - self.low) or 1.0), 2)


def _ends(attack: Attack) -> tuple[float, float]:
    assert attack.arp is not None
    return (
        (attack.arp, attack.arp) if attack.interval is None else (attack.interval.low, attack.interval.high)
    )


def _bar(attack: Attack, scale: _Scale, mark: str) -> dict[str, Any]:
    assert attack.arp is not None
    start, end = sorted((scale.at(0.0), scale.at(attack.arp)))
    low, high = map(scale.at, _ends(attack))
    return {
        "name": way_name(attack.way),
        "style": plain(STYLES.get(attack.way, "other")).replace(" ", "-"),
        "emphasised": attack.algorithm == AUTO_MTA,
        "mark": mark,
        "arp": number(attack.arp),
        "interval": span(attack.interval),
        "start": start,
        "width": round(end - start, 2),
        "low": low,
        "reach": round(high - low, 2),
    }


def matrix(model: Findings, models: Sequence[Findings]) -> dict[str, Any]:
    """Rows: attacks at the largest eps. Columns: the tasks they damage. Models share the scale of colours."""
    limit = _limit(
        value for other in models for attack in other.at_largest(*SHOWN) for value in attack.task_arp.values()
    )
    attacks = model.at_largest(*SHOWN)
    halves = [
        (interval.high - interval.low) / 2
        for attack in attacks
        for interval in attack.task_intervals.values()
        if interval is not None
    ]
    return {
        "title": model.title,
        "eps": f"{model.largest:g}",
        "tasks": model.tasks,
        "half": number(median(halves)) if halves else "",
        "most": number(max(halves, default=0.0)),
        "rows": [
            {
                "row": Row(
                    way_name(attack.way), attack.algorithm == AUTO_MTA, _by_task(attack, model, limit)
                ),
                "mean": number(attack.arp),
            }
            for attack in attacks
        ],
    }


def _by_task(attack: Attack, model: Findings, limit: float) -> list[Cell]:
    return [_cell(attack.task_arp[task], limit, "aim" if task == attack.task else "") for task in model.tasks]


def anatomy(model: Findings) -> dict[str, Any]:
    """Size, layout, clean metrics, and the same metrics under the strongest attack."""
    top = model.strongest(model.largest)
    return {
        "title": model.title,
        "parameters": f"{model.source.parameters:,}",
        "drawing": model.source.layout_drawing,
        "attack": f"{attack_name(top)}, ε = {model.largest:g}" if top else "",
        "tasks": [
            (task, [_metric_row(model, task, name, info, top) for name, info in metrics.items()])
            for task, metrics in model.results["metrics"].items()
        ],
        "results": model.results,
    }


def _metric_row(
    model: Findings, task: str, name: str, info: Mapping[str, str], top: Attack | None
) -> dict[str, str]:
    clean, unit = model.clean_metric(task, name), info["unit"]
    attacked = (None, None) if top is None else (top.metrics[task][name], top.metric_intervals[task][name])
    return {
        "name": METRIC_NAMES.get(name, plain(name)),
        "arrow": "↑" if info["direction"] == "higher" else "↓",
        "direction": f"{info['direction']} is better",
        "clean": with_unit(clean[0], unit),
        "clean_interval": span(clean[1], digits=digits_of(unit)),
        "attacked": with_unit(attacked[0], unit),
        "attacked_interval": span(attacked[1], digits=digits_of(unit)),
    }
