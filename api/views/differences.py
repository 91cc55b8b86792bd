"""How two results on the same samples differ, with intervals that know that they are on the same samples."""

from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel, Field

from api.views.common import Interval
from api.views.evaluation import result_label
from core.intervals import Replicates, UnpairedError, check_paired, paired_difference
from core.store.tables import Job, Result


@dataclass(frozen=True, slots=True)
class Side:
    """A result, its job, and its replicates."""

    job: Job
    row: Result
    replicates: Replicates


class SideView(BaseModel):
    """One of the two results."""

    job: UUID
    model: UUID
    ordinal: int
    label: str

    @classmethod
    def of(cls, side: Side) -> "SideView":
        """Describe a result."""
        return cls(
            job=side.job.id,
            model=side.job.model_id,
            ordinal=side.row.ordinal,
            label=result_label(side.row),
        )


class DifferenceView(BaseModel):
    """A number of the first result less the same number of the other."""

    difference: float
    interval: Interval = Field(description="95 %; one that holds 0 tells no difference from chance.")


class DifferencesView(BaseModel):
    """Every number that both results have, the first's less the other's."""

    attack: SideView
    other: SideView
    samples: int
    arp: DifferenceView | None
    tasks: dict[str, DifferenceView] = Field(description="ARP by task.")
    metrics: dict[str, dict[str, DifferenceView]]

    @classmethod
    def of(cls, one: Side, other: Side) -> "DifferencesView":
        """Compare two results.

        Raises:
            UnpairedError: they are on different samples, or were measured or resampled differently.
        """
        check_paired(one.replicates, other.replicates)
        if one.job.spec["metric_rules"] != other.job.spec["metric_rules"]:
            raise UnpairedError("the results follow different metric rules; evaluate both by the same ones")
        return cls(
            attack=SideView.of(one),
            other=SideView.of(other),
            samples=one.replicates.origin.samples,
            arp=_difference(one, other),
            tasks=_defined({task: _difference(one, other, task) for task in one.row.task_arp or ()}),
            metrics={
                task: _defined({metric: _difference(one, other, task, metric) for metric in values})
                for task, values in one.row.metrics.items()
            },
        )


def _difference(
    one: Side, other: Side, task: str | None = None, metric: str | None = None
) -> DifferenceView | None:
    """None where one of them has no such number."""
    value, less = _value(one.row, task, metric), _value(other.row, task, metric)
    if value is None or less is None:
        return None
    found = paired_difference(one.replicates, other.replicates, value - less, task=task, metric=metric)
    interval = None if found is None else (found.low, found.high)
    return DifferenceView(difference=value - less, interval=interval)


def _value(row: Result, task: str | None, metric: str | None) -> float | None:
    value: float | None = row.arp
    if task is not None:
        value = (row.task_arp or {}).get(task) if metric is None else row.metrics.get(task, {}).get(metric)
    return value


def _defined(found: dict[str, DifferenceView | None]) -> dict[str, DifferenceView]:
    return {name: view for name, view in found.items() if view is not None}
