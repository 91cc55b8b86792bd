"""The pickle machine: what checkpoints write becomes data, and nothing that a pickle says is done."""

import builtins
import enum
import operator
import os
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.checkpoint_files import opcodes, pickles
from core.checkpoint_files.inert import Global, Instance, Key
from core.checkpoint_files.pickles import read_pickle
from core.checkpoints import CheckpointError
from tests.core.checkpoint_files.files import calling, refusal, saved, torch_zip, touching

END = b"."
PROTOCOL = b"\x80\x02"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that appears if anything out of a pickle is executed."""
    place = tmp_path / "canary"
    yield place
    assert not place.exists()


class Plain:
    """An object that is only data."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Phase(enum.Enum):
    TRAIN = 1


def of(value: object, protocol: int = 2) -> object:
    return read_pickle(pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_is_what_pickle_reads(protocol: int) -> None:
    value = {
        "numbers": [0, -1, 255, 65536, 2**40, -(2**70), 0.5, float("inf"), True, None],
        "texts": ["", "ü", "a" * 300, "\ud800"],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        1: {"deep": {"deeper": [[[]]]}},
        None: {},
    }
    assert of(value, protocol) == value


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_are_what_pickle_reads(protocol: int) -> None:
    assert of([b"", b"a" * 300, bytearray(b"b")], protocol) is not None
    assert of(b"a" * 300, protocol) == b"a" * 300


def test_shared_and_recursive_values_keep_their_shape() -> None:
    shared: list[object] = [1]
    knot: list[object] = [shared, shared]
    knot.append(knot)
    read = of(knot)
    assert isinstance(read, list)
    assert read[0] is read[1]
    assert read[2] is read


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_object_of_an_unknown_class_becomes_its_class_name_and_data(protocol: int) -> None:
    read = of(Plain(state=[[{0, 1}]], score=0.5), protocol)
    assert isinstance(read, Instance)
    assert read.of == Global(__name__, "Plain")
    assert isinstance(read.state, dict)
    assert read.state["score"] == 0.5


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_set_becomes_a_record_of_its_members(protocol: int) -> None:
    read = of({3, 4}, protocol)
    assert isinstance(read, Instance)
    assert read.of.name == "set"
    assert read.args == ([3, 4],) or read.items == [3, 4]


def test_keys_that_python_would_have_to_hash_are_wrapped() -> None:
    read = of({(1, 2): "a", 2**61: "b", 0.5: "c", "d": "d", 7: "e"})
    assert isinstance(read, dict)
    assert [type(key) for key in read] == [Key, Key, Key, str, int]


HOSTILE = [
    (os.system, ("posix.system", "nt.system")),
    (builtins.eval, ("builtins.eval", "__builtin__.eval")),
    (builtins.exec, ("builtins.exec", "__builtin__.exec")),
    (builtins.__import__, ("builtins.__import__", "__builtin__.__import__")),
    (subprocess.Popen, ("subprocess.Popen", "commands.Popen")),
    (operator.attrgetter, ("operator.attrgetter",)),
    (torch.load, ("torch.serialization.load",)),
    (torch.hub.load, ("torch.hub.load",)),
    (torch.storage._load_from_bytes, ("torch.storage._load_from_bytes",)),
    (pickle.loads, ("pickle.loads",)),
    (np.load, ("numpy.load", "numpy.lib._npyio_impl.load")),
    (Phase, (f"{__name__}.Phase",)),
]


@pytest.mark.parametrize(("function", "names"), HOSTILE, ids=[names[0] for _, names in HOSTILE])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_call_is_refused_by_its_name_and_not_made(
    path: Path, canary: Path, function: Any, names: tuple[str, ...], protocol: int
) -> None:
    path.write_bytes(torch_zip(calling(function, touching(canary), protocol=protocol)))
    error = refusal(path)
    assert error.code == "pickle_calls"
    assert any(name in str(error) for name in names)


def test_a_function_fetched_by_nested_getattr_is_refused(path: Path, canary: Path) -> None:
    """getattr(getattr(torch.nn, "os"), "system")("…"): each getattr only lengthens a name."""
    nested = (
        PROTOCOL
        + b"c__builtin__\ngetattr\nq\x01(h\x01(ctorch\nnn\nX\x02\0\0\0ostRX\x06\0\0\0systemtR("
        + text(touching(canary))
        + b"tR"
        + END
    )
    path.write_bytes(torch_zip(nested))
    error = refusal(path)
    assert error.code == "pickle_calls"
    assert "torch.nn.os.system" in str(error)


def test_a_function_whose_name_is_put_together_on_the_stack_is_refused(path: Path, canary: Path) -> None:
    path.write_bytes(
        torch_zip(b"\x80\x04" + text("os") + text("system") + b"\x93(" + text(touching(canary)) + b"tR.")
    )
    error = refusal(path)
    assert error.code == "pickle_calls"
    assert "os.system" in str(error)


def test_a_call_of_an_object_that_the_pickle_made_is_refused(path: Path) -> None:
    path.write_bytes(torch_zip(PROTOCOL + b"cfunctools\npartial\n)\x81)R" + END))
    assert refusal(path).code == "pickle_calls"


def test_a_state_handed_to_a_class_is_refused(path: Path) -> None:
    """Loading would set attributes of the class itself, for everybody in the process."""
    path.write_bytes(torch_zip(PROTOCOL + b"ctorch\nTensor\n}X\x03\0\0\0add" + b"Nsb" + END))
    assert refusal(path).code == "pickle_calls"


def test_a_state_that_sets_items_by_a_class_of_its_own_is_only_data(path: Path, canary: Path) -> None:
    reduced = PROTOCOL + b"cos\nsystem\n)\x81}" + text("x") + text(touching(canary)) + b"sb" + END
    path.write_bytes(torch_zip(reduced))
    assert refusal(path).code == "no_weights"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<L", len(raw)) + raw


@pytest.mark.parametrize(
    "opcode",
    [
        pytest.param(b"(cos\nsystem\no", id="OBJ"),
        pytest.param(b"(ios\nsystem\n", id="INST"),
        pytest.param(b"\x82\x01", id="EXT1"),
        pytest.param(b"\x84\x01\0\0\0", id="EXT4"),
        pytest.param(b"P0\n", id="PERSID"),
        pytest.param(b"\x97", id="NEXT_BUFFER"),
        pytest.param(b"I1\n", id="INT"),
        pytest.param(b"L" + b"9" * 5000 + b"L\n", id="LONG"),
        pytest.param(b"S'x'\n", id="STRING"),
        pytest.param(b"\xff", id="none at all"),
    ],
)
def test_opcodes_that_torch_never_writes_are_refused(path: Path, opcode: bytes) -> None:
    path.write_bytes(torch_zip(PROTOCOL + opcode + END))
    assert refusal(path).code == "pickle_opcode"


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(b"", id="empty"),
        pytest.param(PROTOCOL, id="no end"),
        pytest.param(PROTOCOL + b"N.N", id="goes on"),
        pytest.param(PROTOCOL + b".", id="no value"),
        pytest.param(PROTOCOL + b"NN.", id="two values"),
        pytest.param(PROTOCOL + b"(N.", id="open mark"),
        pytest.param(b"\x80\x06N.", id="protocol of the future"),
        pytest.param(b"\x80\x01N.", id="protocol of the past"),
        pytest.param(PROTOCOL + b"0.", id="pops nothing"),
        pytest.param(PROTOCOL + b"N(0.", id="pops below a mark"),
        pytest.param(PROTOCOL + b"t.", id="no mark"),
        pytest.param(PROTOCOL + b"h\x07.", id="unknown memo"),
        pytest.param(PROTOCOL + b"}Na.", id="appends to a dict"),
        pytest.param(PROTOCOL + b"]NNs.", id="item of a list"),
        pytest.param(PROTOCOL + b"}(Nu.", id="key without a value"),
        pytest.param(PROTOCOL + b"NN\x93.", id="class named by None"),
        pytest.param(PROTOCOL + b"N)\x81.", id="object of None"),
        pytest.param(PROTOCOL + b"cos\nsystem\nN\x81.", id="object without arguments"),
        pytest.param(PROTOCOL + b"cos\nsystem\n)N\x92.", id="object without keywords"),
        pytest.param(PROTOCOL + b"cos\nsystem\nNR.", id="call without arguments"),
        pytest.param(PROTOCOL + b"NQ.", id="no storage"),
        pytest.param(PROTOCOL + b"NNb.", id="state of None"),
        pytest.param(PROTOCOL + b"cos\nsys", id="name without end"),
        pytest.param(PROTOCOL + b"X\x09\0\0\0abc.", id="text without end"),
        pytest.param(PROTOCOL + b"X\x01\0\0\0\xff.", id="text that is none"),
        pytest.param(PROTOCOL + b"J\0\0", id="number without end"),
        pytest.param(PROTOCOL + b"X\0", id="length without end"),
        pytest.param(PROTOCOL + b"ctorch._utils\n_rebuild_tensor_v2\n)R.", id="tensor of nothing"),
        pytest.param(PROTOCOL + b"ctorch._utils\n_rebuild_parameter\n)R.", id="parameter of nothing"),
        pytest.param(PROTOCOL + b"ctorch._tensor\n_rebuild_from_type_v2\n)R.", id="subclass of nothing"),
        pytest.param(PROTOCOL + b"ccopy_reg\n_reconstructor\n)R.", id="object of nothing"),
    ],
)
def test_a_damaged_pickle_is_refused(path: Path, damaged: bytes) -> None:
    path.write_bytes(torch_zip(damaged))
    assert refusal(path).code == "pickle_damaged"


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b"(" * 100_000, id="nested marks"),
        pytest.param(b"]" * 300_000, id="a stack of lists"),
        pytest.param(b"(" + b"N" * 300_000 + b"t.", id="a long tuple"),
        pytest.param(b"N0" * 1_000_001, id="opcodes without end"),
        pytest.param(b"\x8b\xff\0\0\0" + b"\x7f" * 255 + b".", id="a large number"),
        pytest.param(b"\x8d" + struct.pack("<Q", 2**62), id="a text of exabytes"),
        pytest.param(b"B" + struct.pack("<L", 2**31), id="bytes of gigabytes"),
        pytest.param(b"c" + b"a" * 300 + b"\nb\n.", id="a class's name without end"),
    ],
)
def test_what_would_take_much_time_or_memory_is_refused_soon(path: Path, bomb: bytes) -> None:
    path.write_bytes(torch_zip(PROTOCOL + bomb))
    began = time.monotonic()
    assert refusal(path).code == "pickle_limits"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "harmless",
    [
        pytest.param(
            b"".join(b"Nr" + struct.pack("<L", 2**32 - 1 - n) + b"0" for n in range(1000)) + b"N.", id="memo"
        ),
        pytest.param(b")q\0" + b"0h\0h\0\x86q\0" * 5_000 + END, id="billion laughs"),
        pytest.param(b")" + b"\x85" * 200_000 + END, id="nested tuples"),
        pytest.param(b"]q\0h\0a" + END, id="a list in itself"),
        pytest.param(b"}q\0" + text("state_dict") + b"h\0s" + END, id="a dict in itself"),
        pytest.param(b"]" + b"]q\0ah\0" * 20_000 + b"0" * 20_000 + END, id="lists in lists through the memo"),
    ],
)
def test_what_only_looks_large_costs_nothing_and_holds_no_weights(path: Path, harmless: bytes) -> None:
    path.write_bytes(torch_zip(PROTOCOL + harmless))
    began = time.monotonic()
    assert refusal(path).code == "no_weights"
    assert time.monotonic() - began < 5


def test_keys_chosen_to_collide_do_not_slow_it_down(path: Path) -> None:
    prime = sys.hash_info.modulus
    pairs = b"".join(b"\x8a\x0a" + (n * prime).to_bytes(10, "little") + b"N" for n in range(1, 50_000))
    path.write_bytes(torch_zip(PROTOCOL + b"}(" + pairs + b"u" + END))
    began = time.monotonic()
    assert refusal(path).code == "no_weights"
    assert time.monotonic() - began < 5


STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"


def tensor(offset: bytes, size: bytes, stride: bytes, *more: bytes) -> bytes:
    rebuilt = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + offset + size + stride + b"\x89N" + b"".join(more)
    )
    return PROTOCOL + b"}" + text("stages.0.0.conv.weight") + rebuilt + b"tRs" + END


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        pytest.param(b"K\x01", b"K\x06\x85", b"K\x01\x85", id="one too many"),
        pytest.param(b"K\x00", b"K\x02K\x02\x86", b"K\x05K\x01\x86", id="strides too wide"),
        pytest.param(b"J\xff\xff\xff\xff", b"K\x02\x85", b"K\x01\x85", id="begins before"),
        pytest.param(b"K\x05", b"K\x02\x85", b"J\xff\xff\xff\xff\x85", id="runs backwards"),
        pytest.param(b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x01\x85", id="a negative side"),
        pytest.param(b"K\x00", b"\x88\x85", b"K\x01\x85", id="a truth for a side"),
        pytest.param(b"K\x00", b"K\x02\x85", b"K\x01K\x01\x86", id="one stride too many"),
        pytest.param(b"K\x00", b"]", b"K\x01\x85", id="a list for a shape"),
        pytest.param(b"N", b"K\x02\x85", b"K\x01\x85", id="no offset"),
        pytest.param(b"K\x00", b"\x8a\x09" + bytes(8) + b"\x01\x85", b"K\x00\x85", id="sides without end"),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(
    path: Path, offset: bytes, size: bytes, stride: bytes
) -> None:
    path.write_bytes(torch_zip(tensor(offset, size, stride), {"0": bytes(24)}))
    assert refusal(path).code == "tensor_record"


def test_a_tensor_stored_negated_is_refused(path: Path) -> None:
    metadata = b"}" + text("neg") + b"\x88s"
    path.write_bytes(torch_zip(tensor(b"K\x00", b"K\x06\x85", b"K\x01\x85", metadata), {"0": bytes(24)}))
    assert refusal(path).code == "tensor_record"


@pytest.mark.parametrize("storages", [{}, {"0": bytes(23)}, {"0": bytes(25)}, {"1": bytes(24)}])
def test_a_storage_with_too_few_or_too_many_bytes_is_refused(path: Path, storages: dict[str, bytes]) -> None:
    path.write_bytes(torch_zip(tensor(b"K\x00", b"K\x06\x85", b"K\x01\x85"), storages))
    assert refusal(path).code == "tensor_record"


def test_every_opcode_has_an_instruction() -> None:
    assert {name for name, _ in opcodes._TABLE.values()} == pickles._INSTRUCTIONS.keys()


def test_whole_modules_become_data(path: Path) -> None:
    """They are refused, but by what they are, not by what loading them would do."""
    assert isinstance(nn.Linear(1, 1), nn.Module)
    assert (
        refusal(saved(path, {"net": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(2))})).code
        == "whole_module"
    )


def test_refusals_are_checkpoint_errors() -> None:
    with pytest.raises(CheckpointError):
        read_pickle(b"")
