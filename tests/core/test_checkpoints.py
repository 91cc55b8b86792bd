"""The header of a checkpoint file: what is read out of it, what is refused, and that nothing else can happen."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.backbones import BACKBONES, backbone
from core.checkpoints import (
    MAX_DIMENSIONS,
    MAX_HEADER_BYTES,
    MAX_NAME,
    CheckpointError,
    ForeignCheckpointError,
    MismatchedCheckpointError,
    TensorInfo,
    TruncatedCheckpointError,
    check_tensors,
    expected_tensors,
    read_header,
)
from core.errors import InvalidError
from core.layouts import Layout, enumerate_layouts
from core.models import build_model, weights_of
from core.tasks import profile

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def entry(begin: int, end: int, *, dtype: str = "F32", shape: list[Any] | None = None) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - begin) // 4] if shape is None else shape,
        "data_offsets": [begin, end],
    }


def file_of(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def read(path: Path, content: bytes) -> dict[str, TensorInfo]:
    path.write_bytes(content)
    return read_header(path)


PAIR = {"a": entry(0, 8), "b": entry(8, 12)}


def test_tensors_are_read_with_their_places(path: Path) -> None:
    assert read(path, file_of(PAIR, bytes(12))) == {
        "a": TensorInfo("F32", (2,), 0, 8),
        "b": TensorInfo("F32", (1,), 8, 12),
    }


def test_metadata_is_no_tensor(path: Path) -> None:
    assert read(path, file_of(PAIR | {"__metadata__": {"format": "pt"}}, bytes(12))).keys() == {"a", "b"}


def test_the_order_of_names_does_not_matter(path: Path) -> None:
    assert read(path, file_of(dict(reversed(PAIR.items())), bytes(12))).keys() == {"a", "b"}


def test_scalars_and_empty_tensors_have_their_place_too(path: Path) -> None:
    header = {"a": entry(0, 4, shape=[]), "b": entry(4, 4, shape=[0, 3])}
    assert read(path, file_of(header, bytes(4)))["b"].shape == (0, 3)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty file"),
        pytest.param(b"\x10\0\0", id="shorter than a length"),
        pytest.param(b"PK\x03\x04" + bytes(100), id="a zip file"),
        pytest.param(b"\x80\x02}q\x00." + bytes(50), id="a pickle"),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(b"\xff" * 64, id="ones"),
        pytest.param(file_of({}, length=2**63), id="a huge length"),
        pytest.param(file_of({}, length=MAX_HEADER_BYTES + 1), id="a header longer than allowed"),
        pytest.param(file_of(b"{"), id="one byte"),
        pytest.param(file_of(b"not json"), id="no JSON"),
        pytest.param(file_of(b"\xff\xfe{\0}\0"), id="bytes that are no text"),
        pytest.param(file_of([1, 2]), id="a list"),
        pytest.param(file_of(b"[" * 100_000), id="brackets without end"),
        pytest.param(file_of(b'{"a":' + b"9" * 10_000 + b"}"), id="a number without end"),
        pytest.param(file_of(b'{"a":1,"a":2}'), id="a name twice"),
        pytest.param(
            file_of(b'{"a":{"dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,4]}}'), id="a key twice"
        ),
        pytest.param(file_of({"a": 7}), id="an entry that is a number"),
        pytest.param(file_of({"a": {}}), id="an empty entry"),
        pytest.param(file_of({"a": {"dtype": "F32", "shape": [1]}}), id="no offsets"),
        pytest.param(file_of({"a": entry(0, 4, dtype=7)}), id="a dtype that is a number"),  # type: ignore[arg-type]
        pytest.param(file_of({"a": entry(0, 4, dtype="X" * 99)}), id="a dtype without end"),
        pytest.param(file_of({"a": entry(0, 4, shape=[-1])}), id="a negative side"),
        pytest.param(file_of({"a": entry(0, 4, shape=[True])}), id="a side that is a truth"),
        pytest.param(file_of({"a": entry(0, 4, shape=[1.0])}), id="a broken side"),
        pytest.param(file_of({"a": entry(0, 4, shape=[2**31])}), id="a huge side"),
        pytest.param(file_of({"a": entry(0, 4, shape=[1] * (MAX_DIMENSIONS + 1))}), id="too many sides"),
        pytest.param(
            file_of({"a": entry(0, 4, shape=[1]) | {"data_offsets": [0, 4, 8]}}), id="three offsets"
        ),
        pytest.param(
            file_of({"a": entry(0, 4, shape=[1]) | {"data_offsets": [0.0, 4.0]}}), id="broken offsets"
        ),
        pytest.param(file_of({"a\0b": entry(0, 4)}, bytes(4)), id="a name with a NUL"),
        pytest.param(file_of({"a\nb": entry(0, 4)}, bytes(4)), id="a name of two lines"),
        pytest.param(file_of({"\ud800": entry(0, 4)}, bytes(4)), id="a name that is no text"),
        pytest.param(file_of({"a" * (MAX_NAME + 1): entry(0, 4)}, bytes(4)), id="a name without end"),
    ],
)
def test_what_is_no_safetensors_file_is_refused_as_foreign(path: Path, content: bytes) -> None:
    with pytest.raises(ForeignCheckpointError) as caught:
        read(path, content)
    assert caught.value.code == "not_safetensors"
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("missing", [1, 5, 12, 13, 60])
def test_a_file_that_ends_too_early_is_refused_as_truncated(path: Path, missing: int) -> None:
    with pytest.raises(TruncatedCheckpointError) as caught:
        read(path, file_of(PAIR, bytes(12))[:-missing])
    assert caught.value.code == "truncated_checkpoint"


@pytest.mark.parametrize(
    ("header", "size", "field"),
    [
        pytest.param({"a": entry(0, 8), "b": entry(4, 8)}, 8, "b", id="overlap"),
        pytest.param({"a": entry(0, 8), "b": entry(0, 8)}, 8, "b", id="the same place"),
        pytest.param({"a": entry(0, 4), "b": entry(8, 12)}, 12, "b", id="gap"),
        pytest.param({"a": entry(4, 8)}, 8, "a", id="gap at the start"),
        pytest.param({"a": entry(0, 8) | {"data_offsets": [-4, 4]}}, 4, "a", id="before the start"),
        pytest.param({"a": entry(0, 4, shape=[1]) | {"data_offsets": [0, -4]}}, 4, "a", id="backwards"),
        pytest.param({"a": entry(0, 8, shape=[3])}, 8, "a", id="more than its bytes"),
        pytest.param({"a": entry(0, 8, shape=[2], dtype="F16")}, 8, "a", id="of another width"),
    ],
)
def test_offsets_that_do_not_fit_are_refused_under_the_tensors_name(
    path: Path, header: dict[str, Any], size: int, field: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(path, file_of(header, bytes(size)))
    assert caught.value.field == field
    assert caught.value.code == "invalid_checkpoint"


def test_bytes_after_the_last_tensor_are_refused(path: Path) -> None:
    with pytest.raises(CheckpointError, match="goes on for 3 bytes"):
        read(path, file_of(PAIR, bytes(15)))


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(path: Path, content: bytes) -> None:
    assert_read_or_refused(path, content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@FUZZ
@given(header=json_values, data=st.binary(max_size=16))
def test_any_json_is_read_or_refused_and_nothing_else(path: Path, header: object, data: bytes) -> None:
    assert_read_or_refused(path, file_of(header, data))


entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "I64", "F32 ", ""]) | json_values,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-4, 24), min_size=2, max_size=2) | json_values,
    }
)


@FUZZ
@given(
    header=st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "ü"]), entries), size=st.integers(0, 24)
)
def test_anything_like_a_header_is_read_or_refused_and_nothing_else(
    path: Path, header: dict[str, Any], size: int
) -> None:
    assert_read_or_refused(path, file_of(header, bytes(size)))


@FUZZ
@given(position=st.integers(0, 200), value=st.integers(0, 255), cut=st.integers(0, 200))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    path: Path, position: int, value: int, cut: int
) -> None:
    whole = bytearray(file_of(PAIR, bytes(12)))
    whole[position % len(whole)] = value
    assert_read_or_refused(path, bytes(whole[: len(whole) - cut % 3]))


def assert_read_or_refused(path: Path, content: bytes) -> None:
    try:
        tensors = read(path, content)
    except CheckpointError:
        return
    header = 8 + int.from_bytes(content[:8], "little")
    assert header + sum(info.end - info.begin for info in tensors.values()) == len(content)


WANTED = {"a": (2, 3), "b": (4,)}


def tensors(**changes: TensorInfo | None) -> dict[str, TensorInfo]:
    found = {"a": TensorInfo("F32", (2, 3), 0, 24), "b": TensorInfo("F16", (4,), 24, 32), **changes}
    return {name: info for name, info in found.items() if info is not None}


def test_tensors_as_expected_pass() -> None:
    check_tensors(tensors(), WANTED)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"b": None}, "b", "misses 1 tensors"),
        ({"c": TensorInfo("F32", (1,), 32, 36)}, "c", "has unknown 1 tensors"),
        ({"a": TensorInfo("F32", (3, 2), 0, 24)}, "a", r"must be \[2, 3\]; it is \[3, 2\]"),
        ({"a": TensorInfo("F32", (6,), 0, 24)}, "a", r"must be \[2, 3\]; it is \[6\]"),
        ({"b": TensorInfo("I64", (4,), 24, 56)}, "b", "it is I64"),
        ({"b": TensorInfo("F8_E4M3", (4,), 24, 28)}, "b", "it is F8_E4M3"),
    ],
)
def test_tensors_of_another_model_are_refused_by_name(
    changes: dict[str, TensorInfo | None], field: str, message: str
) -> None:
    with pytest.raises(MismatchedCheckpointError, match=message) as caught:
        check_tensors(tensors(**changes), WANTED)
    assert caught.value.field == field
    assert caught.value.code == "checkpoint_mismatch"
    assert isinstance(caught.value, InvalidError)


def test_a_message_lists_three_names_at_most() -> None:
    with pytest.raises(MismatchedCheckpointError, match=r"\(a0, a1, a2, …\)"):
        check_tensors({}, {f"a{n}": (1,) for n in range(9)})


def assert_expected(name: str, layout: Layout, profile_name: str) -> None:
    tasks = profile(profile_name).tasks
    with torch.device("meta"):
        model = build_model(name, layout, tasks)
    shapes = {key: tuple(value.shape) for key, value in weights_of(model).items()}
    assert expected_tensors(backbone(name), layout, tasks) == shapes


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.sampled_from(enumerate_layouts(3, 5)), st.sampled_from(list(BACKBONES)))
def test_the_expected_tensors_are_those_of_the_model(layout: Layout, name: str) -> None:
    assert_expected(name, layout, "nyuv2")


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.sampled_from(enumerate_layouts(5, 5)))
def test_the_expected_tensors_of_five_tasks_are_those_of_the_model(layout: Layout) -> None:
    assert_expected("sapling", layout, "scenes")


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(
    "layout", [Layout.all_shared(2), Layout.independent(2)], ids=["shared", "independent"]
)
def test_the_expected_tensors_of_classification_heads_are_those_of_the_model(
    name: str, layout: Layout
) -> None:
    assert_expected(name, layout, "digits")
