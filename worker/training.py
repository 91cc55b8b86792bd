"""A training's shard: from the last state that was kept to a model that is ready to be registered."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from core.models import TreeModel, save_checkpoint
from core.specs.manifests import ModelManifest, manifest_of
from core.specs.trainings import TrainingSpec
from core.store.blobs import BlobStore
from core.training import Trainer, load_state
from worker.checking import proof_of, scratch, trial_of
from worker.contract import ShardJob, ShardOutput
from worker.keeping import Keeping, told_if_full
from worker.resources import device, new_model_of
from worker.training_parallel import run_processes, training_processes
from worker.training_run import Run, Training


def train(shard: ShardJob, blobs: BlobStore, keeping: Keeping, check: Callable[[], None]) -> ShardOutput:
    """Train to the end, or until the turn is over.

    Raises:
        TurnOver: it is; the state is kept.
        StopRequested: from `check`; the state is kept if it can be.
        DivergenceError: the state before is kept.
        StorageFullError: a state or the weights find no room.
        InvalidError: a batch is too small for all processes.
    """
    assert shard.dataset is not None
    spec = TrainingSpec.model_validate(shard.spec)
    training = Training(
        spec=spec, manifest=_manifest(spec, shard), dataset=shard.dataset, job_id=shard.job_id
    )
    trainer = training.trainer(_first_model(training, shard, blobs))
    with keeping.last() as path:
        if path is not None:
            trainer.load_state_dict(load_state(path))
    if (processes := training_processes()) == 1:
        Run(trainer, keeping, check).to_the_end()
    else:
        run_processes(training, trainer, processes, keeping, check)
    return _output(trainer, training.manifest, shard, blobs, check)


def _manifest(spec: TrainingSpec, shard: ShardJob) -> ModelManifest:
    return manifest_of(shard.model.manifest) if spec.manifest is None else spec.manifest.resolved()


def _first_model(training: Training, shard: ShardJob, blobs: BlobStore) -> TreeModel:
    """The model as training finds it; a stored one is read anew, as it is trained in place."""
    if training.spec.manifest is None:
        return new_model_of(shard.model, blobs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.spec.recipe.seed)
        return training.new_model().to(device())


def _output(
    trainer: Trainer,
    manifest: ModelManifest,
    shard: ShardJob,
    blobs: BlobStore,
    check: Callable[[], None],
) -> ShardOutput:
    """The weights in the blob store, and all that registering the model takes, as JSON."""
    trained = trainer.trained()
    assert isinstance(trained, TreeModel)
    with TemporaryDirectory(dir=scratch()) as folder:
        file = Path(folder) / "weights.safetensors"
        with told_if_full("the trained weights"):
            save_checkpoint(trained, file)
            weights = blobs.put_file(file)
    facts = trial_of(trained) | {"file": {"format": "safetensors"}}
    facts["proof"] = proof_of(shard, trained, check)
    report = {
        "parameters": sum(parameter.numel() for parameter in trained.parameters()),
        "facts": facts,
        "manifest": manifest.model_dump(mode="json"),
        "weights": weights,
        "iterations": trainer.iterations,
        "figures": _figures(trainer),
        "curves": _curves(trainer),
    }
    seen = trainer.iterations * trainer.recipe.batch_size
    return ShardOutput(json.dumps(report, sort_keys=True).encode(), seen, {})


def _figures(trainer: Trainer) -> dict[str, Any]:
    """What a training comes to in a few numbers: means over its last tenth, and what stopping early saved.

    `last` has the means by curve; `inner_steps_saved` is a share of the attack's steps, over the whole training.
    """
    curves, adversarial = trainer.curves, trainer.recipe.adversarial
    tenth = max(1, trainer.iterations // 10)
    figures: dict[str, Any] = {
        "last": {column: _finite(float(np.nanmean(curves[column][-tenth:]))) for column in curves.columns}
    }
    if adversarial is not None:
        taken = float(curves["inner_steps"].mean())
        figures["inner_steps_saved"] = _finite(1 - taken / adversarial.steps)
    return figures


def _curves(trainer: Trainer) -> Mapping[str, Any]:
    """Every curve, one number an iteration; null where there is none."""
    curves = trainer.curves
    return {column: [_finite(value) for value in curves[column].tolist()] for column in curves.columns}


def _finite(value: float) -> float | None:
    return float(f"{value:.7g}") if abs(value) < float("inf") else None
