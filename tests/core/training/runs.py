"""Small trainings for the tests of the trainer."""

from typing import Any

import torch
from torch import Tensor, nn

from core.attacks import AttackSpec
from core.specs.training import Adversarial, Augmentation, Optimiser, Recipe
from core.tasks import Task
from core.training import Trainer
from tests.core.synthetic import SMALL, SyntheticDataset, small_model

DENSE = SMALL[:4]
SAMPLES = 20
ATTACK = AttackSpec(algorithm="pgd", eps=8, steps=2)
MIXES: tuple[Adversarial | None, ...] = (
    None,
    Adversarial(attack=ATTACK, mix="both"),
    Adversarial(attack=ATTACK, mix="adversarial"),
    Adversarial(attack=ATTACK, mix="joint"),
)


def name_of(adversarial: Adversarial | None) -> str:
    return "clean" if adversarial is None else adversarial.mix


def recipe(**fields: Any) -> Recipe:
    usual = {"iterations": 8, "batch_size": 4, "optimiser": Optimiser(name="adam", learning_rate=5e-3)}
    return Recipe(**{**usual, **fields})


EVERYTHING: dict[str, Any] = {
    "augmentation": Augmentation(flip=True, shift=1),
    "ema": 0.9,
    "accumulation": 2,
    "task_weights": {"depth": 0.5},
}
"""Whatever has a state or random numbers."""


class WithDropout(nn.Module):
    """A model whose depth is dropped out of, in train mode."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions: dict[str, Tensor] = self.model(images)
        depth = nn.functional.dropout(predictions["depth"], 0.3, training=self.training)
        return predictions | {"depth": depth}


class Plain(nn.Module):
    """A prediction of each pixel from its neighbours, without batch norm."""

    def __init__(self, tasks: tuple[Task, ...] = DENSE) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.features = nn.Conv2d(3, 8, 3, padding=1)
            self.heads = nn.ModuleDict({task.name: nn.Conv2d(8, task.channels, 1) for task in tasks})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = torch.relu(self.features(images))
        return {name: head(features) for name, head in self.heads.items()}


class Smooth(nn.Module):
    """Two layers with batch norms and no kinks, where a difference of rounding stays one."""

    def __init__(self, tasks: tuple[Task, ...] = DENSE, *, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, stride=2, bias=False),
                nn.BatchNorm2d(8),
                nn.Tanh(),
                nn.Conv2d(8, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.Tanh(),
            )
            self.heads = nn.ModuleDict({task.name: nn.Conv2d(8, task.channels, 1) for task in tasks})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.layers(images)
        return {name: head(features) for name, head in self.heads.items()}


def data(samples: int = SAMPLES) -> SyntheticDataset:
    return SyntheticDataset(DENSE, samples=samples)


def trainer(how: Recipe, *, model: nn.Module | None = None, seed: int = 0, **more: Any) -> Trainer:
    return Trainer(model or small_model(DENSE, seed=seed), DENSE, more.pop("dataset", data()), how, **more)


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def equal(one: object, other: object) -> bool:
    """Whether two states are the same, bit for bit."""
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, Tensor):
        assert isinstance(other, Tensor)
        return bool(torch.equal(one, other))
    return one == other
