"""From stored rows to what a gate looks at."""

from functools import lru_cache, partial
from uuid import UUID

from api.views.comparison import Evaluated
from api.views.transferability import TransferabilityView
from core.gates import Measured, MeasuredResult
from core.gates.measured import MeasuredTransfer
from core.intervals import Replicates
from core.jobs.planning import CLEAN
from core.specs.manifests import tasks_of
from core.store.tables import Job, Model, Result
from core.tasks import METRIC_VERSION

KEPT_READ = 256
"""Results whose replicates are kept in memory, for the rules that share them."""


def measured(found: Evaluated, model: Model) -> Measured:
    """A finished evaluation of a model, as a gate looks at it."""
    assert model.manifest is not None

    @lru_cache(KEPT_READ)
    def read(ordinal: int) -> Replicates | None:
        return found.read(found.rows[ordinal])

    def result(row: Result) -> MeasuredResult:
        return MeasuredResult(
            ordinal=row.ordinal,
            attack=row.attack,
            metrics=row.metrics,
            samples=row.samples,
            arp=row.arp,
            task_arp=row.task_arp,
            intervals=row.intervals,
            flags=row.flags,
            read=partial(read, row.ordinal),
        )

    clean, summary = found.rows[CLEAN], found.job.summary or {}
    return Measured(
        job=found.job.id,
        model=model.id,
        model_name=model.name,
        dataset=found.job.spec["dataset"],
        metric_version=clean.cost.get("metric_version", METRIC_VERSION),
        metric_rules=found.job.spec["metric_rules"],
        tasks=tasks_of(model.manifest),
        flags=summary.get("flags", ()),
        probed=summary.get("probe") is not None,
        clean=result(clean),
        attacks=[result(row) for ordinal, row in sorted(found.rows.items()) if ordinal != CLEAN],
    )


def measured_transfer(job: Job, model: UUID) -> MeasuredTransfer:
    """What a finished transferability job found on a model; on its first one if that is none of its."""
    view = TransferabilityView.of(job)
    position = view.models.index(model) if model in view.models else 0
    (pair,) = (pair for pair in view.pairs if pair.source == pair.target == position)
    return MeasuredTransfer(
        job=job.id,
        model=view.models[position],
        label=view.label,
        dataset=view.dataset,
        metric_rules=view.metric_rules,
        samples=view.samples,
        transfer=pair.transfer,
        intervals=pair.transfer_intervals,
        undefined=pair.undefined,
        unstable=pair.unstable,
        flags=[flag.model_dump() for flag in view.flags],
    )
