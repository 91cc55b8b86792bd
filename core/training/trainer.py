"""A plain multi-task trainer: AdamW, one learning-rate cycle, a weighted sum of the tasks' mean losses.

Adversarial training is not here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from core.data.batch import Batch, Dataset
from core.errors import InvalidError
from core.losses import BatchLosses
from core.models.tree import TreeModel

LOAD_CHUNK = 256


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """Everything that decides the weights beside the model and the data.

    Attributes:
        epochs: passes over the training split.
        learning_rate: the cycle's peak.
        task_weights: by task name, weight of its loss; 1 unless said.
        seed: of the order of samples and of dropout. The weights' initialisation is `build_model`'s, before.
        samples: how many of the split's first samples are used; None is all.
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    task_weights: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run is.

    Attributes:
        step, steps: optimiser steps done and in all.
        losses: by task, the batch's mean loss.
    """

    step: int
    steps: int
    losses: dict[str, float]


def train(
    model: TreeModel,
    dataset: Dataset,
    recipe: TrainingRecipe,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> TreeModel:
    """Train in place and return the model in eval mode.

    Args:
        model: on the CPU, its weights initialised.
        dataset: loaded into memory once.
        recipe: how long, how fast and in which order.
        progress: called after every optimiser step.

    Raises:
        InvalidError: a loss became NaN or infinite, or the data set has fewer samples than one batch.
    """
    samples = min(len(dataset), recipe.samples if recipe.samples is not None else len(dataset))
    steps = recipe.epochs * (samples // recipe.batch_size)
    if steps == 0:
        raise InvalidError(
            f"{samples} samples do not fill a batch of {recipe.batch_size}", field="batch_size"
        )
    data = _load(dataset, samples)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.learning_rate, total_steps=steps, pct_start=0.2
    )
    weights = [recipe.task_weights.get(task.name, 1.0) for task in model.tasks]
    _set_format(model.train(), torch.channels_last)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        for step, batch in enumerate(_batches(data, recipe), start=1):
            losses = [loss.mean() for loss in BatchLosses(model.tasks, batch)(model(batch.images))]
            total = torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
            if not torch.isfinite(total):
                raise InvalidError(f"the loss became {total.item()} at step {step}; lower the learning rate")
            optimiser.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
            optimiser.step()
            schedule.step()
            if progress is not None:
                names = (task.name for task in model.tasks)
                values = (float(loss.detach()) for loss in losses)
                progress(Progress(step, steps, dict(zip(names, values, strict=True))))
    _set_format(model, torch.contiguous_format)
    return model.eval()


def _set_format(model: TreeModel, memory_format: torch.memory_format) -> None:
    model.to(memory_format=memory_format)  # type: ignore[call-overload]  # missing from torch's annotations


def _load(dataset: Dataset, count: int) -> Batch:
    parts = [
        dataset.batch(range(begin, min(begin + LOAD_CHUNK, count))) for begin in range(0, count, LOAD_CHUNK)
    ]
    first = parts[0]
    return Batch(
        torch.cat([part.images for part in parts]),
        {name: torch.cat([part.labels[name] for part in parts]) for name in first.labels},
        {name: torch.cat([part.masks[name] for part in parts]) for name in first.masks},
        torch.cat([part.indices for part in parts]),
    )


def _batches(data: Batch, recipe: TrainingRecipe) -> Iterator[Batch]:
    generator = np.random.Generator(np.random.Philox(key=recipe.seed))
    for _ in range(recipe.epochs):
        order = torch.from_numpy(generator.permutation(len(data)))
        for begin in range(0, len(data) - recipe.batch_size + 1, recipe.batch_size):
            yield data.select(order[begin : begin + recipe.batch_size])
