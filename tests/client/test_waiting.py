"""Waiting for a job: its events from the stream, however often that breaks, or its changes by asking."""

import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from windthrow import (
    Client,
    Event,
    JobFailed,
    ModelRejected,
    RequestError,
    ServiceError,
    Unavailable,
    WaitTimeout,
)
from windthrow._events import EventReader

from tests.client.misbehaving import DONE, JOB, KEY, Misbehaving, Reply, answer, events, problem

EVENTS = "GET /v1/jobs/job-1/events"


def event(id_: int, kind: str, **data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\nid: {id_}\n\n"


def test_a_stream_that_breaks_off_goes_on_after_its_last_whole_event(
    server: Misbehaving, impatient: Client
) -> None:
    whole = event(7, "shard.succeeded", work_done=1, work_total=4)
    end = event(9, "job.succeeded")
    server.will(
        events(event(5, "job.started") + whole + end[: len(end) // 2]),
        answer(200, JOB),
        events(": ping\n\n" + whole + end),
        answer(200, DONE),
    )
    seen: list[Event] = []
    assert impatient.wait("job-1", on_event=seen.append).state == "succeeded"
    assert [(one.id, one.type) for one in seen] == [
        (5, "job.started"),
        (7, "shard.succeeded"),
        (9, "job.succeeded"),
    ]
    assert [one.fraction for one in seen] == [None, 0.25, None]
    streams = [one for one in server.seen if one.path.endswith("/events")]
    assert [one.headers["Last-Event-ID"] for one in streams] == ["0", "7"]


@pytest.mark.parametrize(
    "dead",
    [
        answer(200, JOB),
        answer(404, b"no such page", kind="text/html"),
        problem(406, "not_acceptable"),
        events("data: what is this\n\n"),
        events("id: 1\nevent: job.started\ndata: [1]\n\n"),
    ],
)
def test_without_a_stream_it_asks_and_asks_again(server: Misbehaving, impatient: Client, dead: Reply) -> None:
    half = {**JOB, "progress": {**JOB["progress"], "fraction": 0.5}}
    server.will(
        dead,
        answer(200, JOB),
        answer(200, JOB, ETag='"1"'),
        answer(304, ETag='"1"'),
        answer(200, half, ETag='"2"'),
        answer(200, DONE, ETag='"3"'),
    )
    seen: list[Event] = []
    assert impatient.wait("job-1", on_event=seen.append).state == "succeeded"
    assert server.lines == [EVENTS] + ["GET /v1/jobs/job-1"] * 5
    asked = [one.headers.get("If-None-Match") for one in server.seen[2:]]
    assert asked == [None, '"1"', '"1"', '"2"']
    assert server.seen[-1].headers["Prefer"] == "wait=30"
    assert [(one.type, one.fraction) for one in seen] == [
        ("job.progress", 0.25),
        ("job.progress", 0.5),
        ("job.succeeded", 0.25),
    ]


def test_streams_that_never_bring_anything_are_given_up(server: Misbehaving, impatient: Client) -> None:
    server.will(*[events(": ping\n\n"), answer(200, JOB)] * 2, answer(200, DONE))
    impatient.wait("job-1")
    assert server.lines.count(EVENTS) == 2


def test_a_wait_has_its_deadline(server: Misbehaving, impatient: Client) -> None:
    server.will(*[answer(200, JOB, ETag='"1"')] * 1000)
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"is running after 0\.3 s; it goes on"):
        impatient.wait("job-1", timeout=0.3)
    assert time.monotonic() - began < 3


def test_long_polls_that_are_answered_at_once_are_no_flood(server: Misbehaving, impatient: Client) -> None:
    server.will(answer(200, JOB, ETag='"1"'), *[answer(304), answer(200, JOB, ETag='"1"')] * 500)
    with pytest.raises(WaitTimeout):
        impatient.wait("job-1", timeout=2)
    assert len(server.seen) <= 5


def test_a_model_that_is_checking_though_its_job_is_over_is_asked_for_slowly(
    server: Misbehaving, impatient: Client
) -> None:
    checking = answer(200, model("checking"))
    server.will(checking, events(event(3, "job.succeeded")), answer(200, DONE), checking)
    server.will(answer(200, model("ready")))
    began = time.monotonic()
    assert impatient.wait_for_model("model-1").state == "ready"
    assert time.monotonic() - began >= 1
    asked = "GET /v1/models/model-1"
    assert server.lines == [asked, EVENTS, "GET /v1/jobs/job-1", asked, asked]


def test_an_outage_is_waited_out_no_longer_than_asked(server: Misbehaving) -> None:
    server.will(answer(200, JOB, ETag='"1"'), *[answer(503, Retry_After="100")] * 1000)
    began = time.monotonic()
    with Client(server.url, KEY, retries=1000) as client, pytest.raises(Unavailable):
        client.wait("job-1", timeout=0.3)
    assert time.monotonic() - began < 5


def test_a_job_that_failed_says_why(server: Misbehaving, impatient: Client) -> None:
    failed = {**JOB, "state": "failed", "error": {"code": "oom", "message": "out of memory"}}
    server.will(events(event(3, "job.failed")), answer(200, failed))
    with pytest.raises(JobFailed, match="out of memory") as caught:
        impatient.wait("job-1")
    assert caught.value.job is not None
    assert caught.value.job.state == "failed"


def test_a_job_that_is_none_is_said(server: Misbehaving, impatient: Client) -> None:
    server.will(*[problem(404, "job_not_found", "there is no job")] * 2)
    with pytest.raises(RequestError, match="there is no job"):
        impatient.wait("job-1")


def test_what_the_listener_raises_is_raised(server: Misbehaving, impatient: Client) -> None:
    def listen(_: Event) -> None:
        raise ServiceError("from the listener")

    server.will(events(event(3, "job.started")), answer(200, JOB))
    with pytest.raises(ServiceError, match="from the listener"):
        impatient.wait("job-1", on_event=listen)


def test_a_model_that_nobody_reads_is_waited_for_no_longer_than_asked(
    server: Misbehaving, impatient: Client
) -> None:
    checking = answer(200, model("checking"))
    server.will(checking, answer(200, JOB), *[checking] * 100)
    with pytest.raises(WaitTimeout, match="is one running"):
        impatient.wait_for_model("model-1", timeout=0.0)


def test_a_rejected_model_says_why(server: Misbehaving, impatient: Client) -> None:
    rejected = {**model("rejected"), "reason": {"code": "odd", "message": "no layer fits"}}
    server.will(answer(200, rejected))
    with pytest.raises(ModelRejected, match="no layer fits") as caught:
        impatient.wait_for_model("model-1")
    assert caught.value.model.id == "model-1"


def model(state: str) -> dict[str, Any]:
    return {
        "id": "model-1",
        "name": "mine",
        "sha256": "0" * 64,
        "state": state,
        "manifest": None,
        "reason": None,
        "parameters": None,
        "facts": None,
        "job": "job-1",
        "created_at": "2026-11-22T12:00:00Z",
    }


@given(
    cuts=st.lists(st.integers(0, 400), max_size=20),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    text=st.text(max_size=20),
)
def test_events_are_the_same_however_the_stream_is_cut(cuts: list[int], end: str, text: str) -> None:
    told = [(3, "job.started", {"text": text}), (5, "job.succeeded", {})]
    stream = ": ping\n\n" + "".join(event(id_, kind, **data) for id_, kind, data in told)
    whole = (stream + ": a comment\n").replace("\n", end).encode()
    reader = EventReader(0)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    found = [one for start, stop in pairwise(places) for one in reader.feed(whole[start:stop])]
    assert [(one.id, one.type, one.data) for one in found] == told
