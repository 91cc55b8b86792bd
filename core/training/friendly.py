"""PGD-K-tau: an attack that lets each sample go tau steps after it is fooled (Zhang et al. 2020, Algorithm 1).

When a sample counts as fooled is `core.training.fooling`'s; what becomes of the images is the loop's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.attacks.ascent import tied, unshared
from core.attacks.draws import Draws
from core.attacks.objectives import Objective, make_objective
from core.attacks.threat import ball_around
from core.data.batch import Batch
from core.evaluation.shard import PIXEL_STEP
from core.modules import accepts_only, frozen
from core.specs.fitting import attacked_tasks, check_adversarial, judged_tasks
from core.specs.training import Adversarial
from core.tasks import Task
from core.training.fooling import Judge, Record
from core.training.moves import Moves
from core.training.targets import Targets


@dataclass(frozen=True, slots=True)
class FriendlyOutcome:
    """What the inner attack made of a batch, sample by sample in the batch's order.

    Attributes:
        images: [N, 3, H, W], inside the ball and the bounds.
        steps: [N] int64, steps that each sample took.
        tasks: those that are judged.
        steps_to_fool: [tasks, N] int64, steps after which a task was first seen fooled; K where it was not in the
            steps that the sample took, -1 where the sample has no labels for it.
        passes: forward and backward passes, each of one sample.
    """

    images: Tensor
    steps: Tensor
    tasks: tuple[Task, ...]
    steps_to_fool: Tensor
    passes: int


def friendly_attack(
    model: nn.Module,
    batch: Batch,
    tasks: Sequence[Task],
    adversarial: Adversarial,
    *,
    draws: Draws | None = None,
    unit: float = PIXEL_STEP,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> FriendlyOutcome:
    """Attack every sample until tau steps after it is fooled, K steps at most.

    A step is one forward and one backward pass of the samples that are left; whether they are fooled is seen in
    the same forward pass. Only where the attack starts away from the clean images do clean losses, if anything is
    measured against them, take one forward pass more. With tau = K, without noise and where tasks do not leave
    the objective, the images are those of `run_attack`, bit for bit.

    The model is attacked in eval mode with parameters frozen, and left exactly as it was found.

    Args:
        model: maps images to {task: prediction}; its device is the batch's.
        batch: clean images and their labels.
        tasks: as for `run_attack`.
        draws: of random start and noise; keyed by seed 0 and the batch's indices unless said.
        unit: of eps, in the images' units.
        bounds: least and greatest value of a valid image.

    Raises:
        AttackSpecError: the attack names a task that is not among the tasks.
        RecipeError: a rule does not fit its task.
        InvalidError: images outside the bounds, labels or predictions that do not fit the tasks.
    """
    check_adversarial(adversarial, tasks)
    spec = adversarial.attack.scaled(unit)
    ball = ball_around(batch.images, norm=spec.norm, eps=spec.eps, bounds=bounds)
    moves = Moves(ball, spec, draws or Draws(0, batch.indices), noise=adversarial.omega * unit)
    with frozen(model):
        attack = _Attack(model, batch, attacked_tasks(spec, tasks), adversarial, moves)
        for step in range(adversarial.steps):
            if not attack.advance(step):
                break
    return attack.outcome()


class _Attack:
    """The samples that are still attacked, and where those that were let go ended up."""

    def __init__(
        self, model: nn.Module, batch: Batch, tasks: Sequence[Task], adversarial: Adversarial, moves: Moves
    ) -> None:
        device = batch.images.device
        self._model = model
        self._only = {"only": {task.name for task in tasks}} if accepts_only(model) else {}
        self._adversarial = adversarial
        self._early = adversarial.patience < adversarial.steps
        self._objective: Objective = make_objective(adversarial.attack.resolved(), tasks, device)
        self._judged = judged_tasks(adversarial.attack, tasks)
        self._places = torch.tensor([tasks.index(task) for task in self._judged], device=device)
        self._judge = Judge(adversarial.fooled, self._judged, batch)
        self._targets = Targets(tasks, batch)
        self._moves = moves
        self._clean = self._clean_losses(moves.ball.centre) if adversarial.attack.random_start else None
        self._record: Record | None = None
        self._images = moves.start()
        self._rows = torch.arange(len(batch), device=device)
        self._ends: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._passes = 0

    def advance(self, step: int) -> bool:
        """One step of the samples that are left; False when none is."""
        leaf = self._images.detach().requires_grad_()
        self._passes += len(leaf)
        with torch.enable_grad():
            predictions = self._model(leaf, **self._only)
            parts = tied(self._targets.losses(predictions), leaf)
            losses = torch.stack(parts).detach()
            clean = losses if self._clean is None else self._clean
            self._clean = clean
            record, fooled = self._judge_now(step, losses, clean, predictions)
            if self._early and bool((record.until <= step).all()):
                return False
            raised = self._raised(parts, fooled & ~record.fooled)
            gradient = _finite(unshared(self._objective.direction(raised, clean, leaf)))
        if (stay := self._let_go(record, step)) is not None:  # fooled just now, and tau is 0
            gradient = gradient[stay]
        self._images = self._moves.step(self._images, gradient)
        self._let_go(record, step + 1)
        return len(self._rows) > 0

    def outcome(self) -> FriendlyOutcome:
        """Every sample where it ended, in the batch's order."""
        assert self._record is not None
        ends = [*self._ends, (self._rows, self._images, self._record.until, self._record.seen)]
        rows, images, steps, seen = zip(*ends, strict=True)
        order = torch.cat(rows).argsort()
        return FriendlyOutcome(
            images[0] if len(ends) == 1 else torch.cat(images)[order],
            torch.cat(steps)[order],
            self._judged,
            torch.cat(seen, 1)[:, order],
            self._passes,
        )

    def _clean_losses(self, images: Tensor) -> Tensor | None:
        """Of all tasks at the clean images, [tasks, N], if anything is measured against them."""
        if not (self._objective.relative or self._judge.relative):
            return None
        with torch.no_grad():
            return torch.stack(self._targets.losses(self._model(images, **self._only)))

    def _judge_now(
        self, step: int, losses: Tensor, clean: Tensor, predictions: Mapping[str, Tensor]
    ) -> tuple[Record, Tensor]:
        """Note which tasks [tasks, N] are fooled after so many steps, and which samples."""
        if self._record is None:
            counted = self._targets.labelled()[self._places]
            self._record = Record(counted, steps=self._adversarial.steps, tau=self._adversarial.patience)
        counted = self._record.counted
        scores = self._judge.scores(losses[self._places], clean[self._places], predictions)
        fooled = (scores >= 1) & counted
        self._record.note(step, fooled, self._judge.together(scores, counted))
        return self._record, fooled

    def _raised(self, parts: Sequence[Tensor], out: Tensor) -> Sequence[Tensor]:
        """The losses, without a gradient where a judged task [tasks, N] is out of the objective."""
        if not self._adversarial.goal_aware:
            return parts
        raised = list(parts)
        for place, done in zip(self._places.tolist(), out, strict=True):
            raised[place] = torch.where(done, raised[place].detach(), raised[place])
        return raised

    def _let_go(self, record: Record, step: int) -> Tensor | None:
        """Take out the samples whose last step this was; which rows stay, None where all do."""
        if not self._early or not bool((leaving := record.until <= step).any()):
            return None
        gone, stay = leaving.nonzero()[:, 0], (~leaving).nonzero()[:, 0]
        self._ends.append((self._rows[gone], self._images[gone], record.until[gone], record.seen[:, gone]))
        self._rows, self._images = self._rows[stay], self._images[stay]
        assert self._clean is not None
        self._clean = self._clean[:, stay]
        for part in (self._moves, self._targets, self._judge, record):
            part.keep(stay)
        return stay


def _finite(direction: Tensor) -> Tensor:
    """The direction, with zero in the place of each sample's that is NaN or infinite somewhere; in place."""
    if not torch.isfinite(direction.sum()):
        direction[~torch.isfinite(direction).flatten(1).all(1)] = 0
    return direction
