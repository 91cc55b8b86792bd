"""`windthrow baseline`: what is asked of the service, and what is said of what it answers."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.client.gating import GATE_FILE, MODEL, checked
from tests.client.misbehaving import DONE, Misbehaving, answer, problem
from tests.client.processes import Windthrow

HELD = {
    "id": "b-1",
    "repository": "host/a/b",
    "kind": "branch",
    "ref": "main",
    "job": "job-1",
    "model": "model-1",
    "note": None,
    "set_at": "2026-11-22T12:00:00Z",
    "ended_at": None,
}
SHOWN = answer(200, {"items": [HELD], "next_cursor": None})
MINE = ("--repository", "host/a/b")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def test_it_is_set_where_it_is_said(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(answer(200, HELD), answer(200, HELD))
    ended = windthrow("baseline", "set", "job-1", *MINE, "--branch", "main", "--tag", "v1", "--note", "why")
    assert ended.returncode == 0, ended.stderr
    assert to_misbehaving.lines == ["PUT /v1/baselines"] * 2
    said = [json.loads(one.body) for one in to_misbehaving.seen]
    assert [(one["kind"], one["ref"]) for one in said] == [("branch", "main"), ("tag", "v1")]
    assert said[0] == {
        "repository": "host/a/b",
        "kind": "branch",
        "ref": "main",
        "job": "job-1",
        "force": False,
        "note": "why",
    }


@pytest.mark.parametrize(
    ("arguments", "called"),
    [((), "mine"), (("--model-name", "yours"), "yours"), (("--model-name", ""), None)],
)
def test_it_is_set_for_the_model_that_is_said_or_else_the_gate_files(
    windthrow: Windthrow,
    to_misbehaving: Misbehaving,
    here: Path,
    arguments: tuple[str, ...],
    called: str | None,
) -> None:
    (here / "windthrow.yaml").write_text(GATE_FILE)
    if not arguments:
        to_misbehaving.will(answer(200, checked()))
    to_misbehaving.will(answer(200, HELD))
    ended = windthrow("baseline", "set", "job-1", *MINE, "--branch", "main", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(to_misbehaving.seen[-1].body).get("model_name") == called
    assert ended.stdout == f"host/a/b, {f'model {called}, ' if called else ''}branch main: job-1\n"


def test_without_a_model_name_in_the_file_the_checkpoints_is_not_taken(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "windthrow.yaml").write_text(GATE_FILE)
    nameless = checked(model={"file": "model.safetensors", "name": None, "manifest": {}})
    to_misbehaving.will(answer(200, nameless), answer(200, HELD))
    ended = windthrow("baseline", "set", "job-1", *MINE, "--branch", "main")
    assert ended.returncode == 0, ended.stderr
    assert "model_name" not in json.loads(to_misbehaving.seen[-1].body)


def test_without_a_job_it_is_the_newest_that_a_gate_took(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "windthrow.yaml").write_text(GATE_FILE)
    (here / "model.safetensors").write_bytes(b"weights")
    mine = {**MODEL, "sha256": hashlib.sha256(b"weights").hexdigest()}
    jobs = [{**DONE, "id": "by-hand"}, {**DONE, "id": "gated", "client_ref": "gate 1 model-1"}]
    to_misbehaving.will(
        answer(200, checked()),
        answer(200, {"items": [{**MODEL, "id": "newer"}, mine], "next_cursor": None}),
        answer(200, {"items": jobs, "next_cursor": None}),
        answer(200, HELD),
    )
    ended = windthrow("baseline", "set", *MINE, "--branch", "main", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == [HELD]
    assert json.loads(to_misbehaving.seen[-1].body)["job"] == "gated"
    assert "model=model-1" in to_misbehaving.lines[-2]
    assert "taking evaluation gated" in ended.stderr


def test_an_evaluation_of_another_file_of_that_name_is_not_taken(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "windthrow.yaml").write_text(GATE_FILE)
    (here / "model.safetensors").write_bytes(b"other weights")
    to_misbehaving.will(answer(200, checked()), answer(200, {"items": [MODEL], "next_cursor": None}))
    ended = windthrow("baseline", "set", *MINE, "--branch", "main")
    assert ended.returncode == 2
    assert "windthrow gate" in ended.stderr
    assert [line for line in to_misbehaving.lines if line.startswith("PUT")] == []


def test_what_holds_is_shown_with_what_a_gate_would_find(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    to_misbehaving.will(SHOWN, answer(200, {"baseline": HELD, "resolved_by": "branch"}))
    ended = windthrow("baseline", "show", *MINE, "--branch", "main")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "a gate here compares with job-1, found by branch"
    assert to_misbehaving.lines[-1].startswith("GET /v1/baselines/resolve?repository=")
    to_misbehaving.will(SHOWN)
    shown = json.loads(windthrow("baseline", "show", *MINE, "--json").stdout)
    assert (shown["baselines"], shown["baseline"], shown["resolved_by"]) == ([HELD], None, None)


def test_other_models_of_the_repository_are_shown_and_named(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "windthrow.yaml").write_text(GATE_FILE)
    held = {**HELD, "model_name": "yours"}
    others = {"baseline": None, "resolved_by": None, "other_names": ["", "yours"]}
    shown = answer(200, {"items": [held], "next_cursor": None})
    to_misbehaving.will(answer(200, checked()), shown, answer(200, others))
    ended = windthrow("baseline", "show", *MINE, "--branch", "main")
    assert ended.returncode == 0, ended.stderr
    assert "model_name=mine" in to_misbehaving.lines[-1]
    assert "model_name" not in to_misbehaving.lines[-2]
    assert [line.split()[0] for line in ended.stdout.splitlines()[:2]] == ["name", "yours"]
    said = "finds no baseline; there are baselines there for: a model without a name, yours"
    assert ended.stdout.splitlines()[-1] == f"a gate here {said}"
    to_misbehaving.will(answer(200, checked()), shown, answer(200, {"baseline": held, "resolved_by": "tag"}))
    ended = windthrow("baseline", "show", *MINE, "--tag", "v1", "--model-name", "yours")
    assert ended.stdout.splitlines()[-1] == "a gate of yours here compares with job-1, found by tag"
    assert all("model_name=yours" in line for line in to_misbehaving.lines[-2:])


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "job-1", "--branch", "main"),
        ("set", "job-1", *MINE),
        ("set", *MINE, "--branch", "main"),
        ("set", "job-1", *MINE, "--branch", "main", "--force"),
        ("set", "job-1", *MINE, "--branch", "main", "--file", "nowhere.yaml"),
        ("show",),
    ],
)
def test_usage_is_2(windthrow: Windthrow, to_misbehaving: Misbehaving, arguments: tuple[str, ...]) -> None:
    ended = windthrow("baseline", *arguments)
    assert ended.returncode == 2, ended.stderr
    assert not to_misbehaving.seen


def test_what_the_service_refuses_is_2(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(problem(422, "unreliable_baseline", "job job-1 has errors"))
    ended = windthrow("baseline", "set", "job-1", *MINE, "--branch", "main")
    assert ended.returncode == 2
    assert "has errors" in ended.stderr
