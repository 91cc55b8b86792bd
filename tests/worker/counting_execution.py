"""Stands in for the module that computes: notes each run in a file, and behaves as another file says."""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import WindthrowError
from core.settings import Settings
from core.store.blobs import BlobStore
from worker.contract import ModelRecord, ResultRow, ShardJob, ShardOutput


class RefusedError(WindthrowError):
    code = "refused"


def _place() -> Path:
    return Settings().data_dir


def result_key(shard: ShardJob) -> str:
    described = json.dumps([shard.spec, shard.payload, shard.model.sha256], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def code_version() -> str:
    return "counting"


def run_shard(shard: ShardJob, *, blobs: BlobStore, check: Callable[[], None]) -> ShardOutput:
    assert blobs.root.is_absolute()
    with (_place() / "runs").open("a") as runs:
        runs.write(result_key(shard) + "\n")
    behaviour = _behaviour()
    if behaviour == "refuse":
        raise RefusedError("this cannot be computed")
    if behaviour == "raise":
        raise ValueError("boom")
    if behaviour == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    while _behaviour() == "block":
        check()
        threading.Event().wait(0.02)
    if shard.kind == "model_check":
        return ShardOutput(json.dumps({"parameters": 7, "facts": {"nan_weights": 0}}).encode(), 0, {})
    samples = shard.payload["stop"] - shard.payload["start"]
    return ShardOutput(json.dumps(shard.payload).encode(), samples, {"forward": samples})


def assemble(
    spec: dict[str, Any],
    model: ModelRecord,
    outputs: Sequence[tuple[dict[str, Any], bytes, Mapping[str, Any]]],
) -> list[ResultRow]:
    assert str(model.id) == spec["model"]
    assert all(json.loads(blob) == payload for payload, blob, _ in outputs)
    rows = []
    for ordinal in range(-1, len(spec["attacks"])):
        attack = None if ordinal == -1 else ordinal
        own = [cost["forward"] for payload, _, cost in outputs if payload["attack"] == attack]
        described = None if attack is None else spec["attacks"][attack]
        rows.append(
            ResultRow(
                ordinal=ordinal,
                attack=described,
                metrics={"left": {"accuracy": float("nan")}},
                task_arp=None,
                arp=None,
                samples=sum(own),
                cost={"forward": sum(own)},
            )
        )
    return rows


def _behaviour() -> str:
    path = _place() / "behaviour"
    return path.read_text() if path.exists() else "ok"
