"""Targeted attacks: labels that predictions are drawn to, in the place of the true ones."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.data.batch import Batch
from core.losses import labels_of, valid_pixels
from core.specs.attack import AttackSpec, check_target
from core.specs.attack_fields import NEXT_CLASS
from core.tasks import Task


def aimed(batch: Batch, tasks: Sequence[Task], targets: Mapping[str, float | str] | None) -> Batch:
    """The batch with the targeted tasks' labels replaced wherever they count; the objective then lowers those losses.

    Raises:
        LabelError: labels do not fit the tasks.
    """
    if not targets:
        return batch
    labels, masks = dict(batch.labels), dict(batch.masks)
    for task in tasks:
        if task.name in targets:
            label, mask = labels_of(task, batch)
            valid = valid_pixels(task, label, mask)
            labels[task.name] = _drawn_to(task, label, valid, targets[task.name])
            if task.kind == "depth":  # which without a mask would not count a target of 0
                masks[task.name] = valid
    return Batch(batch.images, labels, masks, batch.indices)


def check_targets(spec: AttackSpec, tasks: Sequence[Task]) -> None:
    """Check a spec's targets against the tasks.

    Raises:
        AttackSpecError: a task takes no such target.
    """
    for task in tasks:
        if spec.targets is not None and task.name in spec.targets:
            check_target(task, spec.targets[task.name])


def _drawn_to(task: Task, label: Tensor, valid: Tensor, target: float | str) -> Tensor:
    wanted = (label + 1) % task.channels if target == NEXT_CLASS else torch.full_like(label, float(target))
    return torch.where(valid if valid.shape == label.shape else valid[:, None], wanted, label)
