"""What a task is: its kind, channels, metrics and their directions, and the profiles that bundle tasks.

Losses live in `core.losses`, statistics and metric values in `core.evaluation`; nothing here needs torch.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from core.errors import InvalidError

TaskKind = Literal["segmentation", "normals", "depth", "regression", "classification"]
Direction = Literal["higher", "lower"]
MetricRules = Literal["standard", "paper"]
Loss = Literal["cross_entropy", "cosine", "absolute", "squared", "huber"]

TASK_KINDS: tuple[TaskKind, ...] = get_args(TaskKind)

IGNORE_VALUE = 255
"""Label value of a pixel that does not count, in every dense task (segmentation, normals, depth, regression)."""

DEPTH_MIN = 3e-5
"""Without a mask, a depth label must exceed this (metres) to count."""

METRIC_VERSION = "1"
"""Raised whenever a metric's formula changes, so that stored numbers say which formula made them."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a task over a whole split.

    Attributes:
        name: unique within the task kind.
        direction: whether "higher" or "lower" values are better for the model.
        unit: "%", "degrees", "metres" or "" for a plain number.
    """

    name: str
    direction: Direction
    unit: str = ""


METRICS: dict[TaskKind, tuple[Metric, ...]] = {
    "segmentation": (
        Metric("miou", "higher", "%"),
        Metric("pixel_accuracy", "higher", "%"),
        Metric("cross_entropy", "lower"),
    ),
    "normals": (
        Metric("mean", "lower", "degrees"),
        Metric("median", "lower", "degrees"),
        Metric("within_11.25", "higher", "%"),
        Metric("within_22.5", "higher", "%"),
        Metric("within_30", "higher", "%"),
        Metric("cosine", "higher"),
    ),
    "depth": (
        Metric("abs_error", "lower", "metres"),
        Metric("rel_error", "lower"),
        Metric("within_1.25", "higher", "%"),
        Metric("within_1.25^2", "higher", "%"),
        Metric("within_1.25^3", "higher", "%"),
    ),
    "regression": (Metric("abs_error", "lower"),),
    "classification": (Metric("accuracy", "higher", "%"), Metric("cross_entropy", "lower")),
}
"""Every metric a task of each kind can report."""

DEFAULT_METRICS: dict[TaskKind, tuple[str, ...]] = {
    "segmentation": ("miou", "pixel_accuracy"),
    "normals": ("mean", "median", "within_11.25", "within_22.5", "within_30"),
    "depth": ("abs_error", "rel_error", "within_1.25", "within_1.25^2", "within_1.25^3"),
    "regression": ("abs_error",),
    "classification": ("accuracy",),
}
"""The metrics that enter ARP unless a task says otherwise: those of the paper's NYUv2 tables."""


LOSSES: dict[TaskKind, tuple[Loss, ...]] = {
    "segmentation": ("cross_entropy",),
    "normals": ("cosine",),
    "depth": ("absolute", "squared", "huber"),
    "regression": ("absolute", "squared", "huber"),
    "classification": ("cross_entropy",),
}
"""The losses that a task of each kind can be trained and attacked with, the usual one first."""


@dataclass(frozen=True, slots=True)
class Task:
    """One output of a multi-task model.

    Labels, by kind (N samples, H x W pixels): segmentation int64 [N, H, W]; normals float32 [N, 3, H, W], unit
    vectors in camera coordinates; depth float32 [N, 1, H, W] in metres; regression float32 [N, channels, H, W];
    classification int64 [N]. Predictions are [N, channels, h, w], or [N, channels] for classification.

    Attributes:
        channels: output channels of the head (classes, for segmentation and classification).
        metrics: names out of `METRICS[kind]` that enter ARP; empty means the kind's default.
        class_names: for display; empty, or one per channel.
        class_weights: weights of a segmentation loss; empty, or one per channel.
        loss: out of `LOSSES[kind]`; empty means the kind's usual one.

    Raises:
        InvalidError: a field contradicts the kind.
    """

    name: str
    kind: TaskKind
    channels: int
    metrics: tuple[str, ...] = ()
    class_names: tuple[str, ...] = field(default=(), repr=False)
    class_weights: tuple[float, ...] = field(default=(), repr=False)
    loss: Loss | Literal[""] = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check the fields against each other."""
        if not self.name or not self.name.replace("_", "").isalnum():
            raise InvalidError(f"a task's name is letters, digits and _; got {self.name!r}", field="name")
        if self.kind not in TASK_KINDS:
            raise InvalidError(
                f"task kind must be one of {', '.join(TASK_KINDS)}; got {self.kind!r}", field="kind"
            )
        if self.channels < 1:
            raise InvalidError(f"a task has at least one channel; got {self.channels}", field="channels")
        if self.kind == "normals" and self.channels != 3:
            raise InvalidError(f"normals have 3 channels; got {self.channels}", field="channels")
        if self.kind == "depth" and self.channels != 1:
            raise InvalidError(f"depth has 1 channel; got {self.channels}", field="channels")
        known = {metric.name for metric in METRICS[self.kind]}
        if unknown := sorted(set(self.metrics) - known):
            raise InvalidError(
                f"{self.kind} has no metric {unknown[0]!r}; it has {', '.join(sorted(known))}",
                field="metrics",
            )
        self._check_classes()
        if self.loss not in ("", *LOSSES[self.kind]):
            raise InvalidError(
                f"the loss of {self.kind} is one of {', '.join(LOSSES[self.kind])}", field="loss"
            )

    def _check_classes(self) -> None:
        for name in ("class_names", "class_weights"):
            if len(getattr(self, name)) not in (0, self.channels):
                raise InvalidError(f"{name} needs one entry per channel ({self.channels})", field=name)
        if self.class_weights and self.kind != "segmentation":
            raise InvalidError(f"a {self.kind} task takes no class weights", field="class_weights")
        if any(not (0 <= weight < math.inf) for weight in self.class_weights):
            raise InvalidError("class weights are numbers from 0 on", field="class_weights")

    @property
    def reported(self) -> tuple[Metric, ...]:
        """The metrics that enter this task's ARP, in the order they were asked for."""
        table = {metric.name: metric for metric in METRICS[self.kind]}
        return tuple(table[name] for name in self.metrics or DEFAULT_METRICS[self.kind])

    @property
    def measure(self) -> Loss:
        """The loss, spelled out."""
        return self.loss or LOSSES[self.kind][0]

    @property
    def directions(self) -> dict[str, Direction]:
        """Direction of each reported metric."""
        return {metric.name: metric.direction for metric in self.reported}


@dataclass(frozen=True, slots=True)
class Profile:
    """The tasks of one benchmark, in the order that layouts number them."""

    name: str
    title: str
    tasks: tuple[Task, ...]

    def task(self, name: str) -> Task:
        """The task of that name.

        Raises:
            InvalidError: the profile has no such task.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        names = ", ".join(task.name for task in self.tasks)
        raise InvalidError(f"profile {self.name!r} has no task {name!r}; it has {names}")


SCENE_CLASSES = (
    "wall",
    "floor",
    "ceiling",
    "window",
    "door",
    "table",
    "chair",
    "sofa",
    "bed",
    "bookcase",
    "cabinet",
    "lamp",
    "plant",
)

_PROFILES = (
    Profile(
        "scenes",
        "Rendered indoor scenes",
        (
            Task("segmentation", "segmentation", len(SCENE_CLASSES), class_names=SCENE_CLASSES),
            Task("normals", "normals", 3),
            Task("depth", "depth", 1),
            Task("keypoints", "regression", 1),
            Task("edges", "regression", 1),
        ),
    ),
    Profile(
        "digits",
        "Two scanned digits side by side",
        (Task("left", "classification", 10), Task("right", "classification", 10)),
    ),
    Profile(
        "nyuv2",
        "NYUv2: 40-class segmentation, surface normals, depth",
        (Task("segmentation", "segmentation", 40), Task("normals", "normals", 3), Task("depth", "depth", 1)),
    ),
    Profile(
        "taskonomy",
        "Tiny-Taskonomy: five tasks, each measured by its own error",
        (
            Task("segmentation", "segmentation", 17, metrics=("cross_entropy",)),
            Task("normals", "normals", 3, metrics=("cosine",)),
            Task("depth", "depth", 1, metrics=("abs_error",)),
            Task("keypoints", "regression", 1),
            Task("edges", "regression", 1),
        ),
    ),
    Profile(
        "cityscapes",
        "Cityscapes: 19-class segmentation and inverse depth",
        (
            Task("segmentation", "segmentation", 19),
            Task("depth", "depth", 1, metrics=("abs_error", "rel_error")),
        ),
    ),
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in _PROFILES}


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        InvalidError: there is none; the message lists those there are.
    """
    if name not in PROFILES:
        raise InvalidError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]
