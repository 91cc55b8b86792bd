"""ARA, average relative accuracy: how much better or worse one model is than another, on clean images (paper Eq. 6).

The paper writes it for one accuracy a task. Here it is of every metric that a task reports, lower or higher better,
put together as ARP (Eq. 10) puts them together: ARA is minus the ARP that the step from baseline to model would have.
NumPy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.arp import Directions, arp_arrays, average_relative_performance
from core.intervals import Replicates, check_paired, stored


@dataclass(frozen=True, slots=True)
class Ara:
    """Average relative accuracy in percent; higher is better, negative is worse than the baseline.

    Attributes:
        tasks: by task, the mean over its metrics; None where none of them is defined.
        overall: the mean over tasks that have one; None where none has.
        undefined: "task.metric" of every metric left out of its task's mean, because the baseline's value is 0 or one
            of the two has no value.
    """

    tasks: dict[str, float | None]
    overall: float | None
    undefined: tuple[str, ...] = ()


def average_relative_accuracy(
    model: Mapping[str, Mapping[str, float | None]],
    baseline: Mapping[str, Mapping[str, float | None]],
    directions: Directions,
) -> Ara:
    """ARA of a model against a baseline: the mean over tasks of the mean over metrics of the relative improvement.

    Args:
        model: {task: {metric: value}} of its clean pass.
        baseline: the other model's.
        directions: {task: {metric: "higher" | "lower"}}, which values are better; its entries are the ones that count.

    Raises:
        InvalidError: a task or metric of `directions` is missing from the values, or a direction is neither.
    """
    found = average_relative_performance(baseline, model, directions)
    tasks = {task: _negative(value) for task, value in found.tasks.items()}
    return Ara(tasks, _negative(found.overall), found.undefined)


def ara_replicates(model: Replicates, baseline: Replicates, directions: Directions) -> Replicates:
    """Replicates of ARA by task and overall, out of those of two clean passes: `interval` of them is ARA's.

    A replicate counts each sample as often in the one pass as in the other, so what is hard for both cancels.

    Raises:
        UnpairedError: the passes are of different samples, or were resampled differently.
    """
    check_paired(model, baseline)
    by_task, overall = arp_arrays(baseline.metrics, model.metrics, directions)
    tasks = {task: stored(0 - values) for task, values in by_task.items()}
    return Replicates(model.origin, {}, tasks, stored(0 - overall))


def _negative(value: float | None) -> float | None:
    return None if value is None else 0 - value  # an equal model has 0, not -0
