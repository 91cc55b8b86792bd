"""From a checkpoint to safetensors: the same tensors as torch would read, in whatever way they were saved."""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.checkpoint_files import Format, Hints, convert, identify
from core.checkpoint_files.source import StoredTensor
from core.checkpoint_files.tensors import chunks, count_nonfinite
from core.checkpoints import check_tensors, expected_tensors, read_header
from core.models import load_checkpoint, save_checkpoint, weights_of
from tests.core.checkpoint_files.files import model, refusal, same_tensors, saved, state_dict
from tests.core.synthetic import NYUV2, small_batch, small_model

BRANCHED = [[[0, 1, 2]], [[0, 2], [1]], [[0, 2], [1]], [[0], [1], [2]], [[0], [1], [2]]]
BIAS = "heads.depth.out.bias"
WEIGHT = "stages.1.0.blocks.0.conv1.weight"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def as_parameters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: nn.Parameter(value) for name, value in tensors.items()}


def in_one_storage(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    flat = torch.cat([value.flatten() for value in tensors.values()])
    parts = torch.split(flat, [value.numel() for value in tensors.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(tensors.items(), parts, strict=True)}


def transposed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor stored with its axes in reverse."""
    order = {name: tuple(reversed(range(value.dim()))) for name, value in tensors.items()}
    return {
        name: value.permute(order[name]).contiguous().permute(order[name]) for name, value in tensors.items()
    }


def sliced(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor a view of each second row of one twice as large."""
    return {name: torch.stack([value, -value], dim=1)[:, 0] for name, value in tensors.items()}


def channels_last(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in tensors.items()
    }


def behind(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {prefix + name: value for name, value in tensors.items()}


def under(*fields: str) -> Callable[[Any], Any]:
    def nested(tensors: Any) -> Any:
        for field in reversed(fields):
            tensors = {field: tensors, "epoch": 3}
        return tensors

    return nested


WAYS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "state dict": dict,
    "ordered dict": OrderedDict,
    "parameters": as_parameters,
    "one storage": in_one_storage,
    "transposed": transposed,
    "sliced": sliced,
    "channels last": channels_last,
    "DataParallel": behind("module."),
    "compiled": behind("_orig_mod."),
    "compiled in DataParallel in a framework": behind("model.module._orig_mod."),
    "state_dict": under("state_dict"),
    "model_state_dict": under("model_state_dict"),
    "net": under("net"),
    "model.state_dict": under("model", "state_dict"),
    "any field": under("student"),
    "with strangers": lambda tensors: {**tensors, "epoch": 3, "lr": 0.1},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_checkpoint_becomes_the_tensors_that_torch_reads(
    path: Path, out: Path, way: str, protocol: int
) -> None:
    expected = state_dict()
    saved(path, WAYS[way](expected), pickle_protocol=protocol)
    converted = convert(path, out)
    assert same_tensors(load_file(out), expected)
    assert converted.kind is Format.TORCH
    check_tensors(read_header(out), converted.identity.expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("way", ["state dict", "transposed"])
def test_numbers_keep_their_type_and_bits(path: Path, out: Path, dtype: torch.dtype, way: str) -> None:
    expected = {name: value.to(dtype) for name, value in state_dict().items()}
    convert(saved(path, WAYS[way](expected)), out)
    assert same_tensors(load_file(out), expected)


def test_numbers_of_several_types_stand_aligned(path: Path, out: Path) -> None:
    types = [torch.float16, torch.float64, torch.bfloat16, torch.float32]
    mixed = {name: value.to(types[n % 4]) for n, (name, value) in enumerate(state_dict().items())}
    convert(saved(path, mixed), out)
    assert same_tensors(load_file(out), mixed)
    assert int.from_bytes(out.read_bytes()[:8], "little") % 8 == 0
    widths = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
    assert all(info.begin % widths[info.dtype] == 0 for info in read_header(out).values())


@torch.no_grad()
def test_the_converted_model_predicts_what_the_saved_one_does(path: Path, out: Path) -> None:
    trained, images = small_model(NYUV2, BRANCHED), small_batch(NYUV2).images
    saved(path, {"state_dict": trained.state_dict()})
    found = convert(path, out, hints=Hints(layout=BRANCHED)).identity
    read = load_checkpoint(out, backbone=found.backbone, layout=found.layout, tasks=found.tasks)
    assert all(torch.equal(read(images)[name], value) for name, value in trained(images).items())


def test_the_same_file_makes_the_same_bytes(path: Path, tmp_path: Path) -> None:
    saved(path, state_dict())
    first, second = (convert(path, tmp_path / name) for name in ("first", "second"))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert first == second
    assert first.size == (tmp_path / "first").stat().st_size


def test_neither_container_nor_order_changes_the_bytes(path: Path, tmp_path: Path) -> None:
    tensors = state_dict()
    digests = {
        convert(saved(path, kept), tmp_path / "out").sha256
        for kept in (tensors, dict(reversed(tensors.items())), {"model": transposed(tensors)})
    }
    assert len(digests) == 1


def test_batch_counters_are_left_out(path: Path, out: Path) -> None:
    whole = model().state_dict()
    assert any(name.endswith("num_batches_tracked") for name in whole)
    convert(saved(path, whole), out)
    assert load_file(out).keys() == state_dict().keys()


def test_a_safetensors_file_with_a_prefix_is_converted_too(path: Path, out: Path) -> None:
    save_file({f"module.{name}": value for name, value in state_dict().items()}, path)
    assert convert(path, out).kind is Format.SAFETENSORS
    assert same_tensors(load_file(out), state_dict())


def test_a_converted_file_converts_to_itself(path: Path, out: Path, tmp_path: Path) -> None:
    first = convert(saved(path, state_dict()), out)
    second = convert(out, tmp_path / "again")
    assert (first.sha256, first.identity) == (second.sha256, second.identity)


def test_our_own_checkpoints_are_converted_to_the_same_tensors(path: Path, out: Path) -> None:
    save_checkpoint(model(), path)
    convert(path, out)
    assert same_tensors(load_file(out), state_dict())


def test_a_file_that_is_written_over_is_replaced_at_once(path: Path, out: Path) -> None:
    out.write_bytes(b"what was there")
    convert(saved(path, state_dict()), out)
    assert same_tensors(load_file(out), state_dict())


def test_an_existing_file_stays_where_the_new_one_is_refused(path: Path, out: Path) -> None:
    out.write_bytes(b"what was there")
    saved(path, state_dict(heads__depth__out__bias=torch.full((4,), torch.nan)))
    with pytest.raises(ValueError, match="4 NaN"):
        convert(path, out)
    assert out.read_bytes() == b"what was there"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_that_are_no_numbers_are_refused_and_counted(
    path: Path, value: float, dtype: torch.dtype
) -> None:
    bias = torch.tensor([0.0, value, 65504.0, value], dtype=dtype)
    error = refusal(saved(path, state_dict(heads__depth__out__bias=bias)))
    assert (error.code, error.field) == ("nonfinite_weights", BIAS)
    assert "holds 2 NaN or infinite" in str(error)


def test_a_float64_weight_too_large_for_float32_is_refused(path: Path) -> None:
    bias = torch.tensor([0.0, 1e39, -1e300, 3e38], dtype=torch.float64)
    error = refusal(saved(path, state_dict(heads__depth__out__bias=bias)))
    assert error.code == "nonfinite_weights"
    assert "holds 2" in str(error)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=16), min_size=1, max_size=40), st.sampled_from(["F16", "BF16", "F32", "F64"]))
def test_what_is_no_number_is_counted_in_every_type(values: list[float], dtype: str) -> None:
    types = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
    tensor = torch.tensor(values, dtype=types[dtype])
    raw = tensor.view(torch.uint8).numpy().tobytes()
    assert count_nonfinite(raw, dtype) == int((~torch.isfinite(tensor)).sum())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_strided_view_is_read_in_the_order_of_its_indices(data: st.DataObject) -> None:
    whole = torch.arange(data.draw(st.integers(1, 200)), dtype=torch.float32)
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4).map(tuple))
    stride = data.draw(st.lists(st.integers(0, 5), min_size=len(shape), max_size=len(shape)).map(tuple))
    last = sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= len(whole):
        return
    stored = StoredTensor("F32", shape, stride, 0)
    file = io.BytesIO(whole.numpy().tobytes())
    expected = torch.as_strided(whole, shape, stride).contiguous().numpy().tobytes()
    assert b"".join(chunks(file, stored)) == expected


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_tensors_that_hold_no_weights_are_refused(path: Path, dtype: torch.dtype) -> None:
    error = refusal(saved(path, state_dict(heads__depth__out__bias=torch.zeros(4).to(dtype))))
    assert (error.code, error.field) == ("unsupported_tensor", BIAS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads__depth__out__bias": None}, "misses 1 tensors"),
        ({"heads__depth__out__bias": torch.zeros(5)}, r"must be [4]; it is [5]"),
        ({"heads__depth__out__bias": torch.zeros(2, 2)}, r"must be [4]; it is [2, 2]"),
        ({"heads__depth__extra": torch.zeros(1)}, "has unknown 1 tensors"),
        ({"optimizer__lr": torch.zeros(1)}, "has unknown 1 tensors"),
    ],
)
def test_missing_extra_and_misshapen_tensors_are_named(
    path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    error = refusal(saved(path, state_dict(**changes)))
    assert (error.code, error.field) == ("checkpoint_mismatch", next(iter(changes)).replace("__", "."))
    assert message in str(error)


def test_a_tensor_expanded_over_and_over_is_refused_for_its_shape(path: Path) -> None:
    """A few bytes that would become exabytes."""
    endless = torch.zeros(1).expand(2**20, 2**20, 2**10)
    error = refusal(saved(path, state_dict(heads__depth__out__bias=endless)))
    assert (error.code, error.field) == ("checkpoint_mismatch", BIAS)


def test_heads_of_no_profile_are_refused(path: Path) -> None:
    strange = {name.replace("depth", "gloss"): value for name, value in state_dict().items()}
    error = refusal(saved(path, strange))
    assert (error.code, error.field) == ("unknown_tasks", "profile")
    assert "gloss" in str(error)


def test_a_branched_model_needs_its_layout_said(path: Path, out: Path) -> None:
    weights = weights_of(small_model(NYUV2, BRANCHED))
    error = refusal(saved(path, weights))
    assert (error.code, error.field) == ("unknown_layout", "layout")
    assert convert(path, out, hints=Hints(layout=BRANCHED)).identity.layout.to_json() == BRANCHED


@pytest.mark.parametrize(
    ("hints", "code", "field"),
    [
        (Hints(backbone="deeplab_resnet34"), "checkpoint_mismatch", "backbone"),
        (Hints(backbone="resnet"), "invalid", ""),
        (Hints(profile="digits"), "unknown_tasks", "profile"),
        (Hints(backbone="sapling", profile="digits"), "unknown_tasks", "profile"),
        (Hints(backbone="sapling", profile="scenes"), "checkpoint_mismatch", "heads.segmentation.out.weight"),
        (Hints(profile="nyu"), "invalid", ""),
        (Hints(tasks=("depth", "normals")), "checkpoint_mismatch", "tasks"),
        (Hints(layout="independent"), "checkpoint_mismatch", "stages.0.1.conv.weight"),
        (Hints(layout=[[[0]]]), "invalid_layout", "levels"),
    ],
)
def test_a_checkpoint_that_is_not_what_was_said_is_refused(
    path: Path, hints: Hints, code: str, field: str
) -> None:
    error = refusal(saved(path, state_dict()), hints=hints)
    assert (error.code, error.field) == (code, field)


def test_the_manifest_says_all_that_the_file_tells(path: Path) -> None:
    _, found, _ = identify(saved(path, state_dict()))
    assert found.manifest == {
        "backbone": "sapling",
        "layout": [[[0, 1, 2]]] * 5,
        "profile": "nyuv2",
        "tasks": ["segmentation", "normals", "depth"],
    }
    assert Hints.of(found.manifest) == Hints(
        backbone="sapling",
        layout=[[[0, 1, 2]]] * 5,
        profile="nyuv2",
        tasks=("segmentation", "normals", "depth"),
    )
    assert found.expected == expected_tensors(model().backbone, model().layout, NYUV2)


def test_heads_that_several_profiles_have_need_the_profile_said(path: Path, out: Path) -> None:
    tasks = NYUV2[1:]
    saved(path, weights_of(small_model(tasks)))
    error = refusal(path)
    assert (error.code, error.field) == ("unknown_tasks", "profile")
    assert convert(path, out, hints=Hints(profile="taskonomy")).identity.profile == "taskonomy"


def test_a_pickle_that_no_torch_wrote_but_holds_arrays_is_no_state_dict(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}))
    assert refusal(path).code == "bare_pickle"
