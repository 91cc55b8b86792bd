"""`windthrow gate` that is asked to stop: what it leaves, and what it cancels."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from windthrow.cli.cancelling import cancel

from tests.client.gating import (
    FAILED,
    PASSED,
    QUEUED,
    SUCCEEDED,
    UNPUBLISHED,
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
)
from tests.client.processes import LISTENING, Windthrow

pytestmark = pytest.mark.usefixtures("here")

SUBMITTED = (answer(202, QUEUED),)


@pytest.mark.usefixtures("windthrow")
def test_stopped_after_the_verdict_its_files_stay(to_misbehaving: Misbehaving, here: Path) -> None:
    arrived, stopped = threading.Event(), threading.Event()

    def late(_: BaseHTTPRequestHandler) -> None:
        arrived.set()
        stopped.wait(60)

    to_misbehaving.will(*until_verdict(), answer(200, FAILED), UNPUBLISHED, late)
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
    submitted: Sequence[Reply] = SUBMITTED,
) -> "subprocess.CompletedProcess[str]":
    """A gate that is asked to stop while it waits for its job."""
    released = threading.Event()
    server.will(
        *until_submitted(),
        *submitted,
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
@pytest.mark.parametrize(
    "submitted", [answer(200, QUEUED), answer(202, JOB)], ids=["told", "by an older service"]
)
def test_what_it_attached_to_is_left(to_misbehaving: Misbehaving, submitted: Reply) -> None:
    ended = stopped_while_waiting(to_misbehaving, number=signal.SIGTERM, submitted=[submitted])
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
    to_misbehaving.will(
        *until_submitted(),
        answer(200, QUEUED),
        events("id: 9\nevent: job.cancelled\ndata: {}\n\n"),
        answer(200, {**JOB, "state": "cancelled"}),
        answer(202, {**QUEUED, "id": "job-2"}),
        SUCCEEDED,
        answer(200, {**DONE, "id": "job-2"}),
        answer(200, {**PASSED, "job": "job-2"}),
    )
    ended = windthrow("gate")
    assert ended.returncode == 0, ended.stderr
    assert "asking for it anew" in ended.stderr
    first, anew = (one for one in to_misbehaving.seen if one.path == "/v1/jobs")
    assert first.body == anew.body
    assert first.headers["Idempotency-Key"] != anew.headers["Idempotency-Key"]


@pytest.mark.usefixtures("windthrow")
def test_a_job_that_it_made_is_its_own_though_the_answer_was_lost(
    to_misbehaving: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDTHROW_RETRIES", "1")
    replay = answer(202, QUEUED, Idempotent_Replay="true")
    ended = stopped_while_waiting(to_misbehaving, number=signal.SIGTERM, submitted=[hang_up(), replay])
    assert ended.returncode == 143
    lost, repeated = (one for one in to_misbehaving.seen if one.path == "/v1/jobs")
    assert lost.headers["Idempotency-Key"] == repeated.headers["Idempotency-Key"]
    assert to_misbehaving.lines[-1] == "POST /v1/jobs/job-1/cancel"
