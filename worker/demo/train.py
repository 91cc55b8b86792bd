"""`make checkpoints`: train the demo's models from scratch and write their weights and cards.

Weights are rounded to float16, which halves the files; the clean metrics on the cards are of the rounded weights.
"""

import argparse
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict

import torch
from rich.progress import Progress as Bar

from core.data import open_dataset
from core.evaluation import evaluate
from core.models import TreeModel, build_model, save_checkpoint
from core.training import Progress, TrainingRecipe, train
from worker.demo.models import CHECKPOINTS, DEMO_MODELS, DemoModel

TEST_SAMPLES = 512

SCENES_WEIGHTS = {"segmentation": 1.0, "normals": 2.0, "depth": 1.0, "keypoints": 4.0, "edges": 4.0}
RECIPES = {
    "scenes": TrainingRecipe(epochs=5, task_weights=SCENES_WEIGHTS),
    "digits": TrainingRecipe(epochs=2),
}
"""By data set: models that differ in layout are trained alike."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the models whose names are given, or all."""
    names = [model.name for model in DEMO_MODELS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=", ".join(names))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if unknown := set(options.models) - set(names):
        parser.error(f"no demo model {min(unknown)!r}; there are {', '.join(names)}")
    torch.set_num_threads(options.threads)
    CHECKPOINTS.mkdir(exist_ok=True)
    for model in DEMO_MODELS:
        if not options.models or model.name in options.models:
            make(model, threads=options.threads)


def make(demo: DemoModel, *, threads: int) -> None:
    """Train one model and write its two files."""
    recipe = RECIPES[demo.dataset]
    torch.manual_seed(recipe.seed)
    manifest = demo.manifest
    model = build_model(manifest.backbone, manifest.layout, manifest.task_list)
    dataset = open_dataset(demo.dataset, "train")
    dataset.batch(range(1))
    started = time.perf_counter()
    with Bar() as bar:
        line = bar.add_task(demo.title, total=None)

        def show(progress: Progress) -> None:
            losses = " ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
            bar.update(
                line, total=progress.steps, completed=progress.step, description=f"{demo.title}: {losses}"
            )

        train(model, dataset, recipe, progress=show)
    seconds = time.perf_counter() - started
    round_to_half(model)
    save_checkpoint(model, demo.weights, dtype=torch.float16)
    demo.card.write_text(json.dumps(_card(demo, model, seconds, threads), indent=1) + "\n")


def round_to_half(model: TreeModel) -> None:
    """Round every weight to the nearest float16, in place."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())


def _card(demo: DemoModel, model: TreeModel, seconds: float, threads: int) -> dict[str, object]:
    result = evaluate(model, open_dataset(demo.dataset, "test"), [], limit=TEST_SAMPLES)
    metrics = {
        task: {name: None if value is None else round(value, 4) for name, value in values.items()}
        for task, values in result.clean.metrics.items()
    }
    return {
        "name": demo.name,
        "title": demo.title,
        "manifest": demo.manifest.model_dump(mode="json"),
        "dataset": demo.dataset,
        "recipe": asdict(RECIPES[demo.dataset]),
        "training_seconds": round(seconds),
        "threads": threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "clean": {"split": "test", "samples": result.clean.samples, "metrics": metrics},
    }


if __name__ == "__main__":
    main()
