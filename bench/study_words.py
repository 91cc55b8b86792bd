"""How the study's page writes numbers: with their intervals, and when what is claimed holds."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

NAMES = {"gb_mta": "GB-MTA", "total": "TOTAL", "sign_total": "SIGNTOTAL"}


def main_columns(results: Json) -> list[int]:
    """The attacks of the ranking with the largest eps and the most objectives: the columns of the paper's Table 3."""
    widest = max(results["rankings"], key=_width, default=None)
    if widest is None:
        return list(range(len(results["attacks"])))
    return sorted(entry["attack"] for entry in widest["objectives"])


def _width(ranking: Json) -> tuple[float, int]:
    return ranking["eps"], len(ranking["objectives"])


def name_of(objective: str | None) -> str:
    """The paper's name of an objective."""
    if objective is None:
        return "none"
    return NAMES.get(objective, objective.replace("single:", "SINGLE-"))


def verdict(count: int, of: int) -> str:
    """In how many of the cases, in words."""
    if count == of:
        return "holds"
    return "does not hold" if count == 0 else f"holds in part ({count} of {of})"


def is_above(estimate: Json) -> bool:
    """Whether the interval excludes 0 and what is below."""
    return estimate["interval"] is not None and estimate["interval"][0] > 0


def is_below(estimate: Json) -> bool:
    """Whether the interval excludes 0 and what is above."""
    return estimate["interval"] is not None and estimate["interval"][1] < 0


def added(signs: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Counts of layouts, over several comparisons."""
    total: Counter[str] = Counter()
    for one in signs:
        total.update(one)
    return total


def out_of(signs: Mapping[str, int], sign: str) -> str:
    """On how many layouts, and of how many."""
    return f"{signs[sign]} of {signs['of']}"


def bounded(estimate: Json, *, digits: int = 1, bold: bool = False) -> str:
    """A number with its interval."""
    if estimate["value"] is None:
        return "–"
    value = f"{estimate['value']:.{digits}f}"
    shown = f"**{value}**" if bold else value
    if estimate["interval"] is None:
        return shown
    low, high = estimate["interval"]
    return f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"


def short(value: float | None) -> str:
    """A number with three digits."""
    return "–" if value is None else f"{value:.3g}"


def extent(values: Iterable[float | None]) -> str:
    """From the least to the greatest."""
    defined = [value for value in values if value is not None]
    return f"{min(defined):.1f} to {max(defined):.1f}" if defined else "undefined"


def level_of(row: Json) -> int:
    """A layout's sharing level."""
    return int(row["sharing_level"])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, its first column words and the others numbers."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join([" --- ", *[" ---: "] * (len(head) - 1)]) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
