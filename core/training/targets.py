"""Several tasks' losses on a batch whose samples may leave it. The losses themselves are `core.losses`'."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.data.batch import Batch
from core.losses import Target, labels_of, make_target, prediction_of, sample_loss
from core.tasks import Task


class Targets:
    """Each task's labels at its prediction's resolution, to which they are brought once.

    Raises:
        LabelError: labels do not fit the tasks; see `core.losses.labels_of`.
    """

    def __init__(self, tasks: Sequence[Task], batch: Batch) -> None:
        self.tasks = tuple(tasks)
        self._samples = len(batch)
        self._labels = {task.name: labels_of(task, batch) for task in tasks}
        self._targets: dict[str, Target] = {}

    def losses(self, predictions: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Each task's losses [N], in the order of the tasks: those of `core.losses.BatchLosses`, bit for bit."""
        return tuple(self._loss(task, predictions) for task in self.tasks)

    def labelled(self) -> Tensor:
        """[tasks, N] bool: whether a sample has any label of a task that counts; known once there are losses."""
        valid = (self._targets[task.name].valid for task in self.tasks)
        return torch.stack([entries.reshape(len(entries), -1).amax(1) > 0 for entries in valid])

    def keep(self, rows: Tensor) -> None:
        """Let the other samples go."""
        self._samples = len(rows)
        self._targets = {
            name: Target(target.label[rows], target.valid[rows], target.weight[rows])
            for name, target in self._targets.items()
        }

    def _loss(self, task: Task, predictions: Mapping[str, Tensor]) -> Tensor:
        prediction = prediction_of(task, predictions, samples=self._samples)
        if task.name not in self._targets:
            size = None if prediction.dim() == 2 else (prediction.shape[-2], prediction.shape[-1])
            self._targets[task.name] = make_target(task, *self._labels[task.name], size=size)
        return sample_loss(task, prediction, self._targets[task.name])
