"""An evaluation's results, as JSON and as rows of a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from api.views.common import FlagView, Interval, MetricInfo, bounds, metric_infos
from core.jobs.reliability import reliable
from core.specs.attack import AttackSpec
from core.store.tables import Job, Model, Result
from core.tasks import METRIC_VERSION, Task


class IntervalsView(BaseModel):
    """95 % intervals of a result's numbers, from the bootstrap over samples."""

    arp: Interval
    tasks: dict[str, Interval]
    metrics: dict[str, dict[str, Interval]]


class ResultView(BaseModel):
    """The clean pass, or one attack."""

    ordinal: int = Field(description="Position of the attack in the spec; -1 is the clean pass.")
    label: str
    attack: dict[str, Any] | None
    arp: float | None = Field(description="ARP in percent; higher is a stronger attack (paper Eq. 10).")
    arp_8bit: float | None = Field(
        description="ARP of the same images rounded to 8 bits, as a file keeps them."
    )
    task_arp: dict[str, float | None] | None
    metrics: dict[str, dict[str, float | None]]
    intervals: IntervalsView | None
    reliable: bool = Field(description="No flag of severity error, neither here nor on the whole evaluation.")
    flags: list[FlagView]
    samples: int
    cost: dict[str, Any]

    @classmethod
    def of(cls, row: Result, summary: Mapping[str, Any]) -> "ResultView":
        """Describe a row of an evaluation with this summary."""
        return cls(
            ordinal=row.ordinal,
            label=result_label(row),
            attack=row.attack,
            arp=row.arp,
            arp_8bit=row.arp_8bit,
            task_arp=row.task_arp,
            metrics=row.metrics,
            intervals=None if row.intervals is None else IntervalsView(**row.intervals),
            reliable=reliable(row.flags, summary.get("flags", ())),
            flags=[FlagView(**flag) for flag in row.flags],
            samples=row.samples,
            cost=row.cost,
        )


class ResultsView(BaseModel):
    """Everything that an evaluation found."""

    job: UUID
    model: UUID
    model_name: str | None
    dataset: dict[str, Any]
    metric_version: str
    metric_rules: str
    metrics: dict[str, dict[str, MetricInfo]] = Field(description="By task and metric.")
    reliable: bool = Field(description="No flag of severity error anywhere: the numbers can be gated on.")
    flags: list[FlagView] = Field(description="About the whole evaluation; each result has its own beside.")
    bootstrap: dict[str, Any] | None = Field(description="How the intervals were drawn.")
    probe: dict[str, Any] | None = Field(description="What the health checks measured, by check.")
    searches: dict[str, Any] = Field(
        description="What each `auto_mta` tried and ran, by its position in the spec."
    )
    clean: ResultView
    attacks: list[ResultView]

    @classmethod
    def of(cls, job: Job, model: Model, rows: Sequence[Result], tasks: Sequence[Task]) -> "ResultsView":
        """Describe a finished evaluation; `rows` begin with the clean pass."""
        summary = job.summary or {}
        clean, *attacks = (ResultView.of(row, summary) for row in rows)
        return cls(
            job=job.id,
            model=model.id,
            model_name=model.name,
            dataset=job.spec["dataset"],
            metric_version=METRIC_VERSION,
            metric_rules=job.spec["metric_rules"],
            metrics=metric_infos(tasks),
            reliable=summary["reliable"],
            flags=[FlagView(**flag) for flag in summary.get("flags", ())],
            bootstrap=summary.get("bootstrap"),
            probe=summary.get("probe"),
            searches=summary.get("searches", {}),
            clean=clean,
            attacks=attacks,
        )

    def table(self) -> Iterator[dict[str, object]]:
        """One row an attack, the clean pass first: what it was, ARP, ARP by task, every metric."""
        for view in (self.clean, *self.attacks):
            attack, intervals = view.attack or {}, view.intervals
            row: dict[str, object] = {"attack": view.label}
            row |= {name: attack.get(name) for name in ("algorithm", "objective", "eps")}
            row |= {"samples": view.samples, "reliable": view.reliable, "arp_percent": view.arp}
            row |= bounds("arp_percent", intervals.arp if intervals else None)
            row["arp_8bit_percent"] = view.arp_8bit
            for task in self.metrics:
                row[f"arp_percent.{task}"] = (view.task_arp or {}).get(task)
                row |= bounds(f"arp_percent.{task}", intervals.tasks.get(task) if intervals else None)
            for task, metrics in self.metrics.items():
                row |= {f"{task}.{metric}": view.metrics[task][metric] for metric in metrics}
            yield row


def result_label(row: Result) -> str:
    """A short name of the attack, or "clean"."""
    return "clean" if row.attack is None else AttackSpec(**row.attack).label
