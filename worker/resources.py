"""What a pool process keeps between shards: models as given, models prepared for attack, opened data sets."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import torch

from core.data import Dataset, in_order, open_dataset
from core.data.folders import open_folder
from core.data.folders.errors import DatasetChangedError
from core.models import TreeModel, load_checkpoint
from core.models.prepare import Prepared, prepare
from core.settings import Settings
from core.specs.manifests import manifest_of
from core.specs.precision import Precision
from core.store.blobs import BlobNotFoundError, BlobStore
from worker.contract import DatasetRecord, ModelRecord
from worker.locations import is_remote
from worker.mirror import mirrored

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
    return _model(blobs, record.sha256, _canonical(record.manifest))


def new_model_of(record: ModelRecord, blobs: BlobStore) -> TreeModel:
    """A copy of a registered model, to be changed; else as `model_of`."""
    return deepcopy(model_of(record, blobs)).requires_grad_()


def prepared_of(
    record: ModelRecord,
    blobs: BlobStore,
    dataset: DatasetRecord,
    split: str,
    precision: Precision,
    *,
    batch_size: int,
) -> Prepared:
    """A registered model made ready for being attacked on batches of a data set, and checked on the first of them."""
    manifest = _canonical(record.manifest)
    return _prepared(blobs, record.sha256, manifest, dataset, split, precision, batch_size)


def dataset_of(record: DatasetRecord, split: str, job: UUID, *, shuffle: int | None = None) -> Dataset:
    """An opened split of a data set, in the order that is asked for.

    Each job has the files of a registered one looked through anew.

    Raises:
        DatasetChangedError: it is of another version than the job keeps to.
        InvalidError: it cannot be read; see `core.data.folders`.
    """
    dataset = _dataset(record, split, None if record.format is None else job)
    if record.format is None and dataset.version != record.version:
        raise DatasetChangedError(
            f"the job keeps to {record.name} {record.version}; this worker has {dataset.version}"
        )
    return in_order(dataset, shuffle)


@lru_cache(maxsize=DATASETS_KEPT)
def _dataset(record: DatasetRecord, split: str, job: UUID | None) -> Dataset:
    del job  # only keeps what was opened for one job from another
    cache = Settings().cache
    if record.format is None:
        return open_dataset(record.name, split, cache=cache)
    if not is_remote(record.location):
        return _opened(record, record.location, split)
    try:
        return _opened(record, mirrored(record.location, cache=cache), split)
    except DatasetChangedError:  # this machine's copy may be of a version before
        return _opened(record, mirrored(record.location, cache=cache, refresh=True), split)


def _opened(record: DatasetRecord, folder: str | Path, split: str) -> Dataset:
    assert record.format is not None
    return open_folder(
        record.format,
        folder,
        split,
        cache=Settings().cache,
        size=record.size,
        on_bad=record.on_bad,
        threads=Settings().threads,
        version=record.fingerprint,
        name=record.name,
    )


def _canonical(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, sort_keys=True)


@lru_cache(maxsize=MODELS_KEPT)
def _model(blobs: BlobStore, sha256: str, manifest_json: str) -> TreeModel:
    manifest = manifest_of(json.loads(manifest_json))
    with _checkpoint(blobs, sha256) as path:
        model = load_checkpoint(
            path,
            backbone=manifest.backbone,
            layout=manifest.tree,
            tasks=manifest.task_list,
            preprocessing=manifest.preprocessing,
        )
    return model.to(device())


@contextmanager
def _checkpoint(blobs: BlobStore, sha256: str) -> Iterator[Path]:
    if not blobs.exists(sha256):
        raise BlobNotFoundError(f"the checkpoint {sha256} is not in the store any more; upload it again")
    with blobs.local(sha256) as path:
        yield path


@lru_cache(maxsize=MODELS_KEPT)
def _prepared(
    blobs: BlobStore,
    sha256: str,
    manifest_json: str,
    dataset: DatasetRecord,
    split: str,
    precision: Precision,
    batch_size: int,
) -> Prepared:
    example = _dataset(dataset, split, None).batch(range(batch_size)).images.to(device())
    return prepare(_model(blobs, sha256, manifest_json), example, precision=precision)
