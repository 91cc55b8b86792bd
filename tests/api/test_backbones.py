"""Backbones over HTTP: listed, counted, and declared where a name can stand."""

from pathlib import Path
from typing import Any

import pytest

from core.backbones import backbone
from tests.service import DIGITS, Caller, Json, pointers, random_checkpoint

SHRUB: Json = {
    "kind": "residual",
    "stem": {"kernel": 3, "channels": 8, "stride": 2, "pool": False},
    "stages": [
        {"blocks": 1, "channels": 8, "stride": 2, "dilation": 1},
        {"blocks": 1, "channels": 12, "stride": 1, "dilation": 1},
    ],
    "head": "sapling",
}
MANIFEST: Json = {**DIGITS, "backbone": SHRUB}


def with_stage(**fields: Any) -> Json:
    return {**SHRUB, "stages": [SHRUB["stages"][0], {**SHRUB["stages"][1], **fields}]}


def test_mobilenet_v2_is_listed(caller: Caller) -> None:
    found = {entry["name"]: entry for entry in caller.get("/v1/backbones").json()}
    assert found["mobilenet_v2"] == {
        "name": "mobilenet_v2",
        "title": "MobileNetV2",
        "levels": 5,
        "level_channels": [24, 64, 96, 320, 1280],
        "output_stride": 32,
        "head": "deeplab",
        "parameters": 2_223_872,
        "provider": None,
    }


def test_a_layout_of_a_declared_backbone_is_described(caller: Caller) -> None:
    request = {"layout": "independent", "tasks": 2, "backbone": SHRUB}
    described = caller.post("/v1/layouts", request).json()
    assert len(described["levels"]) == 3
    assert described["parameters"] == 2 * sum(backbone(SHRUB).level_parameters())


@pytest.mark.parametrize(
    ("declared", "pointer"),
    [
        (with_stage(channels=0), "#/backbone/stages/1/channels"),
        (with_stage(groups=2), "#/backbone/stages/1/groups"),
        ({**SHRUB, "kind": "vision_transformer"}, "#/backbone/kind"),
        (["sapling"], "#/backbone"),
        ("oak", "#/backbone"),
    ],
)
def test_a_wrong_backbone_is_refused_at_its_place(caller: Caller, declared: Any, pointer: str) -> None:
    answer = caller.post("/v1/layouts", {"layout": "independent", "tasks": 2, "backbone": declared})
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]


def test_a_model_of_a_declared_backbone_becomes_ready(caller: Caller, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(tmp_path, MANIFEST, seed=5)
    model = caller.service.push("a shrub", checkpoint, MANIFEST)
    assert model["state"] == "ready"
    assert model["manifest"]["backbone"] == SHRUB
    reordered = {**MANIFEST, "backbone": dict(reversed(SHRUB.items()))}
    again = caller.register(checkpoint.read_bytes(), reordered)
    assert (again.status_code, again.json()["id"]) == (200, model["id"])


def test_a_manifest_with_a_wrong_declaration_is_refused_at_its_place(
    caller: Caller, checkpoint: Path
) -> None:
    answer = caller.register(checkpoint.read_bytes(), {**DIGITS, "backbone": with_stage(stride=3)})
    assert answer.status_code == 422
    assert pointers(answer) == ["#/manifest/backbone/stages/1/stride"]


def test_a_checkpoint_of_another_backbone_is_refused(caller: Caller, checkpoint: Path) -> None:
    answer = caller.register(checkpoint.read_bytes(), MANIFEST)
    assert answer.status_code == 422
    assert answer.json()["code"] == "checkpoint_mismatch"


def test_the_schema_of_a_declaration_is_published(caller: Caller) -> None:
    schemas = caller.get("/openapi.json").json()["components"]["schemas"]
    name, declared = schemas["LayoutRequest"]["properties"]["backbone"]["anyOf"]
    assert name == {"type": "string"}
    assert declared["properties"]["stages"]["maxItems"] == 12
