"""Augmentation of images together with their dense labels, keyed by seed, sample and iteration."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.data.batch import Batch
from core.errors import InvalidError
from core.losses import labels_of
from core.specs.training import Augmentation
from core.tasks import IGNORE_VALUE, Task
from core.training.keys import sample_stream


def augmented(batch: Batch, tasks: Sequence[Task], how: Augmentation, *, seed: int, iteration: int) -> Batch:
    """A new batch with the labels of these tasks; the batch itself if nothing is to be done.

    Raises:
        LabelError: labels do not fit the tasks.
        InvalidError: dense labels are not of the images' size, so that they cannot be shifted alike.
    """
    if how == Augmentation():
        return batch
    streams = [sample_stream(seed, int(index), iteration) for index in batch.indices]
    flips = torch.tensor([bool(how.flip and stream.random() < 0.5) for stream in streams])
    shifts = torch.tensor([stream.integers(-how.shift, how.shift + 1, 2).tolist() for stream in streams])
    if how.flip:
        batch = flipped(batch, tasks, flips)
    return shifted(batch, tasks, shifts) if how.shift else batch


def flipped(batch: Batch, tasks: Sequence[Task], which: Tensor) -> Batch:
    """Mirror the samples `which` [N] bool left to right.

    The x axis of camera coordinates turns round, so the first component of their normals changes its sign.
    """

    def mirror(values: Tensor) -> Tensor:
        return torch.where(which.view(-1, *[1] * (values.dim() - 1)), values.flip(-1), values)

    labels, masks = {}, {}
    for task in tasks:
        label, mask = labels_of(task, batch)
        if task.kind == "normals":
            turned = which.view(-1, 1, 1) & (label.amax(1) < IGNORE_VALUE)
            label = torch.cat([torch.where(turned, -label[:, 0], label[:, 0])[:, None], label[:, 1:]], 1)
        labels[task.name] = label if task.kind == "classification" else mirror(label)
        if mask is not None:
            masks[task.name] = mask if task.kind == "classification" else mirror(mask)
    return Batch(mirror(batch.images), labels, masks, batch.indices)


def shifted(batch: Batch, tasks: Sequence[Task], by: Tensor) -> Batch:
    """Move each sample `by` [N, 2] pixels down and right; what comes in repeats the edge and has no labels.

    Raises:
        InvalidError: dense labels are not of the images' size.
    """
    size = batch.images.shape[-2:]
    rows, rows_inside = _sources(by[:, 0], size[0])
    columns, columns_inside = _sources(by[:, 1], size[1])
    inside = rows_inside[:, :, None] & columns_inside[:, None, :]
    sample = torch.arange(len(batch))[:, None, None]

    def moved(values: Tensor) -> Tensor:
        last = values.movedim(1, -1) if values.dim() == 4 else values
        taken = last[sample, rows[:, :, None], columns[:, None, :]]
        return taken.movedim(-1, 1).contiguous() if values.dim() == 4 else taken

    labels, masks = {}, {}
    for task in tasks:
        label, mask = labels_of(task, batch)
        if task.kind == "classification":
            labels[task.name] = label
        elif label.shape[-2:] != size:
            raise InvalidError(
                f"{task.name} labels are {list(label.shape[-2:])} for images of {list(size)}; "
                "only labels of the images' size can be shifted",
                field="augmentation.shift",
            )
        else:
            seen = inside[:, None] if label.dim() == 4 else inside
            labels[task.name] = torch.where(seen, moved(label), IGNORE_VALUE).to(label.dtype)
        if mask is not None:
            masks[task.name] = mask if task.kind == "classification" else moved(mask) & inside
    return Batch(moved(batch.images), labels, masks, batch.indices)


def _sources(by: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Along one axis, where each pixel comes from and whether that is inside, both [N, size]."""
    source = torch.arange(size) - by[:, None]
    return source.clamp(0, size - 1), (source >= 0) & (source < size)
