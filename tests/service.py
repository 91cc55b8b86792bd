"""The whole service, started once for every test that talks HTTP, and how such tests talk to it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import torch

from core.models import build_model, save_checkpoint
from core.specs.manifests import ModelManifest
from worker.demo.client import Service
from worker.supervisor import Stack

Json = dict[str, Any]

DIGITS = {"backbone": "sapling", "layout": "all-shared", "profile": "digits"}
ATTACK = {"algorithm": "fgsm", "objective": "gb_mta", "eps": 8}


class Caller:
    """An API key's holder."""

    def __init__(self, stack: Stack, http: httpx.Client) -> None:
        self.stack = stack
        self.http = http
        self.service = Service(http)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.http.get(path, **arguments)

    def post(self, path: str, body: Any, **arguments: Any) -> httpx.Response:
        return self.http.post(path, json=body, **arguments)

    def upload(self, data: bytes) -> str:
        """Upload bytes whole; returns the upload's id."""
        declared = self.post(
            "/v1/uploads", {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        ).json()
        if declared["state"] != "complete":
            answer = self.http.put(declared["content"], content=data)
            assert answer.status_code == 200, answer.text
        return str(declared["id"])

    def register(self, data: bytes, manifest: Json = DIGITS) -> httpx.Response:
        return self.post("/v1/models", {"upload": self.upload(data), "manifest": manifest})

    def evaluation(self, ready: str, **changes: Any) -> Json:
        """A small evaluation of a digits model."""
        dataset = {"name": "digits", "limit": 32}
        return {"kind": "evaluation", "model": ready, "dataset": dataset, "attacks": [ATTACK], **changes}


def random_checkpoint(directory: Path, manifest: Json = DIGITS, *, seed: int = 0) -> Path:
    """A safetensors file of random weights for a manifest."""
    parsed = ModelManifest.model_validate(manifest)
    torch.manual_seed(seed)
    path = directory / f"random-{seed}.safetensors"
    save_checkpoint(build_model(parsed.backbone, parsed.tree, parsed.task_list), path)
    return path


def pointers(answer: httpx.Response) -> list[str]:
    """The offending places that a problem names, its form checked."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.content)
    assert problem["status"] == answer.status_code
    assert problem["type"] == f"urn:windthrow:problem:{problem['code']}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"]
    return [error["pointer"] for error in problem["errors"]]
