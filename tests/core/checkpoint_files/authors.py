"""Checkpoints as the authors' code writes them: their names, and a layout object of a class that is not here.

Written from a model of ours, and from how their code numbers and names things, without looking at how
`core.checkpoint_files` reads them.
"""

import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from core.models import TreeModel

Form = Literal["roles", "numbers"]

STAGES = {
    "deeplab_resnet34": [[0], [1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11, 12, 13], [14, 15, 16]],
    "mobilenet_v2": [
        list(range(7)),
        list(range(7, 18)),
        list(range(18, 23)),
        list(range(23, 31)),
        [31],
    ],
}
TASK_NAMES = {
    "segmentation": "segment_semantic",
    "normals": "normal",
    "depth": "depth_zbuffer",
    "keypoints": "keypoints2d",
    "edges": "edge_texture",
}
STEM = {"roles": {"conv": "0", "norm": "1"}, "numbers": {"conv": "0", "norm": "1"}}
PLAIN = {
    "roles": {"conv1": "block.conv1", "norm1": "block.bn1", "conv2": "block.conv2", "norm2": "block.bn2"},
    "numbers": {"conv1": "0", "norm1": "1", "conv2": "3", "norm2": "4"},
}
WITH_SHORTCUT = {
    "roles": {**PLAIN["roles"], "shortcut.conv": "ds.0", "shortcut.norm": "ds.1"},
    "numbers": {
        "shortcut.conv": "0",
        "shortcut.norm": "1",
        "conv1": "2",
        "norm1": "3",
        "conv2": "5",
        "norm2": "6",
    },
}
MOBILE = {"conv1": "0", "norm1": "1", "conv2": "3", "norm2": "4", "conv3": "6", "norm3": "7"}

State = list[list[set[int]]]


def fine_state(coarse: Sequence[Sequence[Sequence[int]]], backbone: str) -> State:
    """A layout on the blocks: every block of a stage has that stage's very list."""
    levels = [[set(group) for group in level] for level in coarse]
    return [levels[number] for number, blocks in enumerate(STAGES[backbone]) for _ in blocks]


def authors_modules(model: TreeModel, state: State, form: Form) -> Iterator[tuple[str, nn.Module]]:
    """Their name and our module of everything with weights, blocks numbered over all levels in the lists' order."""
    backbone = model.backbone.name
    number = 0
    for block, groups in enumerate(state):
        level = next(n for n, blocks in enumerate(STAGES[backbone]) if block in blocks)
        for group in groups:
            stages = model.stages[level]
            assert isinstance(stages, nn.ModuleList)
            stage = stages[list(model.layout.levels[level]).index(frozenset(group))]
            if not (backbone == "deeplab_resnet34" and level == 0):
                place = STAGES[backbone][level].index(block)
                stage = stage.get_submodule(f"blocks.{place}")
            for name, module in _named(stage, backbone, form):
                yield f"backbone.mtl_blocks.{number}.{name}", module
            number += 1
    for task, head in model.heads.items():
        for branch in range(4):
            for layer in ("conv1", "conv2", "conv3"):
                name = f"heads.{TASK_NAMES[task]}.fc{branch + 1}.{layer}"
                yield name, head.get_submodule(f"branches.{branch}.{layer}")


def _named(stage: nn.Module, backbone: str, form: Form) -> Iterator[tuple[str, nn.Module]]:
    inside = {
        name: module for name, module in stage.named_modules() if list(module.parameters(recurse=False))
    }
    if backbone == "mobilenet_v2":
        table = MOBILE
    elif "conv" in inside:
        table = STEM[form]
    else:
        table = WITH_SHORTCUT[form] if "shortcut.conv" in inside else PLAIN[form]
    for name in sorted(inside, key=lambda name: table[name]):
        yield (
            f"residual_block.{table[name]}" if form == "roles" else f"compute_nodes.{table[name]}.basicOp",
            inside[name],
        )


def authors_names(model: TreeModel, state: State, form: Form) -> dict[str, str]:
    """From their tensor names to ours."""
    ours = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    return {
        f"{theirs}.{name}": ours[id(tensor)]
        for theirs, module in authors_modules(model, state, form)
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }


def authors_state_dict(model: TreeModel, state: State, form: Form) -> dict[str, Tensor]:
    modules = authors_modules(model, state, form)
    return OrderedDict(
        (f"{theirs}.{name}", tensor)
        for theirs, module in modules
        for name, tensor in module.state_dict().items()
    )


def save_as_authors(path: Path, weights: Mapping[str, Tensor], state: State, **options: Any) -> Path:
    """As their trainer does; afterwards nothing here knows the layout's class."""
    with _class_of_layouts() as kind:
        layout = kind()
        layout.__dict__.update(
            T=len(set().union(*state[0])),
            B=len(state),
            state=state,
            num_cut=2,
            lowest_avail_cut=1,
            conv_iter=[(0, 3)],
            virtual_loss=[],
            prob=0,
            metric_list=[0.1, np.float64(0.2)],
            score=np.float64(0.15),
            flops=0.0,
        )
        parameters = [nn.Parameter(torch.ones(3))]
        optimiser = torch.optim.Adam(parameters, lr=1e-3, betas=(0.5, 0.999), weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=4000, gamma=0.5)
        checkpoint = {
            "iter": 19999,
            "state_dict": weights,
            "layout": layout,
            "optimizer": optimiser.state_dict(),
            "scheduler": schedule.state_dict(),
        }
        torch.save(checkpoint, path, **options)
    return path


@contextmanager
def _class_of_layouts() -> Iterator[type[Any]]:
    package, module = types.ModuleType("main"), types.ModuleType("main.layout")
    kind = type("Layout", (), {"__module__": "main.layout"})
    module.Layout = kind  # type: ignore[attr-defined]
    sys.modules.update({"main": package, "main.layout": module})
    try:
        yield kind
    finally:
        del sys.modules["main"], sys.modules["main.layout"]
