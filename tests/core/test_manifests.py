"""What is said of a model: whole manifests, hints, profiles written out, and anything that is none of these."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import InvalidError
from core.specs.document import first_error
from core.specs.manifests import ManifestHints, ModelManifest, manifest_of, tasks_of
from core.tasks import Task, profile

LAB: dict[str, Any] = {
    "name": "lab",
    "tasks": [
        {"name": "parts", "kind": "segmentation", "channels": 3, "class_weights": [1, 0.5, 2]},
        {"name": "depth", "kind": "depth", "channels": 1, "loss": "squared", "metrics": ["abs_error"]},
    ],
}
WHOLE: dict[str, Any] = {"backbone": "sapling", "layout": "all-shared", "profile": LAB}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(["backbone", "layout", "profile", "tasks", "preprocessing", "state_dict", "other"])
near_misses = st.dictionaries(fields, json_values, max_size=6).map(lambda changes: {**WHOLE, **changes})


def place(raw: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        ModelManifest.model_validate(raw)
    return first_error(caught.value).field


def test_a_profile_may_be_written_out() -> None:
    manifest = ModelManifest.model_validate(WHOLE).resolved()
    assert manifest.task_list == (
        Task("parts", "segmentation", 3, class_weights=(1.0, 0.5, 2.0)),
        Task("depth", "depth", 1, metrics=("abs_error",), loss="squared"),
    )
    stored = manifest.model_dump(mode="json")
    assert manifest_of(stored) == manifest
    assert tasks_of(stored) == manifest.task_list
    assert tasks_of({"profile": "scenes", "tasks": ["edges", "depth"]})[0] == profile("scenes").task("edges")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "no spaces"}, "name"),
        ({"tasks": []}, "tasks"),
        ({"tasks": [LAB["tasks"][0]] * 2}, "tasks"),
        ({"tasks": [{"name": "a", "kind": "smell", "channels": 1}]}, "tasks.0.kind"),
        ({"tasks": [{"name": "a", "kind": "depth", "channels": 2}]}, "tasks.0.channels"),
        ({"tasks": [{"name": "a", "kind": "depth", "channels": 1, "loss": "cosine"}]}, "tasks.0.loss"),
        ({"tasks": [{"name": "a", "kind": "segmentation", "channels": 256}]}, "tasks.0.channels"),
    ],
)
def test_a_profile_that_is_none_is_refused_with_the_place(changes: dict[str, Any], field: str) -> None:
    assert place({**WHOLE, "profile": {**LAB, **changes}}) == f"profile.{field}"


def test_hints_are_whole_or_wait_for_the_file() -> None:
    assert ManifestHints.model_validate({}).complete() is None
    some = ManifestHints.model_validate({"profile": "scenes", "state_dict": "ema.model"})
    assert some.complete() is None
    assert some.said() == {"profile": "scenes"}
    found = {"backbone": "sapling", "layout": "all-shared", "profile": "digits", "tasks": ["edges"]}
    whole = some.completed(found)
    assert (whole.profile, whole.tasks) == ("scenes", ("edges",)), "what is said goes first"
    complete = ManifestHints.model_validate(WHOLE).complete()
    assert complete == ModelManifest.model_validate(WHOLE).resolved()


def test_hints_that_cannot_be_right_are_refused_at_once() -> None:
    for raw, field in (
        ({"backbone": "gloss"}, "backbone"),
        ({"profile": "gloss"}, "profile"),
        ({**WHOLE, "layout": {"index": -1}}, "layout"),
    ):
        with pytest.raises(ValidationError) as caught:
            ManifestHints.model_validate(raw)
        assert first_error(caught.value).field.startswith(field)


def test_a_stored_manifest_whose_backbone_is_gone_says_so() -> None:
    stored = {**WHOLE, "backbone": "hazel-of-yesterday"}
    with pytest.raises(InvalidError, match="hazel-of-yesterday") as caught:
        manifest_of(stored)
    assert caught.value.field == "backbone"
    assert [task.name for task in tasks_of(stored)] == ["parts", "depth"], "results can still be read"


@given(raw=st.dictionaries(fields, json_values, max_size=7) | near_misses)
def test_whatever_is_sent_is_a_manifest_or_refused(raw: dict[str, Any]) -> None:
    for document in (ModelManifest, ManifestHints):
        try:
            parsed = document.model_validate_json(json.dumps(raw))
        except ValidationError:
            continue
        assert document.model_validate(parsed.model_dump(mode="json")) == parsed
