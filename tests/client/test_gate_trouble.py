"""`windthrow gate` where no verdict can be had: whose fault it is, and that nothing passes by accident."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.client.gating import (
    FAILED,
    GATE_FILE,
    MODEL,
    PASSED,
    PUSHED,
    QUEUED,
    UNPUBLISHED,
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
    problem,
    truncated,
)
from tests.client.processes import Windthrow

pytestmark = pytest.mark.usefixtures("here")


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
        (
            [
                CHECKED,
                *PUSHED[:2],
                problem(422, "checkpoint_mismatch", errors=[{"pointer": "#/manifest/layout"}]),
            ],
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
        *PUSHED,
        answer(200, {"baseline": {"id": "b", "model": "old"}, "resolved_by": "branch"}),
        answer(202, DONE),
        answer(202, {**QUEUED, "id": "job-2"}),
        events("id: 9\nevent: job.failed\ndata: {}\n\n"),
        answer(200, {**JOB, "id": "job-2", "state": "failed", "error": error}),
        answer(200, {**PASSED, "status": "no_baseline", "exit_code": 4}),
    )
    ended = windthrow("gate", "--repository", "host/a/b")
    assert ended.returncode == code, ended.stderr
    assert "the baseline could not be evaluated: job job-2 failed: so it is" in ended.stderr


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
    to_misbehaving.will(*until_verdict(), answer(200, PASSED), UNPUBLISHED, hang_up())
    assert windthrow("gate", "--junit", "junit.xml").returncode == 3
    assert not (here / "junit.xml").exists()


def test_a_failed_verdict_whose_reports_cannot_be_had_is_not_lost(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, FAILED), UNPUBLISHED, hang_up())
    ended = windthrow("gate", "--out", "out")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1] == "failed: the model does not keep it"
    assert "the verdict is failed, and its reports cannot be had" in ended.stderr
    assert json.loads((here / "out" / "verdict.json").read_text()) == FAILED
    assert sorted(path.name for path in (here / "out").iterdir()) == [".windthrow-gate", "verdict.json"]


def test_a_verdict_that_cannot_be_shown_passes_no_more_for_a_warning(
    windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path
) -> None:
    (here / "windthrow.yaml").write_text(WARNING)
    odd = {**FAILED, "outcomes": [{**FAILED["outcomes"][0], "limit": "none"}]}
    to_misbehaving.will(*until_verdict(on_service_error="warn"), answer(200, odd))
    assert windthrow("gate").returncode == 1


def test_the_service_dying_while_it_waits_is_3(windthrow: Windthrow, to_misbehaving: Misbehaving) -> None:
    to_misbehaving.will(
        *until_submitted(), answer(202, QUEUED), events("id: 3\nevent: job.started\ndata: {}\n\n"), hang_up()
    )
    ended = windthrow("gate")
    assert ended.returncode == 3
    assert "cannot be reached" in ended.stderr
