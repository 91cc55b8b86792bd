"""Models: what is taken, what is refused, and where the refusal points."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from tests.service import DIGITS, Caller, Json, pointers, random_checkpoint


def test_a_model_becomes_ready_once_a_worker_has_read_it(caller: Caller, ready_model: str) -> None:
    model = caller.get(f"/v1/models/{ready_model}").json()
    assert model["state"] == "ready"
    assert model["parameters"] == 180_964
    assert model["facts"]["output_shapes"] == {"left": [10], "right": [10]}
    assert caller.get(f"/v1/jobs/{model['job']}").json()["state"] == "succeeded"


def test_the_same_model_is_registered_once(caller: Caller, ready_model: str, checkpoint: Path) -> None:
    again = caller.register(checkpoint.read_bytes(), {**DIGITS, "layout": {"index": 0}})
    assert again.status_code == 200
    assert again.json()["id"] == ready_model


def test_models_are_listed_newest_first_and_found_by_name(caller: Caller, ready_model: str) -> None:
    items = caller.get("/v1/models", params={"name": "random digits"}).json()["items"]
    assert ready_model in [item["id"] for item in items]
    everything = caller.get("/v1/models").json()["items"]
    assert sorted((item["id"] for item in everything), reverse=True) == [item["id"] for item in everything]


@pytest.mark.parametrize(
    ("keep", "code"), [(3, "unknown_format"), (100, "truncated_checkpoint"), (-1, "truncated_checkpoint")]
)
def test_a_truncated_file_is_refused(caller: Caller, checkpoint: Path, keep: int, code: str) -> None:
    answer = caller.register(checkpoint.read_bytes()[:keep])
    assert answer.status_code == 422
    assert pointers(answer) == ["#/upload"]
    assert answer.json()["code"] == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"PK\x03\x04" + b"\0" * 200, "truncated_checkpoint"),
        (b"\x80\x02}q\x00." * 20, "bare_pickle"),
        (b"{}" * 40, "not_safetensors"),
    ],
)
def test_a_foreign_file_is_refused(caller: Caller, data: bytes, code: str) -> None:
    answer = caller.register(data)
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    assert pointers(answer) == ["#/upload"]


def test_a_file_of_another_layout_is_refused(caller: Caller, checkpoint: Path) -> None:
    answer = caller.register(checkpoint.read_bytes(), {**DIGITS, "layout": "independent"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "checkpoint_mismatch"
    assert pointers(answer) == ["#/manifest/layout"]


def test_a_tensor_of_a_wrong_shape_is_named(caller: Caller, checkpoint: Path) -> None:
    tensors = load_file(checkpoint)
    tensors["heads.left.out.weight"] = tensors["heads.left.out.weight"][:, :-1].contiguous()
    answer = caller.register(save(tensors))
    assert answer.status_code == 422
    assert "heads.left.out.weight must be [10, 512]" in answer.json()["detail"]


def test_refused_models_are_not_stored(caller: Caller, checkpoint: Path) -> None:
    before = len(caller.get("/v1/models", params={"limit": 200}).json()["items"])
    assert caller.register(checkpoint.read_bytes()[:100]).status_code == 422
    assert len(caller.get("/v1/models", params={"limit": 200}).json()["items"]) == before


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"backbone": "resnet50"}, "#/manifest/backbone"),
        ({"profile": "imagenet"}, "#/manifest/profile"),
        ({"layout": [[[0, 1]]] * 4 + [[[0, 1], [1]]]}, "#/manifest/layout/levels/4/1"),
        ({"layout": {"index": 99}}, "#/manifest/layout/index"),
        ({"tasks": ["left", "middle"]}, "#/manifest/tasks"),
        ({"preprocessing": {"std": [1, 0, 1]}}, "#/manifest/preprocessing/std/1"),
        ({"flavour": "sweet"}, "#/manifest/flavour"),
    ],
)
def test_a_wrong_manifest_is_refused_at_its_place(
    caller: Caller, checkpoint: Path, change: dict[str, object], pointer: str
) -> None:
    answer = caller.register(checkpoint.read_bytes(), {**DIGITS, **change})
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]


def test_an_upload_whose_bytes_never_came_is_refused(caller: Caller) -> None:
    upload = caller.post("/v1/uploads", {"sha256": "0" * 64, "size": 10}).json()
    answer = caller.post("/v1/models", {"upload": upload["id"], "manifest": DIGITS})
    assert answer.status_code == 409
    assert pointers(answer) == ["#/upload"]


def test_weights_that_are_not_finite_reject_the_model(caller: Caller, tmp_path: Path) -> None:
    tensors = load_file(random_checkpoint(tmp_path, seed=3))
    tensors["heads.left.out.bias"][3] = torch.nan
    model = _rejected(caller, save(tensors))
    assert model["reason"]["code"] == "nonfinite_weights"
    assert "heads.left.out.bias" in model["reason"]["message"]
    refused = caller.post("/v1/jobs", caller.evaluation(model["id"]))
    assert refused.status_code == 409
    assert pointers(refused) == ["#/model"]
    again = _rejected(caller, save(tensors))
    assert again["id"] == model["id"]
    assert again["job"] != model["job"]


def test_a_model_that_predicts_no_numbers_is_rejected(caller: Caller, tmp_path: Path) -> None:
    tensors = load_file(random_checkpoint(tmp_path, seed=4))
    for name in ("stages.0.0.norm.weight", "stages.4.0.blocks.0.norm2.weight"):
        tensors[name].fill_(3e38)
    assert _rejected(caller, save(tensors))["reason"]["code"] == "nonfinite_predictions"


def _rejected(caller: Caller, data: bytes) -> Json:
    answer = caller.register(data)
    assert answer.status_code == 202
    job = caller.get(f"/v1/jobs/{answer.json()['job']}", headers={"Prefer": "wait=30"})
    while job.json()["state"] in ("queued", "running"):
        job = caller.get(f"/v1/jobs/{answer.json()['job']}", headers={"Prefer": "wait=30"})
    model: Json = caller.get(f"/v1/models/{answer.json()['id']}").json()
    assert model["state"] == "rejected"
    return model
