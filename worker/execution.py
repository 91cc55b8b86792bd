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
from core.data import Dataset, open_dataset
from core.errors import WindthrowError
from core.evaluation import Cost, Statistics, evaluate_shard, score
from core.evaluation.evaluate import AttackResult
from core.jobs.finalise import ResultRow
from core.jobs.planning import CLEAN
from core.models import TreeModel, load_checkpoint
from core.settings import Settings
from core.specs.attack import AttackSpec
from core.specs.documents import EvaluationSpec, ModelManifest
from core.store.blobs import BlobNotFoundError, BlobStore
from core.tasks import METRIC_VERSION
from worker.contract import ModelRecord, ShardJob, ShardOutput

SCIENCE = ("attacks", "data", "evaluation", "models", "specs")
"""The packages beside `core`'s own modules whose code decides a shard's statistics."""

MODELS_KEPT = 4
DATASETS_KEPT = 4
TRIAL_SIDE = 64

torch.set_num_threads(Settings().threads)


class BrokenModelError(WindthrowError):
    """The weights load, and what comes out of the model is not a number."""

    code = "nonfinite_predictions"


Output = tuple[dict[str, Any], bytes, dict[str, Any]]
"""A shard's payload, statistics and cost."""


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
    facts: dict[str, Any] = {
        "kind": shard.kind,
        "code": code_version(),
        "weights": shard.model.sha256,
        "manifest": shard.model.manifest,
    }
    if shard.kind == "evaluation":
        facts |= _evaluation_facts(EvaluationSpec.model_validate(shard.spec), shard.payload)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _evaluation_facts(spec: EvaluationSpec, payload: dict[str, Any]) -> dict[str, Any]:
    dataset = _dataset(spec.dataset.name, spec.dataset.split)
    attack = _attack(spec, payload)
    return {
        "dataset": [dataset.name, dataset.version, dataset.split],
        "samples": [payload["start"], payload["stop"]],
        "attack": None if attack is None else attack.resolved().to_json(),
        "batch_size": _batch_size(spec),
        "previews": max(0, min(spec.previews, payload["stop"]) - payload["start"]),
        "threads": torch.get_num_threads(),
        "device": _device().type,
    }


def run_shard(shard: ShardJob, *, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    """Do a shard's work.

    Args:
        blobs: where checkpoints lie.
        check: called between batches; raises `StopRequested` when the shard is cancelled or its lease lost.

    Raises:
        WindthrowError: the model, the data or the spec is at fault, and trying again would not help.
    """
    if not blobs.exists(shard.model.sha256):
        raise BlobNotFoundError(
            f"the checkpoint {shard.model.sha256} is not in the store any more; upload it again"
        )
    model = _model(blobs.path(shard.model.sha256), json.dumps(shard.model.manifest, sort_keys=True))
    if shard.kind == "model_check":
        return _check_model(model)
    spec = EvaluationSpec.model_validate(shard.spec)
    statistics, cost = evaluate_shard(
        model,
        _dataset(spec.dataset.name, spec.dataset.split),
        range(shard.payload["start"], shard.payload["stop"]),
        _attack(spec, shard.payload),
        tasks=model.tasks,
        batch_size=_batch_size(spec),
        previews=spec.previews,
        check=check,
    )
    return ShardOutput(statistics.to_bytes(), len(statistics), _cost_json(cost))


def _check_model(model: TreeModel) -> ShardOutput:
    """A model that loads is run once, so that one which cannot be run is rejected before any job trusts it."""
    with torch.no_grad():
        predictions = model(torch.full((1, 3, TRIAL_SIDE, TRIAL_SIDE), 0.5, device=_device()))
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


def assemble(spec: dict[str, Any], model: ModelRecord, outputs: Sequence[Output]) -> list[ResultRow]:
    """Statistics of all shards to metrics and ARP: the clean pass first, then the attacks in the spec's order."""
    document = EvaluationSpec.model_validate(spec)
    tasks = ModelManifest.model_validate(model.manifest).task_list
    results: dict[int, AttackResult] = {}
    for ordinal in range(CLEAN, len(document.attacks)):
        mine = [output for output in outputs if _ordinal(output[0]) == ordinal]
        table = Statistics.concatenate([Statistics.from_bytes(blob) for _, blob, _ in mine])
        results[ordinal] = score(
            None if ordinal == CLEAN else document.attacks[ordinal],
            table,
            sum((_cost(cost) for _, _, cost in mine), Cost(0, 0, 0.0)),
            tasks=tasks,
            clean=results[CLEAN].metrics if ordinal != CLEAN else None,
            rules=document.metric_rules,
        )
    return [_row(ordinal, result) for ordinal, result in results.items()]


def _row(ordinal: int, result: AttackResult) -> ResultRow:
    notes: list[dict[str, Any]] = [
        {"code": name, "samples": count} for name, count in sorted(result.flagged.items()) if count
    ]
    if result.arp is not None and result.arp.undefined:
        notes.append({"code": "undefined_arp", "metrics": list(result.arp.undefined)})
    return ResultRow(
        ordinal=ordinal,
        attack=None if result.attack is None else result.attack.to_json(),
        metrics=result.metrics,
        task_arp=None if result.arp is None else result.arp.tasks,
        arp=None if result.arp is None else result.arp.overall,
        samples=result.samples,
        cost=_cost_json(result.cost) | {"metric_version": METRIC_VERSION},
        notes=notes,
    )


def _ordinal(payload: dict[str, Any]) -> int:
    return CLEAN if payload["attack"] is None else int(payload["attack"])


def _attack(spec: EvaluationSpec, payload: dict[str, Any]) -> AttackSpec | None:
    return None if payload["attack"] is None else spec.attacks[payload["attack"]]


def _batch_size(spec: EvaluationSpec) -> int:
    return min(spec.batch_size, spec.dataset.samples)


def _cost_json(cost: Cost) -> dict[str, Any]:
    return {"forwards": cost.forwards, "backwards": cost.backwards, "seconds": cost.seconds}


def _cost(cost: dict[str, Any]) -> Cost:
    return Cost(int(cost["forwards"]), int(cost["backwards"]), float(cost["seconds"]))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=DATASETS_KEPT)
def _dataset(name: str, split: str) -> Dataset:
    return open_dataset(name, split, cache=Settings().cache)


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
    return model.to(_device())
