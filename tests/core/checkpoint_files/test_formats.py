"""What kind of file it is, by content; every kind that is not read, with its code and a way out."""

import gzip
import io
import lzma
import pickle
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from core.checkpoint_files import Format, recognise
from core.checkpoint_files.refusals import RefusedFormatError
from tests.core.checkpoint_files.files import Calls, model, refusal, saved, touching, zip_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.jpg"


def test_a_state_dict_of_torch_save_is_recognised_whatever_its_name(path: Path) -> None:
    assert recognise(saved(path, model().state_dict())) is Format.TORCH


def test_a_safetensors_file_is_recognised_whatever_its_name(path: Path) -> None:
    save_file({"a": torch.zeros(3)}, path)
    assert recognise(path) is Format.SAFETENSORS


def torchscript() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), stream)
    return stream.getvalue()


def legacy(protocol: int) -> bytes:
    stream = io.BytesIO()
    torch.save(
        nn.Linear(2, 2).state_dict(),
        stream,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=False,
    )
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(2))
    return stream.getvalue()


ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.4.0:\x1d\n\x0c"
EXPORTED = [("m/archive_format", b"pt2"), ("m/models/model.json", b"{}"), ("m/data/weights/weight_0", b"")]
EXPORTED_BEFORE = [("serialized_exported_program.json", b"{}"), ("version", b"8.4")]


@pytest.mark.parametrize(
    ("content", "code", "recipe"),
    [
        pytest.param(b"", "empty_file", "torch.save", id="empty"),
        pytest.param(torchscript(), "torchscript_file", "torch.jit.load", id="TorchScript"),
        pytest.param(zip_of(EXPORTED), "exported_program", "torch.export.load", id="pt2"),
        pytest.param(zip_of(EXPORTED_BEFORE), "exported_program", "torch.export.load", id="earlier pt2"),
        pytest.param(legacy(2), "legacy_torch_file", "weights_only=True", id="legacy"),
        pytest.param(legacy(4), "legacy_torch_file", "weights_only=True", id="legacy, protocol 4"),
        pytest.param(tar(), "tar_file", "trust the file", id="tar"),
        pytest.param(pickle.dumps({"a": [1.0]}, 4), "bare_pickle", "trust the file", id="pickle"),
        pytest.param(pickle.dumps({"a": [1.0]}, 0), "bare_pickle", "trust the file", id="pickle of text"),
        pytest.param(pickle.dumps([1.0], 0), "bare_pickle", "trust the file", id="list, as text"),
        pytest.param(b"cos\nsystem\n(S'ls'\ntR.", "bare_pickle", "trust the file", id="call, as text"),
        pytest.param(ONNX, "onnx_file", "exported from", id="ONNX"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(64), "hdf5_file", "Keras", id="HDF5"),
        pytest.param(zip_of([("model.weights.h5", b"x")]), "hdf5_file", "Keras", id="Keras"),
        pytest.param(npz(), "numpy_file", "safetensors.numpy", id="npz"),
        pytest.param(b"\x93NUMPY\x01\x00" + bytes(64), "numpy_file", "safetensors.numpy", id="npy"),
        pytest.param(zip_of([("notes.txt", b"x")]), "other_zip", "state_dict", id="other zip"),
        pytest.param(zip_of([]), "other_zip", "state_dict", id="empty zip"),
        pytest.param(gzip.compress(bytes(99)), "compressed_file", "unpack", id="gzip"),
        pytest.param(lzma.compress(bytes(99)), "compressed_file", "unpack", id="xz"),
        pytest.param(b"\xff\xd8\xff\xe0 a picture", "unknown_format", "torch.save", id="picture"),
        pytest.param(b"<html>404</html>", "unknown_format", "torch.save", id="web page"),
        pytest.param(b"x", "unknown_format", "torch.save", id="a byte"),
    ],
)
def test_each_kind_that_is_not_read_is_named_and_says_how_to_convert_it(
    path: Path, content: bytes, code: str, recipe: str
) -> None:
    path.write_bytes(content)
    error = refusal(path)
    assert error.code == code
    assert isinstance(error, RefusedFormatError)
    assert recipe in str(error)


def test_a_bare_pickle_that_would_run_a_command_runs_none(path: Path, tmp_path: Path) -> None:
    import os  # noqa: PLC0415 - the function that the pickle would call

    path.write_bytes(pickle.dumps(Calls(os.system, touching(tmp_path / "canary"))))
    assert refusal(path).code == "bare_pickle"


def test_a_safetensors_file_whose_header_would_have_two_gigabytes_is_refused_unread(path: Path) -> None:
    path.write_bytes((2**31).to_bytes(8, "little") + b"{" + bytes(100))
    assert refusal(path).code == "not_safetensors"


@pytest.mark.parametrize("whole", [nn.Linear(2, 2), {"model": nn.Sequential(nn.Linear(2, 2)), "epoch": 3}])
def test_a_whole_module_is_refused_with_a_recipe(path: Path, whole: object) -> None:
    error = refusal(saved(path, whole))
    assert error.code == "whole_module"
    assert ".state_dict()" in str(error)
