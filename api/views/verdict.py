"""From stored rows to what a gate looks at."""

from functools import lru_cache, partial

from api.views.comparison import Evaluated
from core.gates import Measured, MeasuredResult
from core.intervals import Replicates
from core.jobs.planning import CLEAN
from core.specs.manifests import tasks_of
from core.store.tables import Model, Result
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
