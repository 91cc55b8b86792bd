"""A slice of a data set and an attack in, per-sample statistics out, for library users and workers alike."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.attacks import run_attack
from core.attacks.ascent import frozen
from core.data.batch import Batch, Dataset
from core.evaluation.statistics import Statistics, take_statistics
from core.losses import PredictionError
from core.specs.attack import AttackSpec
from core.tasks import Task

PIXEL_STEP = 1 / 255
"""One pixel step, the unit of eps in specs, in the units of images in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a shard took.

    Attributes:
        forwards, backwards: passes, each of one sample, so that they add up whatever the batch size.
        seconds: wall clock, attack and metrics.
    """

    forwards: int
    backwards: int
    seconds: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forwards + other.forwards, self.backwards + other.backwards, self.seconds + other.seconds
        )


def evaluate_shard(
    model: nn.Module,
    dataset: Dataset,
    samples: range,
    attack: AttackSpec | None,
    *,
    tasks: Sequence[Task],
    batch_size: int,
    previews: int = 0,
    check: Callable[[], None] | None = None,
) -> tuple[Statistics, Cost]:
    """Attack a slice of a data set, or with `attack` None measure it clean.

    Every batch has exactly `batch_size` samples (the last one is filled up with copies that are dropped
    again), so that on CPU a sample's result is the same, bit for bit, whatever slice it came in.

    Args:
        model: maps images [N, 3, H, W] in [0, 1] to {task: prediction}; left exactly as it was found.
        dataset: gives the samples and their labels.
        samples: positions in the data set, one after another.
        attack: eps in pixel steps of 1/255.
        tasks: the tasks that are attacked and measured.
        batch_size: samples per pass.
        previews: keep pictures of the data set's first so many samples, as far as the slice holds them.
        check: called before every batch; whatever it raises ends the work.

    Raises:
        InvalidError: the model's outputs or the data set's labels do not fit the tasks.
    """
    started = time.perf_counter()
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    parts: list[Statistics] = []
    forwards = backwards = 0
    for rows in _batches(samples, batch_size):
        if check is not None:
            check()
        batch = dataset.batch(_filled(rows, batch_size)).to(device)
        part, cost = _evaluate_batch(model, batch, attack, tasks=tasks, keep=len(rows), previews=previews)
        parts.append(part)
        forwards += cost[0] * len(rows)
        backwards += cost[1] * len(rows)
    return Statistics.concatenate(parts), Cost(forwards, backwards, time.perf_counter() - started)


def _batches(samples: range, batch_size: int) -> Iterator[range]:
    for begin in range(samples.start, samples.stop, batch_size):
        yield range(begin, min(begin + batch_size, samples.stop))


def _filled(rows: range, batch_size: int) -> list[int]:
    return [*rows, *[rows[-1]] * (batch_size - len(rows))]


def _evaluate_batch(
    model: nn.Module,
    batch: Batch,
    attack: AttackSpec | None,
    *,
    tasks: Sequence[Task],
    keep: int,
    previews: int,
) -> tuple[Statistics, tuple[int, int]]:
    images, flags, passes = batch.images, dict[str, Tensor](), (0, 0)
    if attack is not None:
        outcome = run_attack(model, batch, tasks, attack.scaled(PIXEL_STEP), bounds=(0.0, 1.0))
        images, passes = outcome.images, (outcome.forwards, outcome.backwards)
        flags = {"floored": outcome.floored[:keep], "non_finite": outcome.non_finite[:keep]}
    with frozen(model), torch.no_grad():
        predictions = model(images)
    kept = {task.name: _rows(predictions, task, keep) for task in tasks}
    table = take_statistics(tasks, kept, batch.select(slice(keep)), flags)
    pictures = _pictures(images[:keep], table.indices, previews)
    return Statistics(table.indices, table.tasks, table.flags, pictures), (passes[0] + 1, passes[1])


def _rows(predictions: object, task: Task, keep: int) -> Tensor:
    if not isinstance(predictions, Mapping) or not isinstance(predictions.get(task.name), Tensor):
        raise PredictionError(f"the model does not predict {task.name}", field=task.name)
    rows: Tensor = predictions[task.name][:keep]
    return rows


def _pictures(images: Tensor, indices: NDArray[np.int64], previews: int) -> NDArray[np.uint8] | None:
    shown = images[torch.from_numpy(indices < previews).to(images.device)]
    if len(shown) == 0:
        return None
    pictures: NDArray[np.uint8] = (shown * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return pictures
