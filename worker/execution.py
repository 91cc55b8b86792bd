"""What a shard does: the seam between the job machinery and the science. Needs torch: only workers import it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import core
from core.data import Dataset
from core.errors import WindthrowError
from core.evaluation import Plan, evaluate_plan, evaluate_shard
from core.evaluation.finalists import Found
from core.evaluation.probe import PROBE_SAMPLES, probe
from core.evaluation.search import search
from core.evaluation.statistics import pack
from core.models import TreeModel
from core.models.prepare import Prepared
from core.settings import Settings
from core.specs.attack import AttackSpec
from core.specs.documents import DatasetRef, EvaluationSpec, TransferabilitySpec, calibration_split
from core.store.blobs import BlobStore
from worker.assembly import assemble_evaluation, assemble_transferability, cost_json
from worker.contract import Assembled, ModelRecord, ShardJob, ShardOutput, ShardOutputRef
from worker.resources import dataset_of, device, model_of, prepared_of

SCIENCE = ("attacks", "data", "evaluation", "models", "specs")
"""The packages beside `core`'s own modules whose code decides a shard's statistics."""

TRIAL_SIDE = 64

torch.set_num_threads(Settings().threads)


class BrokenModelError(WindthrowError):
    """The weights load, and what comes out of the model is not a number."""

    code = "nonfinite_predictions"


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
        "models": [[model.sha256, model.manifest] for model in shard.models],
        "input": shard.input_key,
        "threads": torch.get_num_threads(),
        "device": device().type,
    }
    if shard.kind == "evaluation":
        facts |= _evaluation_facts(EvaluationSpec.model_validate(shard.spec), shard.payload)
    elif shard.kind == "transferability":
        facts |= _transfer_facts(TransferabilitySpec.model_validate(shard.spec), shard.payload)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _evaluation_facts(spec: EvaluationSpec, payload: dict[str, Any]) -> dict[str, Any]:
    facts = _measured(spec.dataset, _batch_size(spec))
    if payload["kind"] == "probe":
        attacks = [attack.resolved().to_json() for attack in spec.attacks]
        return facts | {"attacks": attacks, "precision": spec.precision}
    attack = _attack(spec, payload)
    if attack is not None:
        facts |= {"attack": attack.resolved().to_json(), "precision": spec.precision}
    if payload["kind"] == "calibration":
        return facts | {"calibration": _identity(_calibration(spec)), "evaluated": spec.dataset.samples}
    return facts | {
        "samples": [payload["start"], payload["stop"]],
        "previews": max(0, min(spec.previews, payload["stop"]) - payload["start"]),
    }


def _transfer_facts(spec: TransferabilitySpec, payload: dict[str, Any]) -> dict[str, Any]:
    task = payload["task"]
    attack = None if task is None else spec.attack_on(task).resolved().to_json()
    return _measured(spec.dataset, _batch_size(spec)) | {
        "source": payload["model"],
        "attack": attack,
        "precision": None if attack is None else spec.precision,
        "samples": [payload["start"], payload["stop"]],
    }


def _measured(dataset: DatasetRef, batch_size: int) -> dict[str, Any]:
    return {"dataset": _identity(dataset_of(dataset.name, dataset.split)), "batch_size": batch_size}


def _identity(dataset: Dataset) -> str:
    return f"{dataset.name}/{dataset.version}/{dataset.split}"


def run_shard(shard: ShardJob, *, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    """Do a shard's work.

    Args:
        shard: what is to be done.
        blobs: where checkpoints lie.
        check: called between batches; raises `StopRequested` when the shard is cancelled or its lease lost.

    Raises:
        WindthrowError: the model, the data or the spec is at fault, and trying again would not help.
    """
    match shard.payload["kind"]:
        case "model_check":
            return _check_model(model_of(shard.model, blobs))
        case "calibration":
            return _calibrate(shard, blobs, check)
        case "probe":
            return _probe(shard, blobs, check)
        case "transfer":
            return _transfer(shard, blobs, check)
        case _:
            return _evaluate(shard, blobs, check)


def _check_model(model: TreeModel) -> ShardOutput:
    """A model that loads is run once, so that one which cannot be run is rejected before any job trusts it."""
    with torch.no_grad():
        predictions = model(torch.full((1, 3, TRIAL_SIDE, TRIAL_SIDE), 0.5, device=device()))
    broken = [name for name, value in predictions.items() if not torch.isfinite(value).all()]
    if broken:
        raise BrokenModelError(f"on a grey image the model predicts NaN or infinity for {', '.join(broken)}")
    facts = {
        "output_shapes": {name: list(value.shape[1:]) for name, value in predictions.items()},
        "backbone_parameters": sum(parameter.numel() for parameter in model.stages.parameters()),
    }
    parameters = sum(parameter.numel() for parameter in model.parameters())
    blob = json.dumps({"parameters": parameters, "facts": facts}, sort_keys=True).encode()
    return ShardOutput(blob, 0, {})


def _evaluate(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    spec = EvaluationSpec.model_validate(shard.spec)
    dataset, model = dataset_of(spec.dataset.name, spec.dataset.split), model_of(shard.model, blobs)
    attack = _attack(spec, shard.payload)
    statistics, cost = evaluate_shard(
        model,
        dataset,
        range(shard.payload["start"], shard.payload["stop"]),
        attack,
        tasks=model.tasks,
        batch_size=_batch_size(spec),
        prepared=None if attack is None else _prepared(shard.model, spec, blobs, dataset),
        found=Found.from_bytes(shard.read_input()) if shard.input_key is not None else None,
        previews=spec.previews,
        check=check,
    )
    return ShardOutput(statistics.to_bytes(), len(statistics), cost_json(cost))


def _calibrate(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    spec = EvaluationSpec.model_validate(shard.spec)
    attack, model, dataset = _attack(spec, shard.payload), model_of(shard.model, blobs), _calibration(spec)
    assert attack is not None
    found, cost = search(
        model,
        dataset,
        attack,
        tasks=model.tasks,
        evaluated=spec.dataset.samples,
        batch_size=_batch_size(spec),
        prepared=_prepared(shard.model, spec, blobs, dataset),
        check=check,
    )
    return ShardOutput(found.to_bytes(), found.samples, cost_json(cost))


def _probe(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    spec = EvaluationSpec.model_validate(shard.spec)
    dataset, model = dataset_of(spec.dataset.name, spec.dataset.split), model_of(shard.model, blobs)
    found = probe(
        model,
        dataset,
        spec.attacks,
        tasks=model.tasks,
        prepared=_prepared(shard.model, spec, blobs, dataset),
        samples=min(PROBE_SAMPLES, spec.dataset.samples),
        check=check,
    )
    report = {"flags": [flag.to_json() for flag in found.flags], "facts": found.facts}
    return ShardOutput(
        json.dumps(report, sort_keys=True).encode(), found.facts["samples"], cost_json(found.cost)
    )


def _transfer(shard: ShardJob, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    spec = TransferabilitySpec.model_validate(shard.spec)
    dataset, record = dataset_of(spec.dataset.name, spec.dataset.split), shard.models[shard.payload["model"]]
    source, task = model_of(record, blobs), shard.payload["task"]
    plan = Plan(
        source=source,
        scored=(source,) if task is None else tuple(model_of(model, blobs) for model in shard.models),
        attack=None if task is None else spec.attack_on(task),
        tasks=source.tasks,
        prepared=None if task is None else _prepared(record, spec, blobs, dataset),
        rounded=False,
    )
    samples = range(shard.payload["start"], shard.payload["stop"])
    tables, cost = evaluate_plan(plan, dataset, samples, batch_size=_batch_size(spec), check=check)
    return ShardOutput(pack(tables), len(samples), cost_json(cost))


def assemble(
    spec: dict[str, Any], models: Sequence[ModelRecord], outputs: Sequence[ShardOutputRef]
) -> Assembled:
    """What a job has found, from its shards' outputs."""
    if spec["kind"] == "transferability":
        transfer = TransferabilitySpec.model_validate(spec)
        return assemble_transferability(transfer, models, outputs, dataset=_evaluated(transfer))
    evaluation = EvaluationSpec.model_validate(spec)
    return assemble_evaluation(evaluation, models[0], outputs, dataset=_evaluated(evaluation))


def _evaluated(spec: EvaluationSpec | TransferabilitySpec) -> str:
    return _identity(dataset_of(spec.dataset.name, spec.dataset.split))


def _calibration(spec: EvaluationSpec) -> Dataset:
    split = calibration_split(spec.dataset)
    assert split is not None
    return dataset_of(spec.dataset.name, split)


def _attack(spec: EvaluationSpec, payload: dict[str, Any]) -> AttackSpec | None:
    return None if payload["attack"] is None else spec.attacks[payload["attack"]]


def _prepared(
    record: ModelRecord, spec: EvaluationSpec | TransferabilitySpec, blobs: BlobStore, dataset: Dataset
) -> Prepared:
    return prepared_of(record, blobs, dataset, spec.precision, batch_size=_batch_size(spec))


def _batch_size(spec: EvaluationSpec | TransferabilitySpec) -> int:
    return min(spec.batch_size, spec.dataset.samples)
