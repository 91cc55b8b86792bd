"""Preprocessing proven, not believed: a model's clean metrics beside those of random weights and of likely mistakes.

A wrong channel order or scale leaves a model that runs and answers, only worse. On a few samples it is seen at once:
some other preprocessing does better, or random weights do about as well.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from core.arp import average_relative_performance
from core.data.batch import Dataset
from core.evaluation.health import Flag
from core.evaluation.metrics import all_metrics
from core.evaluation.shard import evaluate_shard
from core.models.tree import Preprocess, TreeModel
from core.modules import device_of
from core.specs.preprocessing import Preprocessing, Triple
from core.tasks import Task

PROOF_SAMPLES = 8
PROOF_PIXELS = PROOF_SAMPLES * 256 * 256
"""Of larger images fewer are taken, so that a large model is through in minutes on a CPU; two at least."""
BATCH = 2
MISTAKEN = 5.0
"""Percent by which another preprocessing must do better, over all metrics, before the one given is doubted."""
LEARNED = 10.0
"""Percent by which random weights must do worse before the model counts as trained."""

IMAGENET_MEAN: dict[str, Triple] = {"rgb": (0.485, 0.456, 0.406), "bgr": (0.406, 0.456, 0.485)}
IMAGENET_STD: dict[str, Triple] = {"rgb": (0.229, 0.224, 0.225), "bgr": (0.225, 0.224, 0.229)}
"""By channel order."""

Metrics = dict[str, dict[str, float | None]]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a few clean samples showed.

    Attributes:
        metrics: of the model as it was given.
        random: of the same model with random weights.
        variants: by name, how much worse another preprocessing makes the model, in percent over all metrics (below 0
            it does better); None where that is not defined.
        flags: what is doubtful.
    """

    samples: int
    metrics: Metrics
    random: Metrics
    variants: dict[str, float | None]
    flags: tuple[Flag, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"flags": [flag.to_json() for flag in self.flags]}


def prove(
    model: TreeModel,
    dataset: Dataset,
    tasks: Sequence[Task],
    *,
    samples: int = PROOF_SAMPLES,
    check: Callable[[], None] | None = None,
) -> Proof:
    """Measure a model on the first samples of a data set, as it is and with what may have been meant instead.

    Args:
        model: left as it was found.
        dataset: has labels for the tasks.
        tasks: as they are measured on the data set.
        samples: how many at most.
        check: as in `evaluate_shard`.
    """
    pixels = dataset.batch([0]).images[0, 0].numel()
    count = min(samples, max(BATCH, PROOF_PIXELS // pixels), len(dataset))

    def measured(candidate: TreeModel) -> Metrics:
        table, _ = evaluate_shard(
            candidate, dataset, range(count), None, tasks=tasks, batch_size=min(BATCH, count), check=check
        )
        return all_metrics(tasks, {task.name: table.totals(task.name) for task in tasks})

    def worse(metrics: Metrics) -> float | None:
        directions = {task.name: task.directions for task in tasks}
        return average_relative_performance(own, metrics, directions).overall

    own = measured(model)
    random = measured(untrained(model))
    variants = {}
    for name, settings in likely_mistakes(model.preprocess.settings).items():
        with _preprocessed(model, settings):
            variants[name] = worse(measured(model))
    return Proof(count, own, random, variants, tuple(_flags(worse(random), variants)))


def _flags(random: float | None, variants: dict[str, float | None]) -> Iterator[Flag]:
    if random is None or random < LEARNED:
        message = (
            "the clean metrics are hardly better than those of random weights: is this the model's data set?"
        )
        yield Flag("no_better_than_random", "warning", message, {"random_worse_by": random})
    defined = {name: change for name, change in variants.items() if change is not None}
    best = min(defined, key=lambda name: defined[name], default=None)
    if best is not None and defined[best] < -MISTAKEN:
        message = f"with {best} the model does better: the preprocessing in the manifest is probably not the model's"
        yield Flag("doubtful_preprocessing", "warning", message, {"change": defined})


def likely_mistakes(given: Preprocessing) -> dict[str, Preprocessing]:
    """What else the preprocessing may have been, by what to say of it."""
    other: Literal["rgb", "bgr"] = "rgb" if given.channel_order == "bgr" else "bgr"
    scaled, named = (1.0, "images in 0..1") if given.scale != 1 else (255.0, "images in 0..255")
    order = given.channel_order
    plain = Preprocessing(channel_order=order, size=given.size)
    normalised = replace(plain, mean=IMAGENET_MEAN[order], std=IMAGENET_STD[order])
    found = {
        f"channels in the order {other}": replace(given, channel_order=other),
        named: replace(given, scale=scaled),
        "ImageNet's mean and standard deviation": normalised,
        "no normalisation": plain,
    }
    return {name: settings for name, settings in found.items() if settings != given}


@contextmanager
def _preprocessed(model: TreeModel, settings: Preprocessing) -> Iterator[None]:
    given = model.preprocess
    model.preprocess = Preprocess(settings).to(device_of(model))
    try:
        yield
    finally:
        model.preprocess = given


def untrained(model: TreeModel) -> TreeModel:
    """The same architecture with random weights, always the same ones; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = TreeModel(model.backbone, model.layout, model.tasks, model.preprocess.settings)
    return fresh.to(device_of(model)).eval()
