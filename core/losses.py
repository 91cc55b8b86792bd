"""Per-sample losses: what attacks raise and training lowers. Statistics and metrics are `core.evaluation`'s.

Each loss is a mean over one sample's valid pixels at the prediction's resolution, to which labels are
resized with nearest interpolation; a sample without a valid pixel has loss 0 and no gradient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.data.batch import Batch
from core.errors import InvalidError
from core.tasks import DEPTH_MIN, IGNORE_VALUE, Task

NORM_EPS = 1e-12


class LabelError(InvalidError):
    """Labels do not fit their task."""

    code = "invalid_label"


@dataclass(frozen=True, slots=True)
class Target:
    """One task's labels at one resolution, ready for a loss.

    Attributes:
        label: as `core.tasks.Task` says, with invalid entries set to 0 (segmentation and classification keep
            255).
        valid: float, 1 where an entry counts; [N, h, w], [N, channels, h, w] for regression, [N] for
            classification.
        weight: [N] what to divide each sample's summed loss by, at least a tiny number.
    """

    label: Tensor
    valid: Tensor
    weight: Tensor


def resize_nearest(values: Tensor, height: int, width: int) -> Tensor:
    """[..., H, W] to [..., height, width] by taking row floor(i * H / height), column likewise."""
    source_height, source_width = values.shape[-2:]
    if (source_height, source_width) == (height, width):
        return values
    rows = torch.arange(height, device=values.device) * source_height // height
    columns = torch.arange(width, device=values.device) * source_width // width
    return values.index_select(-2, rows).index_select(-1, columns)


def labels_of(task: Task, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """A task's label and mask in a batch, checked against the task.

    Raises:
        LabelError: the label is missing or has another shape than the task says, a class is neither below
            the number of classes nor 255, or the mask is not bool or of another size than the label.
    """
    if task.name not in batch.labels:
        raise LabelError(f"the batch has no labels for {task.name}", field=task.name)
    label, mask = batch.labels[task.name], batch.masks.get(task.name)
    classes = task.kind in ("segmentation", "classification")
    dimensions = {"segmentation": 3, "classification": 1}.get(task.kind, 4)
    if label.dim() != dimensions or (not classes and label.shape[1] != task.channels):
        shape = {3: "[N, H, W]", 1: "[N]"}.get(dimensions, f"[N, {task.channels}, H, W]")
        raise LabelError(f"{task.name} labels must be {shape}; got {list(label.shape)}", field=task.name)
    size = label.shape if classes else label[:, 0].shape
    if mask is not None and (mask.dtype != torch.bool or mask.shape != size):
        raise LabelError(
            f"the mask of {task.name} must be bool {list(size)}; got {mask.dtype} {list(mask.shape)}",
            field=task.name,
        )
    if classes:
        _check_classes(task, label, valid_pixels(task, label, mask))
    return label, mask


def _check_classes(task: Task, label: Tensor, valid: Tensor) -> None:
    wrong = valid & ((label < 0) | (label >= task.channels))
    if wrong.any():
        found = int(label[wrong][0])
        raise LabelError(f"{task.name} has {task.channels} classes; a label says {found}", field=task.name)


def valid_pixels(task: Task, label: Tensor, mask: Tensor | None) -> Tensor:
    """Where a label counts: bool [N, H, W], [N, channels, H, W] for regression, [N] for classification."""
    if task.kind in ("segmentation", "classification"):
        valid = label != IGNORE_VALUE
    elif task.kind == "normals":
        valid = label.amax(1) < IGNORE_VALUE
    elif task.kind == "depth":
        depth = label[:, 0]
        valid = (depth != IGNORE_VALUE) if mask is not None else (depth > DEPTH_MIN) & (depth != IGNORE_VALUE)
    else:
        valid = label != IGNORE_VALUE
    if task.kind not in ("segmentation", "classification"):
        finite = torch.isfinite(label)
        valid = valid & (finite if task.kind == "regression" else finite.all(1))
    if mask is None:
        return valid
    return valid & (mask[:, None] if task.kind == "regression" else mask)


def class_weights(task: Task, like: Tensor) -> Tensor | None:
    """The task's class weights beside a prediction, or None."""
    if not task.class_weights:
        return None
    return torch.tensor(task.class_weights, dtype=like.dtype, device=like.device)


def make_target(task: Task, label: Tensor, mask: Tensor | None, *, size: tuple[int, int] | None) -> Target:
    """Resize a label, as `labels_of` gives it, to a prediction's (h, w) and find what counts."""
    if size is not None:
        label = resize_nearest(label, *size)
        mask = None if mask is None else resize_nearest(mask, *size)
    valid = valid_pixels(task, label, mask)
    if task.kind in ("segmentation", "classification"):
        return _class_target(task, label.long(), valid)
    whole = valid if task.kind == "regression" else valid[:, None]
    label = torch.where(whole, label, torch.zeros((), dtype=label.dtype, device=label.device)).float()
    if task.kind == "normals":
        label = label * label.square().sum(1, keepdim=True).add(NORM_EPS).rsqrt()
    counted = valid.flatten(1).sum(1).clamp_min(1)
    return Target(label, valid.float(), counted.float())


def _class_target(task: Task, label: Tensor, valid: Tensor) -> Target:
    label = torch.where(valid, label, IGNORE_VALUE)
    if label.dim() == 1:
        return Target(label, valid.float(), torch.ones(len(label), device=label.device))
    if task.class_weights:
        table = torch.tensor((*task.class_weights, 0.0), device=label.device)
        per_pixel = table[torch.where(valid, label, task.channels)]
        return Target(label, valid.float(), per_pixel.flatten(1).sum(1).clamp_min(1e-8))
    return Target(label, valid.float(), valid.flatten(1).sum(1).clamp_min(1).float())


def sample_loss(task: Task, prediction: Tensor, target: Target) -> Tensor:
    """The loss of each sample, [N]: cross entropy, 1 - cosine, or absolute, squared or Huber error."""
    if task.kind in ("segmentation", "classification"):
        weights = class_weights(task, prediction)
        loss = F.cross_entropy(prediction, target.label, weights, ignore_index=IGNORE_VALUE, reduction="none")
        return loss / target.weight if loss.dim() == 1 else loss.flatten(1).sum(1) / target.weight
    if task.kind == "normals":
        cosine = (prediction * target.label).sum(1) * prediction.square().sum(1).add(NORM_EPS).rsqrt()
        return ((1 - cosine) * target.valid).flatten(1).sum(1) / target.weight
    valid = target.valid if task.kind == "regression" else target.valid[:, None]
    return (_error(task, prediction - target.label) * valid).flatten(1).sum(1) / target.weight


def _error(task: Task, difference: Tensor) -> Tensor:
    if task.measure == "squared":
        return difference.square()
    if task.measure == "huber":
        return F.huber_loss(difference, torch.zeros_like(difference), reduction="none")
    return difference.abs()


class BatchLosses:
    """The losses of several tasks on one batch; labels are resized once, at the first prediction.

    Raises:
        LabelError: labels do not fit the tasks; see `labels_of`.
    """

    def __init__(self, tasks: Sequence[Task], batch: Batch) -> None:
        self.tasks = tuple(tasks)
        self._samples = len(batch)
        self._labels = {task.name: labels_of(task, batch) for task in tasks}
        self._targets: dict[str, Target] = {}

    def __call__(self, predictions: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Each task's losses [N], in the order of the tasks."""
        return tuple(self._one(task, predictions) for task in self.tasks)

    def _one(self, task: Task, predictions: Mapping[str, Tensor]) -> Tensor:
        prediction = prediction_of(task, predictions, samples=self._samples)
        if task.name not in self._targets:
            size = None if prediction.dim() == 2 else (prediction.shape[-2], prediction.shape[-1])
            label, mask = self._labels[task.name]
            self._targets[task.name] = make_target(task, label, mask, size=size)
        return sample_loss(task, prediction, self._targets[task.name])


def prediction_of(task: Task, predictions: object, *, samples: int) -> Tensor:
    """The task's prediction, its shape checked.

    Raises:
        PredictionError: the model gave none, or one of another shape than the task's.
    """
    if not isinstance(predictions, Mapping):
        kind = type(predictions).__name__
        raise PredictionError(
            f"the model must map images to {{task: prediction}}; it gave a {kind}", field=task.name
        )
    if task.name not in predictions:
        raise PredictionError(
            f"the model predicts {', '.join(predictions)}, not {task.name}", field=task.name
        )
    prediction: Tensor = predictions[task.name]
    dimensions = 2 if task.kind == "classification" else 4
    if prediction.dim() != dimensions or prediction.shape[:2] != (samples, task.channels):
        shape = "[N, channels]" if dimensions == 2 else "[N, channels, h, w]"
        raise PredictionError(
            f"{task.name} must be {shape} with N = {samples} and {task.channels} channels; "
            f"got {list(prediction.shape)}",
            field=task.name,
        )
    return prediction


class PredictionError(InvalidError):
    """A model's output is not what its tasks say."""

    code = "invalid_prediction"
