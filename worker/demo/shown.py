"""How the demo writes numbers, intervals and names."""

from collections.abc import Sequence

from core.intervals import Interval
from core.specs.objective import SINGLE
from worker.demo.figures import CurveStyle
from worker.demo.findings import APGD, AUTO_MTA, GB_MTA, NOISE, SIGN_TOTAL, TOTAL, Attack, Way

MINUS = "\N{MINUS SIGN}"
TIED = "\N{NO-BREAK SPACE}"
NONE = "–"
OBJECTIVE_NAMES = {GB_MTA: "GB-MTA", TOTAL: "TOTAL", SIGN_TOTAL: "SIGN-TOTAL"}
ALGORITHM_NAMES = {AUTO_MTA: "AUTO-MTA", NOISE: "random signs"}
STYLES: dict[Way, CurveStyle] = {
    (AUTO_MTA, None): "auto_mta",
    (APGD, GB_MTA): "gb_mta",
    (APGD, TOTAL): "total",
    (APGD, SIGN_TOTAL): "sign_total",
}
"""Colours of the attacks that have one of their own."""
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


def number(value: float | None, *, digits: int = 1) -> str:
    """A true minus sign, but none before zero; an en dash for no value."""
    if value is None:
        return NONE
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """One decimal."""
    return NONE if value is None else f"{number(value)}%"


def span(interval: Interval | None, *, digits: int = 1) -> str:
    """[low, high], not to be broken; empty for none."""
    if interval is None:
        return ""
    return f"[{number(interval.low, digits=digits)},{TIED}{number(interval.high, digits=digits)}]"


def with_unit(value: float | None, unit: str) -> str:
    """A metric's value."""
    known = UNITS.get(unit, f" {unit}" if unit else "")
    return NONE if value is None else number(value, digits=digits_of(unit)) + known


def digits_of(unit: str) -> int:
    """Decimals that a metric of this unit is shown with."""
    return 1 if unit in ("%", "degrees") else 3


def way_name(way: Way) -> str:
    """Within its algorithm: SINGLE depth, TOTAL, GB-MTA; AUTO-MTA and noise are their own objective."""
    algorithm, objective = way
    if objective is None:
        return algorithm_name(algorithm)
    if objective.startswith(SINGLE):
        return f"SINGLE {objective.removeprefix(SINGLE)}"
    return OBJECTIVE_NAMES.get(objective, objective)


def algorithm_name(algorithm: str) -> str:
    """APGD, AUTO-MTA."""
    return ALGORITHM_NAMES.get(algorithm, algorithm.upper())


def attack_name(attack: Attack) -> str:
    """With its algorithm in front: APGD GB-MTA."""
    name = way_name(attack.way)
    return f"{algorithm_name(attack.algorithm)} {name}" if attack.objective else name


def sizes(values: Sequence[float]) -> str:
    """2 and 4."""
    return listed([f"{eps:g}" for eps in values])


def listed(names: Sequence[str]) -> str:
    """This, that and the other."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def plain(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")


def counted(count: int, noun: str) -> str:
    """1 warning, 2 warnings."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
