"""`TreeModel`: backbone levels x layout x heads. A level runs once per task set, whatever the tasks in it."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.backbones import Backbone, BackboneReference, backbone
from core.errors import InvalidError
from core.layouts import Layout
from core.models.heads import head_module
from core.models.levels import level_module
from core.specs.preprocessing import Preprocessing
from core.tasks import Task


class TreeModel(nn.Module):
    """A branched multi-task model that takes RGB images in [0, 1] and normalises them itself.

    Attributes:
        tasks: in the order that the layout numbers them.
        layout: in canonical form; `stages[level][group]` is the module of its `group`-th set on `level`.
    """

    def __init__(
        self, backbone: Backbone, layout: Layout, tasks: Sequence[Task], preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.layout = layout.canonical
        self.tasks = tuple(tasks)
        self.preprocess = Preprocess(preprocessing)
        self.stages = nn.ModuleList(
            nn.ModuleList(level_module(backbone, level) for _ in groups)
            for level, groups in enumerate(self.layout.levels)
        )
        self.heads = nn.ModuleDict({task.name: head_module(backbone, task) for task in self.tasks})

    def forward(self, images: Tensor, *, only: Collection[str] | None = None) -> dict[str, Tensor]:
        """Predictions by task, for all tasks or `only` some; just the branches that these need are run.

        Args:
            images: [N, 3, H, W], RGB in [0, 1].
            only: task names.

        Raises:
            InvalidError: the model has no such task.
        """
        wanted = self._numbers(only)
        features = {frozenset(range(len(self.tasks))): self.preprocess(images)}
        for stages, groups in zip(self.stages, self.layout.levels, strict=True):
            assert isinstance(stages, nn.ModuleList)
            features = {
                group: stage(_parent(features, group))
                for stage, group in zip(stages, groups, strict=True)
                if not wanted.isdisjoint(group)
            }
        return {
            task.name: self.heads[task.name](_parent(features, {number}))
            for number, task in enumerate(self.tasks)
            if number in wanted
        }

    def _numbers(self, only: Collection[str] | None) -> set[int]:
        names = [task.name for task in self.tasks]
        if only is None:
            return set(range(len(names)))
        if unknown := sorted(set(only) - set(names)):
            raise InvalidError(f"the model has no task {unknown[0]!r}; it has {', '.join(names)}")
        return {names.index(name) for name in only}


def _parent(features: dict[frozenset[int], Tensor], group: Collection[int]) -> Tensor:
    return next(above for tasks, above in features.items() if tasks.issuperset(group))


class Preprocess(nn.Module):
    """The model's size, its channel order, then (image * scale - mean) / std."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.settings = preprocessing
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] RGB in [0, 1] to what the first layer was trained on."""
        if self.settings == Preprocessing():
            return images
        if self.settings.size is not None:
            images = F.interpolate(images, self.settings.size, mode="bilinear", antialias=True)
        if self.settings.channel_order == "bgr":
            images = images.flip(1)
        return (images * self.settings.scale - self.mean) / self.std


def build_model(
    name: BackboneReference,
    layout: Any,
    tasks: Sequence[Task],
    *,
    preprocessing: Preprocessing | None = None,
) -> TreeModel:
    """A model with random weights.

    Args:
        name: of the backbone, or a declaration: whatever `core.backbones.backbone` takes.
        layout: anything that `Layout.parse` takes.
        tasks: in the order that the layout numbers them.
        preprocessing: none unless said.

    Raises:
        InvalidError: no such backbone, or no such layout for it.
    """
    chosen = backbone(name)
    parsed = Layout.parse(layout, tasks=[task.name for task in tasks], levels=chosen.levels)
    return TreeModel(chosen, parsed, tasks, preprocessing or Preprocessing())
