"""What a pool process keeps between shards: models as given, models prepared for attack, opened data sets."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from core.data import Dataset, open_dataset
from core.models import TreeModel, load_checkpoint
from core.models.prepare import Prepared, prepare
from core.settings import Settings
from core.specs.documents import ModelManifest
from core.specs.precision import Precision
from core.store.blobs import BlobNotFoundError, BlobStore
from worker.contract import ModelRecord

MODELS_KEPT = 4
DATASETS_KEPT = 4


def device() -> torch.device:
    """Where this process computes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def model_of(record: ModelRecord, blobs: BlobStore) -> TreeModel:
    """A registered model, in eval mode on this process's device.

    Raises:
        BlobNotFoundError: its checkpoint is not in the store any more.
        CheckpointError: it cannot be read.
    """
    return _model(_weights(record, blobs), _canonical(record.manifest))


def prepared_of(
    record: ModelRecord, blobs: BlobStore, dataset: Dataset, precision: Precision, *, batch_size: int
) -> Prepared:
    """A registered model made ready for being attacked on batches of a data set, and checked on the first of them."""
    manifest = _canonical(record.manifest)
    return _prepared(_weights(record, blobs), manifest, dataset.name, dataset.split, precision, batch_size)


@lru_cache(maxsize=DATASETS_KEPT)
def dataset_of(name: str, split: str) -> Dataset:
    """An opened data set."""
    return open_dataset(name, split, cache=Settings().cache)


def _weights(record: ModelRecord, blobs: BlobStore) -> Path:
    if not blobs.exists(record.sha256):
        raise BlobNotFoundError(
            f"the checkpoint {record.sha256} is not in the store any more; upload it again"
        )
    return blobs.path(record.sha256)


def _canonical(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, sort_keys=True)


@lru_cache(maxsize=MODELS_KEPT)
def _model(path: Path, manifest_json: str) -> TreeModel:
    manifest = ModelManifest.model_validate_json(manifest_json)
    model = load_checkpoint(
        path,
        backbone=manifest.backbone,
        layout=manifest.tree,
        tasks=manifest.task_list,
        preprocessing=manifest.preprocessing,
    )
    return model.to(device())


@lru_cache(maxsize=MODELS_KEPT)
def _prepared(
    path: Path, manifest_json: str, dataset: str, split: str, precision: Precision, batch_size: int
) -> Prepared:
    example = dataset_of(dataset, split).batch(range(batch_size)).images.to(device())
    return prepare(_model(path, manifest_json), example, precision=precision)
