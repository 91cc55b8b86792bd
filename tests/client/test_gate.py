"""`windthrow gate` where things go wrong: whose fault it is, the exit code, and that nothing passes by accident."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from windthrow.cli.cancelling import cancel

from tests.client.gating import (
    FAILED,
    GATE_FILE,
    MODEL,
    NOTHING,
    PASSED,
    PUSHED,
    QUEUED,
    SUCCEEDED,
    WARNING,
    checked,
    until_submitted,
    until_verdict,
)
from tests.client.misbehaving import (
    DONE,
    JOB,
    Misbehaving,
    Reply,
    answer,
    events,
    hang_up,
    holding,
    problem,
    truncated,
)
from tests.client.processes import LISTENING, Windthrow


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a gate file and something to gate, in no repository."""
    place = tmp_path / "here"
    place.mkdir()
    (place / "windthrow.yaml").write_text(GATE_FILE)
    (place / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(place)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("WINDTHROW_RETRIES", "0")
    return place


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
    submitted = json.loads(to_misbehaving.seen[6].body)
    assert submitted["client_ref"] == f"gate {'1' * 32} model-1"
    assert (submitted["kind"], submitted["model"]) == ("evaluation", "model-1")
    asked = json.loads(to_misbehaving.seen[-1].body)
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
        answer(200, NOTHING),
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
    def job(number: int) -> list[Reply]:
        done = {**DONE, "id": f"job-{number}"}
        return [
            answer(200, {"items": [{**done, "client_ref": "another"}], "next_cursor": None}),
            answer(202, done),
        ]

    def resolved(model: str) -> Reply:
        return answer(200, {"baseline": {"id": "b", "model": model}, "resolved_by": "branch"})

    to_misbehaving.will(
        answer(200, {**checked(baseline={"branch": "main"}), "compares": True}),
        *PUSHED[:4],
        resolved("old"),
        *job(1),
        *job(2),
        problem(409, "baseline_moved"),
        resolved("new"),
        *job(3),
        answer(200, PASSED),
    )
    ended = windthrow("gate", "--repository", "host/a/b")
    assert ended.returncode == 0, ended.stderr
    specs = [json.loads(one.body) for one in to_misbehaving.seen if one.path == "/v1/jobs" and one.body]
    assert [one["model"] for one in specs] == ["model-1", "old", "new"]
    assert len({json.dumps({**one, "model": "", "client_ref": ""}) for one in specs}) == 1
    asked = json.loads(to_misbehaving.seen[-1].body)["baseline"]
    assert asked == {"repository": "host/a/b", "branch": "main", "evaluation": "job-3"}


def test_a_baseline_that_cannot_be_evaluated_alike_is_left_to_the_verdict(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    to_misbehaving.will(
        answer(200, {**checked(baseline={"branch": "main"}), "compares": True}),
        *PUSHED[:4],
        answer(200, {"baseline": {"id": "b", "model": "old"}, "resolved_by": "branch"}),
        answer(200, NOTHING),
        answer(202, DONE),
        answer(200, NOTHING),
        problem(422, "invalid_request", "the model has no task 'depth'"),
        answer(200, FAILED),
    )
    ended = windthrow("gate", "--repository", "host/a/b")
    assert ended.returncode == 1
    assert "cannot be evaluated like this: the model has no task 'depth'" in ended.stderr
    asked = json.loads(to_misbehaving.seen[-1].body)["baseline"]
    assert asked == {"repository": "host/a/b", "branch": "main"}


CHECKED = answer(200, checked())
REJECTED = {**MODEL, "state": "rejected", "reason": {"code": "nonfinite_weights", "message": "NaN in heads"}}
WITHOUT_NEXT = {name: value for name, value in PASSED.items() if name != "next"}


def outcomes(status: str) -> dict[str, Any]:
    """A passed verdict on a rule that is this."""
    return {**PASSED, "outcomes": [{**PASSED["outcomes"][0], "status": status}]}


def ended_as(state: str, code: str | None = None) -> list[Reply]:
    error = None if code is None else {"code": code, "message": "so it is"}
    over = {**JOB, "state": state, "error": error}
    return [
        *until_submitted(),
        answer(202, QUEUED),
        events(f"id: 9\nevent: job.{state}\ndata: {{}}\n\n"),
        answer(200, over),
    ]


@pytest.mark.parametrize(
    ("script", "code", "who"),
    [
        ([problem(401, "invalid_key", "the API key has expired")], 2, "API KEY"),
        ([problem(422, "invalid_gate_file", "line 3, column 5: no", errors=[])], 2, "FILE"),
        ([hang_up()], 3, "SERVICE"),
        ([truncated(checked())], 3, "SERVICE"),
        ([answer(200, b"<html>", kind="text/html")], 3, "SERVICE"),
        ([answer(200, {"file": {}})], 3, "SERVICE"),
        ([problem(404, "not_found")], 3, "SERVICE"),
        ([answer(200, {**checked(), "looks": []})], 3, "SERVICE"),
        ([CHECKED, *PUSHED[:3], answer(200, REJECTED)], 1, "MODEL"),
        (
            [
                CHECKED,
                *PUSHED[:3],
                answer(200, {**REJECTED, "reason": {"code": "worker_lost", "message": "m"}}),
            ],
            3,
            "SERVICE",
        ),
        ([answer(403, b"<html>", kind="text/html")], 3, "SERVICE"),
        ([answer(200, checked(model={"file": "../../etc/passwd"}))], 3, "not in the repository"),
        ([answer(200, checked(model={"file": "/etc/passwd"}))], 3, "not in the repository"),
        (
            [CHECKED, *PUSHED[:2], problem(422, "upload_not_found", errors=[{"pointer": "#/upload"}])],
            3,
            "SERVICE",
        ),
        (
            [CHECKED, *PUSHED[:2], problem(422, "unknown_format", errors=[{"pointer": "#/upload"}])],
            1,
            "MODEL",
        ),
        (ended_as("failed", "invalid_prediction"), 1, "MODEL"),
        (ended_as("failed", "internal_error"), 3, "SERVICE"),
        (ended_as("failed", "never_heard_of"), 3, "SERVICE"),
        (ended_as("cancelled"), 3, "cancelled by somebody else"),
        ([*until_verdict(), answer(200, {**PASSED, "exit_code": 1})], 3, "contradicts itself"),
        ([*until_verdict(), answer(200, {**PASSED, "exit_code": False})], 3, "contradicts itself"),
        ([*until_verdict(), answer(200, {**FAILED, "exit_code": 0})], 3, "contradicts itself"),
        ([*until_verdict(), answer(200, {**PASSED, "status": "fine"})], 3, "SERVICE"),
        ([*until_verdict(), answer(200, {**PASSED, "job": "job-7"})], 3, "SERVICE"),
        ([*until_verdict(), answer(200, {**PASSED, "outcomes": []})], 3, "SERVICE"),
        ([*until_verdict(), answer(200, {**PASSED, "model": "model-7"})], 3, "on model 'model-7'"),
        ([*until_verdict(), answer(200, WITHOUT_NEXT)], 3, "SERVICE"),
        ([*until_verdict(), answer(200, outcomes("fine"))], 3, "a rule's status is 'fine'"),
        ([*until_verdict(), answer(200, outcomes("fail"))], 3, "contradicts itself"),
        ([*until_verdict(), answer(200, outcomes("inconclusive"))], 3, "contradicts itself"),
        ([*until_verdict(), answer(200, {**PASSED, "next": {"number": 7}})], 3, "look 7"),
        ([*until_verdict(), answer(200, {**PASSED, "next": {"number": 1}})], 3, "look 1"),
        ([*until_verdict(), truncated(PASSED)], 3, "SERVICE"),
    ],
)
def test_without_a_verdict_nothing_passes_and_it_says_whose_fault_it_is(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path, script: list[Reply], code: int, who: str
) -> None:
    to_misbehaving.will(*script)
    stale = here / "out" / "badge.svg"
    stale.parent.mkdir()
    stale.write_text("passing")
    (here / "out" / ".windthrow-gate").touch()
    ended = windthrow("gate", "--out", "out", "--summary", "summary.md")
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    assert who in ended.stderr
    assert sorted(path.name for path in (here / "out").iterdir()) == [
        ".windthrow-gate",
        "junit.xml",
        "summary.md",
        "windthrow.sarif",
    ]
    assert 'errors="1"' in (here / "out" / "junit.xml").read_text()
    sarif = json.loads((here / "out" / "windthrow.sarif").read_text())
    assert sarif["runs"][0]["invocations"][0]["executionSuccessful"] is False
    assert "no verdict" in (here / "summary.md").read_text()


def test_nobody_there_is_3_or_a_loud_warning(
    windthrow: Windthrow, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDTHROW_KEY", "wt_test")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WINDTHROW_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert windthrow("gate").returncode == 3
        (here / "windthrow.yaml").write_text(WARNING)
        ended = windthrow("gate", "--junit", "junit.xml")
        assert ended.returncode == 0
        assert "this model was NOT gated" in ended.stderr
        assert "<error" in (here / "junit.xml").read_text()
        assert windthrow("gate", "--check").returncode == 3


@pytest.mark.parametrize(
    "line",
    [
        "  on_service_error: warn",
        "# on_service_error: warn",
        "on_service_error: warning",
        "on_service_error: warn and more",
        "on_service_error: warn\non_service_error: fail",
        "notes: |\n  on_service_error: warn",
    ],
)
def test_only_a_plain_line_at_the_top_level_lets_an_outage_pass(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path, line: str
) -> None:
    (here / "windthrow.yaml").write_text(f"{GATE_FILE}{line}\n")
    to_misbehaving.will(hang_up())
    assert windthrow("gate").returncode == 3


def test_warn_lets_no_verdict_pass_that_is_one(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "windthrow.yaml").write_text(WARNING)
    to_misbehaving.will(*until_verdict(on_service_error="warn"), answer(200, FAILED))
    assert windthrow("gate").returncode == 1
    to_misbehaving.will(problem(401, "invalid_key"))
    assert windthrow("gate").returncode == 2
    to_misbehaving.will(*until_verdict(on_service_error="warn"), hang_up())
    assert windthrow("gate").returncode == 0


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (answer(500, {}), 0),
        (problem(429, "too_many_jobs"), 0),
        (answer(200, b"<html>", kind="text/html"), 0),
        (problem(409, "client_ref_conflict"), 3),
        (problem(404, "not_found"), 3),
    ],
)
def test_warn_covers_a_service_that_is_away_and_nothing_else(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path, script: Reply, code: int
) -> None:
    (here / "windthrow.yaml").write_text(WARNING)
    to_misbehaving.will(*until_submitted(on_service_error="warn"), script)
    assert windthrow("gate").returncode == code


def test_warn_covers_neither_jobs_nor_checks_that_ended_badly(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "windthrow.yaml").write_text(WARNING)
    to_misbehaving.will(
        answer(200, checked(on_service_error="warn")), *ended_as("failed", "internal_error")[1:]
    )
    assert windthrow("gate").returncode == 3
    lost = {**REJECTED, "reason": {"code": "worker_lost", "message": "m"}}
    to_misbehaving.will(answer(200, checked(on_service_error="warn")), *PUSHED[:3], answer(200, lost))
    assert windthrow("gate").returncode == 3


def test_warn_covers_a_deadline(windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path) -> None:
    (here / "windthrow.yaml").write_text(WARNING)
    waiting = [answer(200, JOB, ETag='"1"')] * 50
    to_misbehaving.will(*until_submitted(on_service_error="warn"), answer(202, QUEUED), *waiting)
    ended = windthrow("gate", "--deadline", "0.02")
    assert ended.returncode == 0
    assert "this model was NOT gated" in ended.stderr


@pytest.mark.parametrize(("reason", "code"), [("invalid_prediction", 4), ("internal_error", 3)])
def test_a_baseline_whose_model_breaks_its_evaluation_is_none(
    windthrow: Windthrow, to_misbehaving: Misbehaving, reason: str, code: int
) -> None:
    error = {"code": reason, "message": "so it is"}
    to_misbehaving.will(
        answer(200, {**checked(baseline={"branch": "main"}), "compares": True}),
        *PUSHED[:4],
        answer(200, {"baseline": {"id": "b", "model": "old"}, "resolved_by": "branch"}),
        answer(200, NOTHING),
        answer(202, DONE),
        answer(200, NOTHING),
        answer(202, {**QUEUED, "id": "job-2"}),
        events("id: 9\nevent: job.failed\ndata: {}\n\n"),
        answer(200, {**JOB, "id": "job-2", "state": "failed", "error": error}),
        answer(200, {**PASSED, "status": "no_baseline", "exit_code": 4}),
    )
    ended = windthrow("gate", "--repository", "host/a/b")
    assert ended.returncode == code, ended.stderr
    assert "the baseline could not be evaluated: job job-2 failed: so it is" in ended.stderr


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
    to_misbehaving.will(CHECKED)
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


def test_a_deadline_that_passes_is_3_and_the_jobs_go_on(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    to_misbehaving.will(*until_submitted(), answer(202, QUEUED), *[answer(200, JOB, ETag='"1"')] * 5000)
    ended = windthrow("gate", "--deadline", "0.03")
    assert ended.returncode == 3
    assert "the service did not finish in 0.03 minutes" in ended.stderr
    assert "the jobs go on: run again to attach" in ended.stderr
    assert not [line for line in to_misbehaving.lines if line.endswith("/cancel")]


def test_files_that_cannot_be_had_let_nothing_pass(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, PASSED), hang_up())
    assert windthrow("gate", "--junit", "junit.xml").returncode == 3
    assert not (here / "junit.xml").exists()


def test_a_failed_verdict_whose_reports_cannot_be_had_is_not_lost(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, FAILED), hang_up())
    ended = windthrow("gate", "--out", "out")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1] == "failed: the model does not keep it"
    assert "the verdict is failed, and its reports cannot be had" in ended.stderr
    assert json.loads((here / "out" / "verdict.json").read_text()) == FAILED
    assert sorted(path.name for path in (here / "out").iterdir()) == [".windthrow-gate", "verdict.json"]


@pytest.mark.usefixtures("windthrow")
def test_stopped_after_the_verdict_its_files_stay(to_misbehaving: Misbehaving, here: Path) -> None:
    arrived, stopped = threading.Event(), threading.Event()

    def late(_: BaseHTTPRequestHandler) -> None:
        arrived.set()
        stopped.wait(60)

    to_misbehaving.will(*until_verdict(), answer(200, FAILED), late)
    command = [sys.executable, "-m", "windthrow", "gate", "--out", "out"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ
    ) as process:
        assert arrived.wait(60)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        stopped.set()
        assert process.returncode == 143
    assert json.loads((here / "out" / "verdict.json").read_text()) == FAILED
    assert not (here / "out" / "junit.xml").exists()


def test_a_verdict_that_cannot_be_shown_passes_no_more_for_a_warning(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "windthrow.yaml").write_text(WARNING)
    odd = {**FAILED, "outcomes": [{**FAILED["outcomes"][0], "limit": "none"}]}
    to_misbehaving.will(*until_verdict(on_service_error="warn"), answer(200, odd))
    assert windthrow("gate").returncode == 1


def test_many_jobs_are_cancelled_within_seconds(
    to_misbehaving: Misbehaving, capsys: pytest.CaptureFixture[str]
) -> None:
    released = threading.Event()

    def never(_: BaseHTTPRequestHandler) -> None:
        released.wait(60)

    to_misbehaving.will(*[never] * 4)
    began = time.monotonic()
    cancel(["job-1", "job-2", "job-3", "job-4"])
    assert time.monotonic() - began < 8
    released.set()
    assert len(to_misbehaving.seen) == 4
    said = capsys.readouterr().err
    assert all(f"windthrow cancel job-{number}" in said for number in (1, 2, 3, 4))


def stopped_while_waiting(
    server: Misbehaving,
    *arguments: str,
    number: int,
    job: dict[str, Any] = QUEUED,
    listed: dict[str, Any] = NOTHING,
) -> "subprocess.CompletedProcess[str]":
    """A gate that is asked to stop while it waits for its job."""
    released = threading.Event()
    server.will(
        *until_submitted()[:-1],
        answer(200, listed),
        answer(202, job),
        holding("id: 3\nevent: job.started\ndata: {}\n\n", until=released),
        answer(200, {**JOB, "cancel_requested": True}),
    )
    command = [sys.executable, "-c", LISTENING, "gate", "--junit", "junit.xml", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        said = ""
        while "job.started" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(number)
        said += process.stderr.read()
        released.set()
    return subprocess.CompletedProcess(command, process.returncode, "", said)


@pytest.mark.usefixtures("windthrow")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_gate_that_is_stopped_cancels_what_it_created(
    to_misbehaving: Misbehaving, here: Path, number: signal.Signals
) -> None:
    ended = stopped_while_waiting(to_misbehaving, number=number)
    assert ended.returncode == 128 + number, ended.stderr
    assert "job job-1 is being cancelled" in ended.stderr
    assert to_misbehaving.lines[-1] == "POST /v1/jobs/job-1/cancel"
    assert number.name in (here / "junit.xml").read_text()


@pytest.mark.usefixtures("windthrow")
def test_a_job_that_is_being_submitted_is_cancelled_as_well(to_misbehaving: Misbehaving) -> None:
    arrived, stopped = threading.Event(), threading.Event()

    def late(handler: BaseHTTPRequestHandler) -> None:
        arrived.set()
        stopped.wait(60)
        answer(202, QUEUED)(handler)

    to_misbehaving.will(*until_submitted(), late, answer(200, {**JOB, "cancel_requested": True}))
    command = [sys.executable, "-m", "windthrow", "gate"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        assert arrived.wait(60)
        process.send_signal(signal.SIGTERM)
        stopped.set()
        said = process.stderr.read()
    assert process.returncode == 143, said
    assert to_misbehaving.lines[-1] == "POST /v1/jobs/job-1/cancel"


@pytest.mark.usefixtures("windthrow")
def test_what_it_attached_to_is_left(to_misbehaving: Misbehaving) -> None:
    theirs = {**QUEUED, "client_ref": f"gate {'1' * 32} model-1"}
    listed = {"items": [theirs], "next_cursor": None}
    ended = stopped_while_waiting(to_misbehaving, number=signal.SIGTERM, job=theirs, listed=listed)
    assert ended.returncode == 143
    assert "attached to the one that is there" in ended.stderr
    assert not to_misbehaving.lines[-1].endswith("/cancel")


@pytest.mark.usefixtures("windthrow")
def test_what_shall_keep_running_is_left(to_misbehaving: Misbehaving) -> None:
    ended = stopped_while_waiting(to_misbehaving, "--keep-running", number=signal.SIGTERM)
    assert ended.returncode == 143
    assert "job job-1 goes on" in ended.stderr
    assert not to_misbehaving.lines[-1].endswith("/cancel")


def test_a_job_that_its_owner_cancelled_is_asked_for_anew(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    theirs = {**JOB, "client_ref": f"gate {'1' * 32} model-1"}
    to_misbehaving.will(
        *until_submitted()[:-1],
        answer(200, {"items": [theirs], "next_cursor": None}),
        answer(202, theirs),
        events("id: 9\nevent: job.cancelled\ndata: {}\n\n"),
        answer(200, {**theirs, "state": "cancelled"}),
        answer(200, NOTHING),
        answer(202, {**QUEUED, "id": "job-2"}),
        SUCCEEDED,
        answer(200, {**DONE, "id": "job-2"}),
        answer(200, {**PASSED, "job": "job-2"}),
    )
    ended = windthrow("gate")
    assert ended.returncode == 0, ended.stderr
    assert "asking for it anew" in ended.stderr


def test_the_service_dying_while_it_waits_is_3(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(
        *until_submitted(), answer(202, QUEUED), events("id: 3\nevent: job.started\ndata: {}\n\n"), hang_up()
    )
    ended = windthrow("gate")
    assert ended.returncode == 3
    assert "cannot be reached" in ended.stderr


def test_hostile_text_reaches_no_terminal_and_no_command(
    windthrow: Windthrow, to_misbehaving: Misbehaving
) -> None:
    hostile = {**FAILED, "message": "\x1b]0;owned\x07\n::stop-commands::x"}
    to_misbehaving.will(*until_verdict(), answer(200, hostile))
    ended = windthrow("gate", GITHUB_ACTIONS="true")
    assert ended.returncode == 1
    assert not {"\x1b", "\x07"} & set(ended.stdout + ended.stderr)
    assert not [line for line in ended.stdout.splitlines() if line.startswith("::stop")]
