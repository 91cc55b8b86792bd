"""Uploads that go on where they broke off: after a broken connection, a stopped or killed API, a full disk."""

import os
import random
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from core.settings import Settings
from tests.api.courier import MIB, Courier, courier_of, until
from tests.service import pointers


@pytest.fixture(scope="module")
def courier(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Courier]:
    settings = Settings(max_open_uploads=1000, upload_idle_seconds=2)
    with courier_of(module_database_url, tmp_path_factory.mktemp("resuming"), settings) as made:
        yield made


@pytest.mark.parametrize("end", [1, 65_537, MIB, 5 * MIB - 1])
def test_what_came_before_a_connection_broke_is_kept_and_the_rest_completes_it(
    courier: Courier, end: int
) -> None:
    data = os.urandom(5 * MIB)
    declared = courier.declare(data)
    here = courier.broken_off(declared, data, end)
    answer = courier.put(declared, data[here:], upload_offset=str(here))
    assert answer.status_code == 200
    assert answer.json()["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data
    assert courier.parts() == []


def test_a_chunked_body_that_breaks_off_is_kept(courier: Courier) -> None:
    data = os.urandom(3 * MIB)
    declared = courier.declare(data)
    with courier.wire(declared, transfer_encoding="chunked") as wire:
        until(lambda: courier.held(declared), "the request has begun")
        wire.chunk(data[:MIB])
        wire.chunk(data[MIB : 2 * MIB])
    until(lambda: not courier.held(declared), "the request has ended")
    assert MIB <= courier.received(declared) <= 2 * MIB
    assert courier.resume(declared, data).json()["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data


def test_the_headers_say_what_the_body_says(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    here = courier.broken_off(declared, data, MIB)
    path = f"/v1/uploads/{declared['id']}"
    for answer in (courier.http.head(path), courier.http.get(path)):
        assert answer.status_code == 200
        assert answer.headers["upload-offset"] == str(here)
        assert answer.headers["upload-length"] == str(2 * MIB)
        assert answer.headers["upload-complete"] == "?0"
        assert answer.headers["cache-control"] == "no-store"
    sent = courier.resume(declared, data)
    assert sent.headers["upload-offset"] == str(2 * MIB)
    assert sent.headers["upload-complete"] == "?1"


@pytest.mark.parametrize("offset", [0, MIB - 1, MIB + 1, 2 * MIB, 10**14])
def test_another_offset_is_refused_with_the_right_one(courier: Courier, offset: int) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    courier.put(declared, data[:MIB], upload_complete="?0")
    answer = courier.put(declared, data[offset:], upload_offset=str(offset))
    assert answer.status_code == 409
    assert pointers(answer) == ["Upload-Offset"]
    problem = answer.json()
    assert problem["code"] == "offset_mismatch"
    assert (problem["expected_offset"], problem["provided_offset"]) == (MIB, offset)
    assert answer.headers["upload-offset"] == str(MIB)
    assert courier.resume(declared, data).json()["state"] == "complete"


def test_without_an_offset_the_file_begins_anew(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    courier.broken_off(declared, os.urandom(2 * MIB), MIB)
    assert courier.put(declared, data).json()["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data


def test_a_file_may_be_sent_in_pieces(courier: Courier) -> None:
    data = os.urandom(3 * MIB + 1)
    declared = courier.declare(data)
    for begin in (0, MIB, 2 * MIB):
        piece = data[begin : begin + MIB]
        answer = courier.put(declared, piece, upload_offset=str(begin), upload_complete="?0")
        assert answer.status_code == 200
        assert (answer.json()["state"], answer.json()["received"]) == ("open", begin + MIB)
        assert answer.headers["upload-complete"] == "?0"
    last = courier.put(declared, data[3 * MIB :], upload_offset=str(3 * MIB), upload_complete="?1")
    assert last.json()["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data


def test_a_file_whose_bytes_are_all_here_is_completed_by_an_empty_body(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    courier.put(declared, data, upload_complete="?0")
    found = courier.look(declared)
    assert (found["state"], found["received"]) == ("open", 2 * MIB)
    answer = courier.put(declared, b"", upload_offset=str(2 * MIB))
    assert answer.json()["state"] == "complete"


def test_a_resumed_file_of_another_digest_is_dropped_whole(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    courier.broken_off(declared, os.urandom(2 * MIB), MIB)
    answer = courier.resume(declared, data)
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert courier.received(declared) == 0
    assert courier.parts() == []
    assert courier.put(declared, data).json()["state"] == "complete"


def test_connections_that_break_anywhere_cost_a_piece_at_most(courier: Courier) -> None:
    data, draw = os.urandom(6 * MIB), random.Random(7)
    declared, here = courier.declare(data), 0
    while here < len(data) - MIB:
        here = courier.broken_off(declared, data, here + draw.randrange(1, MIB), begin=here)
    assert courier.resume(declared, data).json()["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_safe_survives_the_api(courier: Courier, how: signal.Signals) -> None:
    data = os.urandom(8 * MIB)
    declared = courier.declare(data)
    with courier.wire(declared, content_length=len(data)) as wire:
        sent = 0
        while courier.received(declared) == 0:  # a moment, until some of it is made safe
            wire.send(data[sent : sent + 1000])
            sent += 1000
            assert sent < 4 * MIB
        courier.restart(how)
    here = courier.received(declared)
    assert 0 < here <= sent
    if how == signal.SIGTERM:
        assert here == sent
    assert courier.resume(declared, data).json()["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data


def test_of_two_at_once_one_is_taken_and_the_other_told_so(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    with courier.wire(declared, content_length=len(data)) as wire:
        wire.send(data[:MIB])
        until(lambda: courier.held(declared), "the first has begun")
        for headers in ({}, {"upload_offset": "0"}, {"upload_offset": str(MIB)}):
            other = courier.put(declared, data, **headers)
            assert (other.status_code, other.json()["code"]) == (409, "upload_busy")
            assert other.headers["retry-after"] == "1"
        wire.send(data[MIB:])
        answer = wire.answer()
    assert (answer.status, answer.json()["state"]) == (200, "complete")
    assert courier.blobs.read(declared["sha256"]) == data


def test_many_at_once_store_the_file_once_and_whole(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared, start = courier.declare(data), Barrier(8)

    def send(_: int) -> httpx.Response:
        start.wait()
        return courier.put(declared, iter([data]))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert any(answer.status_code == 200 for answer in answers)
    assert courier.look(declared)["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data
    assert courier.parts() == []


def test_a_connection_that_brings_nothing_is_closed_and_what_it_brought_kept(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    with courier.wire(declared, content_length=len(data)) as wire:
        wire.send(data[:MIB])
        answer = wire.answer()
    assert (answer.status, answer.json()["code"]) == (408, "upload_stalled")
    assert answer.headers["upload-offset"] == str(MIB)
    assert answer.headers["connection"] == "close"
    assert courier.resume(declared, data).json()["state"] == "complete"


def test_bytes_that_are_in_the_store_meanwhile_need_not_be_sent(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    courier.broken_off(declared, data, MIB)
    courier.blobs.put(data)  # as after a crash between storing the bytes and saying so
    answer = courier.put(declared, b"", upload_offset=str(2 * MIB))
    assert (answer.status_code, answer.json()["state"]) == (200, "complete")
    assert courier.parts() == []


def test_a_part_that_was_lost_is_sent_again(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    courier.put(declared, data[:MIB], upload_complete="?0")
    for path in courier.parts():
        path.unlink()
    answer = courier.put(declared, data[MIB:], upload_offset=str(MIB))
    assert (answer.status_code, answer.json()["expected_offset"]) == (409, 0)
    assert courier.put(declared, data, upload_offset="0").json()["state"] == "complete"


def test_what_was_written_and_not_yet_safe_when_the_machine_died_is_sent_again(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    courier.put(declared, data[:MIB], upload_complete="?0")
    with courier.parts()[0].open("ab") as part:
        part.write(bytes(1000))
    assert courier.received(declared) == MIB
    assert courier.resume(declared, data).json()["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data


def test_a_full_disk_keeps_what_was_safe_and_the_upload_goes_on_when_there_is_room(courier: Courier) -> None:
    """The limit on the size of files stands in for the disk: the kernel refuses writes in the same place."""
    data = os.urandom(6 * MIB)
    declared = courier.declare(data)
    courier.put(declared, data[:MIB], upload_complete="?0")
    api = courier.caller.stack.pids["api"]
    limits = resource.prlimit(api, resource.RLIMIT_FSIZE, (3 * MIB + 7, resource.RLIM_INFINITY))
    try:
        answer = courier.put(declared, data[MIB:], upload_offset=str(MIB))
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        here = courier.received(declared)
        assert MIB <= here <= 3 * MIB + 7
        assert answer.headers["upload-offset"] == str(here)
        assert [path.stat().st_size for path in courier.parts()] == [here]
    finally:
        resource.prlimit(api, resource.RLIMIT_FSIZE, limits)
    assert courier.resume(declared, data).json()["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"upload_offset": "-1"}, 422, "invalid_request"),
        ({"upload_offset": "1e3"}, 422, "invalid_request"),
        ({"upload_offset": "1_0"}, 422, "invalid_request"),
        ({"upload_offset": "0x10"}, 422, "invalid_request"),
        ({"upload_offset": ""}, 422, "invalid_request"),
        ({"upload_offset": "9" * 16}, 422, "invalid_request"),
        ({"upload_offset": "9" * 5000}, 422, "invalid_request"),
        ({"upload_offset": "9" * 15}, 409, "offset_mismatch"),
        ({"upload_offset": ["0", "500"]}, 400, "invalid_request"),
        ({"upload_complete": "yes"}, 422, "invalid_request"),
        ({"upload_complete": ["?0", "?1"]}, 400, "invalid_request"),
        ({"content_range": "bytes 0-999/1000"}, 400, "content_range"),
        ({"content_range": "bytes 0-999/5"}, 400, "content_range"),
        ({"content_range": "bytes */-1"}, 400, "content_range"),
    ],
)
def test_headers_that_mean_nothing_here_are_refused_and_change_nothing(
    courier: Courier, headers: dict[str, object], status: int, code: str
) -> None:
    data = os.urandom(1000)
    declared = courier.declare(data)
    with courier.wire(declared, content_length=1000, **headers) as wire:
        wire.send(data)
        answer = wire.answer()
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert courier.received(declared) == 0
    assert courier.parts() == []
    assert courier.put(declared, data).json()["state"] == "complete"


@pytest.mark.parametrize(
    "headers",
    [
        {"content_length": "-1"},
        {"content_length": str(1 << 70)},
        {"content_length": "ten"},
        {"content_length": ["1000", "7"]},
        {"content_length": 1000, "transfer_encoding": "chunked"},
    ],
)
def test_lengths_that_are_none_are_refused_and_change_nothing(
    courier: Courier, headers: dict[str, object]
) -> None:
    data = os.urandom(1000)
    declared = courier.declare(data)
    with courier.wire(declared, **headers) as wire:
        answer = wire.answer()
    assert answer.status == 400
    assert courier.received(declared) == 0
    assert courier.parts() == []
    assert courier.put(declared, data).json()["state"] == "complete"


@pytest.mark.parametrize("length", [999, 1001, 10**15])
def test_a_length_beside_the_declared_one_is_refused_at_once(courier: Courier, length: int) -> None:
    declared = courier.declare(os.urandom(1000))
    with courier.wire(declared, content_length=length, expect="100-continue") as wire:
        answer = wire.answer()
    assert (answer.status, answer.json()["code"]) == (422, "size_mismatch")
    assert answer.headers["connection"] == "close"
    assert courier.parts() == []


def test_bytes_behind_the_announced_length_are_not_part_of_the_file(courier: Courier) -> None:
    data = os.urandom(1000)
    declared = courier.declare(data)
    with courier.wire(declared, content_length=1000) as wire:
        wire.send(data + b"GARBAGE" * 100)
        assert wire.answer().status in {200, 400}  # of the file, or of the garbage as a request
    until(lambda: courier.resume(declared, data).status_code == 200, "the first request has ended")
    assert courier.look(declared)["state"] == "complete"
    assert courier.blobs.read(declared["sha256"]) == data


def test_a_body_of_single_bytes_is_taken(courier: Courier) -> None:
    data = os.urandom(20_000)
    declared = courier.declare(data)
    with courier.wire(declared, transfer_encoding="chunked") as wire:
        for value in data:
            wire.chunk(bytes([value]))
        wire.chunk(b"")
        assert wire.answer().json()["state"] == "complete"
