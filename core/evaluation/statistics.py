"""Per-sample sufficient statistics: all that metrics, ARP and later formulas need, derived without a GPU.

Statistics are taken at the label's resolution, to which predictions are resized with nearest interpolation.
They hold exact integers or float64 sums, one row a sample, so merging shards is concatenation.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from core.data.batch import Batch
from core.losses import NORM_EPS, class_weights, labels_of, prediction_of, resize_nearest, valid_pixels
from core.tasks import IGNORE_VALUE, Task

ANGLE_BINS = 720
"""Bins of a quarter degree, 0 to 180: 11.25, 22.5 and 30 are bin edges, so shares within them are exact."""

DEPTH_THRESHOLDS = (1.25, 1.25**2, 1.25**3)

Array = NDArray[np.generic]
Counts = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Statistics:
    """A table of samples: by task and statistic an array whose first axis is the sample.

    Attributes:
        indices: [N] int64, positions in the data set.
        tasks: by task name and statistic name, [N, ...].
        flags: by name, [N] bool: what the attack met ("floored", "non_finite", "zero_gradient", "rising").
        previews: uint8 [P, H, W, 3], pictures of the first P samples that were taken, in the order of taking.
        rounded: like `tasks`, of the attacked images rounded to 8 bits; empty for a clean pass.
    """

    indices: NDArray[np.int64]
    tasks: dict[str, dict[str, Array]]
    flags: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    previews: NDArray[np.uint8] | None = None
    rounded: dict[str, dict[str, Array]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.indices)

    @classmethod
    def concatenate(cls, parts: Sequence["Statistics"]) -> "Statistics":
        """One table out of several, in sample order whatever the order of the parts.

        Pictures stand in the order of the parts.

        Raises:
            ValueError: there is no part, or a sample is in two of them.
        """
        if not parts:
            raise ValueError("no statistics to concatenate")
        indices = np.concatenate([part.indices for part in parts])
        order = np.argsort(indices, kind="stable")
        if len(np.unique(indices)) != len(indices):
            raise ValueError("a sample is in two shards")
        tasks = _concatenated([part.tasks for part in parts], order)
        rounded = _concatenated([part.rounded for part in parts], order)
        flags = {name: np.concatenate([part.flags[name] for part in parts])[order] for name in parts[0].flags}
        pictures = [part.previews for part in parts if part.previews is not None]
        shown = np.concatenate(pictures) if pictures else None
        return cls(indices[order], tasks, flags, shown, rounded)

    def totals(self, task: str) -> dict[str, NDArray[np.float64]]:
        """Each statistic of a task summed over the samples, in sample order, as float64."""
        return {name: values.sum(axis=0, dtype=np.float64) for name, values in self.tasks[task].items()}

    def to_bytes(self) -> bytes:
        """The table as a compressed NumPy archive."""
        arrays: dict[str, Array] = {"indices": self.indices}
        for group, tables in (("tasks", self.tasks), ("rounded", self.rounded)):
            arrays |= {
                f"{group}/{task}/{name}": values
                for task, table in tables.items()
                for name, values in table.items()
            }
        arrays |= {f"flags/{name}": values for name, values in self.flags.items()}
        if self.previews is not None:
            arrays["previews"] = self.previews
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Statistics":
        """Read what `to_bytes` wrote."""
        tasks: dict[str, dict[str, Array]] = {}
        rounded: dict[str, dict[str, Array]] = {}
        flags: dict[str, NDArray[np.bool_]] = {}
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            for key in archive.files:
                match key.split("/"):
                    case ["tasks", task, name]:
                        tasks.setdefault(task, {})[name] = archive[key]
                    case ["rounded", task, name]:
                        rounded.setdefault(task, {})[name] = archive[key]
                    case ["flags", name]:
                        flags[name] = archive[key]
            previews = archive["previews"] if "previews" in archive.files else None
            return cls(archive["indices"], tasks, flags, previews, rounded)


def pack(tables: Sequence[Statistics]) -> bytes:
    """Several tables in one archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for position, table in enumerate(tables):
            archive.writestr(zipfile.ZipInfo(str(position)), table.to_bytes())
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[Statistics, ...]:
    """Read what `pack` wrote."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return tuple(Statistics.from_bytes(archive.read(name)) for name in archive.namelist())


def _concatenated(
    tables: Sequence[dict[str, dict[str, Array]]], order: NDArray[np.int64]
) -> dict[str, dict[str, Array]]:
    return {
        task: {name: np.concatenate([table[task][name] for table in tables])[order] for name in statistics}
        for task, statistics in tables[0].items()
    }


def take_statistics(
    tasks: Sequence[Task], predictions: Mapping[str, Tensor], batch: Batch, flags: Mapping[str, Tensor]
) -> Statistics:
    """The statistics of a batch's predictions.

    Raises:
        PredictionError: a prediction is missing or has another shape than its task's.
        LabelError: labels do not fit the tasks; see `core.losses.labels_of`.
    """
    tables: dict[str, dict[str, Array]] = {}
    for task in tasks:
        prediction = prediction_of(task, predictions, samples=len(batch)).detach()
        counts = task_statistics(task, prediction, *labels_of(task, batch))
        tables[task.name] = {name: values.cpu().numpy() for name, values in counts.items()}
    raised = {name: values.cpu().numpy() for name, values in flags.items()}
    return Statistics(batch.indices.numpy(), tables, raised)


def task_statistics(task: Task, prediction: Tensor, label: Tensor, mask: Tensor | None) -> Counts:
    """One task's statistics, each [N, ...]."""
    valid = valid_pixels(task, label, mask)
    if task.kind == "segmentation":
        return _segmentation(task, prediction, label, valid)
    if task.kind == "classification":
        return _classification(prediction, label, valid)
    prediction = resize_nearest(prediction, *label.shape[-2:])
    if task.kind == "normals":
        return _normals(prediction, label, valid)
    if task.kind == "depth":
        return _depth(prediction[:, 0], label[:, 0], valid)
    error = torch.where(valid, (prediction - label).abs(), 0.0)
    return {"valid": _count(valid), "abs_sum": _total(error)}


def _segmentation(task: Task, prediction: Tensor, label: Tensor, valid: Tensor) -> Counts:
    samples, classes = prediction.shape[:2]
    size = label.shape[-2:]
    predicted = resize_nearest(prediction.argmax(1), *size)
    label = torch.where(valid, label.long(), classes)
    offsets = torch.arange(samples, device=label.device)[:, None, None] * (classes + 1)

    def per_class(values: Tensor, counted: Tensor) -> Tensor:
        keys = (torch.where(counted, values, classes) + offsets).flatten()
        counts = torch.bincount(keys, minlength=samples * (classes + 1))
        return counts.view(samples, classes + 1)[:, :classes]

    counts = {
        "labelled": per_class(label, valid),
        "predicted": per_class(predicted, valid),
        "intersection": per_class(label, valid & (predicted == label)),
    }
    if "cross_entropy" in task.metrics:
        counts |= _cross_entropy(task, prediction, label, valid)
    return counts


def _cross_entropy(task: Task, prediction: Tensor, label: Tensor, valid: Tensor) -> Counts:
    weights = class_weights(task, prediction)
    scores = resize_nearest(F.log_softmax(prediction, 1), *label.shape[-2:])
    target = torch.where(valid, label, IGNORE_VALUE)
    loss = F.nll_loss(scores, target, weights, ignore_index=IGNORE_VALUE, reduction="none")
    per_pixel = (
        valid.double() if weights is None else valid * weights.double()[label.clamp_max(task.channels - 1)]
    )
    return {"loss_sum": _total(loss), "weight_sum": _total(per_pixel)}


def _classification(prediction: Tensor, label: Tensor, valid: Tensor) -> Counts:
    target = torch.where(valid, label.long(), IGNORE_VALUE)
    loss = F.cross_entropy(prediction, target, ignore_index=IGNORE_VALUE, reduction="none")
    return {
        "valid": valid.long(),
        "correct": (valid & (prediction.argmax(1) == label)).long(),
        "loss_sum": loss.double(),
    }


def _normals(prediction: Tensor, label: Tensor, valid: Tensor) -> Counts:
    scale = (prediction.square().sum(1) * label.square().sum(1)).add(NORM_EPS).rsqrt()
    cosine = ((prediction * label).sum(1) * scale).nan_to_num(nan=-1.0).clamp(-1, 1)
    angle = torch.rad2deg(torch.acos(cosine))
    bins = (angle * (ANGLE_BINS / 180)).long().clamp_max(ANGLE_BINS - 1)
    samples = len(angle)
    offsets = torch.arange(samples, device=angle.device)[:, None, None] * ANGLE_BINS
    keys = (bins + offsets)[valid]
    histogram = torch.bincount(keys, minlength=samples * ANGLE_BINS).view(samples, ANGLE_BINS)
    return {
        "valid": _count(valid),
        "angle_sum": _total(torch.where(valid, angle, 0.0)),
        "cosine_sum": _total(torch.where(valid, cosine, 0.0)),
        "angle_histogram": histogram.int(),
    }


def _depth(prediction: Tensor, label: Tensor, valid: Tensor) -> Counts:
    error = torch.where(valid, (prediction - label).abs(), 0.0)
    relative = valid & (label > 0)
    safe = torch.where(relative, label, 1.0)
    positive = relative & (prediction > 0)
    ratio = torch.where(positive, torch.maximum(prediction / safe, safe / prediction), torch.inf)
    return {
        "valid": _count(valid),
        "relative_valid": _count(relative),
        "abs_sum": _total(error),
        "rel_sum": _total(torch.where(relative, error / safe, 0.0)),
        "within": torch.stack([_count(ratio < threshold) for threshold in DEPTH_THRESHOLDS], 1),
    }


def _count(where: Tensor) -> Tensor:
    return where.flatten(1).sum(1)


def _total(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1, dtype=torch.float64)
