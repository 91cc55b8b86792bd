"""Small models and data for the tests of the science; every label is a function of its image."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from core.attacks import AttackSpec
from core.data.batch import Batch
from core.losses import BatchLosses
from core.models import TreeModel, build_model
from core.tasks import Task, profile
from core.training import TrainingRecipe, train

SCENES = profile("scenes").tasks
NYUV2 = profile("nyuv2").tasks
DIGITS = profile("digits").tasks
SMALL = (
    Task("segmentation", "segmentation", 4),
    Task("normals", "normals", 3),
    Task("depth", "depth", 1),
    Task("edges", "regression", 2),
    Task("digit", "classification", 5),
)
"""One task of every kind."""

OBJECTIVES = ("single:depth", "total", "sign_total", "gb_mta")
ALGORITHMS = ("fgsm", "pgd")


class SyntheticDataset:
    """Blurry random images; labels follow from their channels, and some pixels do not count.

    `eight_bit` images are multiples of 1/255, as a file's are; splits differ in their images.
    """

    name = "synthetic"
    version = "1"

    def __init__(
        self,
        tasks: Sequence[Task] = SMALL,
        *,
        samples: int = 12,
        side: int = 16,
        split: str = "test",
        eight_bit: bool = False,
    ) -> None:
        self.tasks = tuple(tasks)
        self.split = split
        self._samples = samples
        self._side = side
        self._eight_bit = eight_bit

    def __len__(self) -> int:
        return self._samples

    def batch(self, indices: Sequence[int]) -> Batch:
        if any(not 0 <= index < self._samples for index in indices):
            raise IndexError(f"samples run from 0 to {self._samples - 1}")
        images = torch.stack([self._image(index) for index in indices])
        labels = {task.name: _label(task, images) for task in self.tasks}
        masks = {"depth": images[:, 2] > 0.1} if "depth" in labels else {}
        return Batch(images, labels, masks, torch.tensor(list(indices)))

    def _image(self, index: int) -> Tensor:
        generator = np.random.Generator(np.random.Philox(key=[7 if self.split == "test" else 8, index]))
        coarse = torch.from_numpy(
            generator.random((1, 3, self._side // 4, self._side // 4), dtype=np.float32)
        )
        image = nn.functional.interpolate(coarse, size=(self._side, self._side), mode="bilinear")[0]
        return (image * 255).round() / 255 if self._eight_bit else image


def _label(task: Task, images: Tensor) -> Tensor:
    if task.kind == "segmentation":
        classes = (images[:, 0] * task.channels).long().clamp_max(task.channels - 1)
        return torch.where(images[:, 1] > 0.9, 255, classes)
    if task.kind == "classification":
        return (images.mean((1, 2, 3)) * 1000).long() % task.channels
    if task.kind == "normals":
        return nn.functional.normalize(images * 2 - 0.9, dim=1)
    if task.kind == "depth":
        return 1 + images.sum(1, keepdim=True)
    return (images[:, :1] - images[:, 1:2]).repeat(1, task.channels, 1, 1)


def small_batch(tasks: Sequence[Task] = SMALL, *, samples: int = 4, side: int = 16) -> Batch:
    return SyntheticDataset(tasks, samples=samples, side=side).batch(range(samples))


def small_model(tasks: Sequence[Task] = SMALL, layout: object = "all-shared", *, seed: int = 0) -> TreeModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model("sapling", layout, tasks).eval()


@cache
def trained_model() -> TreeModel:
    """A model of SMALL's dense tasks that has learnt something; not to be changed."""
    tasks = SMALL[:4]
    data = SyntheticDataset(tasks, samples=64, side=32)
    return train(small_model(tasks), data, TrainingRecipe(epochs=12, batch_size=16, learning_rate=1e-2))


def pgd(
    objective: str, *, eps: float = 0.03, steps: int = 3, seed: int = 0, random_start: bool = False
) -> AttackSpec:
    return AttackSpec(
        algorithm="pgd", objective=objective, eps=eps, steps=steps, seed=seed, random_start=random_start
    )


def attack(algorithm: str, objective: str, *, eps: float = 0.03) -> AttackSpec:
    if algorithm == "fgsm":
        return AttackSpec(algorithm="fgsm", objective=objective, eps=eps)
    return pgd(objective, eps=eps)


@torch.no_grad()
def losses(model: nn.Module, batch: Batch, images: Tensor, tasks: Sequence[Task]) -> Tensor:
    """Each task's losses at some images, [tasks, N]."""
    return torch.stack(BatchLosses(tasks, batch)(model(images)))


class Reader(nn.Module):
    """Reads a synthetic data set's dense labels off the pixels, each a bit wrong: trained, as it were, by hand."""

    def __init__(self, tasks: Sequence[Task] = SMALL[:4]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {task.name: _reading(task, images) for task in self.tasks}


def _reading(task: Task, images: Tensor) -> Tensor:
    red, green = images[:, :1], images[:, 1:2]
    if task.kind == "segmentation":
        centres = (torch.arange(task.channels) + 0.5) / task.channels
        return -40 * (red - 0.02 - centres.view(1, -1, 1, 1)).square()
    if task.kind == "normals":
        return images * 2 - 0.9 + torch.tensor([0.3, 0.0, 0.0]).view(1, 3, 1, 1)
    if task.kind == "depth":
        return 1.2 + images.sum(1, keepdim=True)
    assert task.kind == "regression"
    return (red - green + 0.05).expand(-1, task.channels, -1, -1)


class LinearModel(nn.Module):
    """Each task's prediction is a scalar product of the image with its own weights: [N, 1, 1, 1]."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(weights)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: (images * weight).sum((1, 2, 3), keepdim=True) for name, weight in self.weights.items()}


class WithoutOnly(nn.Module):
    """The same model for callers that cannot choose branches."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions: dict[str, Tensor] = self.model(images)
        return predictions


class Counting(WithoutOnly):
    """Counts passes of one sample each; a backward pass where a gradient reaches the images."""

    def __init__(self, wrapped: nn.Module) -> None:
        super().__init__(wrapped)
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.forwards += len(images)
        if images.requires_grad:
            images.register_hook(lambda gradient: self._note(len(gradient)))  # type: ignore[no-untyped-call]
        return super().forward(images)

    def _note(self, samples: int) -> None:
        self.backwards += samples


class Poisoned(WithoutOnly):
    """NaN for every sample whose first pixel is nearly white."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        white = images[:, :, 0, 0].amin(1) > 0.9
        return {
            name: torch.where(white.view(-1, *[1] * (value.dim() - 1)), torch.nan, 1.0) * value
            for name, value in super().forward(images).items()
        }


class Rescaled(WithoutOnly):
    """One task's prediction times a factor."""

    def __init__(self, model: nn.Module, task: str, factor: float) -> None:
        super().__init__(model)
        self.task = task
        self.factor = factor

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions = super().forward(images)
        return predictions | {self.task: predictions[self.task] * self.factor}
