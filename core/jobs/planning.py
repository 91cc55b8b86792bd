"""A spec cut into shards. Pure: the same spec always gives the same plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core.specs.attack import AttackSpec
from core.specs.documents import EvaluationSpec

CLEAN = -1
"""Ordinal of the clean pass among a job's results."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard.

    Attributes:
        payload: `{"kind": "evaluation", "attack": position or None, "start": i, "stop": j}`, j exclusive.
        work: expected cost, in passes over one sample.
    """

    payload: dict[str, Any]
    work: float


def plan_evaluation(spec: EvaluationSpec, *, samples: int, shard_samples: int, tasks: int) -> list[ShardPlan]:
    """The shards of an evaluation: the clean pass, then every attack, each over slices of whole batches.

    Slices begin at multiples of the batch size, so a batch's composition does not depend on the sharding.

    Args:
        spec: what to evaluate.
        samples: how many samples the data set has.
        shard_samples: the target size of a slice; at least one batch is taken.
        tasks: how many tasks the model has.
    """
    slices = list(_slices(samples, step=max(1, shard_samples // spec.batch_size) * spec.batch_size))
    costs: dict[int | None, int] = {None: 1}
    costs |= {number: passes(attack, tasks=tasks) for number, attack in enumerate(spec.attacks)}
    return [
        ShardPlan(
            payload={"kind": "evaluation", "attack": attack, "start": start, "stop": stop},
            work=float((stop - start) * cost),
        )
        for attack, cost in costs.items()
        for start, stop in slices
    ]


def passes(attack: AttackSpec, *, tasks: int) -> int:
    """Passes per sample: a forward and backward pair counts one, and so does the final forward pass.

    `sign_total` takes each task's gradient by itself; the other objectives need one backward pass per step.
    """
    steps = attack.resolved().steps
    assert steps is not None
    return steps * (tasks if attack.objective == "sign_total" else 1) + 1


def _slices(samples: int, *, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, samples, step):
        yield start, min(start + step, samples)
