"""Two models that were evaluated alike: the clean price of one against the other, and how much sturdier it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel, Field

from api.views.common import bounds
from api.views.evaluation import result_label
from api.views.study import AraView, EstimateView
from core.comparison import Estimate, ara, attack_key, difference, directions_of
from core.intervals import Replicates, UnpairedError
from core.jobs.planning import CLEAN
from core.store.tables import Job, Result
from core.tasks import Task


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
    directions = directions_of(tasks, mine.metrics)
    found = ara(mine.metrics, theirs.metrics, directions, (one.read(mine), other.read(theirs)))
    return AraView(
        overall=_estimate(found.overall),
        tasks={task: _estimate(value) for task, value in found.tasks.items()},
        undefined=list(found.undefined),
    )


def _attacks(one: Evaluated, other: Evaluated) -> Iterator[ComparedAttackView]:
    """The attacks that are the same in both, however they are numbered."""
    theirs = {attack_key(row.attack): row for row in other.rows.values() if row.attack is not None}
    for ordinal, row in sorted(one.rows.items()):
        match = None if row.attack is None else theirs.get(attack_key(row.attack))
        if match is not None:
            yield ComparedAttackView(
                label=result_label(row),
                ordinal=ordinal,
                other_ordinal=match.ordinal,
                arp=_stored(row),
                other_arp=_stored(match),
                robust_gain=_estimate(difference(match.arp, row.arp, (other.read(match), one.read(row)))),
            )


def _stored(row: Result) -> EstimateView:
    return EstimateView(value=row.arp, interval=(row.intervals or {}).get("arp"))


def _estimate(found: Estimate) -> EstimateView:
    interval = None if found.interval is None else (found.interval.low, found.interval.high)
    return EstimateView(value=found.value, interval=interval)
