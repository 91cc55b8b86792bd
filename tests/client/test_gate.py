"""`windthrow gate` and its exit codes, against a service that answers as scripted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.gating import (
    FAILED,
    GATE_FILE,
    PASSED,
    PUSHED,
    QUEUED,
    SUCCEEDED,
    checked,
    until_verdict,
)
from tests.client.misbehaving import (
    DONE,
    Misbehaving,
    Reply,
    answer,
    problem,
)
from tests.client.processes import Windthrow

pytestmark = pytest.mark.usefixtures("here")


def test_a_model_that_keeps_its_policy_is_0(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, PASSED))
    ended = windthrow("gate")
    assert ended.returncode == 0, ended.stderr
    head, row, *_, last = ended.stdout.splitlines()
    assert head.split() == ["status", "rule", "attack", "observed", "limit"]
    assert row.split("  ")[0] == "pass"
    assert "40 % [38, 42]" in row
    assert "at most 45 %" in row
    assert last == "passed: the model keeps the policy"
    submitted = json.loads(to_misbehaving.seen[5].body)
    assert submitted["client_ref"] == f"gate {'1' * 32} model-1"
    assert (submitted["kind"], submitted["model"]) == ("evaluation", "model-1")
    asked = json.loads(to_misbehaving.seen[-2].body)
    assert asked == {"gate_file": GATE_FILE, "policy_file": "windthrow.yaml"}


def test_a_model_that_does_not_is_1(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, FAILED))
    ended = windthrow("gate", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout) == FAILED


@pytest.mark.parametrize("status", ["inconclusive", "no_baseline"])
def test_what_cannot_be_decided_is_4(windthrow: Windthrow, to_misbehaving: Misbehaving, status: str) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, {**PASSED, "status": status, "exit_code": 4}))
    assert windthrow("gate").returncode == 4


def test_looks_are_taken_until_none_is_asked_for(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    at = {**PASSED["look"], "of": 3}
    open_ = {**PASSED, "status": "inconclusive", "exit_code": 4, "look": at, "next": {"number": 3}}
    other = {"id": "job-3"}
    to_misbehaving.will(
        *until_verdict(looks=3),
        answer(200, open_),
        answer(202, {**QUEUED, **other}),
        SUCCEEDED,
        answer(200, {**DONE, **other}),
        answer(200, {**PASSED, "job": "job-3", "look": {**at, "number": 3}}),
    )
    ended = windthrow("gate")
    assert ended.returncode == 0, ended.stderr
    looks = [json.loads(one.body) for one in to_misbehaving.seen if one.path == "/v1/jobs"]
    assert [one["dataset"]["limit"] for one in looks if one] == [64, 192]


def test_what_is_compared_is_evaluated_alike_and_moves_once(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    def job(number: int) -> Reply:
        return answer(200, {**DONE, "id": f"job-{number}"})

    def resolved(model: str) -> Reply:
        return answer(200, {"baseline": {"id": "b", "model": model}, "resolved_by": "branch"})

    to_misbehaving.will(
        answer(200, {**checked(baseline={"branch": "main"}), "compares": True}),
        *PUSHED,
        resolved("old"),
        job(1),
        job(2),
        problem(409, "baseline_moved"),
        resolved("new"),
        job(3),
        answer(200, PASSED),
    )
    ended = windthrow("gate", "--repository", "host/a/b")
    assert ended.returncode == 0, ended.stderr
    specs = [json.loads(one.body) for one in to_misbehaving.seen if one.path == "/v1/jobs" and one.body]
    assert [one["model"] for one in specs] == ["model-1", "old", "new"]
    assert len({json.dumps({**one, "model": "", "client_ref": ""}) for one in specs}) == 1
    asked = json.loads(to_misbehaving.seen[-1].body)["baseline"]
    place = {"repository": "host/a/b", "model_name": "mine", "branch": "main"}
    assert asked == {**place, "evaluation": "job-3"}


def test_a_baseline_that_cannot_be_evaluated_alike_is_left_to_the_verdict(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    to_misbehaving.will(
        answer(200, {**checked(baseline={"branch": "main"}), "compares": True}),
        *PUSHED,
        answer(200, {"baseline": {"id": "b", "model": "old"}, "resolved_by": "branch"}),
        answer(202, DONE),
        problem(422, "invalid_request", "the model has no task 'depth'"),
        answer(200, FAILED),
    )
    ended = windthrow("gate", "--repository", "host/a/b")
    assert ended.returncode == 1
    assert "cannot be evaluated like this: the model has no task 'depth'" in ended.stderr
    asked = json.loads(to_misbehaving.seen[-1].body)["baseline"]
    assert asked == {"repository": "host/a/b", "model_name": "mine", "branch": "main"}


def test_a_file_that_is_wrong_is_marked_at_its_lines(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    place = {
        "pointer": "#/rules/0/on",
        "code": "c",
        "message": "line 6, column 5: 100 % wrong",
        "line": 6,
        "column": 5,
    }
    to_misbehaving.will(problem(422, "invalid_gate_file", "line 6, column 5: 100 % wrong", errors=[place]))
    ended = windthrow("gate", "--out", "out", GITHUB_ACTIONS="true")
    assert ended.returncode == 2
    assert (
        "::error file=windthrow.yaml,line=6,title=windthrow%3A no verdict::line 6, column 5: 100 %25 wrong"
        in (ended.stdout)
    )
    sarif = json.loads((here / "out" / "windthrow.sarif").read_text())
    (note,) = sarif["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert note["locations"][0]["physicalLocation"]["region"]["startLine"] == 6


def test_github_is_told_which_rule_failed_and_where(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, FAILED))
    ended = windthrow("gate", GITHUB_ACTIONS="true")
    mark = "::error file=windthrow.yaml,line=6,title=windthrow%3A attacked::fail: ARP is 50 %25: too much,%0Aby 5"
    assert mark in ended.stdout.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--file", "nowhere.yaml"),
        ("--checkpoint", "nowhere.pt"),
        ("--report", "javascript:alert(1)"),
        ("--check", "--dry-run"),
        ("--job", "job-1"),
        ("--set-baseline",),
        ("--out", "."),
        ("--out", "linked"),
        ("--junit", "model.safetensors"),
        ("--sarif", "windthrow.yaml"),
        ("--summary", "other.pt", "--checkpoint", "other.pt"),
        ("--junit", "nowhere/junit.xml"),
        ("--deadline", "-1"),
        ("--deadline", "nan"),
        ("--last", "0"),
    ],
)
def test_usage_is_2(windthrow: Windthrow, to_misbehaving: Misbehaving, arguments: tuple[str, ...]) -> None:
    to_misbehaving.will(answer(200, checked()))
    Path("other.pt").write_bytes(b"weights")
    Path("linked").symlink_to("elsewhere")
    ended = windthrow("gate", *arguments)
    assert ended.returncode == 2, ended.stderr
    assert (Path("model.safetensors").read_bytes(), Path("other.pt").read_bytes()) == (b"weights",) * 2
    assert Path("windthrow.yaml").read_text() == GATE_FILE


@pytest.mark.parametrize("variable", ["GITHUB_HEAD_REF", "CI_MERGE_REQUEST_IID"])
def test_a_change_that_is_only_proposed_becomes_no_baseline(
    windthrow: Windthrow, to_misbehaving: Misbehaving, variable: str
) -> None:
    commit = {"CI_COMMIT_SHA": "a" * 40, variable: "7"}
    ended = windthrow("gate", "--set-baseline", "--repository", "host/a/b", **commit)
    assert ended.returncode == 2
    assert "pull request" in ended.stderr
    assert not to_misbehaving.seen


@pytest.mark.parametrize("redirection", ["> >(true)", ">&-"])
@pytest.mark.usefixtures("windthrow")
def test_nobody_listening_changes_no_exit_code(to_misbehaving: Misbehaving, redirection: str) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, FAILED))
    script = f"{sys.executable} -m windthrow gate --json 2{redirection}"
    ended = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=False, timeout=60)  # noqa: S607
    assert ended.returncode == 1
    assert json.loads(ended.stdout) == FAILED


def test_without_a_key_it_is_2(windthrow: Windthrow) -> None:
    ended = windthrow("gate")
    assert ended.returncode == 2
    assert "WINDTHROW_URL" in ended.stderr


def test_hostile_text_reaches_no_terminal_and_no_command(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    hostile = {**FAILED, "message": "\x1b]0;owned\x07\n::stop-commands::x"}
    to_misbehaving.will(*until_verdict(), answer(200, hostile))
    ended = windthrow("gate", GITHUB_ACTIONS="true")
    assert ended.returncode == 1
    assert not {"\x1b", "\x07"} & set(ended.stdout + ended.stderr)
    assert not [line for line in ended.stdout.splitlines() if line.startswith("::stop")]
