"""`run_attack`: a spec in, adversarial images out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.attacks.ascent import Ascent, frozen
from core.attacks.objectives import make_objective
from core.attacks.threat import LinfBall
from core.data.batch import Batch
from core.specs.attack import AttackSpec, AttackSpecError
from core.tasks import Task


@dataclass(frozen=True, slots=True)
class AttackOutcome:
    """What an attack made of a batch.

    Attributes:
        images: [N, 3, H, W] adversarial images, inside the ball and the bounds.
        floored: [N] bool, samples whose loss fell below the floor under GB-MTA's division.
        non_finite: [N] bool, samples that met a NaN or infinite gradient.
        forwards, backwards: passes over the batch that it took.
    """

    images: Tensor
    floored: Tensor
    non_finite: Tensor
    forwards: int
    backwards: int


def run_attack(
    model: nn.Module,
    batch: Batch,
    tasks: Sequence[Task],
    spec: AttackSpec,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> AttackOutcome:
    """Attack every sample of a batch by itself: what comes out for one does not depend on its neighbours.

    The model maps images [N, 3, H, W] to {task: prediction}; only the needed branches run where its forward
    takes `only`. It is attacked in eval mode with parameters frozen, and left exactly as it was found.

    Args:
        model: any module; its device is the batch's.
        batch: clean images and their labels.
        tasks: the tasks that the joint objectives attack; SINGLE picks its own among them.
        spec: eps and step size in the units of the images handed over (`AttackSpec.scaled` converts pixel
            steps).
        bounds: least and greatest value of a valid image.

    Raises:
        AttackSpecError: SINGLE names a task that is not among the tasks.
        InvalidError: images outside the bounds, labels or predictions that do not fit the tasks.
    """
    attacked = attacked_tasks(spec, tasks)
    full = spec.resolved()
    assert full.steps is not None
    assert full.step_size is not None
    ball = LinfBall.around(batch.images, eps=full.eps, bounds=bounds)
    with frozen(model):
        ascent = Ascent(model, batch, attacked, make_objective(full))
        start = ball.project(batch.images.clone())
        if full.random_start:
            start = ball.random_start(start, batch.indices, seed=full.seed)
        images = projected_ascent(ascent, ball, start, steps=full.steps, step_size=full.step_size)
    return AttackOutcome(images, ascent.floored, ascent.non_finite, ascent.forwards, ascent.backwards)


def projected_ascent(
    ascent: Ascent, ball: LinfBall, images: Tensor, *, steps: int, step_size: float
) -> Tensor:
    """PGD (Madry et al. 2018); one step of eps from the image itself is FGSM (Goodfellow et al. 2014)."""
    for _ in range(steps):
        gradient = ascent.gradient(images)
        with torch.no_grad():
            images = ball.step(images, gradient, step_size)
    return images


def attacked_tasks(spec: AttackSpec, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks whose losses the objective raises.

    Raises:
        AttackSpecError: SINGLE names none of them, or there are none.
    """
    if not tasks:
        raise AttackSpecError("there is no task to attack", field="tasks")
    if spec.task is None:
        return tuple(tasks)
    chosen = tuple(task for task in tasks if task.name == spec.task)
    if not chosen:
        names = ", ".join(task.name for task in tasks)
        raise AttackSpecError(f"no task {spec.task!r} to attack; there are {names}", field="objective")
    return chosen
