"""A study's cells: one model each, and what was measured of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from core.ara import ara_replicates, average_relative_accuracy
from core.arp import Directions
from core.intervals import Replicates, check_paired
from core.jobs.planning import CLEAN
from core.jobs.reliability import Flag, reliable
from core.store.tables import Result
from worker.study.quantity import Json, Quantity, difference, estimate, shown

FlagRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The model of one layout and one mode, and the rows of its evaluation.

    Attributes:
        layout: position in the spec.
        jobs: that it took, by kind.
        training: the training's summary.
        results: of the evaluation, the clean pass and every attack.
        read: the blob of a digest: `Result.replicates`.
        transferability: the summary of that job, if there is one.
        flags: about the whole evaluation, from its job's summary.
    """

    layout: int
    mode: str
    model: UUID
    model_name: str | None
    parameters: int
    jobs: Mapping[str, UUID]
    training: Mapping[str, Any]
    results: Sequence[Result]
    read: Callable[[str], bytes]
    transferability: Mapping[str, Any] | None
    flags: Sequence[FlagRow] = field(default=())


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A cell with the replicates that comparisons need.

    Attributes:
        clean: replicates of the clean pass's metrics; None where none are kept.
        arps: ARP by the attack's position in the spec, where there is one.
    """

    cell: Cell
    clean: Replicates | None
    arps: Mapping[int, Quantity]
    rows: Mapping[int, Result]

    @property
    def place(self) -> tuple[int, str]:
        """Layout and mode."""
        return self.cell.layout, self.cell.mode

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float | None]]:
        """The clean pass's, by task."""
        return self.rows[CLEAN].metrics

    def metric(self, task: str, name: str) -> Quantity | None:
        """A metric of the clean pass."""
        value = self.metrics[task][name]
        drawn = None if self.clean is None else self.clean.of(task, name)
        return None if value is None else Quantity(value, drawn, self.samples)

    @property
    def samples(self) -> int:
        """On how many samples it was measured."""
        return self.rows[CLEAN].samples

    def ara(self, baseline: "Measured", directions: Directions) -> "AraOf":
        """Paper Eq. 6: this clean pass against another's."""
        found = average_relative_accuracy(self.metrics, baseline.metrics, directions)
        drawn = None
        if self.clean is not None and baseline.clean is not None:
            drawn = ara_replicates(self.clean, baseline.clean, directions)

        def quantity(value: float | None, task: str | None = None) -> Quantity | None:
            if value is None:
                return None
            return Quantity(value, None if drawn is None else drawn.of(task), self.samples)

        tasks = {task: quantity(value, task) for task, value in found.tasks.items()}
        return AraOf(tasks, quantity(found.overall), found.undefined)

    @property
    def all_flags(self) -> Iterator[FlagRow]:
        """The evaluation's, then every result's."""
        yield from self.cell.flags
        for row in self.rows.values():
            yield from row.flags


@dataclass(frozen=True, slots=True, eq=False)
class AraOf:
    """ARA by task and overall; None where it is not defined."""

    tasks: Mapping[str, Quantity | None]
    overall: Quantity | None
    undefined: tuple[str, ...]

    def to_json(self) -> Json:
        """The fields as JSON values."""
        tasks = {task: shown(value) for task, value in self.tasks.items()}
        return {"overall": shown(self.overall), "tasks": tasks, "undefined": list(self.undefined)}


class Grid:
    """The measured cells by layout and mode; some may be missing."""

    def __init__(self, cells: Iterable[Measured], baseline: str) -> None:
        self.baseline = baseline
        self._cells = {cell.place: cell for cell in sorted(cells, key=_layout)}

    def __iter__(self) -> Iterator[Measured]:
        return iter(self._cells.values())

    def get(self, layout: int, mode: str) -> Measured | None:
        """The cell, if it is there."""
        return self._cells.get((layout, mode))

    def of_mode(self, mode: str) -> list[Measured]:
        """The mode's cells, in the order of their layouts."""
        return [cell for cell in self if cell.cell.mode == mode]

    def baseline_of(self, cell: Measured) -> Measured | None:
        """The first mode's model of the same layout; None for that one itself, and where it is missing."""
        return None if cell.cell.mode == self.baseline else self.get(cell.cell.layout, self.baseline)

    def gain(self, cell: Measured, attack: int) -> Quantity | None:
        """By how much less the attack harms this model than the first mode's of the same layout, in points of ARP."""
        before = self.baseline_of(cell)
        return None if before is None else difference(before.arps.get(attack), cell.arps.get(attack))


def measured(cells: Iterable[Cell]) -> Iterator[Measured]:
    """Read the cells' replicates: a clean pass's metrics, and of the attacks ARP alone.

    Raises:
        UnpairedError: some are of other samples than the first, or were resampled differently.
    """
    first: Replicates | None = None
    for cell in cells:
        rows = {row.ordinal: row for row in sorted(cell.results, key=_ordinal)}
        clean: Replicates | None = None
        arps: dict[int, Quantity] = {}
        for ordinal, row in rows.items():
            drawn = None if row.replicates is None else Replicates.from_bytes(cell.read(row.replicates))
            if drawn is not None:
                first = drawn if first is None else first
                check_paired(drawn, first)
            if ordinal == CLEAN:
                clean = drawn
            elif row.arp is not None:
                arps[ordinal] = Quantity(row.arp, None if drawn is None else drawn.overall, row.samples)
        yield Measured(cell, clean, arps, rows)


def cell_json(cell: Measured, grid: Grid, directions: Directions) -> Json:
    """Everything about one cell."""
    told, clean = cell.cell, cell.rows[CLEAN]
    baseline = grid.baseline_of(cell)
    return {
        "layout": told.layout,
        "mode": told.mode,
        "model": str(told.model),
        "model_name": told.model_name,
        "parameters": told.parameters,
        "jobs": {kind: str(job) for kind, job in told.jobs.items()},
        "training": dict(told.training),
        "samples": clean.samples,
        "metrics": _with_intervals(clean.metrics, (clean.intervals or {}).get("metrics", {})),
        "ara": None if baseline is None else cell.ara(baseline, directions).to_json(),
        "attacks": [
            _attacked(row, grid.gain(cell, ordinal), told.flags)
            for ordinal, row in cell.rows.items()
            if ordinal != CLEAN
        ],
        "reliable": reliable(cell.all_flags),
        "flags": _counted(cell.all_flags),
    }


def _with_intervals(
    values: Mapping[str, Mapping[str, float | None]],
    intervals: Mapping[str, Mapping[str, list[float] | None]],
) -> Json:
    return {
        task: {name: estimate(value, intervals.get(task, {}).get(name)) for name, value in metrics.items()}
        for task, metrics in values.items()
    }


def _attacked(row: Result, gain: Quantity | None, flags: Iterable[Flag]) -> Json:
    intervals = row.intervals or {}
    return {
        "attack": row.ordinal,
        "arp": estimate(row.arp, intervals.get("arp")),
        "tasks": {
            task: estimate(value, intervals.get("tasks", {}).get(task))
            for task, value in (row.task_arp or {}).items()
        },
        "robust_gain": None if gain is None else shown(gain),
        "reliable": reliable(row.flags, flags),
    }


def _counted(flags: Iterable[FlagRow]) -> list[Json]:
    """Which flags there are, and how often."""
    counts: dict[tuple[str, str], int] = {}
    for flag in flags:
        key = (flag["code"], flag["severity"])
        counts[key] = counts.get(key, 0) + 1
    return [
        {"code": code, "severity": severity, "count": count} for (code, severity), count in counts.items()
    ]


def _layout(cell: Measured) -> int:
    return cell.cell.layout


def _ordinal(row: Result) -> int:
    return row.ordinal
