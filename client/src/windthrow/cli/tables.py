"""Results as tables for people; `--csv` and `--json` have all the numbers."""

import csv
from collections.abc import Sequence
from typing import Optional

from windthrow.cli.output import NONE, clean, print_pairs, print_table
from windthrow.records import Json

Interval = Optional[Sequence[float]]


def evaluation(found: Json) -> None:
    """ARP by attack, clean metrics, and what to know about them."""
    tasks = list(found["metrics"])
    head = ("attack", "ARP %", "95 %", *tasks, "reliable")
    print_table(head, [_attacked(attack, tasks) for attack in found["attacks"]], numbers=head[1:-1])
    print()
    metrics = [
        (task, name, _number(value), info["unit"] or "")
        for task, values in found["clean"]["metrics"].items()
        for name, value in values.items()
        for info in [found["metrics"][task][name]]
    ]
    print_table(("clean", "metric", "value", "unit"), metrics, numbers=("value",))
    _flags("evaluation", found["flags"])
    for result in (found["clean"], *found["attacks"]):
        _flags(result["label"], result["flags"])


def _attacked(attack: Json, tasks: Sequence[str]) -> tuple[str, ...]:
    intervals, by_task = attack["intervals"] or {}, attack["task_arp"] or {}
    return (
        attack["label"],
        _percent(attack["arp"]),
        _interval(intervals.get("arp")),
        *(_percent(by_task.get(task)) for task in tasks),
        "yes" if attack["reliable"] else "no",
    )


def training(found: Json) -> None:
    """What came out, and how it went."""
    last = {f"last {name}": _number(value) for name, value in found["last"].items()}
    said = {
        name: found[name] for name in ("model", "parent", "iterations", "evaluation", "baseline_evaluation")
    }
    print_pairs({**said, **last})


def comparison(found: Json) -> None:
    """Accuracy on clean images, then the gain in robustness by attack."""
    ara = {"overall": found["ara"]["overall"], **found["ara"]["tasks"]}
    rows_ = [(name, _percent(one["value"]), _interval(one["interval"])) for name, one in ara.items()]
    print_table(("clean accuracy, relative", "ARA %", "95 %"), rows_, numbers=("ARA %", "95 %"))
    print()
    head = ("attack", "ARP %", "other's", "gain", "95 %")
    attacks = [
        (
            one["label"],
            _percent(one["arp"]["value"]),
            _percent(one["other_arp"]["value"]),
            _percent(one["robust_gain"]["value"]),
            _interval(one["robust_gain"]["interval"]),
        )
        for one in found["attacks"]
    ]
    print_table(head, attacks, numbers=head[1:])
    print(f"\n{found['samples']} samples; a gain above 0: the attack harms the first model less")


def rows(text: str) -> None:
    """A table that the service made, its numbers shortened."""
    head, *body = csv.reader(text.splitlines())
    print_table(head, [[_short(cell) for cell in row] for row in body])


def _flags(where: str, flags: Sequence[Json]) -> None:
    for flag in flags:
        print(clean(f"{flag['severity']}: {where}: {flag['message']}"))


def _percent(value: Optional[float]) -> str:
    return NONE if value is None else f"{value:.1f}"


def _number(value: Optional[float]) -> str:
    return NONE if value is None else f"{value:.4g}"


def _interval(interval: Interval) -> str:
    return NONE if interval is None else f"[{_percent(interval[0])}, {_percent(interval[1])}]"


def _short(cell: str) -> str:
    try:
        return _number(float(cell)) if "." in cell else cell
    except ValueError:
        return cell
