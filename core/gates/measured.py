"""What a gate looks at: a finished evaluation, and how far attacks transfer between tasks, whoever kept them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any
from uuid import UUID

from core.comparison import Estimate, attack_key
from core.errors import InvalidError
from core.intervals import LEVEL, Interval, Replicates
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

    def number(self, task: str | None = None, metric: str | None = None, *, level: float = LEVEL) -> Estimate:
        """A task's metric, a task's ARP, or with neither ARP; a value that is no number is none.

        The interval is the stored one at 95 %, and at any other level drawn anew from the replicates, if there are.
        """
        value = finite(Estimate(self._value(task, metric))).value
        if level == LEVEL:
            return finite(Estimate(value, self._stored(task, metric)))
        return finite(Estimate(value, self._drawn(value, task, metric, level)))

    def _value(self, task: str | None, metric: str | None) -> float | None:
        if task is None:
            return self.arp
        return (self.task_arp or {}).get(task) if metric is None else self.metrics.get(task, {}).get(metric)

    def _stored(self, task: str | None, metric: str | None) -> Interval | None:
        bounds = self.intervals or {}
        if task is None:
            return _interval(bounds.get("arp"))
        if metric is None:
            return _interval((bounds.get("tasks") or {}).get(task))
        return _interval(((bounds.get("metrics") or {}).get(task) or {}).get(metric))

    def _drawn(
        self, value: float | None, task: str | None, metric: str | None, level: float
    ) -> Interval | None:
        replicates = self.read()
        if replicates is None:
            return None
        try:
            return replicates.interval(value, task=task, metric=metric, level=level)
        except InvalidError:  # replicates of other numbers only
            return None


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


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredTransfer:
    """How far attacks on one task reach the others, as a transferability job has it for one model by itself.

    Attributes:
        label: of the attack, as in `MeasuredResult.label`.
        dataset: the samples, as the job's spec names them, pinned.
        transfer: by attacked task, its transferability (paper Eq. 11); None where it is not defined.
        intervals: theirs, at 95 %; None where there is none.
        undefined: by attacked task without a value, why.
        unstable: attacked tasks whose value divides by an ARP that may as well be 0.
        flags: about the whole job.
        model: that was attacked.
        metric_rules: that the metrics follow.
    """

    job: UUID
    label: str
    dataset: Mapping[str, Any]
    samples: int
    transfer: Mapping[str, float | None]
    intervals: Mapping[str, Sequence[float] | None]
    undefined: Mapping[str, str]
    unstable: Sequence[str]
    flags: Sequence[Flag]
    model: UUID
    metric_rules: str

    def number(self, task: str) -> Estimate:
        """The transferability of the attack on a task; a value that is no number is none."""
        return finite(Estimate(self.transfer.get(task), _interval(self.intervals.get(task))))


def finite(found: Estimate) -> Estimate:
    """The estimate without what is no number in it."""
    value, bounds = found.value, found.interval
    if bounds is not None and not (isfinite(bounds.low) and isfinite(bounds.high)):
        bounds = None
    return Estimate(None if value is None or not isfinite(value) else value, bounds)


def _interval(bounds: Sequence[float] | None) -> Interval | None:
    return None if bounds is None else Interval(*bounds)
