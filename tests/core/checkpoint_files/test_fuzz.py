"""Whatever is done to a file, it is read or refused, in bounded time, and nothing else happens."""

import io
import pickle
import zipfile
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.checkpoint_files import convert, recognise
from core.checkpoint_files.opcodes import _TABLE
from core.checkpoint_files.pickles import read_pickle
from core.checkpoint_files.source import open_source
from core.checkpoint_files.tensors import chunks
from core.checkpoint_files.weights import find_weights
from core.checkpoints import CheckpointError
from tests.core.checkpoint_files.files import state_dict, torch_zip

FUZZ = settings(
    max_examples=300,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


def read(path: Path) -> None:
    """All that converting does with a file, up to comparing it with a model."""
    source = open_source(path, recognise(path))
    with path.open("rb") as file:
        for tensor in source.tensors.values():
            if tensor.bytes <= 2**20:
                assert sum(map(len, chunks(file, tensor))) == tensor.bytes


def read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    before = sorted(path.parent.iterdir())
    try:
        read(path)
    except CheckpointError as error:
        assert str(error).isprintable()  # noqa: PT017 - most files are refused, some are not
    assert sorted(path.parent.iterdir()) == before


@cache
def whole_file() -> bytes:
    """A small checkpoint with views, parameters, an optimiser and other data."""
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    weights = {f"stages.0.0.{name}": value for name, value in layer.state_dict().items()}
    weights["stages.0.0.view"] = torch.arange(12.0).view(3, 4).T[1:]
    stream = io.BytesIO()
    torch.save({"state_dict": weights, "optimizer": optimiser.state_dict(), "tasks": {"a", "b"}}, stream)
    return stream.getvalue()


@cache
def whole_pickle() -> bytes:
    with zipfile.ZipFile(io.BytesIO(whole_file())) as archive:
        return archive.read("archive/data.pkl")


def test_the_file_that_is_mutated_is_read(path: Path) -> None:
    path.write_bytes(whole_file())
    read(path)
    assert read_pickle(whole_pickle())


edits = st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=6)


def edited(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed)


@FUZZ
@given(changes=edits)
def test_a_file_with_some_bytes_changed(path: Path, changes: list[tuple[int, int]]) -> None:
    read_or_refuse(path, edited(whole_file(), changes))


@FUZZ
@given(changes=edits)
def test_a_directory_with_some_bytes_changed(path: Path, changes: list[tuple[int, int]]) -> None:
    """All the changes in the archive's last part, where its records are."""
    content = whole_file()
    begin = content.index(b"PK\x01\x02")
    read_or_refuse(path, content[:begin] + edited(content[begin:], changes))


@FUZZ
@given(changes=edits)
def test_a_pickle_with_some_bytes_changed(path: Path, changes: list[tuple[int, int]]) -> None:
    storages = {str(number): bytes(64) for number in range(12)}
    read_or_refuse(path, torch_zip(edited(whole_pickle(), changes), storages))


@FUZZ
@given(first=st.integers(0, 2**31), second=st.integers(0, 2**31), third=st.integers(0, 2**31))
def test_a_file_with_a_part_lost_or_repeated(path: Path, first: int, second: int, third: int) -> None:
    content = whole_file()
    begin, end = sorted((first % len(content), second % len(content)))
    read_or_refuse(path, content[:begin] + content[end:])
    place = third % len(content)
    read_or_refuse(path, content[:place] + content[begin:end] + content[place:])


PIECES = [
    *_TABLE,
    *(b"X\x01\0\0\0" + bytes([letter]) for letter in b"ab0"),
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ccollections\nOrderedDict\n",
    b"c__builtin__\ngetattr\n",
    b"c__builtin__\nset\n",
    b"cos\nsystem\n",
    b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ",
    b"K\x01\x85",
    b"K\x02K\x03\x86",
    b"q\0",
    b"h\0",
]


@FUZZ
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40))
@example(pieces=[b"(", b")", b"t", b"R"])
def test_any_row_of_instructions(pieces: list[bytes]) -> None:
    try:
        find_weights(read_pickle(b"\x80\x02" + b"".join(pieces) + b"."))
    except CheckpointError as error:
        assert str(error).isprintable()  # noqa: PT017 - most rows are refused, some are not


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4)
        | st.sets(st.integers(), max_size=4)
    ),
    max_leaves=20,
)


@FUZZ
@given(value=values, protocol=st.integers(2, 5))
def test_any_data_that_pickle_writes_is_read(value: object, protocol: int) -> None:
    read_pickle(pickle.dumps(value, protocol))


@FUZZ
@given(
    content=st.binary(max_size=300), head=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\0" * 8 + b"{"])
)
def test_any_bytes(path: Path, content: bytes, head: bytes) -> None:
    read_or_refuse(path, head + content)


@settings(FUZZ, max_examples=40)
@given(changes=edits)
def test_a_model_with_some_bytes_changed_is_converted_whole_or_not_at_all(
    path: Path, changes: list[tuple[int, int]]
) -> None:
    stream = io.BytesIO()
    torch.save(state_dict(), stream)
    content = stream.getvalue()
    path.write_bytes(
        edited(content, [(len(content) - 1 - place % 20_000, value) for place, value in changes])
    )
    out = path.with_name("out")
    out.unlink(missing_ok=True)
    try:
        converted = convert(path, out)
    except CheckpointError:
        assert not out.exists()
    else:
        assert out.stat().st_size == converted.size
    assert {entry.name for entry in path.parent.iterdir()} <= {"weights.pt", "out"}
