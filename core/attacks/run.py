"""`run_attack`: a spec in, adversarial images out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.attacks.algorithm import Attempt, Run
from core.attacks.apgd import apgd, chosen
from core.attacks.ascent import Ascent
from core.attacks.auto_sage import auto_sage
from core.attacks.damage import CleanScale, Damage
from core.attacks.draws import Draws
from core.attacks.noise import sign_noise, uniform_noise
from core.attacks.objectives import Objective, Weighted, make_objective
from core.attacks.projected import fgsm, mim, pgd
from core.attacks.square import square
from core.attacks.targets import aimed, check_targets
from core.attacks.threat import Ball, ball_around
from core.data.batch import Batch
from core.modules import frozen
from core.specs.algorithms import Algorithm
from core.specs.attack import AttackSpec
from core.specs.attack_fields import AttackSpecError
from core.specs.fitting import attacked_tasks
from core.tasks import Task

RUNS: dict[Algorithm, Callable[[Run], Attempt]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "mim": mim,
    "apgd": apgd,
    "auto_sage": auto_sage,
    "square": square,
    "uniform_noise": uniform_noise,
    "sign_noise": sign_noise,
}

NO_OBJECTIVE = Weighted()


@dataclass(frozen=True, slots=True)
class AttackOutcome:
    """What an attack made of a batch.

    Attributes:
        images: [N, 3, H, W] adversarial images, inside the ball and the bounds.
        floored: [N] bool, samples whose loss fell below the floor that divisions have.
        non_finite: [N] bool, samples that met a NaN or infinite value or gradient.
        zero_gradient: [N] bool, samples whose first gradient was zero.
        rising: [N] bool, samples whose objective was still rising when the steps ran out; see `still_rising`.
        forwards, backwards: passes over the batch that it took.
    """

    images: Tensor
    floored: Tensor
    non_finite: Tensor
    zero_gradient: Tensor
    rising: Tensor
    forwards: int
    backwards: int


def run_attack(
    model: nn.Module,
    batch: Batch,
    tasks: Sequence[Task],
    spec: AttackSpec,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    damage: CleanScale | None = None,
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
        damage: raise each task's damage (see `core.attacks.damage`) in the place of its loss.

    Raises:
        AttackSpecError: the spec names a task that is not among the tasks, or is `auto_mta`, which needs a
            data set to search on (`core.evaluation.evaluate` runs it).
        InvalidError: images outside the bounds, labels or predictions that do not fit the tasks.
    """
    if spec.algorithm == "auto_mta":
        raise AttackSpecError(
            "auto_mta searches on a data set; core.evaluation.evaluate runs it", field="algorithm"
        )
    attacked = attacked_tasks(spec, tasks)
    check_targets(spec, attacked)
    full = spec.resolved()
    ball = ball_around(batch.images, norm=full.norm, eps=full.eps, bounds=bounds)
    device = batch.images.device
    with frozen(model):
        objective: Objective = make_objective(full, attacked, device) if full.objective else NO_OBJECTIVE
        labelled = aimed(batch, attacked, full.targets)
        measure = Damage(attacked, labelled, damage) if damage is not None else None
        ascent = Ascent(model, labelled, attacked, objective, eot=full.eot, measure=measure)
        images = _best_of_restarts(ascent, ball, full, batch.indices)
    return AttackOutcome(
        images,
        ascent.floored,
        ascent.non_finite,
        ascent.zero_gradient,
        still_rising(ascent.trace, len(batch), device)
        if full.method.gradients
        else torch.zeros_like(ascent.floored),
        ascent.forwards,
        ascent.backwards,
    )


def _best_of_restarts(ascent: Ascent, ball: Ball, spec: AttackSpec, indices: Tensor) -> Tensor:
    clean = ball.centre
    if spec.objective is not None and (spec.random_start or spec.method.random):
        ascent.begin(clean)
    best: Attempt | None = None
    for restart in range(spec.restarts):
        run = Run(
            clean=clean,
            ball=ball,
            ascent=ascent,
            draws=Draws(spec.seed, indices, restart),
            steps=spec.steps or 0,
            step_size=spec.step_size or 0.0,
            decay=spec.decay or 0.0,
            random_start=spec.random_start,
        )
        attempt = RUNS[spec.algorithm](run)
        if spec.restarts > 1 and attempt.value is None:
            attempt = replace(attempt, value=ascent.value(attempt.images))
        best = attempt if best is None else _better(attempt, best)
    assert best is not None
    return best.images


def _better(new: Attempt, old: Attempt) -> Attempt:
    assert new.value is not None
    assert old.value is not None
    better = new.value > old.value
    return Attempt(chosen(better, new.images, old.images), torch.where(better, new.value, old.value))


LAST_SHARE = 0.1
RISING_SHARE = 0.05


def still_rising(trace: Sequence[Tensor], samples: int, device: torch.device) -> Tensor:
    """[N] bool: the best value rose by more than 5 % of its whole rise within the last tenth of the passes."""
    if len(trace) < 1 / LAST_SHARE:
        return torch.zeros(samples, dtype=torch.bool, device=device)
    best = torch.stack(list(trace)).cummax(0).values
    late = best[-1] - best[-1 - max(1, round(LAST_SHARE * len(trace)))]
    return late > RISING_SHARE * (best[-1] - best[0]).clamp_min(torch.finfo(best.dtype).tiny)
