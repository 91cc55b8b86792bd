"""The page and the table that `bench.attacks` writes. Every sentence with a number in it is computed here."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.evaluation.transferability import transfer_ratio
from core.intervals import Interval, interval, stored
from core.layouts import Layout
from core.specs.objective import SINGLE

Floats = NDArray[np.float64]

FLAGSHIP = "auto_mta"
TRANSFER_EPS = 8.0


@dataclass(frozen=True, slots=True)
class Row:
    """One attack on one model at one eps."""

    algorithm: str
    objective: str
    arp: float | None
    interval: tuple[float, ...] | None
    arp_8bit: float | None
    tasks: Mapping[str, float | None]
    replicates: Floats
    task_replicates: Mapping[str, Floats]
    passes: float
    flags: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Algorithm and objective."""
        return f"{self.algorithm} {self.objective}".strip()

    @property
    def strength(self) -> float:
        """ARP, and minus infinity where there is none."""
        return -np.inf if self.arp is None else self.arp


@dataclass(frozen=True, slots=True)
class Cell:
    """Every attack on one model at one eps, on the same samples."""

    layout: int
    eps: float
    seconds: float
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row:
        """The attack of that name."""
        return next(row for row in self.rows if row.name == name)

    def ranked(self, rows: Sequence[Row] | None = None) -> list[Row]:
        """The strongest first."""
        return sorted(self.rows if rows is None else rows, key=lambda row: row.strength, reverse=True)


class Writer(Protocol):
    """What `csv.writer` gives."""

    def writerow(self, row: Sequence[object], /) -> object:
        """Write a line."""
        ...


def write_csv(writer: Writer, cells: Sequence[Cell]) -> None:
    """Every number, a line for each attack on each model at each eps."""
    tasks = list(cells[0].rows[0].tasks)
    writer.writerow(
        ["layout", "eps", "algorithm", "objective", "arp", "low", "high", "arp_8bit", *tasks, "passes"]
    )
    for cell in cells:
        for row in cell.rows:
            bounds = row.interval or (None, None)
            values = [row.arp, *bounds, row.arp_8bit, *(row.tasks[task] for task in tasks), row.passes]
            shown = ["" if value is None else f"{value:.2f}" for value in values]
            writer.writerow([cell.layout, f"{cell.eps:g}", row.algorithm, row.objective, *shown])


def write_page(cells: Sequence[Cell], layouts: Mapping[int, Layout], facts: Mapping[str, Any]) -> str:
    """The whole page, in Markdown."""
    samples = int(facts["samples"])
    parts = [
        _introduction(cells, layouts, facts),
        _overall(cells, samples),
        _first_places(cells, samples),
        _flagship(cells, samples),
        _paper_ranking(cells),
        _transferability(cells, layouts, samples),
        _witnesses(cells),
        _rounding(cells),
        _flags(cells),
    ]
    return "\n".join(line for part in parts for line in (*part, ""))


def _introduction(
    cells: Sequence[Cell], layouts: Mapping[int, Layout], facts: Mapping[str, Any]
) -> Iterator[str]:
    sizes = sorted({cell.eps for cell in cells})
    yield (
        "# Every attack on fifteen layouts"
        if len(layouts) == 15
        else f"# Every attack on {len(layouts)} layouts"
    )
    yield ""
    yield "Written by `python -m bench.attacks`; the numbers by themselves are in `attacks.csv`."
    yield ""
    yield (
        f"{len(layouts)} `sapling` models of segmentation, normals and depth on rendered scenes, all trained alike "
        f"(`bench/zoo.py`), whose layouts are those of the paper's Table 16 by index: {', '.join(map(str, layouts))}; "
        f"2 is independent, 0 all-shared. The first {facts['samples']} samples of the test split, L-infinity, eps "
        f"{', '.join(f'{eps:g}' for eps in sizes)} of 255. Every iterative attack may take {facts['budget']} passes "
        "for each sample, a forward and a backward pass counting one: SIGNTOTAL, PCGrad, MGDA and Auto-SAGE, which "
        "need every task's gradient by itself, get fewer steps for them, Square twice as many queries, and AUTO-MTA "
        "pays for its search, on samples of the validation split, out of the same budget. Steps are those of the "
        "`strong` preset (2.5 eps/steps; APGD begins with 2 eps)."
    )
    yield ""
    yield (
        "ARP in percent; higher is a stronger attack. Brackets are 95 % intervals by bootstrap over samples; those of "
        "differences are paired. They say how the numbers would vary with other images, not with other training runs. "
        f"{facts['machine']}, torch {facts['torch']}, "
        f"{sum(cell.seconds for cell in cells) / 3600:.1f} core hours of attacks."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join([" --- ", *[" ---: "] * (len(head) - 1)]) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _overall(cells: Sequence[Cell], samples: int) -> Iterator[str]:
    """The paper's overall ARP: the mean over models, as in its Figure 2."""
    sizes = sorted({cell.eps for cell in cells})
    names = [row.name for row in cells[0].rows]
    means = {
        (name, eps): _mean([cell.row(name) for cell in cells if cell.eps == eps], samples)
        for name in names
        for eps in sizes
    }
    best = {eps: max(means[name, eps][0] for name in names) for eps in sizes}
    yield "## Overall ARP"
    yield ""
    yield "The mean over all models, as in the paper's Figure 2."
    yield ""
    rows = []
    for name in sorted(names, key=lambda name: means[name, sizes[-1]][0], reverse=True):
        passes = float(np.mean([cell.row(name).passes for cell in cells]))
        values = [_with_bounds(*means[name, eps], bold=means[name, eps][0] == best[eps]) for eps in sizes]
        rows.append([name, f"{passes:.1f}", *values])
    yield from _table(["attack", "passes", *(f"eps {eps:g}" for eps in sizes)], rows)


def _mean(rows: Sequence[Row], samples: int) -> tuple[float, Interval | None]:
    value = float(np.mean([row.strength for row in rows]))
    replicates = stored(np.mean([row.replicates for row in rows], axis=0))
    return value, interval(replicates, value, samples=samples)


def _with_bounds(value: float, bounds: Interval | None, *, bold: bool = False) -> str:
    text = f"**{value:.1f}**" if bold else f"{value:.1f}"
    return text if bounds is None else f"{text} [{bounds.low:.1f}, {bounds.high:.1f}]"


def _difference(one: Row, other: Row, samples: int) -> tuple[float, Interval | None]:
    value = one.strength - other.strength
    return value, interval(stored(one.replicates - other.replicates), value, samples=samples)


def _first_places(cells: Sequence[Cell], samples: int) -> Iterator[str]:
    sizes = sorted({cell.eps for cell in cells})
    firsts: Counter[tuple[str, float]] = Counter()
    clear: Counter[str] = Counter()
    for cell in cells:
        first, second, *_ = cell.ranked()
        firsts[first.name, cell.eps] += 1
        _, ahead = _difference(first, second, samples)
        clear[first.name] += ahead is not None and ahead.low > 0
    yield "## First places"
    yield ""
    yield (
        f"How often an attack has the highest ARP of all, in {len(cells)} cells of model and eps; *clear*: by a "
        "difference to the second whose interval excludes 0."
    )
    yield ""
    names = sorted({name for name, _ in firsts}, key=lambda name: -sum(firsts[name, eps] for eps in sizes))
    rows = [
        [
            name,
            *(str(firsts[name, eps]) for eps in sizes),
            str(sum(firsts[name, eps] for eps in sizes)),
            str(clear[name]),
        ]
        for name in names
    ]
    yield from _table(["attack", *(f"eps {eps:g}" for eps in sizes), "all", "clear"], rows)


def _flagship(cells: Sequence[Cell], samples: int) -> Iterator[str]:
    yield "## AUTO-MTA against the best of the others"
    yield ""
    lost = [cell for cell in cells if cell.ranked()[0].name != FLAGSHIP]
    tied = 0
    rows = []
    for cell in cells:
        own = cell.row(FLAGSHIP)
        rival = cell.ranked([row for row in cell.rows if row.name != FLAGSHIP])[0]
        value, bounds = _difference(own, rival, samples)
        tied += value > 0 and (bounds is None or bounds.low <= 0)
        rows.append(
            [
                str(cell.layout),
                f"{cell.eps:g}",
                _with_bounds(own.strength, None if own.interval is None else Interval(*own.interval)),
                f"{rival.name} {rival.strength:.1f}",
                _with_bounds(value, bounds),
            ]
        )
    if lost:
        where = ", ".join(f"layout {cell.layout} at eps {cell.eps:g}" for cell in lost)
        yield f"AUTO-MTA is the strongest in {len(cells) - len(lost)} of {len(cells)} cells; it is not on {where}."
    else:
        yield f"AUTO-MTA is the strongest in all {len(cells)} cells."
    yield f"In {tied} of those that it leads the interval of the difference reaches 0."
    yield ""
    yield from _table(["layout", "eps", "AUTO-MTA", "best of the others", "difference"], rows)


def _paper_ranking(cells: Sequence[Cell]) -> Iterator[str]:
    """The paper's comparison: among its own objectives, on the same algorithm."""
    objectives = [row.objective for row in cells[0].rows if row.algorithm == "fgsm"]
    yield "## The paper's comparison"
    yield ""
    yield (
        "Among SINGLE, TOTAL, SIGNTOTAL and GB-MTA on the same algorithm: in how many cells each is first. In the "
        "paper GB-MTA is first in 80 of 100 cases on NYUv2 and in 53 of 60 on Tiny-Taskonomy."
    )
    yield ""
    rows = []
    for algorithm in ("fgsm", "pgd", "apgd"):
        firsts = Counter(
            cell.ranked([cell.row(f"{algorithm} {objective}") for objective in objectives])[0].objective
            for cell in cells
        )
        rows.append([algorithm, *(str(firsts[objective]) for objective in objectives)])
    yield from _table(["algorithm", *objectives], rows)


def _transferability(cells: Sequence[Cell], layouts: Mapping[int, Layout], samples: int) -> Iterator[str]:
    """Paper Eq. 11, Figure 4 and Table 12."""
    chosen = [cell for cell in cells if cell.eps == TRANSFER_EPS]
    if not chosen:
        return
    tasks = list(chosen[0].rows[0].tasks)
    yield f"## Transferability, APGD, eps {TRANSFER_EPS:g}"
    yield ""
    yield (
        "Paper Eq. 11: the mean ARP of the other tasks over that of the attacked one. *Shared*: the branching points "
        "that all tasks share, of five; the table is in that order."
    )
    yield ""
    rows = []
    for cell in sorted(chosen, key=lambda cell: shared_levels(layouts[cell.layout])):
        values = []
        for task in tasks:
            row = cell.row(f"apgd {SINGLE}{task}")
            value = float(transfer_ratio(task, {name: _defined(arp) for name, arp in row.tasks.items()}))
            ratios = stored(transfer_ratio(task, dict(row.task_replicates)))
            values.append(
                "undefined" if np.isnan(value) else _with_two(value, interval(ratios, value, samples=samples))
            )
        rows.append([str(cell.layout), str(shared_levels(layouts[cell.layout])), *values])
    yield from _table(["layout", "shared", *(f"SINGLE-{task}" for task in tasks)], rows)
    yield ""
    shared = [shared_levels(layouts[cell.layout]) for cell in chosen]
    correlations = []
    for task in tasks:
        values_of = [
            float(
                transfer_ratio(
                    task,
                    {name: _defined(arp) for name, arp in cell.row(f"apgd {SINGLE}{task}").tasks.items()},
                )
            )
            for cell in chosen
        ]
        correlations.append(f"{task} {_rank_correlation(shared, values_of):.2f}")
    yield f"Rank correlation (Spearman) of transferability with the levels that all share: {', '.join(correlations)}."


def _defined(value: float | None) -> Floats:
    return np.array(np.nan if value is None else value)


def _with_two(value: float, bounds: Interval | None) -> str:
    return f"{value:.2f}" if bounds is None else f"{value:.2f} [{bounds.low:.2f}, {bounds.high:.2f}]"


def shared_levels(layout: Layout) -> int:
    """How many branching points all tasks share."""
    return sum(len(level) == 1 for level in layout.levels)


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    ranks = [_ranks(values) for values in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Sequence[float]) -> Floats:
    """Mean ranks, equal values alike."""
    array = np.asarray(values, dtype=np.float64)
    return np.array([((array < value).sum() + (array <= value).sum() - 1) / 2 for value in array])


def _witnesses(cells: Sequence[Cell]) -> Iterator[str]:
    yield "## The floor and the witness"
    yield ""
    gradient_attacks = "the weakest iterative joint attack (of PGD, MIM and APGD)"
    for name, about in (
        ("uniform_noise", "Uniform noise"),
        ("sign_noise", "Sign noise"),
        ("square gb_mta", "Square, without gradients,"),
    ):
        shares = [cell.row(name).strength / _weakest_joint(cell) for cell in cells]
        worst = max(shares)
        yield (
            f"- {about} reaches {100 * float(np.median(shares)):.0f} % of {gradient_attacks} in the median cell, "
            f"{100 * worst:.0f} % at most."
        )


def _weakest_joint(cell: Cell) -> float:
    joint = [
        row
        for row in cell.rows
        if row.algorithm in ("pgd", "mim", "apgd") and not row.objective.startswith(SINGLE)
    ]
    return cell.ranked(joint)[-1].strength


def _rounding(cells: Sequence[Cell]) -> Iterator[str]:
    yield "## Rounded to 8 bits"
    yield ""
    changes = [
        (row.arp_8bit - row.arp, cell, row)
        for cell in cells
        for row in cell.rows
        if row.arp is not None and row.arp_8bit is not None
    ]
    value, cell, row = max(changes, key=_size_of_change)
    yield (
        f"ARP of the images as 8-bit files differs from that of the images as they are by "
        f"{float(np.median([abs(change) for change, _, _ in changes])):.2f} points in the median, and at most by "
        f"{value:+.2f} ({row.name}, layout {cell.layout}, eps {cell.eps:g}: {row.arp:.2f})."
    )


def _size_of_change(entry: tuple[float, Cell, Row]) -> float:
    return abs(entry[0])


def _flags(cells: Sequence[Cell]) -> Iterator[str]:
    yield "## Health flags"
    yield ""
    raised = Counter(flag for cell in cells for row in cell.rows for flag in row.flags)
    total = sum(len(cell.rows) for cell in cells)
    if not raised:
        yield f"None in {total} results."
    for (code, severity), count in raised.most_common():
        yield f"- `{code}` ({severity}): {count} of {total} results."
