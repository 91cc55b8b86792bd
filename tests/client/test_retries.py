"""Calls against a server that misbehaves: what is repeated, and what each failure is called."""

import asyncio
import socket
import time
from typing import cast

import pytest
from windthrow import AsyncClient, AuthError, Client, JobFailed, RequestError, ServiceError, Unavailable
from windthrow._calls import Calls, Patience
from windthrow._transports import Transport, complete

from tests.client.misbehaving import (
    DONE,
    JOB,
    KEY,
    Json,
    Misbehaving,
    Reply,
    answer,
    hang_up,
    problem,
    truncated,
)

SPEC: Json = {"kind": "evaluation"}


@pytest.mark.parametrize(
    "trouble",
    [answer(502, b"bad gateway", kind="text/html"), answer(503), answer(504), hang_up(), truncated(JOB)],
)
def test_a_trouble_that_may_pass_is_waited_out(
    server: Misbehaving, impatient: Client, notices: list[str], trouble: Reply
) -> None:
    server.will(trouble, trouble, answer(200, JOB))
    assert impatient.job("job-1").state == "running"
    assert server.lines == ["GET /v1/jobs/job-1"] * 3
    assert len(notices) == 2
    assert "trying again in" in notices[0]


def test_the_asynchronous_client_waits_it_out_as_well(server: Misbehaving) -> None:
    server.will(answer(503), hang_up(), truncated(JOB), answer(200, JOB))

    async def ask() -> str:
        async with AsyncClient(server.url, KEY, retries=3, backoff=0.001) as client:
            return (await client.job("job-1")).state

    assert asyncio.run(ask()) == "running"


def test_the_service_says_how_long_to_wait(
    server: Misbehaving, impatient: Client, notices: list[str]
) -> None:
    server.will(problem(429, "too_many_requests", Retry_After="1"), answer(200, JOB))
    impatient.job("job-1")
    assert notices[0].endswith("trying again in 1.0 s")


def test_a_share_used_up_is_said_at_once(server: Misbehaving, impatient: Client) -> None:
    server.will(problem(429, "too_many_uploads", "finish or DELETE one"))
    with pytest.raises(RequestError, match="finish or DELETE one"):
        impatient.job("job-1")
    assert len(server.seen) == 1


def test_one_who_asks_for_an_hour_is_unavailable(server: Misbehaving, impatient: Client) -> None:
    server.will(answer(503, Retry_After="3600"))
    with pytest.raises(Unavailable):
        impatient.job("job-1")
    assert len(server.seen) == 1


def test_a_trouble_that_stays_is_raised(server: Misbehaving, impatient: Client) -> None:
    server.will(*[answer(503)] * 9)
    with pytest.raises(Unavailable, match="503"):
        impatient.job("job-1")
    assert len(server.seen) == 4


def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url, KEY, retries=1, backoff=0.001) as client, pytest.raises(Unavailable, match=url):
            client.job("job-1")


def test_a_submission_is_repeated_under_one_idempotency_key(server: Misbehaving, impatient: Client) -> None:
    server.will(hang_up(), answer(202, JOB), answer(202, JOB))
    impatient.submit(SPEC)
    impatient.submit(SPEC)
    first, repeated, another = (one.headers["Idempotency-Key"] for one in server.seen)
    assert first == repeated != another


def test_the_callers_own_idempotency_key_is_used(server: Misbehaving, impatient: Client) -> None:
    server.will(answer(202, JOB))
    impatient.submit(SPEC, idempotency_key="build-7")
    assert server.seen[0].headers["Idempotency-Key"] == "build-7"


@pytest.mark.parametrize(
    "nonsense",
    [
        answer(200, b"<html>welcome</html>", kind="text/html"),
        answer(200, b"\xff\xfe"),
        answer(200, [JOB]),
        answer(200, {"id": "job-1"}),
        answer(200, {**JOB, "progress": None}),
        answer(404, b"not here", kind="text/html"),
        answer(301, b"", Location="https://elsewhere.example/"),
        problem(500, "internal_error"),
    ],
)
def test_what_no_service_says_is_its_own_kind_of_error(
    server: Misbehaving, impatient: Client, nonsense: Reply
) -> None:
    server.will(nonsense)
    with pytest.raises(ServiceError) as caught:
        impatient.job("job-1")
    assert not isinstance(caught.value, Unavailable)
    assert len(server.seen) == 1


def test_a_refusal_has_its_places(server: Misbehaving, impatient: Client) -> None:
    place = {"pointer": "#/attacks/0/eps", "code": "invalid_attack", "message": "eps must be above 0"}
    server.will(problem(422, "invalid_request", "eps must be above 0", errors=[place]))
    with pytest.raises(RequestError, match="eps must be above 0") as caught:
        impatient.submit(SPEC)
    assert (caught.value.code, caught.value.status, caught.value.request_id) == (
        "invalid_request",
        422,
        "r-1",
    )
    assert [one.pointer for one in caught.value.errors] == ["#/attacks/0/eps"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted(server: Misbehaving, impatient: Client, status: int) -> None:
    server.will(problem(status, "invalid_key", "the API key is unknown"))
    with pytest.raises(AuthError, match="the API key is unknown"):
        impatient.jobs()


def test_results_of_a_failed_job_are_its_failure(server: Misbehaving, impatient: Client) -> None:
    server.will(problem(409, "job_failed", "the job failed: out of memory"))
    with pytest.raises(JobFailed, match="out of memory"):
        impatient.results("job-1")


def test_an_id_stays_in_its_place_in_the_url(server: Misbehaving, impatient: Client) -> None:
    server.will(answer(200, DONE))
    impatient.job("../keys?x=1#y")
    assert server.lines == ["GET /v1/jobs/..%2Fkeys%3Fx%3D1%23y"]


def test_lists_go_through_as_many_pages_as_it_takes(server: Misbehaving, impatient: Client) -> None:
    pages = [{"items": [JOB] * 2, "next_cursor": "c2"}, {"items": [JOB], "next_cursor": None}]
    server.will(*(answer(200, page) for page in pages))
    assert len(impatient.jobs(state="running", limit=5)) == 3
    assert server.lines == [
        "GET /v1/jobs?state=running&limit=5",
        "GET /v1/jobs?state=running&limit=3&cursor=c2",
    ]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://here", "http://", "here"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match="is no URL"):
        Client(url, KEY)


@pytest.mark.parametrize("key", ["wt_é", "wt_1\nX-Other: 2"])
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(AuthError):
        Client("http://127.0.0.1", key)


def test_numbers_that_json_has_not_are_refused_before_they_are_sent(
    server: Misbehaving, impatient: Client
) -> None:
    with pytest.raises(RequestError, match="not JSON"):
        impatient.submit({"eps": float("nan")})
    assert not server.seen


class Pauses:
    """A transport that only notes how long it would have waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


def test_no_pause_is_longer_than_anybody_waits() -> None:
    pauses, asked = Pauses(), Unavailable("away", retry_after=3600)
    calls = Calls(cast(Transport, pauses), Patience(1, 0.1))
    complete(calls.pause(asked, 0.1))
    complete(calls.until(time.monotonic() + 5).pause(asked, 0.1))
    assert pauses.seconds == [120, pytest.approx(5, abs=1)]


@pytest.mark.parametrize("status", [401, 403])
def test_a_proxy_that_refuses_says_nothing_about_the_key(
    server: Misbehaving, impatient: Client, status: int
) -> None:
    server.will(answer(status, b"<html>", kind="text/html"))
    with pytest.raises(ServiceError, match="makes no sense"):
        impatient.jobs()
