"""`evaluate`, the library call: a model, a data set and attacks in, a table of ARP out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from core.attacks import attacked_tasks
from core.data.batch import Dataset
from core.errors import InvalidError
from core.evaluation.arp import Arp, average_relative_performance
from core.evaluation.metrics import MetricValues, all_metrics
from core.evaluation.shard import Cost, evaluate_shard
from core.evaluation.statistics import Statistics
from core.specs.attack import AttackSpec
from core.tasks import MetricRules, Task


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What one attack did.

    Attributes:
        attack: as asked for, eps in pixel steps; None for the clean pass.
        metrics: by task and metric, over all samples.
        arp: None for the clean pass.
        flagged: how many samples raised each flag ("floored", "non_finite").
    """

    attack: AttackSpec | None
    metrics: dict[str, MetricValues]
    arp: Arp | None
    samples: int
    flagged: dict[str, int]
    cost: Cost


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The clean pass and every attack, in the order asked for."""

    tasks: tuple[Task, ...]
    clean: AttackResult
    attacks: tuple[AttackResult, ...]

    @property
    def arp(self) -> dict[str, float | None]:
        """Overall ARP in percent, by the attack's label ("pgd/gb_mta/eps=8")."""
        return {label(result): result.arp.overall for result in self.attacks if result.arp is not None}

    def table(self) -> str:
        """ARP overall and by task, one line an attack, as plain text."""
        names = [task.name for task in self.tasks]
        head = ["attack", "ARP %", *names]
        rows = [
            [label(result), _number(result.arp.overall), *(_number(result.arp.tasks[name]) for name in names)]
            for result in self.attacks
            if result.arp is not None
        ]
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in [head, *rows]
        )


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    attacks: Iterable[AttackSpec],
    *,
    tasks: Sequence[Task] | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    rules: MetricRules = "standard",
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Attack a model on a data set and measure what it did.

    Args:
        model: maps images [N, 3, H, W] in [0, 1] to {task: prediction}; left exactly as it was found.
        dataset: its samples are taken in order.
        attacks: eps in pixel steps of 1/255.
        tasks: the data set's, unless said.
        limit: only the first so many samples.
        batch_size: samples per pass; the numbers depend on it by rounding alone.
        rules: metric rules, see `metric_values`.
        progress: called with (attacks done, attacks in all), the clean pass counted.

    Raises:
        InvalidError: no samples, or attacks, labels and predictions that do not fit the tasks.
    """
    chosen = tuple(tasks or dataset.tasks)
    asked = tuple(attacks)
    for attack in asked:
        attacked_tasks(attack, chosen)  # an attack that cannot be run is refused before any is
    specs = (None, *asked)
    samples = range(min(len(dataset), limit if limit is not None else len(dataset)))
    if not samples:
        raise InvalidError("there are no samples to evaluate", field="limit")
    results: list[AttackResult] = []
    for done, spec in enumerate(specs, start=1):
        table, cost = evaluate_shard(
            model, dataset, samples, spec, tasks=chosen, batch_size=min(batch_size, len(samples))
        )
        clean = results[0].metrics if results else None
        results.append(score(spec, table, cost, tasks=chosen, clean=clean, rules=rules))
        if progress is not None:
            progress(done, len(specs))
    return EvaluationResult(chosen, results[0], tuple(results[1:]))


def score(
    attack: AttackSpec | None,
    table: Statistics,
    cost: Cost,
    *,
    tasks: Sequence[Task],
    clean: Mapping[str, MetricValues] | None,
    rules: MetricRules,
) -> AttackResult:
    """Metrics and, against the clean metrics, ARP out of one attack's statistics."""
    metrics = all_metrics(tasks, {task.name: table.totals(task.name) for task in tasks}, rules=rules)
    arp = None
    if attack is not None and clean is not None:
        arp = average_relative_performance(clean, metrics, {task.name: task.directions for task in tasks})
    flagged = {name: int(values.sum()) for name, values in table.flags.items()}
    return AttackResult(attack, metrics, arp, len(table), flagged, cost)


def label(result: AttackResult) -> str:
    """The attack's label, "clean" for the clean pass."""
    return result.attack.label if result.attack is not None else "clean"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
