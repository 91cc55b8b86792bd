"""`windthrow init`: what it writes is a gate file, as it is and with all that is optional said."""

import re
from pathlib import Path

import pytest
from windthrow.cli.init import gate_file

from core.gates.policy_file import PolicyFile, read_gate_file
from core.specs.gate_file import GateFile
from tests.client.processes import Windthrow

OPTION = re.compile(r"^(\s*)#(?! |$)", re.MULTILINE)


def everything(text: str) -> PolicyFile:
    return read_gate_file(OPTION.sub(r"\1", text))


@pytest.mark.parametrize("profile", [None, "scenes", "digits", "nyuv2", "taskonomy", "cityscapes"])
@pytest.mark.parametrize("suite", ["quick", "standard", "thorough"])
def test_it_is_accepted_with_and_without_what_is_optional(profile: str | None, suite: str) -> None:
    text = gate_file(
        "models/a b.pt", profile=profile, backbone=None, layout=None, dataset=profile, suite=suite
    )
    read = read_gate_file(text).file
    assert (read.model.file, read.suite) == ("models/a b.pt", suite)
    assert read.model.manifest.profile == profile
    whole = everything(text)
    assert whole.file.model.manifest.complete() is not None
    assert len(whole.file.waivers) == 1


def test_it_explains_every_field() -> None:
    text = gate_file("m.pt", profile=None, backbone=None, layout=None, dataset=None, suite="standard")
    lines = everything(text).lines
    assert {name for name in GateFile.model_fields if f"#/{name}" not in lines} == set()
    assert {f"#/{name}" for name in ("model/file", "model/name", "model/manifest/layout")} <= set(lines)
    whole = text.splitlines()
    for name in GateFile.model_fields:
        before = whole[lines[f"#/{name}"] - 2]
        assert before.lstrip().startswith("# "), name


@pytest.mark.parametrize("layout", ["independent", '{"index": 14}', "[[[0, 1]]]"])
def test_what_is_said_is_in_it(layout: str) -> None:
    text = gate_file(
        "m.pt", profile="nyuv2", backbone="deeplab_resnet34", layout=layout, dataset="mine", suite="quick"
    )
    found = re.search(r"^    layout: (.*)$", text, re.MULTILINE)
    assert found is not None
    assert found[1] == layout
    assert "  name: mine" in text


def test_it_is_written_once(windthrow: Windthrow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    first = windthrow("init", "--checkpoint", "models/depth.pt", "--profile", "nyuv2")
    assert first.returncode == 0, first.stderr
    file = place / "windthrow.yaml"
    assert read_gate_file(file.read_text()).file.model.file == "models/depth.pt"
    file.write_text("mine")
    assert windthrow("init").returncode == 2
    assert file.read_text() == "mine"
    assert windthrow("init", "--force").returncode == 0
    assert windthrow("init", "--stdout").stdout == file.read_text()
    assert windthrow("init", "--suite", "endless").returncode == 2
    assert windthrow("init", "--checkpoint", "../elsewhere.pt").returncode == 2
