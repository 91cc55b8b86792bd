"""Residual backbones that a manifest declares: taken wherever a name is, refused field by field."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.backbones import (
    BACKBONES,
    BackboneReference,
    ResidualBackbone,
    ResidualStage,
    Stem,
    backbone,
    canonical_reference,
    declaration_schema,
)
from core.checkpoints import expected_tensors
from core.errors import InvalidError
from core.layouts import Layout
from core.models import build_model, load_checkpoint, save_checkpoint, weights_of
from core.specs.manifests import ModelManifest
from tests.core.synthetic import SMALL, small_batch

TASKS = SMALL[:2]
SHRUB: dict[str, Any] = {
    "kind": "residual",
    "stem": {"kernel": 5, "channels": 6, "stride": 2, "pool": True},
    "stages": [
        {"blocks": 2, "channels": 8, "stride": 1, "dilation": 1},
        {"blocks": 1, "channels": 12, "stride": 2, "dilation": 2},
    ],
    "head": "sapling",
}
DEEPLAB: dict[str, Any] = {
    "kind": "residual",
    "stem": {"kernel": 7, "channels": 64, "stride": 2, "pool": True},
    "stages": [
        {"blocks": 3, "channels": 64, "stride": 1, "dilation": 1},
        {"blocks": 4, "channels": 128, "stride": 2, "dilation": 1},
        {"blocks": 6, "channels": 256, "stride": 1, "dilation": 2},
        {"blocks": 3, "channels": 512, "stride": 1, "dilation": 4},
    ],
    "head": "deeplab",
}


def manifest(reference: BackboneReference, layout: object = "all-shared") -> ModelManifest:
    return ModelManifest(backbone=reference, layout=layout, profile="nyuv2")


def changed(path: str, value: object) -> dict[str, Any]:
    """SHRUB with one field changed, or left out for `...`."""
    found: Any = copy.deepcopy(SHRUB)
    *above, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inside = found
    for part in above:
        inside = inside[part]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    assert isinstance(found, dict)
    return found


def test_a_declaration_makes_a_backbone_with_a_level_for_the_stem_and_every_stage() -> None:
    shrub = backbone(SHRUB)
    assert isinstance(shrub, ResidualBackbone)
    assert shrub.stem == Stem(5, 6, 2, pool=True)
    assert shrub.stages == (ResidualStage(2, 8, 1, 1), ResidualStage(1, 12, 2, 2))
    assert (shrub.levels, shrub.level_channels, shrub.output_stride) == (3, (6, 8, 12), 8)


def test_the_order_of_fields_does_not_matter() -> None:
    assert backbone(dict(reversed(SHRUB.items()))) == backbone(SHRUB)


def test_another_declaration_has_another_name() -> None:
    assert backbone(changed("stages.1.dilation", 1)).name != backbone(SHRUB).name


@pytest.mark.parametrize("declared", [SHRUB, DEEPLAB], ids=["declared", "built in"])
def test_canonical_references_mean_the_same_and_stay_as_they_are(declared: dict[str, Any]) -> None:
    canonical = canonical_reference(declared)
    assert backbone(canonical) == backbone(declared)
    assert canonical_reference(canonical) == canonical


def test_a_declaration_of_a_built_in_backbone_is_that_one() -> None:
    assert backbone(DEEPLAB) is BACKBONES["deeplab_resnet34"]
    assert manifest(DEEPLAB).resolved() == manifest("deeplab_resnet34").resolved()


def test_a_built_in_network_with_another_head_is_not_that_one() -> None:
    assert backbone({**DEEPLAB, "head": "sapling"}).name != "deeplab_resnet34"


def test_a_manifests_digest_does_not_depend_on_how_its_declaration_is_written() -> None:
    written = manifest(dict(reversed(SHRUB.items())), [[[1, 2, 0]]] * 3)
    assert written.resolved().digest() == manifest(SHRUB).resolved().digest()
    assert ModelManifest.model_validate_json(written.resolved().canonical()) == written.resolved()


def test_layouts_of_a_declared_backbone_have_its_levels() -> None:
    assert len(manifest(SHRUB).tree.levels) == 3
    with pytest.raises(ValidationError, match="the layout must be a list of 3 levels; got 5"):
        manifest(SHRUB, [[[0, 1, 2]]] * 5)


def test_a_declared_backbones_parameters_are_counted() -> None:
    one, two = Layout.all_shared(2, 3), Layout.independent(2, 3)
    assert one.parameter_count(SHRUB, "torch") == sum(backbone(SHRUB).level_parameters("torch"))
    assert two.parameter_count(SHRUB) == 2 * one.parameter_count(SHRUB)


@pytest.mark.parametrize("layout", ["all-shared", "independent", [[[0, 1]], [[0, 1]], [[0], [1]]]], ids=str)
def test_the_expected_tensors_are_those_of_the_model(layout: object) -> None:
    model = build_model(SHRUB, layout, TASKS)
    shapes = {key: tuple(value.shape) for key, value in weights_of(model).items()}
    assert expected_tensors(backbone(SHRUB), model.layout, TASKS) == shapes
    parameters = sum(parameter.numel() for parameter in model.stages.parameters())
    assert parameters == model.layout.parameter_count(SHRUB, "torch")


@torch.no_grad()
def test_a_declared_model_predicts_the_same_bits_after_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "shrub.safetensors"
    model, images = build_model(SHRUB, "independent", TASKS).eval(), small_batch(TASKS, side=32).images
    save_checkpoint(model, path)
    read = load_checkpoint(path, backbone=SHRUB, layout="independent", tasks=TASKS)
    assert all(torch.equal(read(images)[name], value) for name, value in model(images).items())


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("pool", [False, True])
def test_features_are_as_much_smaller_than_images_as_the_backbone_says(stride: int, *, pool: bool) -> None:
    declared = changed("stem", {"kernel": 3, "channels": 4, "stride": stride, "pool": pool})
    model = build_model(declared, "all-shared", TASKS).eval()
    predicted = model(torch.rand(1, 3, 64, 64))["segmentation"]
    features = predicted.shape[-1] // 2  # the head doubles them
    assert features - 64 // backbone(declared).output_stride in ((0, 1) if pool else (0,))  # it rounds up


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("kind", "recurrent", "kind"),
        ("kind", ..., "kind"),
        ("stem", ..., "stem"),
        ("stem", None, "stem"),
        ("stem.kernel", 4, "stem.kernel"),
        ("stem.kernel", 17, "stem.kernel"),
        ("stem.kernel", ..., "stem.kernel"),
        ("stem.pool", 1, "stem.pool"),
        ("stem.pool", ..., "stem.pool"),
        ("stem.stride", 3, "stem.stride"),
        ("stem.colour", "red", "stem.colour"),
        ("stages", [], "stages"),
        ("stages", [SHRUB["stages"][0]] * 13, "stages"),
        ("stages", {"0": {}}, "stages"),
        ("stages", "many", "stages"),
        ("stages.1", 7, "stages.1"),
        ("stages.1.channels", 0, "stages.1.channels"),
        ("stages.1.channels", 4097, "stages.1.channels"),
        ("stages.1.channels", 8.0, "stages.1.channels"),
        ("stages.1.channels", "8", "stages.1.channels"),
        ("stages.1.channels", True, "stages.1.channels"),
        ("stages.1.channels", ..., "stages.1.channels"),
        ("stages.0.blocks", 65, "stages.0.blocks"),
        ("stages.0.blocks", -1, "stages.0.blocks"),
        ("stages.0.stride", 8, "stages.0.stride"),
        ("stages.0.dilation", 0, "stages.0.dilation"),
        ("stages.0.dilation", 65, "stages.0.dilation"),
        ("stages.0.groups", 2, "stages.0.groups"),
        ("head", "linear", "head"),
        ("head", ["deeplab"], "head"),
        ("head", ..., "head"),
        ("name", "oak", "name"),
    ],
)
def test_a_wrong_declaration_is_refused_at_its_field(path: str, value: object, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        backbone(changed(path, value))
    assert caught.value.field == field


def test_a_manifest_names_the_field_of_its_declaration() -> None:
    with pytest.raises(ValidationError) as caught:
        manifest(changed("stages.1.channels", 0))
    assert caught.value.errors()[0]["ctx"]["error"].field == "backbone.stages.1.channels"


def test_a_backbone_of_too_many_parameters_is_refused() -> None:
    wide = {"blocks": 3, "channels": 4096, "stride": 1, "dilation": 1}
    with pytest.raises(InvalidError, match=r"it may have 500,000,000") as caught:
        backbone(changed("stages", [wide]))
    assert caught.value.field == "stages"


def test_the_schema_lists_every_field_and_its_bounds() -> None:
    schema = declaration_schema()
    stage = schema["properties"]["stages"]["items"]
    assert set(schema["required"]) == SHRUB.keys()
    assert set(stage["required"]) == SHRUB["stages"][0].keys()
    assert stage["properties"]["channels"] == {"type": "integer", "minimum": 1, "maximum": 4096}
    assert schema["properties"]["stem"]["properties"]["kernel"]["enum"] == [1, 3, 5, 7, 9, 11, 13, 15]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("kind", "stem", "stages", "head", "stem.kernel", "stem.pool", "stages.0", "stages.0.blocks")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(path=st.sampled_from(FIELDS), value=values)
def test_any_value_in_any_place_is_taken_or_refused_and_nothing_else(path: str, value: object) -> None:
    declared = changed(path, value)
    try:
        canonical = canonical_reference(declared)
    except InvalidError as error:
        refused = error
    else:
        assert canonical_reference(canonical) == canonical
        return
    assert refused.field
    assert len(str(refused)) < 300
