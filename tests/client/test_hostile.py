"""Answers of servers that are broken or mean harm: none takes memory or time without bounds, and none is believed."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from windthrow import AsyncClient, Client, ServiceError, Unavailable, _transports
from windthrow._http import Answer, Request
from windthrow._transports import AsyncTransport, BlockingTransport, Transport, complete

from tests.client.gating import MODEL, UPLOADED
from tests.client.hostile import HEAD, dripping, endless, inflating, raw
from tests.client.misbehaving import DONE, JOB, KEY, Json, Misbehaving, Reply, answer, events
from tests.client.processes import Windthrow

T = TypeVar("T")

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MEBIBYTE = b" " * (1 << 20)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Ends what drips."""
    event = threading.Event()
    yield event
    event.set()


def drip(where: str, until: threading.Event) -> Reply:
    return {
        "headers": dripping(b"HTTP/1.1 200 OK\r\nX-", b"a", until=until),
        "nothing but patience": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", until=until),
        "body": dripping(HEAD + b"Content-Length: 1000000\r\n\r\n", b" ", until=until),
        "chunk": dripping(CHUNKED + b"5;", b"a", until=until),
    }[where]


DRIPS = pytest.mark.parametrize("where", ["headers", "nothing but patience", "body", "chunk"])


def over(kind: str, server: Misbehaving, use: Callable[[Transport], Coroutine[Any, Any, T]]) -> T:
    """What is made of one transport or the other."""
    transport: Transport = (BlockingTransport if kind == "blocking" else AsyncTransport)(
        server.url, KEY, 30.0
    )

    async def used() -> T:
        try:
            return await use(transport)
        finally:
            await transport.close()

    return complete(used()) if kind == "blocking" else asyncio.run(used())


def ask(server: Misbehaving, kind: str, request: Request) -> Answer:
    """The answer to a request."""
    return over(kind, server, lambda transport: transport.send(request))


@DRIPS
@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_what_drips_ends_at_the_deadline(
    server: Misbehaving, released: threading.Event, kind: str, where: str
) -> None:
    server.will(drip(where, released))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="no whole answer came in time"):
        ask(server, kind, Request("GET", "/v1/jobs", deadline=began))
    assert time.monotonic() - began < 5


@DRIPS
def test_the_command_line_ends_though_something_drips(
    windthrow: Windthrow, to_misbehaving: Misbehaving, released: threading.Event, where: str
) -> None:
    to_misbehaving.will(drip(where, released))
    began = time.monotonic()
    ended = windthrow("watch", "job-1", "--timeout", "0.1", WINDTHROW_RETRIES="0")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "no whole answer came in time" in ended.stderr
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_what_drips_ends_without_a_deadline_as_well(
    server: Misbehaving, released: threading.Event, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(_transports, "TRANSFER_SECONDS", 0.3)
    server.will(drip("body", released))
    began = time.monotonic()
    with pytest.raises(Unavailable):
        ask(server, kind, Request("GET", "/v1/jobs", patience=0.3))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_a_stream_of_which_nothing_whole_comes_is_given_up(
    server: Misbehaving, released: threading.Event, kind: str
) -> None:
    stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.will(dripping(stream + b"5;", b"a", until=released))
    request = Request("GET", "/v1/jobs/job-1/events", patience=0.5)

    async def take(transport: Transport) -> list[bytes]:
        async with transport.stream(request) as stream:
            return [chunk async for chunk in stream.chunks]

    with pytest.raises(Unavailable):
        over(kind, server, take)


@pytest.mark.parametrize(
    "reply",
    [
        endless(HEAD + b"\r\n", MEBIBYTE, times=200),
        endless(CHUNKED, b"100000\r\n" + MEBIBYTE + b"\r\n", times=200),
        inflating(1, 200),
        inflating(2, 200),
        answer(200, b"{}", Content_Encoding="br"),
        answer(200, b"{}", Content_Encoding="gzip"),
    ],
    ids=["to its end", "chunked", "gzip", "gzip in gzip", "unasked encoding", "no gzip"],
)
@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_what_is_larger_than_answers_are_is_not_taken(server: Misbehaving, kind: str, reply: Reply) -> None:
    server.will(reply)
    with pytest.raises(ServiceError) as caught:
        ask(server, kind, Request("GET", "/v1/jobs"))
    assert not isinstance(caught.value, Unavailable)


def test_what_is_compressed_as_asked_is_read(server: Misbehaving) -> None:
    server.will(inflating(1, 3))
    assert ask(server, "blocking", Request("GET", "/v1/jobs")).body == bytes(3 << 20)


@pytest.mark.parametrize(
    "half",
    [
        raw(HEAD + b'Content-Length: 99\r\n\r\n{"id": 1}'),
        raw(CHUNKED + b'9\r\n{"id": 1}\r\n'),
        raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"),
        raw(b"HTTP/1.1 200"),
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw(b""),
    ],
    ids=[
        "shorter than announced",
        "chunks without an end",
        "half a gzip",
        "half a head",
        "no HTTP",
        "nothing",
    ],
)
@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_what_broke_off_is_no_answer(server: Misbehaving, kind: str, half: Reply) -> None:
    server.will(half)
    with pytest.raises(Unavailable):
        ask(server, kind, Request("GET", "/v1/jobs"))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"a":' * 500_000,
        json.dumps(JOB).replace("0.25", "NaN").encode(),
        json.dumps(JOB).replace("0.25", "-Infinity").encode(),
        json.dumps(JOB).replace("0.25", "1" * 5000).encode(),
        json.dumps(JOB).replace('"id"', '"id": "job-0", "id"').encode(),
        json.dumps(JOB).replace("job-1", "\\ud800").encode(),
        json.dumps({**JOB, "id": ""}).encode(),
        json.dumps({**JOB, "state": ["succeeded"]}).encode(),
        json.dumps({**JOB, "models": "model-1"}).encode(),
        json.dumps({**JOB, "error": {"code": ["invalid_prediction"]}}).encode(),
    ],
)
def test_a_document_that_no_service_makes_is_nonsense(
    server: Misbehaving, impatient: Client, body: bytes
) -> None:
    server.will(answer(200, body))
    with pytest.raises(ServiceError, match="is this the URL of a Windthrow service"):
        impatient.job("job-1")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Retry_After", "\N{SUPERSCRIPT TWO}"),
        ("Retry_After", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"),
        ("Retry_After", "9" * 400),
        ("ETag", '"\xe9"'),
        ("Set_Cookie", "a=b; Max-Age=x; Path=\xff"),
    ],
)
def test_no_header_is_a_surprise(server: Misbehaving, impatient: Client, header: str, value: str) -> None:
    server.will(*[answer(503, JOB, **{header: value})] * 4)
    with pytest.raises(Unavailable):
        impatient.job("job-1")
    server.replies.clear()
    etag = answer(200, JOB, **{header: value})
    server.will(answer(404, {}), etag, etag, answer(200, DONE))
    assert impatient.wait("job-1").state == "succeeded"


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b"<html>log in</html>", kind="text/html"),
        answer(200, {"status": "passed"}),
        answer(204, b"", kind="application/xml"),
        answer(206, b"<?xml", kind="application/xml"),
        answer(304, b"", kind="application/xml"),
    ],
)
def test_a_report_is_of_the_kind_that_was_asked_for(
    server: Misbehaving, impatient: Client, reply: Reply
) -> None:
    server.will(reply)
    with pytest.raises(ServiceError, match="is this the URL of a Windthrow service"):
        impatient.verdict_file("job-1", "junit", policy={})


def test_a_page_is_no_table(server: Misbehaving, impatient: Client) -> None:
    server.will(answer(200, b"<html>log in</html>", kind="text/html"))
    with pytest.raises(ServiceError, match="text/html"):
        impatient.results_csv("job-1")


def test_a_list_without_an_end_ends(server: Misbehaving, impatient: Client) -> None:
    server.will(answer(200, {"items": [], "next_cursor": "more"}))
    assert impatient.jobs(limit=10) == []
    assert len(server.seen) == 1
    server.will(answer(200, {"items": [JOB] * 30, "next_cursor": None}))
    assert len(impatient.jobs(limit=10)) == 10


@pytest.mark.parametrize(
    "text",
    ["data: " + "a" * (3 << 20), "data: a\n" * 400_000, "id: 1\nevent: e\ndata: " + "[" * 100_000 + "\n\n"],
    ids=["line", "event", "nested"],
)
def test_events_have_bounds(server: Misbehaving, impatient: Client, text: str) -> None:
    server.will(events(text), answer(200, DONE))
    assert impatient.wait("job-1").state == "succeeded"


@pytest.mark.parametrize(
    "said",
    [{"size": 8}, {"size": 7, "received": 8}, {"size": 7, "received": -1}, {"id": 7}, {"id": ""}],
)
def test_an_upload_of_another_file_is_nonsense(
    server: Misbehaving, impatient: Client, tmp_path: Path, said: Json
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    server.will(answer(200, {"items": [], "next_cursor": None}), answer(201, {**UPLOADED, **said}))
    with pytest.raises(ServiceError):
        impatient.upload(file)
    assert not [one for one in server.seen if one.method == "PUT"]


def test_ids_of_any_kind_stay_in_their_place(server: Misbehaving) -> None:
    async def ask_for_model() -> str:
        async with AsyncClient(server.url, KEY, retries=0) as client:
            return (await client.model("a/../\N{SNOWMAN}?\0")).id

    server.will(answer(200, MODEL))
    assert asyncio.run(ask_for_model()) == "model-1"
    assert server.lines == ["GET /v1/models/a%2F..%2F%E2%98%83%3F%00"]


def test_an_id_that_fills_a_url_is_nonsense(server: Misbehaving, impatient: Client) -> None:
    server.will(answer(200, MODEL))
    with pytest.raises(ServiceError):
        impatient.model("a" * 100_000)
