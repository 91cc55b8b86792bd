"""Models small enough for every algorithm times objective times norm, and what the attacks' tests do with them."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from core.attacks import AttackOutcome, AttackSpec, attacked_tasks, run_attack
from core.attacks.algorithm import Attempt, Run
from core.attacks.ascent import Ascent
from core.attacks.draws import Draws
from core.attacks.objectives import make_objective
from core.attacks.run import RUNS
from core.attacks.threat import ball_around
from core.data.batch import Batch
from core.modules import frozen
from core.specs.algorithms import METHODS, Algorithm, Norm
from core.specs.objective import WEIGHTED, parse_objective
from core.tasks import Task
from tests.core.synthetic import SyntheticDataset, losses

TOYS = (
    Task("segmentation", "segmentation", 3),
    Task("depth", "depth", 1),
    Task("edges", "regression", 2),
)
SIDE = 8
EPS: dict[Norm, float] = {"linf": 0.03, "l2": 0.3}
STEPS = 4

OBJECTIVES: tuple[dict[str, Any], ...] = (
    {"objective": "single:depth"},
    {"objective": "total"},
    {"objective": "sign_total"},
    {"objective": "gb_mta"},
    {"objective": "power", "power": 2.0},
    {"objective": "pcgrad"},
    {"objective": "mgda"},
    {"objective": "stealth:depth"},
)
"""One of each family."""

ALGORITHMS: tuple[Algorithm, ...] = tuple(name for name in METHODS if name != "auto_mta")
ASCENDING = tuple(name for name in ALGORITHMS if METHODS[name].objective)
GRADIENT = tuple(name for name in ALGORITHMS if METHODS[name].gradients)
RANDOM_START = tuple(name for name in ALGORITHMS if METHODS[name].random_start)


def every(
    algorithms: Sequence[Algorithm] = ALGORITHMS, *, norms: Sequence[Norm] = ("linf", "l2"), **changes: Any
) -> list[AttackSpec]:
    """Each algorithm with each objective and norm that it takes."""
    return [
        AttackSpec(**{"algorithm": name, "eps": EPS[norm], "norm": norm, **_steps(name), **aim, **changes})
        for name in algorithms
        for norm in norms
        if norm in METHODS[name].norms
        for aim in (OBJECTIVES if METHODS[name].objective else ({},))
        if name != "auto_sage" or _blends(aim["objective"])
    ]


def _steps(name: Algorithm) -> dict[str, int]:
    return {} if METHODS[name].steps is None else {"steps": STEPS}


def _blends(objective: str) -> bool:
    parsed = parse_objective(objective)
    return parsed is not None and parsed.family in WEIGHTED - {"stealth"}


def label(spec: AttackSpec) -> str:
    """What pytest calls the case."""
    return spec.label


class Pixelwise(nn.Module):
    """Each pixel predicts from its own three values, by products and sums: batches of any size agree bit for bit.

    In train mode its batch norm would couple the samples and move its statistics, its dropout draw numbers.
    """

    def __init__(self, tasks: Sequence[Task] = TOYS, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.normalise = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)
        self.normalise.load_state_dict(
            {"running_mean": torch.full((3,), 0.5), "running_var": torch.full((3,), 0.1)}, strict=False
        )
        self.weights = nn.ParameterDict(
            {task.name: 0.5 * torch.randn(4, task.channels, 1, 1, generator=generator) for task in tasks}
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        red, green, blue = self.dropout(self.normalise(images)).unsqueeze(2).unbind(1)
        features = (green, blue, green * (red + blue))
        predictions = {}
        for name, weights in self.weights.items():
            predictions[name] = red * weights[0]
            for feature, weight in zip(features, weights[1:], strict=True):
                predictions[name] = predictions[name] + feature * weight
        return predictions


def toy_batch(samples: int = 4, tasks: Sequence[Task] = TOYS) -> Batch:
    return SyntheticDataset(tasks, samples=samples, side=SIDE).batch(range(samples))


@cache
def undisturbed(spec: AttackSpec) -> AttackOutcome:
    """What comes out where nothing is wrong; not to be changed."""
    return run_attack(Pixelwise(), toy_batch(), TOYS, spec)


def sizes(change: Tensor, norm: Norm) -> Tensor:
    """How far each sample was moved, [N]."""
    flat = change.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def worth(model: nn.Module, batch: Batch, spec: AttackSpec, images: Tensor) -> Tensor:
    """The objective's value at some images, [N], computed from nothing but the losses there and at the clean images."""
    tasks = attacked_tasks(spec, TOYS)
    objective = make_objective(spec.resolved(), tasks, torch.device("cpu"))
    with frozen(model):
        return objective.value(losses(model, batch, images, tasks), losses(model, batch, batch.images, tasks))


def attempt(model: nn.Module, batch: Batch, spec: AttackSpec, *, restart: int = 0) -> tuple[Attempt, Ascent]:
    """A single run of a spec's algorithm, with what the run knows."""
    full = spec.resolved()
    tasks = attacked_tasks(spec, TOYS)
    ball = ball_around(batch.images, norm=full.norm, eps=full.eps, bounds=(0, 1))
    with frozen(model):
        ascent = Ascent(model, batch, tasks, make_objective(full, tasks, batch.images.device), eot=full.eot)
        ascent.begin(ball.centre)
        run = Run(
            clean=ball.centre,
            ball=ball,
            ascent=ascent,
            draws=Draws(full.seed, batch.indices, restart),
            steps=full.steps or 0,
            step_size=full.step_size or 0.0,
            decay=full.decay or 0.0,
            random_start=full.random_start,
        )
        return RUNS[full.algorithm](run), ascent


def snapshot(model: nn.Module) -> list[object]:
    """Everything of a model that an attack could disturb."""
    tensors = [(name, value.numpy().tobytes()) for name, value in model.state_dict().items()]
    modes = [(name, module.training) for name, module in model.named_modules()]
    flags = [(name, value.requires_grad) for name, value in model.named_parameters()]
    grads = [(n, None if v.grad is None else v.grad.numpy().tobytes()) for n, v in model.named_parameters()]
    return [tensors, modes, flags, grads]
