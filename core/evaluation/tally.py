"""`Tally`: one attack's statistics taken in shard by shard, and what they come to: metrics, ARP, intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from core.arp import Arp, average_relative_performance
from core.evaluation.bootstrap import ReplicateTotals, Resampler, take_replicates
from core.evaluation.metrics import MetricValues, all_metrics
from core.evaluation.shard import Cost
from core.evaluation.statistics import Statistics
from core.intervals import Interval, Replicates
from core.specs.attack import AttackSpec
from core.tasks import MetricRules, Task


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What one attack did.

    Attributes:
        attack: as asked for, eps in pixel steps; None for the clean pass.
        metrics: by task and metric, over all samples.
        arp: None for the clean pass.
        arp_8bit: ARP of the attacked images rounded to 8 bits; None for the clean pass.
        replicates: bootstrap replicates of every metric and of ARP.
        flagged: how many samples raised each flag ("floored", "non_finite", "zero_gradient", "rising").
    """

    attack: AttackSpec | None
    metrics: dict[str, MetricValues]
    arp: Arp | None
    arp_8bit: Arp | None
    replicates: Replicates
    samples: int
    flagged: dict[str, int]
    cost: Cost

    @property
    def label(self) -> str:
        """The attack's label, "clean" for the clean pass."""
        return "clean" if self.attack is None else self.attack.label

    @property
    def interval(self) -> Interval | None:
        """95 % interval of ARP; None for the clean pass, or where too many replicates are undefined."""
        return None if self.arp is None else self.replicates.interval(self.arp.overall)

    @property
    def task_intervals(self) -> dict[str, Interval | None]:
        """The same by task; empty for the clean pass."""
        tasks = {} if self.arp is None else self.arp.tasks
        return {task: self.replicates.interval(value, task=task) for task, value in tasks.items()}

    @property
    def metric_intervals(self) -> dict[str, dict[str, Interval | None]]:
        """By task and metric."""
        return {
            task: {
                name: self.replicates.interval(value, task=task, metric=name)
                for name, value in values.items()
            }
            for task, values in self.metrics.items()
        }


@lru_cache(maxsize=1)
def _one_replicate(seed: int) -> Resampler:
    """For totals without intervals; shared, as what it draws is drawn but once."""
    return Resampler(seed, replicates=1)


@dataclass
class Tally:
    """One attack, or with `attack` None the clean pass, while its shards come in.

    Attributes:
        resampler: shared by everything that is to be compared.
    """

    attack: AttackSpec | None
    tasks: Sequence[Task]
    resampler: Resampler
    cost: Cost = field(default_factory=lambda: Cost(0, 0, 0.0))
    samples: int = 0

    def __post_init__(self) -> None:
        self._totals = ReplicateTotals(self.resampler)
        self._rounded = ReplicateTotals(_one_replicate(self.resampler.seed))
        self._has_rounded = False
        self._flagged: dict[str, int] = {}

    def add(self, table: Statistics, cost: Cost) -> None:
        """Take in a shard."""
        self._totals.add(table)
        if table.rounded:
            self._has_rounded = True
            self._rounded.add(Statistics(table.indices, table.rounded))
        for name, raised in table.flags.items():
            self._flagged[name] = self._flagged.get(name, 0) + int(raised.sum())
        self.cost += cost
        self.samples += len(table)

    def result(self, *, dataset: str, clean: AttackResult | None, rules: MetricRules) -> AttackResult:
        """What it comes to.

        Args:
            dataset: whatever tells the data set and its version from every other.
            clean: the clean pass; None for the clean pass itself.
            rules: metric rules, see `core.evaluation.metrics.metric_values`.
        """
        metrics = all_metrics(self.tasks, self._totals.totals(), rules=rules)
        replicates = take_replicates(
            self._totals,
            self.tasks,
            dataset=dataset,
            clean=None if clean is None else clean.replicates,
            rules=rules,
        )
        arp = arp_8bit = None
        if clean is not None:
            arp = self._arp(clean, metrics)
            if self._has_rounded:
                arp_8bit = self._arp(clean, all_metrics(self.tasks, self._rounded.totals(), rules=rules))
        return AttackResult(
            self.attack, metrics, arp, arp_8bit, replicates, self.samples, dict(self._flagged), self.cost
        )

    def _arp(self, clean: AttackResult, metrics: dict[str, MetricValues]) -> Arp:
        directions = {task.name: task.directions for task in self.tasks}
        return average_relative_performance(clean.metrics, metrics, directions)
