"""Weights to a file and back, and every file that is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.checkpoints import (
    CheckpointError,
    ForeignCheckpointError,
    MismatchedCheckpointError,
    TruncatedCheckpointError,
)
from core.models import NonFiniteWeightsError, TreeModel, load_checkpoint, save_checkpoint, weights_of
from core.specs.preprocessing import Preprocessing
from tests.core.synthetic import SMALL, small_batch, small_model

TASKS = SMALL[:3]
BRANCHED = [[[0, 1, 2]], [[0, 2], [1]], [[0, 2], [1]], [[0], [1], [2]], [[0], [1], [2]]]


def load(path: Path, *, layout: object = "all-shared") -> TreeModel:
    return load_checkpoint(path, backbone="sapling", layout=layout, tasks=TASKS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    save_checkpoint(small_model(TASKS), path)
    return path


def written(path: Path, **changes: Tensor | None) -> Path:
    """A checkpoint with some tensors changed, added or, where None, left out; `__` in a name stands for a dot."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    tensors = {**weights_of(small_model(TASKS)), **named}
    save_file({name: value.contiguous() for name, value in tensors.items() if value is not None}, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize(
    "layout", ["all-shared", "independent", BRANCHED], ids=["all-shared", "independent", "tree"]
)
def test_a_model_predicts_the_same_bits_after_a_round_trip(path: Path, layout: object) -> None:
    model, images = small_model(TASKS, layout), small_batch(TASKS).images
    save_checkpoint(model, path)
    read = load(path, layout=layout)
    assert not read.training
    assert all(torch.equal(read(images)[name], value) for name, value in model(images).items())


@torch.no_grad()
def test_float16_is_exact_for_weights_already_rounded_to_it(path: Path) -> None:
    model, images = small_model(TASKS).half().float(), small_batch(TASKS).images
    save_checkpoint(model, path, dtype=torch.float16)
    read = load(path)
    assert {value.dtype for value in read.parameters()} == {torch.float32}
    assert all(torch.equal(read(images)[name], value) for name, value in model(images).items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_type_is_read_into_float32(path: Path, dtype: torch.dtype) -> None:
    model = small_model(TASKS)
    save_checkpoint(model, path, dtype=dtype)
    expected = {name: value.to(dtype).float() for name, value in weights_of(model).items()}
    assert all(torch.equal(weights_of(load(path))[name], value) for name, value in expected.items())


def test_float16_halves_the_file(path: Path) -> None:
    model = small_model(TASKS)
    save_checkpoint(model, path)
    whole = path.stat().st_size
    save_checkpoint(model, path, dtype=torch.float16)
    assert path.stat().st_size < 0.6 * whole


def test_saving_leaves_the_model_as_it_was(path: Path) -> None:
    model = small_model(TASKS)
    save_checkpoint(model, path, dtype=torch.float16)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_batch_statistics_travel_and_batch_counters_do_not(path: Path) -> None:
    model = small_model(TASKS).train()
    model(small_batch(TASKS).images)
    save_checkpoint(model, path)
    name = "stages.0.0.norm.running_mean"
    assert torch.equal(load(path).state_dict()[name], model.state_dict()[name])
    assert not any(name.endswith("num_batches_tracked") for name in weights_of(model))


def test_a_checkpoint_is_loaded_behind_its_preprocessing(saved: Path) -> None:
    settings = Preprocessing(scale=2.0)
    model = load_checkpoint(
        saved, backbone="sapling", layout="all-shared", tasks=TASKS, preprocessing=settings
    )
    assert model.preprocess.settings == settings


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(TruncatedCheckpointError):
        load(saved)


def test_a_file_with_something_after_its_tensors_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="goes on for 1 bytes"):
        load(saved)


def test_a_pickle_is_refused(path: Path) -> None:
    torch.save(weights_of(small_model(TASKS)), path)
    with pytest.raises(ForeignCheckpointError):
        load(path)


def test_a_checkpoint_of_another_layout_is_refused(saved: Path) -> None:
    with pytest.raises(MismatchedCheckpointError, match="is it the right layout"):
        load(saved, layout="independent")


def test_a_missing_tensor_is_refused_by_name(path: Path) -> None:
    with pytest.raises(MismatchedCheckpointError, match="misses 1 tensors") as caught:
        load(written(path, heads__depth__out__bias=None))
    assert caught.value.field == "heads.depth.out.bias"


def test_an_unknown_tensor_is_refused_by_name(path: Path) -> None:
    with pytest.raises(MismatchedCheckpointError, match="has unknown 1 tensors") as caught:
        load(written(path, heads__gloss__out__bias=torch.zeros(3)))
    assert caught.value.field == "heads.gloss.out.bias"


def test_a_tensor_of_another_shape_is_refused_by_name(path: Path) -> None:
    with pytest.raises(MismatchedCheckpointError, match=r"must be \[4\]; it is \[5\]") as caught:
        load(written(path, heads__depth__out__bias=torch.zeros(5)))
    assert caught.value.field == "heads.depth.out.bias"


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
def test_tensors_that_hold_no_weights_are_refused(path: Path, dtype: torch.dtype) -> None:
    with pytest.raises(MismatchedCheckpointError, match="must be one of F16, BF16, F32, F64"):
        load(written(path, heads__depth__out__bias=torch.zeros(4).to(dtype)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_and_counted(path: Path, value: float) -> None:
    bias = torch.tensor([0.0, value, 0.0, value])
    with pytest.raises(NonFiniteWeightsError, match="holds 2 NaN or infinite") as caught:
        load(written(path, heads__depth__out__bias=bias))
    assert caught.value.field == "heads.depth.out.bias"
    assert caught.value.code == "nonfinite_weights"


def test_a_float64_weight_too_large_for_float32_is_refused(path: Path) -> None:
    bias = torch.tensor([0.0, 1e300, 0.0, 0.0], dtype=torch.float64)
    with pytest.raises(NonFiniteWeightsError):
        load(written(path, heads__depth__out__bias=bias))


def test_a_header_that_only_the_reader_of_tensors_finds_wrong_is_refused_all_the_same(saved: Path) -> None:
    data = saved.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = b'{"__metadata__":7,' + data[9 : 8 + length]
    saved.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    with pytest.raises(ForeignCheckpointError):
        load(saved)
