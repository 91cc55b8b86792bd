"""A model's check: its file read and converted under limits, its weights run, its preprocessing put to the proof."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from core.checkpoint_files import Format, Hints, recognise, run_limited
from core.errors import InvalidError, WindthrowError
from core.evaluation.proof import prove
from core.models import TreeModel
from core.modules import device_of
from core.settings import Settings
from core.specs.manifests import ManifestHints, ModelManifest
from core.store.blobs import BlobStore
from worker.contract import DatasetRecord, ModelRecord, ShardJob, ShardOutput
from worker.resources import dataset_of, model_of

TRIAL_SIDE = 64

PROOF_SPLITS = ("validation", "test", "train")
"""Where a model is tried: the first of these that the data set has."""


class BrokenModelError(WindthrowError):
    """The weights load, and what comes out of the model is not a number."""

    code = "nonfinite_predictions"


def check_model(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    """Read the file that was uploaded, and find out all that a job wants to know of the model.

    Raises:
        CheckpointError: the file is none that is read, or not of the model that it was said to be.
        BrokenModelError: the model predicts what is not a number.
    """
    record = shard.model
    declared = ManifestHints.model_validate(record.manifest)
    manifest, weights, origin = _weights(record, declared, blobs)
    check()
    model = model_of(ModelRecord(record.id, weights, manifest.model_dump(mode="json")), blobs)
    facts = trial_of(model) | {"file": origin, "proof": proof_of(shard, model, check)}
    report = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "facts": facts,
        "manifest": manifest.model_dump(mode="json"),
        "weights": weights,
    }
    return ShardOutput(json.dumps(report, sort_keys=True).encode(), 0, {})


def _weights(
    record: ModelRecord, declared: ManifestHints, blobs: BlobStore
) -> tuple[ModelManifest, str, dict[str, Any]]:
    """The whole manifest, the blob of the weights as safetensors, and what the file was."""
    complete = declared.complete()
    with blobs.local(record.sha256) as path:
        kind = recognise(path)
        if kind is Format.SAFETENSORS and complete is not None:
            return complete, record.sha256, {"format": kind.value}
        with TemporaryDirectory(dir=scratch()) as folder:
            out = Path(folder) / "weights.safetensors"
            converted = run_limited(path, out, hints=Hints.of(declared.said(), field=declared.state_dict))
            manifest = declared.completed(converted.identity.manifest)
            weights = blobs.put_file(out)
    return manifest, weights, {"format": kind.value, "names": converted.identity.style}


def scratch() -> Path:
    """Where converted files wait: beside the data, which has room for them."""
    folder = Settings().data_dir / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def trial_of(model: TreeModel) -> dict[str, Any]:
    """A model that loads is run once, so that one which cannot be run is rejected before any job trusts it.

    Raises:
        BrokenModelError: it predicts what is not a number.
    """
    grey = torch.full((1, 3, TRIAL_SIDE, TRIAL_SIDE), 0.5, device=device_of(model))
    with torch.no_grad():
        predictions = model(grey)
    broken = [name for name, value in predictions.items() if not torch.isfinite(value).all()]
    if broken:
        raise BrokenModelError(f"on a grey image the model predicts NaN or infinity for {', '.join(broken)}")
    return {
        "output_shapes": {name: list(value.shape[1:]) for name, value in predictions.items()},
        "backbone_parameters": sum(parameter.numel() for parameter in model.stages.parameters()),
    }


def proof_of(shard: ShardJob, model: TreeModel, check: Callable[[], None]) -> dict[str, Any]:
    """The proof on a few samples; a data set that is missing or unreadable is no fault of the model."""
    record = shard.dataset or shard.fitting(model.tasks)
    if record is None:
        return {"skipped": "there is no data set with labels for the model's tasks"}
    split = next(name for name in PROOF_SPLITS if record.splits.get(name))
    try:
        found = _proven(shard, model, record, split, check)
    except InvalidError as error:
        return {"skipped": str(error), "dataset": record.name, "version": record.version}
    return found | {"dataset": record.name, "version": record.version, "split": split}


def _proven(
    shard: ShardJob, model: TreeModel, record: DatasetRecord, split: str, check: Callable[[], None]
) -> dict[str, Any]:
    dataset = dataset_of(record, split, shard.job_id)
    return prove(model, dataset, record.measured(model.tasks), check=check).to_json()
