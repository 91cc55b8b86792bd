"""A spec cut into shards. Pure: the same spec always gives the same plan."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from core.specs.attack import AttackSpec
from core.specs.documents import EvaluationSpec, TransferabilitySpec
from core.specs.objective import WEIGHTED
from core.specs.trainings import TrainingSpec

CLEAN = -1
"""Ordinal of the clean pass among a job's results."""

FORWARD = BACKWARD = 0.5
"""Work is counted in passes over one sample: a forward and a backward one together are one."""

TRAINED = FORWARD + 2 * BACKWARD
"""A forward pass and a backward one to the weights, which takes about twice as long as one to the images."""

SEARCH_SHARE = 0.2
"""Of an `auto_mta` attack's budget, what its search takes at most."""

FIRST_SLICE = 64
"""Samples of the first slice; each one ends at twice as many until they are as large as a shard may be.

So an evaluation on few samples is the beginning of one on many, which finds it done.
"""

PROBE_SAMPLES, PROBE_PASSES = 32, 100
"""The probe is expected to cost about as much as so many passes over so many samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One shard.

    Attributes:
        payload: what it is to do, see `plan_evaluation` and `plan_transferability`; `start` and `stop` are positions
            in the data set, `stop` exclusive.
        work: expected cost, in passes over one sample.
        after: position in the plan of an earlier shard whose output it needs.
    """

    payload: dict[str, Any]
    work: float
    after: int | None = None


def plan_evaluation(spec: EvaluationSpec, *, samples: int, shard_samples: int, tasks: int) -> list[ShardPlan]:
    """The shards of an evaluation: the clean pass, then every attack, each over slices of whole batches.

    - `{"kind": "evaluation", "attack": position, "start": i, "stop": j}`; the clean pass has `"attack": None`.
    - `{"kind": "calibration", "attack": position}`: an `auto_mta` search, before the slices of its attack, which
      need what it found.
    - `{"kind": "probe"}`: the health checks of all attacks, at the end, if the spec asks for them.

    Slices begin at multiples of the batch size, so a batch's composition does not depend on the sharding, and at the
    same ones for any number of samples.

    Args:
        spec: what to evaluate.
        samples: how many samples the data set has.
        shard_samples: the most samples of a slice; at least one batch is taken.
        tasks: how many tasks the model has.
    """
    slices = list(_slices(samples, batch_size=spec.batch_size, shard_samples=shard_samples))
    plan = _over(slices, {"kind": "evaluation", "attack": None}, cost=FORWARD)
    for number, attack in enumerate(spec.attacks):
        cost, after = passes(attack, tasks=tasks), None
        if attack.algorithm == "auto_mta":
            after = len(plan)
            budget = samples * _attacking(attack.resolved(), tasks)
            payload = {"kind": "calibration", "attack": number}
            plan.append(ShardPlan(payload=payload, work=SEARCH_SHARE * budget))
        plan += _over(slices, {"kind": "evaluation", "attack": number}, cost=cost, after=after)
    if spec.health:
        plan.append(
            ShardPlan(payload={"kind": "probe"}, work=float(min(samples, PROBE_SAMPLES) * PROBE_PASSES))
        )
    return plan


def plan_transferability(
    spec: TransferabilitySpec, *, samples: int, shard_samples: int, tasks: Sequence[str]
) -> list[ShardPlan]:
    """The shards of a transferability job: for every model the clean pass, then each task attacked by itself.

    `{"kind": "transfer", "model": position, "task": name, "start": i, "stop": j}`; the clean pass has `"task": None`.
    Attacked images are scored on every model. Slices are as in `plan_evaluation`.

    Args:
        spec: what to measure.
        samples: how many samples the data set has.
        shard_samples: the most samples of a slice; at least one batch is taken.
        tasks: the models' tasks, by name.
    """
    slices = list(_slices(samples, batch_size=spec.batch_size, shard_samples=shard_samples))
    costs: dict[str | None, float] = {None: FORWARD}
    costs |= {
        task: passes(spec.attack_on(task), tasks=len(tasks), scorings=len(spec.models)) for task in tasks
    }
    return [
        shard
        for model, (task, cost) in product(range(len(spec.models)), costs.items())
        for shard in _over(slices, {"kind": "transfer", "model": model, "task": task}, cost=cost)
    ]


def plan_training(spec: TrainingSpec, *, samples: int, tasks: int) -> list[ShardPlan]:
    """The shard of a training: `{"kind": "training"}`. It is one, as nothing of it can be done beside the rest.

    Args:
        spec: what to train.
        samples: how many samples it is trained on.
        tasks: how many tasks the model has.
    """
    adversarial, cost = spec.recipe.adversarial, TRAINED
    if adversarial is not None:
        cost = TRAINED if adversarial.mix == "adversarial" else 2 * TRAINED
        cost += _attacking(adversarial.attack.resolved(), tasks)
    seen = spec.recipe.total(samples) * spec.recipe.batch_size
    return [ShardPlan(payload={"kind": "training"}, work=seen * cost)]


def passes(attack: AttackSpec, *, tasks: int, scorings: int = 2) -> float:
    """Passes per sample.

    Args:
        attack: what makes the images.
        tasks: how many tasks the model has.
        scorings: forward passes that measure the images: as they are and rounded to 8 bits, unless said.
    """
    return _attacking(attack.resolved(), tasks) + scorings * FORWARD


def _attacking(attack: AttackSpec, tasks: int) -> float:
    """Passes until the images are there."""
    steps = attack.steps or 0
    if attack.algorithm == "auto_mta":
        return steps  # its budget, whatever it spends it on
    return steps * attack.restarts * attack.eot * _step(attack, tasks)


def _step(attack: AttackSpec, tasks: int) -> float:
    """Passes of one step; the objectives that are no weighted sum take each task's gradient by itself."""
    if not attack.method.gradients:
        return FORWARD
    if attack.algorithm == "auto_sage":
        return 2 * FORWARD + (tasks + 1) * BACKWARD
    assert attack.aim is not None
    return FORWARD + (1 if attack.aim.family in WEIGHTED else tasks) * BACKWARD


def _over(
    slices: Sequence[range], payload: Mapping[str, Any], *, cost: float, after: int | None = None
) -> list[ShardPlan]:
    """The same work on every slice."""
    return [
        ShardPlan(
            payload={**payload, "start": rows.start, "stop": rows.stop}, work=len(rows) * cost, after=after
        )
        for rows in slices
    ]


def _slices(samples: int, *, batch_size: int, shard_samples: int) -> Iterator[range]:
    """Slices that begin at the same places however many samples there are, the first ones smaller."""
    largest = max(1, shard_samples // batch_size) * batch_size
    first = min(largest, max(1, FIRST_SLICE // batch_size) * batch_size)
    start = 0
    while start < samples:
        stop = start + min(largest, max(first, start))
        yield range(start, min(stop, samples))
        start = stop
