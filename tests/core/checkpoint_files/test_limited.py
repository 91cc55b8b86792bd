"""Conversion in a child process: the same answers, no more than it may take, and nothing left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.checkpoint_files import Hints, Limits, convert, run_limited
from core.checkpoint_files.errors import (
    NonFiniteWeightsError,
    PickleCallsError,
    ReaderFailedError,
    TooHungryError,
    UnknownLayoutError,
    error_of,
)
from core.checkpoint_files.limited import _understood
from core.checkpoint_files.refusals import RefusedFormatError, TorchScriptError
from core.errors import InvalidError
from core.layouts import LayoutError
from core.models import weights_of
from tests.core.checkpoint_files.authors import fine_state, save_as_authors
from tests.core.checkpoint_files.files import (
    calling,
    same_tensors,
    saved,
    state_dict,
    torch_zip,
    touching,
)
from tests.core.checkpoint_files.test_treemtl import tiny
from tests.core.synthetic import NYUV2, small_model

BRANCHED = [[[0, 1, 2]], [[0, 2], [1]], [[0, 2], [1]], [[0], [1], [2]], [[0], [1], [2]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Where the result goes; afterwards there is nothing beside the input but, maybe, the result."""
    folder = tmp_path / "results"
    folder.mkdir()
    yield folder / "out.safetensors"
    assert {entry.name for entry in folder.iterdir()} <= {"out.safetensors"}


def refused(
    path: Path, out: Path, *, hints: Hints | None = None, limits: Limits | None = None
) -> InvalidError:
    with pytest.raises(InvalidError) as caught:
        run_limited(path, out, hints=hints or Hints(), limits=limits or Limits())
    assert not out.exists()
    return caught.value


def test_the_child_answers_what_conversion_here_does(path: Path, out: Path, tmp_path: Path) -> None:
    saved(path, weights_of(small_model(NYUV2, BRANCHED)))
    hints = Hints(layout=BRANCHED)
    assert run_limited(path, out, hints=hints) == convert(path, tmp_path / "here", hints=hints)
    assert out.read_bytes() == (tmp_path / "here").read_bytes()


def test_a_relative_path_is_understood(path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(path, state_dict())
    monkeypatch.chdir(path.parent)
    run_limited(Path(path.name), Path("results", out.name))
    assert same_tensors(load_file(out), state_dict())


def test_profiles_and_backbones_written_out_reach_the_child_and_come_back(path: Path, out: Path) -> None:
    saved(path, state_dict())
    tasks = [{"name": task.name, "kind": task.kind, "channels": task.channels} for task in NYUV2]
    found = run_limited(path, out, hints=Hints(profile={"name": "rooms", "tasks": tasks})).identity
    assert (found.profile, found.tasks) == ({"name": "rooms", "tasks": tasks}, NYUV2)


def test_what_an_authors_file_says_comes_back(path: Path, out: Path) -> None:
    state = fine_state([[[0, 1, 2]]] * 5, "deeplab_resnet34")
    found = run_limited(save_as_authors(path, tiny(state), state), out).identity
    assert found.style == "treemtl"
    assert found.preprocessing is not None
    assert found.preprocessing.channel_order == "bgr"
    assert found.names["backbone.mtl_blocks.0.residual_block.0.weight"] == "stages.0.0.conv.weight"


def test_an_existing_file_is_replaced_only_by_a_whole_one(path: Path, out: Path) -> None:
    out.write_bytes(b"before")
    path.write_bytes(b"no checkpoint")
    with pytest.raises(RefusedFormatError):
        run_limited(path, out)
    assert out.read_bytes() == b"before"


def test_refusals_come_back_with_type_code_field_and_message(path: Path, out: Path) -> None:
    canary = path.with_name("canary")
    path.write_bytes(torch_zip(calling(os.system, touching(canary))))
    error = refused(path, out)
    assert isinstance(error, PickleCallsError)
    assert "system" in str(error)
    assert not canary.exists()
    saved(path, state_dict(heads__depth__out__bias=torch.full((4,), torch.inf)))
    error = refused(path, out)
    assert isinstance(error, NonFiniteWeightsError)
    assert error.field == "heads.depth.out.bias"
    saved(path, weights_of(small_model(NYUV2, BRANCHED)))
    assert isinstance(refused(path, out), UnknownLayoutError)
    assert isinstance(refused(path, out, hints=Hints(layout=[[[0]]])), LayoutError)


def test_a_file_that_would_write_too_much_is_stopped(path: Path, out: Path) -> None:
    error = refused(saved(path, state_dict()), out, limits=Limits(output_bytes=100_000))
    assert (type(error), error.code) == (TooHungryError, "checkpoint_too_hungry")


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_a_file_that_takes_too_much_memory_is_stopped(path: Path, out: Path) -> None:
    lists = b"\x80\x02]" + (b"(" + b"]" * 150_000 + b"e") * 12 + b"."
    path.write_bytes(torch_zip(lists))
    assert refused(path, out, limits=Limits(memory_bytes=80 * 2**20)).code == "checkpoint_too_hungry"


def test_a_file_that_takes_too_long_is_stopped(path: Path, out: Path) -> None:
    """Nobody ever writes to the pipe that the child opens."""
    os.mkfifo(path)
    error = refused(path, out, limits=Limits(wall_seconds=1.0))
    assert error.code == "checkpoint_too_hungry"
    assert "1 seconds" in str(error)


def test_a_child_that_was_killed_or_broke_down_has_an_error_of_its_own() -> None:
    with pytest.raises(TooHungryError):
        _understood(-9, b"")
    with pytest.raises(ReaderFailedError, match="status 1"):
        _understood(1, b"half an ans")


def test_a_file_that_is_not_there_is_no_answer(path: Path, out: Path) -> None:
    assert refused(path, out).code == "checkpoint_unreadable"


def test_the_child_has_neither_torch_nor_numpy_nor_this_environment() -> None:
    script = (
        "import json, sys; sys.path.append(sys.argv[1]); import core.checkpoint_files.__main__; "
        "print(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)))"
    )
    root = Path(__file__).parents[3]
    loaded = json.loads(
        subprocess.check_output([sys.executable, "-I", "-S", "-c", script, str(root)], cwd="/")
    )
    assert not {"torch", "numpy", "pydantic", "safetensors", "site"} & set(loaded)


def test_an_error_is_rebuilt_from_its_code() -> None:
    assert type(error_of("torchscript_file", "said")) is TorchScriptError
    assert str(error_of("torchscript_file", "said")) == "said"
    assert type(error_of("no such code", "said")) is ReaderFailedError
