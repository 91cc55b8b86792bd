"""What a gate looks at: a finished evaluation, whoever kept it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any
from uuid import UUID

from core.comparison import Estimate, attack_key
from core.intervals import Interval, Replicates
from core.jobs.reliability import Flag
from core.specs.attack import AttackSpec
from core.tasks import METRICS, Metric, Task

NOTHING = Estimate(None)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredResult:
    """The clean pass, or one attack; numbers and intervals as `core.jobs.finalise.ResultRow` has them.

    Attributes:
        ordinal: position of the attack in the spec; -1 is the clean pass.
        attack: the attack as JSON; None for the clean pass.
        metrics: {task: {metric: value}}.
        arp: in percent; None for the clean pass.
        task_arp: by task.
        intervals: {"arp": [low, high], "tasks": …, "metrics": …}.
        flags: see `core.jobs.reliability`.
        read: its bootstrap replicates; None where none were kept.
    """

    ordinal: int
    attack: Mapping[str, Any] | None
    metrics: Mapping[str, Mapping[str, float | None]]
    samples: int
    arp: float | None = None
    task_arp: Mapping[str, float | None] | None = None
    intervals: Mapping[str, Any] | None = None
    flags: Sequence[Flag] = ()
    read: Callable[[], Replicates | None] = lambda: None

    @cached_property
    def spec(self) -> AttackSpec | None:
        """The attack with nothing left to a default; None for the clean pass."""
        return None if self.attack is None else AttackSpec(**self.attack).resolved()

    @cached_property
    def label(self) -> str | None:
        """The attack's short name; None for the clean pass."""
        return None if self.spec is None else self.spec.label

    def number(self, task: str | None = None, metric: str | None = None) -> Estimate:
        """A task's metric, a task's ARP, or with neither ARP; a value that is no number is none."""
        bounds = self.intervals or {}
        if task is None:
            return finite(Estimate(self.arp, _interval(bounds.get("arp"))))
        if metric is None:
            found = (self.task_arp or {}).get(task)
            return finite(Estimate(found, _interval((bounds.get("tasks") or {}).get(task))))
        found = self.metrics.get(task, {}).get(metric)
        listed = ((bounds.get("metrics") or {}).get(task) or {}).get(metric)
        return finite(Estimate(found, _interval(listed)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A finished evaluation.

    Attributes:
        dataset: the samples, as the job's spec names them, pinned.
        metric_version: of the formulas, see `core.tasks.METRIC_VERSION`.
        metric_rules: that the metrics follow.
        tasks: of the model.
        flags: about the whole evaluation.
        probed: whether the health checks ran.
        clean: the clean pass.
        attacks: in the spec's order.
    """

    job: UUID
    model: UUID
    dataset: Mapping[str, Any]
    metric_version: str
    metric_rules: str
    tasks: Sequence[Task]
    flags: Sequence[Flag]
    probed: bool
    clean: MeasuredResult
    attacks: Sequence[MeasuredResult]
    model_name: str | None = None

    def same_attack(self, other: MeasuredResult) -> MeasuredResult | None:
        """The result of the attack that another evaluation's result is of; None if it was not run."""
        return None if other.attack is None else self._by_attack.get(attack_key(other.attack))

    @cached_property
    def _by_attack(self) -> dict[str, MeasuredResult]:
        return {attack_key(result.attack): result for result in self.attacks if result.attack is not None}

    def metrics_of(self, task: str) -> dict[str, Metric]:
        """The metrics that were measured of a task, by name; none of a task that is not there."""
        kinds = [found.kind for found in self.tasks if found.name == task]
        return {
            metric.name: metric
            for kind in kinds
            for metric in METRICS[kind]
            if metric.name in self.clean.metrics.get(task, {})
        }

    def error_flags(self, *results: MeasuredResult) -> list[Flag]:
        """The errors on these results, on the clean pass that all numbers rest on, and on the whole evaluation."""
        beside = (result for result in results if result is not self.clean)
        return [flag for flag in self._flags(self.clean, *beside) if flag["severity"] == "error"]

    def _flags(self, *results: MeasuredResult) -> Iterator[Flag]:
        yield from self.flags
        for result in results:
            yield from result.flags


def finite(found: Estimate) -> Estimate:
    """The estimate without what is no number in it."""
    value, bounds = found.value, found.interval
    if bounds is not None and not (isfinite(bounds.low) and isfinite(bounds.high)):
        bounds = None
    return Estimate(None if value is None or not isfinite(value) else value, bounds)


def _interval(bounds: Sequence[float] | None) -> Interval | None:
    return None if bounds is None else Interval(*bounds)
