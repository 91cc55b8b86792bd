"""Fifteen models of three tasks on rendered scenes: the layouts of the paper's Table 16 by their index.

They are trained when first asked for, all alike, and kept in the cache under a name that holds everything which
decides their weights. Run as `python -m bench.zoo` to train those that are missing.
"""

import argparse
import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch

from core.data import open_dataset
from core.data.paths import cache_root
from core.layouts import Layout, enumerate_layouts
from core.models import TreeModel, build_model, load_checkpoint, save_checkpoint
from core.tasks import Task, profile
from core.training import TrainingRecipe, train

BACKBONE = "sapling"
TASKS: tuple[Task, ...] = profile("scenes").tasks[:3]
"""Segmentation, normals and depth: the tasks of NYUv2, in its order."""

LAYOUTS = (2, 14, 5, 28, 35, 38, 41, 21, 39, 44, 26, 34, 43, 49, 0)
"""Indices into the paper's enumeration, from independent (2) to all-shared (0), ordered by parameter count."""

RECIPE = TrainingRecipe(epochs=5, task_weights={"segmentation": 1.0, "normals": 2.0, "depth": 1.0})


def layout(index: int) -> Layout:
    """The layout of three tasks over five branching points that has this index in the paper."""
    return enumerate_layouts(tasks=len(TASKS), levels=5)[index]


def model(index: int, *, cache: Path | None = None) -> TreeModel:
    """The trained model of a layout, in eval mode."""
    path = cache_root(cache) / "zoo" / f"{_name(index)}.safetensors"
    chosen = layout(index).to_json()
    if not path.exists():
        torch.manual_seed(RECIPE.seed)
        fresh = build_model(BACKBONE, chosen, TASKS)
        train(fresh, open_dataset("scenes", "train"), RECIPE)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_checkpoint(fresh, part)
        part.rename(path)
    return load_checkpoint(path, backbone=BACKBONE, layout=chosen, tasks=TASKS)


def _name(index: int) -> str:
    dataset = open_dataset("scenes", "train")
    facts = [
        BACKBONE,
        layout(index).to_json(),
        [task.name for task in TASKS],
        asdict(RECIPE),
        dataset.version,
    ]
    return f"{index}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"


def main() -> None:
    """Train what is missing among the layouts given, or among all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layouts", nargs="*", type=int, default=LAYOUTS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for index in options.layouts:
        model(index)
        print(f"layout {index} is trained", flush=True)


if __name__ == "__main__":
    main()
