"""What a shard does: the seam between the job machinery and the science. Needs torch: only workers import it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import core
from core.backbones import PluggedBackbone, backbone
from core.data import Dataset
from core.evaluation import Plan, evaluate_plan, evaluate_shard
from core.evaluation.finalists import Found
from core.evaluation.probe import PROBE_SAMPLES, probe
from core.evaluation.search import search
from core.evaluation.statistics import pack
from core.models.prepare import Prepared
from core.settings import Settings
from core.specs.attack import AttackSpec
from core.specs.documents import EvaluationSpec, TransferabilitySpec, calibration_split
from core.specs.trainings import TrainingSpec
from core.store.blobs import BlobStore
from worker.assembly import assemble_evaluation, assemble_transferability, cost_json
from worker.checking import check_model
from worker.contract import Assembled, DatasetRecord, ModelRecord, ShardJob, ShardOutput, ShardOutputRef
from worker.keeping import Keeping
from worker.resources import dataset_of, device, model_of, prepared_of
from worker.training import train
from worker.training_parallel import training_processes

SCIENCE = ("attacks", "backbones", "data", "evaluation", "models", "specs", "training")
"""The packages beside `core`'s own modules whose code decides a shard's statistics."""

torch.set_num_threads(Settings().threads)


@lru_cache(maxsize=1)
def code_version() -> str:
    """What decides a shard's statistics beside its inputs: package, torch, and a digest of the science's source."""
    root = Path(core.__file__).parent
    sources = [*root.glob("*.py"), *(file for name in SCIENCE for file in (root / name).rglob("*.py"))]
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes())
    return f"{version('windthrow-server')}+torch{torch.__version__}.{digest.hexdigest()[:16]}"


def result_key(shard: ShardJob) -> str:
    """Digest of everything that goes into a shard's output: equal keys, equal bytes of statistics."""
    kind = shard.payload["kind"]
    facts: dict[str, Any] = {
        "kind": kind,
        "code": code_version(),
        "models": [[model.sha256, model.manifest, provider(model.manifest)] for model in shard.models],
        "input": shard.input_key,
        "threads": torch.get_num_threads(),
        "device": device().type,
    }
    if shard.kind == "evaluation":
        facts |= _evaluation_facts(EvaluationSpec.model_validate(shard.spec), shard)
    elif shard.kind == "transferability":
        facts |= _transfer_facts(TransferabilitySpec.model_validate(shard.spec), shard)
    elif shard.kind == "training":
        facts |= _training_facts(TrainingSpec.model_validate(shard.spec), shard)
    else:
        facts["dataset"] = None if shard.dataset is None else shard.dataset.identity("")
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def provider(manifest: Mapping[str, Any]) -> str | None:
    """The installed package, and its version, whose backbone a model has; None for one of ours."""
    reference = manifest.get("backbone")
    found = None if reference is None else backbone(reference)
    return found.provider if isinstance(found, PluggedBackbone) else None


def _evaluation_facts(spec: EvaluationSpec, shard: ShardJob) -> dict[str, Any]:
    payload, facts = shard.payload, _measured_on(spec, shard)
    if payload["kind"] == "probe":
        attacks = [attack.resolved().to_json() for attack in spec.attacks]
        return facts | {"attacks": attacks, "precision": spec.precision}
    attack = _attack(spec, payload)
    if attack is not None:
        facts |= {"attack": attack.resolved().to_json(), "precision": spec.precision}
    if payload["kind"] == "calibration":
        calibration = _dataset(shard).identity(_calibration_split(spec, shard), spec.dataset.shuffle)
        return facts | {"calibration": calibration, "evaluated": spec.dataset.samples}
    return facts | {
        "samples": [payload["start"], payload["stop"]],
        "previews": max(0, min(spec.previews, payload["stop"]) - payload["start"]),
    }


def _transfer_facts(spec: TransferabilitySpec, shard: ShardJob) -> dict[str, Any]:
    payload, task = shard.payload, shard.payload["task"]
    attack = None if task is None else spec.attack_on(task).resolved().to_json()
    return _measured_on(spec, shard) | {
        "source": payload["model"],
        "attack": attack,
        "precision": None if attack is None else spec.precision,
        "samples": [payload["start"], payload["stop"]],
    }


def _training_facts(spec: TrainingSpec, shard: ShardJob) -> dict[str, Any]:
    """Neither the model's name, nor what is done with it afterwards."""
    manifest = None if spec.manifest is None else spec.manifest.resolved().model_dump(mode="json")
    processes = training_processes()
    return {
        "manifest": manifest,
        "provider": None if manifest is None else provider(manifest),
        "recipe": spec.recipe.to_json(),
        "dataset": _dataset(shard).identity(spec.dataset.split, spec.dataset.shuffle),
        "samples": spec.dataset.samples,
        **({} if processes == 1 else {"processes": processes}),  # their sums are rounded in another order
    }


def _measured_on(spec: EvaluationSpec | TransferabilitySpec, shard: ShardJob) -> dict[str, Any]:
    dataset = _dataset(shard).identity(spec.dataset.split, spec.dataset.shuffle)
    return {"dataset": dataset, "batch_size": _batch_size(spec)}


def _dataset(shard: ShardJob) -> DatasetRecord:
    assert shard.dataset is not None
    return shard.dataset


def run_shard(
    shard: ShardJob, *, blobs: BlobStore, keeping: Keeping, check: Callable[[], None]
) -> ShardOutput:
    """Do a shard's work.

    Args:
        shard: what is to be done.
        blobs: where checkpoints lie.
        keeping: where a training keeps how far it has come.
        check: called between batches; raises `StopRequested` when the shard is cancelled or its lease lost.

    Raises:
        WindthrowError: the model, the data or the spec is at fault, and trying again would not help.
    """
    match shard.payload["kind"]:
        case "model_check":
            return check_model(shard, blobs, check)
        case "training":
            return train(shard, blobs, keeping, check)
        case "calibration":
            return _calibrate(shard, blobs, check)
        case "probe":
            return _probe(shard, blobs, check)
        case "transfer":
            return _transfer(shard, blobs, check)
        case _:
            return _evaluate(shard, blobs, check)


def _evaluate(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    spec = EvaluationSpec.model_validate(shard.spec)
    model, attack = model_of(shard.model, blobs), _attack(spec, shard.payload)
    statistics, cost = evaluate_shard(
        model,
        _samples(spec, shard),
        range(shard.payload["start"], shard.payload["stop"]),
        attack,
        tasks=_dataset(shard).measured(model.tasks),
        batch_size=_batch_size(spec),
        prepared=None if attack is None else _prepared(shard.model, spec, blobs, _dataset(shard)),
        found=Found.from_bytes(shard.read_input()) if shard.input_key is not None else None,
        previews=spec.previews,
        check=check,
    )
    return ShardOutput(statistics.to_bytes(), len(statistics), cost_json(cost))


def _calibrate(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    spec = EvaluationSpec.model_validate(shard.spec)
    attack, model, split = (
        _attack(spec, shard.payload),
        model_of(shard.model, blobs),
        _calibration_split(spec, shard),
    )
    assert attack is not None
    found, cost = search(
        model,
        _samples(spec, shard, split=split),
        attack,
        tasks=_dataset(shard).measured(model.tasks),
        evaluated=spec.dataset.samples,
        batch_size=_batch_size(spec),
        prepared=_prepared(shard.model, spec, blobs, _dataset(shard), split=split),
        check=check,
    )
    return ShardOutput(found.to_bytes(), found.samples, cost_json(cost))


def _probe(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    spec = EvaluationSpec.model_validate(shard.spec)
    model = model_of(shard.model, blobs)
    found = probe(
        model,
        _samples(spec, shard),
        spec.attacks,
        tasks=_dataset(shard).measured(model.tasks),
        prepared=_prepared(shard.model, spec, blobs, _dataset(shard)),
        samples=min(PROBE_SAMPLES, spec.dataset.samples),
        check=check,
    )
    report = {"flags": [flag.to_json() for flag in found.flags], "facts": found.facts}
    return ShardOutput(
        json.dumps(report, sort_keys=True).encode(), found.facts["samples"], cost_json(found.cost)
    )


def _transfer(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    spec = TransferabilitySpec.model_validate(shard.spec)
    record, task = shard.models[shard.payload["model"]], shard.payload["task"]
    source, dataset = model_of(record, blobs), _samples(spec, shard)
    plan = Plan(
        source=source,
        scored=(source,) if task is None else tuple(model_of(model, blobs) for model in shard.models),
        attack=None if task is None else spec.attack_on(task),
        tasks=_dataset(shard).measured(source.tasks),
        prepared=None if task is None else _prepared(record, spec, blobs, _dataset(shard)),
        rounded=False,
    )
    samples = range(shard.payload["start"], shard.payload["stop"])
    tables, cost = evaluate_plan(plan, dataset, samples, batch_size=_batch_size(spec), check=check)
    return ShardOutput(pack(tables), len(samples), cost_json(cost))


def assemble(
    spec: dict[str, Any],
    models: Sequence[ModelRecord],
    outputs: Sequence[ShardOutputRef],
    *,
    dataset: DatasetRecord,
) -> Assembled:
    """What a job has found, from its shards' outputs."""
    if spec["kind"] == "transferability":
        transfer = TransferabilitySpec.model_validate(spec)
        return assemble_transferability(transfer, models, outputs, dataset=dataset)
    return assemble_evaluation(EvaluationSpec.model_validate(spec), models[0], outputs, dataset=dataset)


def _calibration_split(spec: EvaluationSpec, shard: ShardJob) -> str:
    split = calibration_split(spec.dataset, _dataset(shard).splits)
    assert split is not None
    return split


def _samples(
    spec: EvaluationSpec | TransferabilitySpec, shard: ShardJob, *, split: str | None = None
) -> Dataset:
    """The split that is evaluated, or another one, in the order that the spec asks for."""
    named = spec.dataset
    return dataset_of(_dataset(shard), split or named.split, shard.job_id, shuffle=named.shuffle)


def _attack(spec: EvaluationSpec, payload: dict[str, Any]) -> AttackSpec | None:
    return None if payload["attack"] is None else spec.attacks[payload["attack"]]


def _prepared(
    record: ModelRecord,
    spec: EvaluationSpec | TransferabilitySpec,
    blobs: BlobStore,
    dataset: DatasetRecord,
    *,
    split: str | None = None,
) -> Prepared:
    return prepared_of(
        record, blobs, dataset, split or spec.dataset.split, spec.precision, batch_size=_batch_size(spec)
    )


def _batch_size(spec: EvaluationSpec | TransferabilitySpec) -> int:
    return min(spec.batch_size, spec.dataset.samples)
