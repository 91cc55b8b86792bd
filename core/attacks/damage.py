"""Damage: a smooth stand-in for what each task contributes to ARP, to be raised in the place of its loss.

ARP is the relative change of data-set metrics (paper Eq. 10). Most of them are means over pixels of a bounded or
weighted error, so each sample's share of the change is known in closed form once the clean metrics are: an
absolute error counts by one over the clean mean error, a share of pixels within a threshold by one over the clean
share. Thresholds and decisions are softened into sigmoids. Two are stand-ins: the median angle, for which the mean
angle counts, and mIoU, for which a wrong pixel counts by one over the union of its true class.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from core.data.batch import Batch
from core.losses import NORM_EPS, labels_of, prediction_of, resize_nearest, valid_pixels
from core.tasks import DEPTH_MIN, Task

ANGLE_SOFTNESS = 5.0
"""Degrees over which a pixel leaves an angle threshold."""
RATIO_SOFTNESS = 0.1
"""Log ratio over which a pixel leaves a depth threshold."""
MARGIN_SOFTNESS = 1.0
"""Difference of class scores over which a pixel turns wrong."""

MEDIAN_SHARE = 0.7
"""Degrees that the median angle rises by, about, when the mean angle rises by one."""

ACOS_LIMIT = 1 - 1e-4
"""The slope of acos is infinite at 1."""

MetricValues = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class CleanScale:
    """What damage is measured against.

    Attributes:
        metrics: by task and metric, before the attack, on samples that are not attacked.
        class_shares: by segmentation task, each class's share of the pixels that are it or are called it.
        softness: factor on the widths of all thresholds.
    """

    metrics: Mapping[str, MetricValues]
    class_shares: Mapping[str, Sequence[float]] = field(default_factory=dict)
    softness: float = 1.0


class Damage:
    """Stands in for `BatchLosses`: each task's damage [N], about its ARP over 100 before the mean over tasks."""

    def __init__(self, tasks: Sequence[Task], batch: Batch, scale: CleanScale) -> None:
        self.tasks = tuple(tasks)
        self._scale = scale
        self._samples = len(batch)
        self._labels = {task.name: labels_of(task, batch) for task in tasks}
        self._sized: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, predictions: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Each task's damage [N], in the order of the tasks."""
        return tuple(
            self._one(task, prediction_of(task, predictions, samples=self._samples)) for task in self.tasks
        )

    def _one(self, task: Task, prediction: Tensor) -> Tensor:
        label, valid = self._at_size_of(task, prediction)
        errors = _ERRORS[task.kind](task, prediction, label, self._scale)
        count = _sums(valid).clamp_min(1)
        weights = _weights(task, self._scale.metrics[task.name])
        if not weights:  # there is a gradient all the same, of 0
            return _sums(0 * prediction.nan_to_num(0.0, 0.0, 0.0))
        total = prediction.new_zeros(len(prediction))
        for name, weight in weights.items():
            error = torch.where(valid, errors(name), 0.0)
            total = total + weight / len(weights) * (_sums(error) / count)
        return total

    def _at_size_of(self, task: Task, prediction: Tensor) -> tuple[Tensor, Tensor]:
        if task.name not in self._sized:
            label, mask = self._labels[task.name]
            if prediction.dim() == 4:
                size = prediction.shape[-2:]
                label = resize_nearest(label, *size)
                mask = None if mask is None else resize_nearest(mask, *size)
            valid = valid_pixels(task, label, mask)
            whole = valid if valid.shape == label.shape else valid[:, None]
            self._sized[task.name] = torch.where(whole, label, torch.zeros_like(label)), valid
        return self._sized[task.name]


def _sums(values: Tensor) -> Tensor:
    """[N, ...] to [N]."""
    return values.reshape(len(values), -1).sum(1)


def _weights(task: Task, clean: MetricValues) -> dict[str, float]:
    """Relative change of each metric for one unit of mean error; without those whose clean value defines none."""
    values = {metric: clean.get(metric.name) for metric in task.reported}
    return {
        metric.name: (100.0 if metric.unit == "%" else 1.0) / abs(value)
        for metric, value in values.items()
        if value
    }


Errors = Callable[[str], Tensor]
"""By metric name, each pixel's smooth error."""


def _depth(task: Task, prediction: Tensor, label: Tensor, scale: CleanScale) -> Errors:
    del task
    predicted, true = prediction[:, 0], label[:, 0].clamp_min(DEPTH_MIN)
    error = (predicted - label[:, 0]).abs()
    relative = label[:, 0] > 0  # relative errors are over these pixels alone
    ratio = (predicted.clamp_min(DEPTH_MIN) / true).log().abs()

    def of(name: str) -> Tensor:
        if name == "abs_error":
            return error
        if name == "rel_error":
            return torch.where(relative, error / true, 0.0)
        power = {"within_1.25": 1, "within_1.25^2": 2, "within_1.25^3": 3}[name]
        outside = torch.sigmoid((ratio - power * math.log(1.25)) / (RATIO_SOFTNESS * scale.softness))
        return torch.where(relative, outside, 0.0)

    return of


def _normals(task: Task, prediction: Tensor, label: Tensor, scale: CleanScale) -> Errors:
    del task
    lengths = prediction.square().sum(1) * label.square().sum(1)
    cosine = (prediction * label).sum(1) * lengths.add(NORM_EPS).rsqrt()
    angle = torch.rad2deg(torch.acos(cosine.clamp(-ACOS_LIMIT, ACOS_LIMIT)))

    def of(name: str) -> Tensor:
        if name == "mean":
            return angle
        if name == "median":
            return MEDIAN_SHARE * angle
        if name == "cosine":
            return 1 - cosine
        degrees = float(name.removeprefix("within_"))
        return torch.sigmoid((angle - degrees) / (ANGLE_SOFTNESS * scale.softness))

    return of


def _classes(task: Task, prediction: Tensor, label: Tensor, scale: CleanScale) -> Errors:
    """Segmentation and classification."""
    true = label.long()[:, None]
    scores = prediction.gather(1, true)[:, 0]
    others = prediction.scatter(1, true, -torch.inf).amax(1) if task.channels > 1 else scores
    wrong = torch.sigmoid((others - scores) / (MARGIN_SOFTNESS * scale.softness))

    def of(name: str) -> Tensor:
        if name == "cross_entropy":
            return F.cross_entropy(prediction, true[:, 0], reduction="none")
        if name == "miou" and task.name in scale.class_shares:
            shares = torch.tensor(scale.class_shares[task.name], device=prediction.device)
            present = (shares > 0).sum()
            return wrong * torch.where(shares > 0, 1 / (present * shares), 0.0)[true[:, 0]]
        return wrong

    return of


def _regression(task: Task, prediction: Tensor, label: Tensor, scale: CleanScale) -> Errors:
    del task, scale
    return lambda _: (prediction - label).abs()


_ERRORS: dict[str, Callable[[Task, Tensor, Tensor, CleanScale], Errors]] = {
    "depth": _depth,
    "normals": _normals,
    "segmentation": _classes,
    "classification": _classes,
    "regression": _regression,
}
