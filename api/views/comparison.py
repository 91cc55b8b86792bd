"""Two models that were evaluated alike: the clean price of one against the other, and how much sturdier it is."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel, Field

from api.views.common import bounds
from api.views.evaluation import result_label
from api.views.study import AraView, EstimateView
from core.ara import ara_replicates, average_relative_accuracy
from core.arp import Directions
from core.intervals import Interval, Replicates, UnpairedError, check_paired, paired_difference
from core.jobs.planning import CLEAN
from core.store.tables import Job, Result
from core.tasks import METRICS, Task


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A finished evaluation.

    Attributes:
        rows: its results by ordinal, the clean pass's among them.
        read: replicates of a result; None where none were kept.
    """

    job: Job
    rows: Mapping[int, Result]
    read: Callable[[Result], Replicates | None]


class ComparedAttackView(BaseModel):
    """One attack on both models."""

    label: str
    ordinal: int = Field(description="In the first job's spec.")
    other_ordinal: int
    arp: EstimateView = Field(description="On the first job's model.")
    other_arp: EstimateView
    robust_gain: EstimateView = Field(
        description="By how much less it harms the first model than the other, in points of ARP; a paired interval."
    )


class ComparisonView(BaseModel):
    """One model against another on the same samples."""

    job: UUID
    other_job: UUID
    model: UUID
    other_model: UUID
    samples: int
    ara: AraView = Field(
        description="How much better the first model is on clean images, in percent (paper Eq. 6); negative is worse."
    )
    attacks: list[ComparedAttackView] = Field(
        description="Those that both jobs ran, in the first one's order."
    )

    @classmethod
    def of(cls, one: Evaluated, other: Evaluated, tasks: Sequence[Task]) -> "ComparisonView":
        """Compare two evaluations.

        Raises:
            UnpairedError: they are on different samples, or were measured or resampled differently.
        """
        if one.job.spec["metric_rules"] != other.job.spec["metric_rules"]:
            raise UnpairedError(
                "the jobs follow different metric rules; evaluate both models by the same ones"
            )
        assert one.job.model_id is not None
        assert other.job.model_id is not None
        return cls(
            job=one.job.id,
            other_job=other.job.id,
            model=one.job.model_id,
            other_model=other.job.model_id,
            samples=one.rows[CLEAN].samples,
            ara=_ara(one, other, tasks),
            attacks=list(_attacks(one, other)),
        )

    def table(self) -> Iterator[dict[str, object]]:
        """One row for ARA, overall and by task, then one for each attack."""
        for name, estimate in (("overall", self.ara.overall), *self.ara.tasks.items()):
            yield _row(f"ARA {name}", estimate)
        for attack in self.attacks:
            yield _row(f"robust gain {attack.label}", attack.robust_gain)


def _row(name: str, estimate: EstimateView) -> dict[str, object]:
    return {"quantity": name, "value": estimate.value, **bounds("value", estimate.interval)}


def _ara(one: Evaluated, other: Evaluated, tasks: Sequence[Task]) -> AraView:
    mine, theirs = one.rows[CLEAN], other.rows[CLEAN]
    directions: Directions = {
        task.name: {
            metric.name: metric.direction
            for metric in METRICS[task.kind]
            if metric.name in mine.metrics[task.name]
        }
        for task in tasks
    }
    found = average_relative_accuracy(mine.metrics, theirs.metrics, directions)
    pair = one.read(mine), other.read(theirs)
    drawn = None if pair[0] is None or pair[1] is None else ara_replicates(pair[0], pair[1], directions)

    def estimate(value: float | None, task: str | None = None) -> EstimateView:
        return _estimate(value, None if drawn is None else drawn.interval(value, task=task))

    return AraView(
        overall=estimate(found.overall),
        tasks={task: estimate(value, task) for task, value in found.tasks.items()},
        undefined=list(found.undefined),
    )


def _attacks(one: Evaluated, other: Evaluated) -> Iterator[ComparedAttackView]:
    """The attacks that are the same in both, however they are numbered."""
    theirs = {_key(row): row for row in other.rows.values() if row.ordinal != CLEAN}
    for ordinal, row in sorted(one.rows.items()):
        match = None if ordinal == CLEAN else theirs.get(_key(row))
        if match is not None:
            yield ComparedAttackView(
                label=result_label(row),
                ordinal=ordinal,
                other_ordinal=match.ordinal,
                arp=_stored(row),
                other_arp=_stored(match),
                robust_gain=_gain(one.read(row), other.read(match), row.arp, match.arp),
            )


def _key(row: Result) -> str:
    return json.dumps(row.attack, sort_keys=True)


def _gain(
    mine: Replicates | None, theirs: Replicates | None, arp: float | None, other_arp: float | None
) -> EstimateView:
    if arp is None or other_arp is None:
        return _estimate(None, None)
    gain = other_arp - arp
    if mine is None or theirs is None:
        return _estimate(gain, None)
    check_paired(mine, theirs)
    return _estimate(gain, paired_difference(theirs, mine, gain))


def _stored(row: Result) -> EstimateView:
    return EstimateView(value=row.arp, interval=(row.intervals or {}).get("arp"))


def _estimate(value: float | None, interval: Interval | None) -> EstimateView:
    return EstimateView(value=value, interval=None if interval is None else (interval.low, interval.high))
