"""Uploads: nothing is sent twice, and what breaks off goes on where it broke."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from windthrow import AsyncClient, Client, RequestError, Unavailable

from tests.client.misbehaving import KEY, Json, Misbehaving, answer, hang_up, problem, reading
from tests.service import Caller

SIZE = 5 << 20
NONE: Json = {"items": [], "next_cursor": None}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"0123456789abcdef" * (SIZE // 16))
    return path


def upload(received: int, *, state: str = "open", id_: str = "u-1") -> Json:
    return {"id": id_, "sha256": "0" * 64, "size": SIZE, "received": received, "state": state, "name": None}


COMPLETE = upload(SIZE, state="complete")


def test_a_known_file_is_not_sent(server: Misbehaving, impatient: Client, file: Path) -> None:
    server.will(answer(200, NONE), answer(200, COMPLETE))
    assert impatient.upload(file).state == "complete"
    assert [one.method for one in server.seen] == ["GET", "POST"]


def test_an_upload_that_breaks_off_goes_on_where_it_broke(
    server: Misbehaving, impatient: Client, file: Path
) -> None:
    taken: list[bytes] = []
    told: list[int] = []
    half = SIZE // 2
    server.will(
        answer(200, NONE),
        answer(201, upload(0)),
        reading(half, hang_up(), into=taken),
        answer(200, upload(half)),
        reading(SIZE - half, answer(200, COMPLETE), into=taken),
    )
    assert impatient.upload(file, progress=lambda sent, _: told.append(sent)).state == "complete"
    assert b"".join(taken) == file.read_bytes()
    offsets = [one.headers["Upload-Offset"] for one in server.seen if one.method == "PUT"]
    assert offsets == ["0", str(half)]
    assert told[-1] == SIZE


def test_without_blocking_it_goes_on_as_well(server: Misbehaving, file: Path) -> None:
    taken: list[bytes] = []
    told: list[int] = []
    server.will(
        answer(200, NONE),
        answer(201, upload(0)),
        reading(1000, hang_up(), into=taken),
        answer(200, upload(1000)),
        reading(SIZE - 1000, answer(200, COMPLETE), into=taken),
    )

    async def send() -> str:
        async with AsyncClient(server.url, KEY, retries=3, backoff=0.001) as client:
            return (await client.upload(file, progress=lambda sent, _: told.append(sent))).state

    assert asyncio.run(send()) == "complete"
    assert b"".join(taken) == file.read_bytes()
    assert told[-1] == SIZE


def test_what_an_earlier_process_sent_is_not_sent_again(
    server: Misbehaving, impatient: Client, file: Path
) -> None:
    taken: list[bytes] = []
    others = [upload(7, id_="u-7"), upload(SIZE - 9, id_="u-9"), {**upload(SIZE - 1), "size": SIZE - 1}]
    server.will(answer(200, {**NONE, "items": others}), reading(9, answer(200, COMPLETE), into=taken))
    impatient.upload(file)
    assert taken == [file.read_bytes()[-9:]]
    assert server.lines[-1] == "PUT /v1/uploads/u-9/content"


def test_somebody_else_sending_it_is_waited_for(server: Misbehaving, impatient: Client, file: Path) -> None:
    server.will(
        answer(200, NONE),
        answer(201, upload(0)),
        problem(409, "upload_busy", Connection="close"),
        answer(200, COMPLETE),
    )
    assert impatient.upload(file).state == "complete"


def test_it_goes_on_as_long_as_it_gets_further_and_no_longer(
    server: Misbehaving, impatient: Client, file: Path
) -> None:
    server.will(answer(200, NONE), answer(201, upload(0)))
    for far in (10, 20, 30, 40, 50, 60):
        server.will(hang_up(), answer(200, upload(far)))
    for _ in range(9):
        server.will(hang_up(), answer(200, upload(60)))
    with pytest.raises(Unavailable):
        impatient.upload(file)
    assert len([one for one in server.seen if one.method == "PUT"]) == 6 + 4


def test_a_beginning_that_was_something_else_is_sent_anew(
    server: Misbehaving, impatient: Client, file: Path
) -> None:
    taken: list[bytes] = []
    server.will(
        answer(200, {**NONE, "items": [upload(7)]}),
        reading(SIZE - 7, problem(422, "digest_mismatch"), into=[]),
        answer(200, upload(0)),
        reading(SIZE, answer(200, COMPLETE), into=taken),
    )
    assert impatient.upload(file).state == "complete"
    assert taken == [file.read_bytes()]


def test_a_refused_file_is_not_sent_again(server: Misbehaving, impatient: Client, file: Path) -> None:
    server.will(answer(200, NONE), answer(201, upload(0)), problem(422, "digest_mismatch", "another file"))
    with pytest.raises(RequestError, match="another file"):
        impatient.upload(file)


def test_a_file_that_shrinks_meanwhile_is_said(server: Misbehaving, impatient: Client, file: Path) -> None:
    def shrink(sent: int, _: int) -> None:
        if sent == 1 << 20:
            file.write_bytes(b"short")

    taken: list[bytes] = []
    server.will(answer(200, NONE), answer(201, upload(0)), reading(SIZE, hang_up(), into=taken))
    with pytest.raises(RequestError, match="became shorter"):
        impatient.upload(file, progress=shrink)


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (None, "cannot be read")])
def test_a_file_that_is_none_is_refused_before_anything_is_sent(
    server: Misbehaving, impatient: Client, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "nothing"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=message):
        impatient.upload(path)
    assert not server.seen


def test_the_real_service_goes_on_with_what_it_has(caller: Caller, client: Client, tmp_path: Path) -> None:
    data = hashlib.sha256(b"unlike any other").digest() * (1 << 16)
    path = tmp_path / "mine.bin"
    path.write_bytes(data)
    declared = caller.post(
        "/v1/uploads", {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    ).json()
    part = caller.http.put(declared["content"], content=data[:1000], headers={"Upload-Complete": "?0"})
    assert part.json()["received"] == 1000
    told: list[tuple[int, int]] = []
    sent = client.upload(path, progress=lambda *now: told.append(now))
    assert (sent.id, sent.state) == (declared["id"], "complete")
    assert told[0] == (1000 + (1 << 20), len(data))
    told.clear()
    assert client.upload(path, progress=lambda *now: told.append(now)).state == "complete"
    assert told == [(len(data), len(data))]
