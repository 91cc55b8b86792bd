"""The page that `bench.looks` writes. Every sentence with a number in it is computed here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

from core.intervals import LEVEL

ONE_SIDE = 100 * (1 - LEVEL) / 2
"""Percent of all repetitions that may pass a model on its limit; as many may fail it."""

NAMES = {"one": "one, at 95 %", "peeking": "peeking, 95 % each", "planned": "planned"}

COLUMNS = ("passed", "failed", "inconclusive", "mean samples")


@dataclass(frozen=True, slots=True)
class Count:
    """What a rule with `at_most` came to.

    Attributes:
        offset: by how much ARP is above the limit, in standard errors.
        ended: after how many samples, and how often.
    """

    offset: float
    way: str
    passed: int
    failed: int
    ended: dict[int, int]

    @property
    def repeats(self) -> int:
        """All there were."""
        return sum(self.ended.values())

    @property
    def open(self) -> int:
        """Neither passed nor failed after the last look."""
        return self.repeats - self.passed - self.failed

    @property
    def samples(self) -> float:
        """Used, in the mean."""
        return sum(size * times for size, times in self.ended.items()) / self.repeats

    @property
    def error(self) -> float:
        """Standard error of that mean."""
        squares = sum(times * (size - self.samples) ** 2 for size, times in self.ended.items())
        return sqrt(squares) / self.repeats

    @property
    def saved(self) -> float:
        """Percent of the samples of the last look."""
        return 100 * (1 - self.samples / max(self.ended))


@dataclass(frozen=True, slots=True)
class Misses:
    """How often the truth was below, and above, an interval."""

    samples: int
    level: float
    intervals: int
    below: int
    above: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured on one population.

    Attributes:
        size: of the population.
        arp: its ARP, the truth.
        unit: the standard error of ARP that offsets are in.
    """

    name: str
    size: int
    arp: float
    unit: float
    repeats: int
    counts: Sequence[Count]
    misses: Sequence[Misses]

    def count(self, way: str, offset: float = 0.0) -> Count:
        """What one way to look came to."""
        return next(one for one in self.counts if (one.way, one.offset) == (way, offset))


@dataclass(frozen=True, slots=True)
class Ordered:
    """What planned looks at sorted data sets came to.

    Attributes:
        name: of the population that the data sets were drawn from.
        samples: of each data set.
        given: as they stand.
        drawn: in an order that is drawn, as gates do.
        seconds: of processor time that it took.
    """

    name: str
    samples: int
    given: Sequence[Count]
    drawn: Sequence[Count]
    seconds: int


def write_page(found: Sequence[Found], ordered: Ordered, facts: Mapping[str, Any]) -> str:
    """The whole page, in Markdown."""
    parts = [
        _introduction(found, facts),
        _on_the_limit(found, facts),
        *(_beside(population, facts) for population in found),
        _sorted(ordered, facts),
        _intervals(found, facts),
        _conclusions(found, ordered, facts),
        _again(ordered, facts),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def share(times: int, of: int) -> float:
    """Percent."""
    return 100 * times / of


def bounds(times: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, in percent."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    part = times / of
    middle, reach = part + z * z / (2 * of), z * sqrt(part * (1 - part) / of + z * z / (4 * of * of))
    low, high = ((middle + side) / (1 + z * z / of) for side in (-reach, reach))
    return 100 * max(low, 0.0), 100 * min(high, 1.0)


def _with_bounds(times: int, of: int, *, digits: int = 1, bold: bool = False) -> str:
    low, high = bounds(times, of)
    value = f"{share(times, of):.{digits}f}"
    return f"{f'**{value}**' if bold else value} [{low:.{digits}f}, {high:.{digits}f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join([" --- ", *[" ---: "] * (len(head) - 1)]) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _introduction(found: Sequence[Found], facts: Mapping[str, Any]) -> Iterator[str]:
    sizes = _listed([f"{size:,}" for size in facts["sizes"]])
    most = f"{max(facts['sizes']):,}"
    yield "# What planned looks are worth"
    yield ""
    yield "Written by `python -m bench.looks`; the counts by themselves are in `looks.json`."
    yield ""
    yield (
        "A gate that looks early may stop as soon as a whole interval keeps, or breaks, a limit. Here the true ARP is "
        "known, so it can be counted how often that is wrong, and what stopping early saves. Why looks are planned: "
        "[decision 15](../decisions/0015-looks.md)."
    )
    yield ""
    yield (
        f"A population is a shipped model on the whole test split of its data set, before and after {facts['attack']}; "
        f"the truth is its ARP there. {found[0].repeats:,} times, samples were drawn from it with replacement and "
        f"measured as the service does: its statistics, its {facts['replicates']:,} bootstrap replicates from its one "
        "seed, its intervals, its judgement of a strict rule that ARP is `at_most` something (`at_least` is the mirror "
        "image). All ways to look saw the same samples:"
    )
    yield ""
    yield f"- *one*: once, at {most} samples, with a {100 * LEVEL:.0f} % interval;"
    yield f"- *peeking*: at {sizes} samples, with a {100 * LEVEL:.0f} % interval each time;"
    yield (
        f"- *planned*: at the same, which a gate file plans whose suite asks for {most}, with intervals at "
        f"{100 * facts['level']:.2f} %."
    )
    yield ""
    head = ["population", "samples", "ARP", f"standard error on {facts['unit']} samples"]
    yield from _table(head, [_population(one) for one in found])
    yield ""
    yield (
        f"Brackets are 95 % intervals of a share (Wilson). A share of {ONE_SIDE:.1f} % is known to a standard error of "
        f"{_error(ONE_SIDE, found[0].repeats):.2f} points, one of 50 % to {_error(50, found[0].repeats):.2f}; mean "
        f"numbers of samples to {max(one.error for population in found for one in population.counts):.0f} at most."
    )


def _population(found: Found) -> list[str]:
    return [f"`{found.name}`", f"{found.size:,}", f"{found.arp:.2f} %", f"{found.unit:.2f} points"]


def _error(percent: float, repeats: int) -> float:
    return sqrt(percent * (100 - percent) / repeats)


def _on_the_limit(found: Sequence[Found], facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## A model exactly on its limit"
    yield ""
    yield (
        "The worst case: to pass or to fail is chance, and only *inconclusive* is right. Percent of repetitions; at "
        f"most {ONE_SIDE:.1f} % should pass, and as many fail."
    )
    yield ""
    rows = [
        [f"`{population.name}`", *_cells(population.count(way), facts)]
        for population in found
        for way in NAMES
    ]
    yield from _table(["population", "looks", *COLUMNS], rows)


def _beside(population: Found, facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"## Beside the limit: `{population.name}`"
    yield ""
    yield (
        f"ARP less its limit, in standard errors on {facts['unit']} samples ({population.unit:.2f} points). Below 0 "
        "the model keeps the limit; above, it breaks it. Wrong verdicts are bold."
    )
    yield ""
    rows = [
        [f"{one.offset:+g}", *_cells(one, facts, bold=True)] for one in population.counts if one.offset != 0
    ]
    yield from _table(["ARP less limit", "looks", *COLUMNS], rows)


def _sorted(ordered: Ordered, facts: Mapping[str, Any]) -> Iterator[str]:
    repeats = ordered.given[0].repeats
    yield "## A data set that is sorted"
    yield ""
    yield (
        f"{repeats:,} data sets of {ordered.samples:,} samples were drawn from `{ordered.name}` and sorted, those that "
        "the attack harms least in front: the worst order that a data set can have. Planned looks at the first samples "
        "as they stand (`shuffle: null`), and in an order that is drawn, as gates do, with another seed each time. "
        "Wrong verdicts are bold."
    )
    yield ""
    rows = [
        [f"{one.offset:+g}", order, *list(_cells(one, facts, bold=True))[1:]]
        for pair in zip(ordered.given, ordered.drawn, strict=True)
        for order, one in zip(("as they stand", "drawn"), pair, strict=True)
    ]
    yield from _table(["ARP less limit", "order", *COLUMNS], rows)


def _cells(one: Count, facts: Mapping[str, Any], *, bold: bool = False) -> Iterator[str]:
    yield NAMES[one.way] + (f", {100 * facts['level']:.2f} % each" if one.way == "planned" else "")
    yield _with_bounds(one.passed, one.repeats, bold=bold and one.offset > 0)
    yield _with_bounds(one.failed, one.repeats, bold=bold and one.offset < 0)
    yield _with_bounds(one.open, one.repeats)
    yield f"{one.samples:,.0f}" + (f" (-{one.saved:.0f} %)" if len(one.ended) > 1 else "")


def _intervals(found: Sequence[Found], facts: Mapping[str, Any]) -> Iterator[str]:
    shares = 2 * sum(len(population.misses) for population in found)
    yield "## The intervals by themselves"
    yield ""
    yield (
        "Percent of intervals, each look by itself, that lie wholly above the truth, which may fail a good model, or "
        f"wholly below it, which may pass a bad one. Nominal on either side: {_nominal(LEVEL):.2f} % at "
        f"{100 * LEVEL:.2f} %, {_nominal(facts['level']):.2f} % at {100 * facts['level']:.2f} %. An asterisk marks "
        f"brackets without the nominal value; by chance a twentieth of the {shares} would have one."
    )
    yield ""
    rows = [
        [
            f"`{population.name}`",
            f"{one.samples:,}",
            f"{100 * one.level:.2f} %",
            _miss(one.below, one),
            _miss(one.above, one),
        ]
        for population in found
        for one in population.misses
    ]
    yield from _table(["population", "samples", "level", "above the truth", "below it"], rows)


def _nominal(level: float) -> float:
    return 100 * (1 - level) / 2


def _miss(times: int, one: Misses) -> str:
    return _with_bounds(times, one.intervals, digits=2) + ("" if _fits(times, one) else " *")


def _fits(times: int, one: Misses) -> bool:
    low, high = bounds(times, one.intervals)
    return low <= _nominal(one.level) <= high


def _conclusions(found: Sequence[Found], ordered: Ordered, facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## What follows"
    yield ""
    yield from _on_errors(found)
    yield from _on_savings(found)
    yield _on_order(ordered)
    yield from _on_coverage(found, facts)


def _on_errors(found: Sequence[Found]) -> Iterator[str]:
    for way, name in (("one", "One look"), ("peeking", "Peeking"), ("planned", "Planned looks")):
        counts = [population.count(way) for population in found]
        passed = _spread([share(one.passed, one.repeats) for one in counts])
        failed = _spread([share(one.failed, one.repeats) for one in counts])
        above = sum(
            bounds(times, one.repeats)[0] > ONE_SIDE for one in counts for times in (one.passed, one.failed)
        )
        yield (
            f"- {name}: a model on its limit passed {passed} % of the time and failed {failed} %. "
            f"Brackets wholly above {ONE_SIDE:.1f} %: {above or 'none'} of {2 * len(counts)}."
        )


def _on_savings(found: Sequence[Found]) -> Iterator[str]:
    distances = sorted({abs(one.offset) for population in found for one in population.counts})
    saved, lost = [], []
    for distance in distances:
        pairs = [
            (population.count("planned", offset), population.count("one", offset))
            for population in found
            for offset in (-distance, distance)
        ]
        saved.append(_spread([planned.saved for planned, _ in pairs], digits=0))
        lost.append(
            _spread([share(planned.open - one.open, one.repeats) for planned, one in pairs], digits=1)
        )
    where = f"{_listed([f'{distance:g}' for distance in distances])} standard errors from the limit"
    yield (
        f"- Planned looks save, against always taking all samples, {_listed(saved)} % of them, {where} "
        "in this order."
    )
    yield (
        f"- They leave more verdicts inconclusive than one look does: by {_listed(lost)} points, likewise. "
        "`stop_early: false` without `escalate` is that one look."
    )


def _on_order(ordered: Ordered) -> str:
    given, drawn = (
        _spread([share(one.passed, one.repeats) for one in counts if one.offset > 0])
        for counts in (ordered.given, ordered.drawn)
    )
    return (
        f"- Of models that break their limit, planned looks at sorted data sets passed {given} % as these stand, and "
        f"{drawn} % in a drawn order: `shuffle: null` is for data sets that are in no order already."
    )


def _on_coverage(found: Sequence[Found], facts: Mapping[str, Any]) -> Iterator[str]:
    every = [one for population in found for one in population.misses]
    for level in (LEVEL, facts["level"]):
        said = []
        for size in facts["sizes"]:
            alike = [one for one in every if (one.samples, one.level) == (size, level)]
            left_out = sum(one.below + one.above for one in alike), sum(one.intervals for one in alike)
            said.append(f"{_with_bounds(*left_out, digits=2)} of those on {size:,} samples")
        yield (
            f"- Of all intervals at {100 * level:.2f} %, in percent, {_listed(said)} left out the truth; nominal is "
            f"{100 * (1 - level):.2f}."
        )
    off = sum(not _fits(times, one) for one in every for times in (one.below, one.above))
    yield f"- Either side by itself: {off or 'none'} of {2 * len(every)} brackets without the nominal value."


def _spread(values: Sequence[float], *, digits: int = 1) -> str:
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _again(ordered: Ordered, facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Again"
    yield ""
    yield (
        f"`python -m bench.looks`, on {facts['machine']}, torch {facts['torch']}, NumPy {facts['numpy']}: "
        f"{facts['seconds'] / 60:.1f} minutes of processor time, and {ordered.seconds / 60:.1f} for what is sorted, "
        "which `--sorted` measures alone. `QUICK=1` measures one model, fewer times, and "
        "prints the page instead. Draws are seeded, so the same versions on the same machine find the same counts."
    )
    yield ""
    yield (
        "Not measured: gate files with more looks than these, looks with more steps or restarts, several rules or "
        "attacks in one policy (each of a policy's rules may err by itself), and rules that compare with a baseline."
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1]
