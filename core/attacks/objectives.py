"""Objectives: which direction several tasks' losses give together, and by which value one image beats another.

Those that are a weighted sum of gradients cost one backward pass, whatever the number of tasks: the weights
are constants of the step, so the weighted losses are summed first and differentiated once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from core.attacks.gram import mgda_weights, pcgrad_weights
from core.specs.attack import AttackSpec
from core.specs.objective import HOLD, Family, ObjectiveName
from core.tasks import Task

LOSS_FLOOR = 1e-6
"""No loss is divided by less than this; a sample whose loss is below is counted."""


class Objective(Protocol):
    """Turns the losses of one forward pass into a direction of ascent and a value.

    Losses are [tasks, N], `reference` the losses that the attack began from.

    Attributes:
        floor: the least that a loss is divided by; None where nothing is divided.
        relative: whether the value is measured against the clean loss, so that `reference` must be that.
    """

    floor: float | None
    relative: bool

    def value(self, losses: Tensor, reference: Tensor) -> Tensor:
        """[N], larger is better for the attacker; samples are never compared with each other."""
        ...

    def direction(self, losses: Sequence[Tensor], reference: Tensor, images: Tensor) -> Tensor:
        """Direction of ascent [N, 3, H, W] out of each task's losses [N], computed from `images` with a gradient."""
        ...

    def backwards(self, tasks: int) -> int:
        """Backward passes that one direction costs."""
        ...


class Weighted:
    """A weighted sum of the tasks' gradients.

    Args:
        scale: [tasks, 1], constant weights, negative for a task that is drawn to a target; None is all ones.
    """

    floor: float | None = None
    relative = False

    def __init__(self, scale: Tensor | None = None) -> None:
        self.scale = scale

    def weights(self, losses: Tensor, reference: Tensor) -> Tensor | None:
        """Weight of each loss, constant in the images; None is all ones. Here: SINGLE and TOTAL, paper Eq. 3 and 4."""
        del losses, reference
        return self.scale

    def value(self, losses: Tensor, reference: Tensor) -> Tensor:
        """The sum of weighted losses."""
        del reference
        return losses.sum(0) if self.scale is None else (self.scale * losses).sum(0)

    def direction(self, losses: Sequence[Tensor], reference: Tensor, images: Tensor) -> Tensor:
        """One backward pass of the weighted losses; samples do not touch each other's gradients."""
        stacked = torch.stack(tuple(losses))
        weights = self.weights(stacked.detach(), reference)
        total = stacked.sum() if weights is None else (weights * stacked).sum()
        return torch.autograd.grad(total, images)[0]

    def backwards(self, tasks: int) -> int:
        """One."""
        del tasks
        return 1


class Power(Weighted):
    """Ascent on the sum of scale * psi_p(L), psi_p(L) = L^(1-p) / (1-p) and psi_1 = log.

    p = 0 is TOTAL. p = 1 has GB-MTA's direction: each gradient divided by its loss (paper Eq. 9). For p > 1 psi
    falls without end towards a loss of 0, so the value counts each task's from its clean one: the psi of a loss
    that stays at 0, as that of a sample without labels does, would drown the other tasks'.
    """

    floor: float | None = LOSS_FLOOR

    def __init__(self, power: float, scale: Tensor | None = None) -> None:
        super().__init__(scale)
        self.power = power
        self.relative = power > 1

    def weights(self, losses: Tensor, reference: Tensor) -> Tensor:
        """Scale over loss^p, the loss floored."""
        del reference
        weights = losses.clamp_min(LOSS_FLOOR).pow(-self.power)
        return weights if self.scale is None else self.scale * weights

    def value(self, losses: Tensor, reference: Tensor) -> Tensor:
        """The sum of scale * psi_p(L), or of what psi_p rose by."""
        values = self._psi(losses)
        if self.relative:
            values = values - self._psi(reference)
        return values.sum(0) if self.scale is None else (self.scale * values).sum(0)

    def _psi(self, losses: Tensor) -> Tensor:
        safe = losses.clamp_min(LOSS_FLOOR)
        return safe.log() if self.power == 1 else safe.pow(1 - self.power) / (1 - self.power)


class GradientBalancing(Power):
    """GB-MTA: the direction is that of the sum of log losses (paper Eq. 9), the value the relative rise (Eq. 7)."""

    def __init__(self, scale: Tensor | None = None) -> None:
        super().__init__(1.0, scale)
        self.relative = True

    def value(self, losses: Tensor, reference: Tensor) -> Tensor:
        """The sum over tasks of (loss - clean loss) / clean loss, paper Algorithm 3, line 14."""
        rise = (losses - reference) / reference.clamp_min(LOSS_FLOOR)
        return rise.sum(0) if self.scale is None else (self.scale * rise).sum(0)


class Stealth(Weighted):
    """Raise some tasks and hold the others: sum of log L over the raised, minus a hinge on the others' relative rise.

    A held task pulls back only while its loss is above its clean loss.

    Args:
        raised: [tasks, 1] bool.
        hold: [tasks, 1], how hard each task is held.
    """

    floor: float | None = LOSS_FLOOR
    relative = True

    def __init__(self, raised: Tensor, hold: Tensor) -> None:
        super().__init__()
        self.raised = raised
        self.hold = hold

    def weights(self, losses: Tensor, reference: Tensor) -> Tensor:
        """One over the loss for raised tasks; minus hold over the clean loss for held ones that are above it."""
        up = losses.clamp_min(LOSS_FLOOR).reciprocal()
        down = -self.hold * (losses > reference) / reference.clamp_min(LOSS_FLOOR)
        return torch.where(self.raised, up, down)

    def value(self, losses: Tensor, reference: Tensor) -> Tensor:
        """What the weights are the slope of."""
        up = losses.clamp_min(LOSS_FLOOR).log()
        down = -self.hold * ((losses - reference) / reference.clamp_min(LOSS_FLOOR)).clamp_min(0)
        return torch.where(self.raised, up, down).sum(0)


class PerTask(ABC):
    """Directions that need every task's own gradient: a backward pass a task, the forward pass shared.

    Their value is the sum of losses, as in the paper's TOTAL.
    """

    floor: float | None = None
    relative = False

    def __init__(self, scale: Tensor | None = None) -> None:
        self.scale = scale

    @abstractmethod
    def combine(self, gradients: Tensor) -> Tensor:
        """[tasks, N, 3, H, W] to [N, 3, H, W]."""

    def value(self, losses: Tensor, reference: Tensor) -> Tensor:
        """The sum of losses."""
        del reference
        return losses.sum(0) if self.scale is None else (self.scale * losses).sum(0)

    def direction(self, losses: Sequence[Tensor], reference: Tensor, images: Tensor) -> Tensor:
        """Each task's gradient, put together by `combine`."""
        del reference
        gradients = torch.stack(task_gradients(losses, images))
        if self.scale is not None:
            gradients *= self.scale.view(-1, 1, 1, 1, 1).sign()
        return self.combine(gradients)

    def backwards(self, tasks: int) -> int:
        """One a task."""
        return tasks


class SignTotal(PerTask):
    """SIGNTOTAL: the sum of the signs of the tasks' gradients."""

    def combine(self, gradients: Tensor) -> Tensor:
        """Sum of signs, in {-tasks..tasks}; torch's sign of NaN is 0, and NaN stays NaN here."""
        return (gradients.sign() + (gradients - gradients)).sum(0)


class PCGrad(PerTask):
    """PCGrad (Yu et al. 2020) on input gradients: each loses what it has against each of the others, then the sum."""

    def combine(self, gradients: Tensor) -> Tensor:
        """Weighted by what projecting in the order of the tasks makes of each."""
        return _blend(gradients, pcgrad_weights)


class Mgda(PerTask):
    """MGDA (Sener & Koltun 2018) on input gradients: the shortest vector of their hull, which raises every task."""

    def combine(self, gradients: Tensor) -> Tensor:
        """Weighted by the hull's nearest point to the origin."""
        return _blend(gradients, mgda_weights)


def _blend(gradients: Tensor, rule: "Rule") -> Tensor:
    flat = gradients.flatten(2).transpose(0, 1)
    return torch.einsum("nt,ntd->nd", rule(flat @ flat.mT), flat).view_as(gradients[0])


class Rule(Protocol):
    """Weights of gradients [N, tasks] out of their inner products [N, tasks, tasks]."""

    def __call__(self, gram: Tensor, /) -> Tensor:
        """Each sample's weights out of its own inner products."""
        ...


def task_gradients(losses: Sequence[Tensor], images: Tensor) -> list[Tensor]:
    """Each task's gradient; each backward pass visits only its own task's branch and the trunk below it."""
    last = len(losses) - 1
    return [
        torch.autograd.grad(loss.sum(), images, retain_graph=position != last)[0]
        for position, loss in enumerate(losses)
    ]


def make_objective(spec: AttackSpec, tasks: Sequence[Task], device: torch.device) -> Objective:
    """The objective that a spec names, for the losses of these tasks in this order."""
    aim = spec.aim
    assert aim is not None
    if aim.family == "stealth":
        return _stealth(aim, tasks, spec.weights or {}, device)
    scale = _scale(tasks, spec, device)
    if aim.family == "power":
        assert spec.power is not None
        return Power(spec.power, scale)
    return PLAIN[aim.family](scale)


PLAIN: dict[Family, Callable[[Tensor | None], Objective]] = {
    "single": Weighted,
    "total": Weighted,
    "gb_mta": GradientBalancing,
    "sign_total": SignTotal,
    "pcgrad": PCGrad,
    "mgda": Mgda,
}
"""The objectives that their tasks' weights are all there is to say of."""


def _scale(tasks: Sequence[Task], spec: AttackSpec, device: torch.device) -> Tensor | None:
    weights, targets = spec.weights or {}, spec.targets or {}
    values = [weights.get(task.name, 1.0) * (-1 if task.name in targets else 1) for task in tasks]
    if all(value == 1 for value in values):
        return None
    return torch.tensor(values, device=device)[:, None]


def _stealth(
    aim: ObjectiveName, tasks: Sequence[Task], weights: Mapping[str, float], device: torch.device
) -> Stealth:
    raised = torch.tensor([task.name in aim.tasks for task in tasks], device=device)
    hold = torch.tensor([weights.get(task.name, HOLD) for task in tasks], device=device)
    return Stealth(raised[:, None], hold[:, None])
