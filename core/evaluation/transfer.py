"""`evaluate_transferability`: every task attacked by itself, and what it does to the others, in and across models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from torch import nn

from core.attacks import attacked_tasks
from core.data.batch import Dataset
from core.data.order import in_order
from core.errors import InvalidError
from core.evaluation.bootstrap import Resampler
from core.evaluation.evaluate import identity, prepare_for
from core.evaluation.memory import suitable_batch_size
from core.evaluation.shard import Plan, evaluate_plan
from core.evaluation.tally import AttackResult, Tally
from core.evaluation.transferability import Transferability, transferability
from core.specs.attack import AttackSpec
from core.specs.objective import SINGLE
from core.specs.precision import Precision
from core.tasks import MetricRules, Task


@dataclass(frozen=True, slots=True)
class TransferResult:
    """Transferability from every model to every model.

    Attributes:
        pairs: by source and target: images made on the source, scored on the target. Paper Eq. 11 is about pairs
            of a model with itself.
    """

    models: tuple[str, ...]
    pairs: dict[tuple[str, str], Transferability]


def evaluate_transferability(
    models: Mapping[str, nn.Module],
    dataset: Dataset,
    attack: AttackSpec,
    *,
    tasks: Sequence[Task] | None = None,
    limit: int | None = None,
    shuffle: int | None = None,
    batch_size: int | None = None,
    rules: MetricRules = "standard",
    precision: Precision = "float32",
    seed: int = 0,
) -> TransferResult:
    """Attack every task of every model by itself and score the images on all models.

    Args:
        models: by name; they have the same tasks.
        dataset: its samples are taken in order, unless `shuffle` says otherwise.
        attack: any algorithm with an objective; which one is replaced by SINGLE for each task in turn.
        tasks: the data set's, unless said.
        limit, shuffle, batch_size, rules, precision, seed: as in `core.evaluation.evaluate.evaluate`.

    Raises:
        InvalidError: no models, no samples, an algorithm without an objective, or what does not fit the tasks.
    """
    chosen = tuple(tasks or dataset.tasks)
    taken = in_order(dataset, shuffle)
    samples = range(min(len(dataset), limit if limit is not None else len(dataset)))
    if not models or not samples:
        raise InvalidError(
            "transferability needs a model and a sample", field="models" if not models else "limit"
        )
    if not attack.method.objective:
        raise InvalidError(f"{attack.algorithm} cannot attack one task", field="attack.algorithm")
    attacks = {task.name: replace(attack, objective=SINGLE + task.name) for task in chosen}
    for single in attacks.values():
        attacked_tasks(single, chosen)
    resampler = Resampler(seed)
    scored = tuple(models.values())

    size = min(batch_size or suitable_batch_size(scored[0], dataset), len(samples))

    def measured(plan: Plan, before: Sequence[AttackResult | None]) -> list[AttackResult]:
        tables, cost = evaluate_plan(plan, taken, samples, batch_size=size)
        results = []
        for table, clean in zip(tables, before, strict=True):
            tally = Tally(plan.attack, chosen, resampler)
            tally.add(table, cost)
            results.append(tally.result(dataset=identity(taken), clean=clean, rules=rules))
        return results

    plain = Plan(source=scored[0], scored=scored, attack=None, tasks=chosen, rounded=False)
    clean = measured(plain, [None] * len(scored))
    found: dict[str, dict[str, list[AttackResult]]] = {}
    for source, model in models.items():
        plan = replace(plain, source=model, prepared=prepare_for(model, dataset, precision, samples=size))
        found[source] = {
            task: measured(replace(plan, attack=single), clean) for task, single in attacks.items()
        }
    names = tuple(models)
    return TransferResult(
        names,
        {
            (source, target): pair_transferability(
                {task: results[names.index(target)] for task, results in found[source].items()}
            )
            for source, target in product(names, names)
        },
    )


def pair_transferability(results: Mapping[str, AttackResult]) -> Transferability:
    """Transferability of one pair out of its results, by attacked task."""
    arps = {task: result.arp for task, result in results.items() if result.arp is not None}
    return transferability(arps, {task: result.replicates for task, result in results.items()})
