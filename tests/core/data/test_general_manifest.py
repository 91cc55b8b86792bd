"""Manifests of the general format: whatever one may not say is refused, and the error names the field."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.folders import FolderError, describe
from core.data.folders.general.manifest import read_manifest
from core.errors import InvalidError
from tests.core.data.folder_writers import GENERAL, put

COMPLETE: dict[str, Any] = {
    **GENERAL,
    "splits": {
        "test": {
            "samples": [
                {
                    "key": "one",
                    "image": "a.png",
                    "parts": "b.png",
                    "depth": "c.png",
                    "normals": "d.png",
                    "curvature": "e.npy",
                    "room": "f.txt",
                    "masks": {"depth": "g.png"},
                }
            ]
        },
        "train": {"shards": ["train-0.tar", "train-1.tar"]},
    },
}


def edited(path: tuple[str | int, ...], value: object) -> bytes:
    """The complete manifest with one value put in, or taken out where it is ...."""
    manifest = copy.deepcopy(COMPLETE)
    at: Any = manifest
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("format",), "coco", "format"),
        (("format_version",), 2, "format_version"),
        (("format_version",), True, "format_version"),
        (("name",), ..., "name"),
        (("name",), "", "name"),
        (("name",), "a\nb", "name"),
        (("colour",), 1, "colour"),
        (("profile",), "nyuv2", "tasks"),
        (("tasks",), ..., "tasks"),
        (("tasks",), [], "tasks"),
        (("tasks",), {}, "tasks"),
        (("tasks", 0, "name"), "depth", "tasks"),
        (("tasks", 0, "name"), "masks", "tasks"),
        (("tasks", 0, "name"), "a.b", "tasks[0].name"),
        (("tasks", 0, "name"), 7, "tasks[0].name"),
        (("tasks", 1, "kind"), "depths", "tasks[1].kind"),
        (("tasks", 1, "channels"), 2, "tasks[1].channels"),
        (("tasks", 0, "channels"), 256, "tasks[0].channels"),
        (("tasks", 0, "channels"), 5.0, "tasks[0].channels"),
        (("tasks", 0, "class_weights"), [1], "tasks[0].class_weights"),
        (("tasks", 0, "class_weights"), [1, 1, 1, 1, -1], "tasks[0].class_weights"),
        (("tasks", 0, "class_weights"), [1, 1, 1, 1, "1"], "tasks[0].class_weights[4]"),
        (("tasks", 0, "class_weights", 0), 10**400, "tasks[0].class_weights[0]"),
        (("tasks", 1, "metrics"), ["miou"], "tasks[1].metrics"),
        (("image",), {}, "image.encoding"),
        (("image", "encoding"), "png16", "image.encoding"),
        (("image", "ignore"), 0, "image.ignore"),
        (("labels", "parts"), ..., "labels.parts"),
        (("labels", "sofa"), {}, "labels.sofa"),
        (("labels", "parts", "encoding"), "jpeg", "labels.parts.encoding"),
        (("labels", "parts", "offset"), 0.5, "labels.parts"),
        (("labels", "parts", "offset"), 1e300, "labels.parts"),
        (("labels", "parts", "scale"), 2, "labels.parts"),
        (("labels", "parts", "ignore"), ["none"], "labels.parts.ignore[0]"),
        (("labels", "depth", "scale"), 0, "labels.depth.scale"),
        (("labels", "depth", "scale"), "0.1", "labels.depth.scale"),
        (("labels", "normals", "order"), "gbr", "labels.normals.order"),
        (("labels", "curvature", "axes"), "cwh", "labels.curvature.axes"),
        (("masks", "room"), {"encoding": "png8"}, "masks.room"),
        (("masks", "depth", "encoding"), "png16", "masks.depth.encoding"),
        (("size",), [32], "size"),
        (("size",), [32, 0], "size[1]"),
        (("splits",), {}, "splits"),
        (("splits", "dev"), {}, "splits.dev"),
        (("splits", "test"), {}, "splits.test"),
        (("splits", "test", "shards"), ["a.tar"], "splits.test"),
        (("splits", "train", "shards"), [], "splits.train.shards"),
        (("splits", "train", "shards"), ["a.tar", "a.tar"], "splits.train.shards"),
        (("splits", "train", "shards", 1), "../a.tar", "splits.train.shards[1]"),
        (("splits", "test", "samples"), [], "splits.test.samples"),
        (("splits", "test", "samples"), "nowhere.jsonl", "splits.test.samples"),
        (("splits", "test", "samples"), "/etc/passwd", "splits.test.samples"),
        (("splits", "test", "samples", 0, "image"), ..., "splits.test.samples[0].image"),
        (("splits", "test", "samples", 0, "depth"), "../d.png", "splits.test.samples[0].depth"),
        (("splits", "test", "samples", 0, "masks"), ..., "splits.test.samples[0].masks"),
        (("splits", "test", "samples", 0, "masks"), {}, "splits.test.samples[0].masks.depth"),
        (("splits", "test", "samples", 0, "key"), 7, "splits.test.samples[0].key"),
        (("splits", "test", "samples", 0, "sofa"), "a", "splits.test.samples[0].sofa"),
    ],
)
def test_what_a_manifest_may_not_say_is_refused_by_its_field(
    path: tuple[str | int, ...], value: object, field: str, tmp_path: Path
) -> None:
    put(tmp_path, "dataset.json", edited(path, value))
    with pytest.raises(FolderError) as caught:
        describe("windthrow", tmp_path)
    assert caught.value.field == field
    assert field.rpartition(".")[2] in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b"1" * 5000,
        b"null",
        b'"a"',
    ],
)
def test_what_is_no_manifest_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(FolderError):
        read_manifest(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["nan", "png8", "npy"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: object) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value."""
    places: list[tuple[str | int, ...]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        places += [(step,), *((step, *rest) for rest in paths_of(inner))]
    return places


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(paths_of(COMPLETE)), JSON)
def test_any_value_anywhere_is_taken_or_refused_with_a_field(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[str | int, ...], value: object
) -> None:
    root = tmp_path_factory.mktemp("manifest")
    put(root, "dataset.json", edited(path, value))
    with contextlib.suppress(InvalidError):
        describe("windthrow", root)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused_as_a_manifest(data: bytes) -> None:
    with pytest.raises(FolderError):
        read_manifest(data)


def test_the_example_in_the_docs_is_a_manifest() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/datasets.md").read_text()
    manifest = read_manifest(text.split("```json\n")[1].split("```")[0].encode())
    assert [task.name for task in manifest.tasks] == ["parts", "depth"]
    assert (manifest.size, list(manifest.splits)) == ((480, 640), ["test", "train"])
