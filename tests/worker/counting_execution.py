"""Stands in for the module that computes: notes each run in a file, and behaves as another file says."""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.errors import WindthrowError
from core.settings import Settings
from core.store.blobs import BlobStore, FileBlobs
from worker.contract import (
    Assembled,
    DatasetRecord,
    ModelRecord,
    ResultRow,
    ShardJob,
    ShardOutput,
    ShardOutputRef,
)
from worker.keeping import Keeping


class RefusedError(WindthrowError):
    code = "refused"


def _place() -> Path:
    return Settings().data_dir


def result_key(shard: ShardJob) -> str:
    models = [model.sha256 for model in shard.models]
    described = json.dumps([shard.spec, shard.payload, models, shard.input_key], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def code_version() -> str:
    return "counting"


def run_shard(
    shard: ShardJob, *, blobs: BlobStore, keeping: Keeping, check: Callable[[], None]
) -> ShardOutput:
    assert keeping.key == result_key(shard)
    assert isinstance(blobs, FileBlobs)
    assert blobs.root.is_absolute()
    with (_place() / "runs").open("a") as runs:
        runs.write(result_key(shard) + "\n")
    behaviour = _behaviour()
    if behaviour == "refuse":
        raise RefusedError("this cannot be computed")
    if behaviour == "raise":
        raise ValueError("boom")
    if behaviour == "kill" or (behaviour == "kill once" and _first_time(shard)):
        os.kill(os.getpid(), signal.SIGKILL)
    while _behaviour() == "block":
        check()
        threading.Event().wait(0.02)
    if shard.kind == "model_check":
        report = {"parameters": 7, "facts": {"nan_weights": 0}, "manifest": {}, "weights": shard.model.sha256}
        return ShardOutput(json.dumps(report).encode(), 0, {})
    _check_input(shard)
    samples = shard.payload.get("stop", 0) - shard.payload.get("start", 0)
    return ShardOutput(json.dumps(shard.payload).encode(), samples, {"forward": samples})


def assemble(
    spec: dict[str, Any],
    models: Sequence[ModelRecord],
    outputs: Sequence[ShardOutputRef],
    *,
    dataset: DatasetRecord,
) -> Assembled:
    assert (dataset.name, dataset.version) == (spec["dataset"]["name"], spec["dataset"]["version"])
    assert [str(model.id) for model in models] == spec.get("models", [spec.get("model")])
    for output in outputs:
        assert json.loads(output.read()) == output.payload
        assert output.cost == {"forward": output.samples}
    if spec["kind"] == "transferability":
        return Assembled([], {"models": len(models), "samples": sum(output.samples for output in outputs)})
    return Assembled([_row(spec, ordinal, outputs) for ordinal in range(-1, len(spec["attacks"]))])


def _row(spec: dict[str, Any], ordinal: int, outputs: Sequence[ShardOutputRef]) -> ResultRow:
    slice_of = {"kind": "evaluation", "attack": None if ordinal == -1 else ordinal}
    samples = sum(output.samples for output in outputs if output.payload.items() >= slice_of.items())
    return ResultRow(
        ordinal=ordinal,
        attack=None if ordinal == -1 else spec["attacks"][ordinal],
        metrics={"left": {"accuracy": float("nan")}},
        task_arp=None,
        arp=None,
        samples=samples,
        cost={"forward": samples},
        replicates=f"replicates of {ordinal}".encode(),
    )


def _check_input(shard: ShardJob) -> None:
    """The slices of a search's attack, and they alone, are handed what the search found."""
    payload = shard.payload
    number = payload["attack"] if payload["kind"] == "evaluation" else None
    if number is None or shard.spec["attacks"][number]["algorithm"] != "auto_mta":
        assert shard.input_key is None
        return
    assert shard.input_key is not None
    assert json.loads(shard.read_input()) == {"kind": "calibration", "attack": number}


def _first_time(shard: ShardJob) -> bool:
    try:
        (_place() / f"killed.{result_key(shard)}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _behaviour() -> str:
    path = _place() / "behaviour"
    return path.read_text() if path.exists() else "ok"
