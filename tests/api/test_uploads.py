"""Files in: declared, sent whole, listed, abandoned, refused."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from core.settings import Settings
from core.store.database import Database
from core.store.keys import issue_key
from tests.api.courier import MIB, Courier, courier_of, until
from tests.service import pointers


@pytest.fixture(scope="module")
def courier(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Courier]:
    settings = Settings(max_open_uploads=1000)
    with courier_of(module_database_url, tmp_path_factory.mktemp("uploads"), settings) as made:
        yield made


def test_a_file_is_declared_sent_and_stored(courier: Courier) -> None:
    data = os.urandom(3 * MIB + 5)
    declared = courier.declare(data, name="weights.safetensors")
    assert (declared["state"], declared["received"], declared["size"]) == ("open", 0, len(data))
    assert declared["expires_at"] is not None
    answer = courier.put(declared, data)
    assert answer.status_code == 200
    sent = answer.json()
    assert (sent["state"], sent["received"], sent["expires_at"]) == ("complete", len(data), None)
    assert sent["completed_at"] is not None
    assert sent["name"] == "weights.safetensors"
    assert courier.blobs.read(sent["sha256"]) == data
    assert courier.blobs.path(sent["sha256"]).stat().st_mode & 0o777 == 0o444
    assert courier.parts() == []


def test_bytes_that_are_here_already_need_not_be_sent(courier: Courier) -> None:
    data = os.urandom(1000)
    courier.caller.upload(data)
    again = courier.caller.post("/v1/uploads", {"sha256": hashlib.sha256(data).hexdigest(), "size": 7})
    assert again.status_code == 200
    assert (again.json()["state"], again.json()["size"]) == ("complete", 1000)
    assert again.headers["upload-complete"] == "?1"


def test_what_is_sent_again_changes_nothing(courier: Courier) -> None:
    data = os.urandom(1000)
    declared = courier.declare(data)
    first = courier.put(declared, data)
    again = courier.put(declared, data)
    assert again.status_code == 200
    assert again.json() == first.json()
    assert courier.parts() == []


def test_a_body_without_a_length_is_taken(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    answer = courier.put(courier.declare(data), iter([data[:10], data[10:]]))
    assert answer.json()["state"] == "complete"


def test_bytes_of_another_digest_are_refused_and_not_kept(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    answer = courier.put(declared, os.urandom(2 * MIB))
    assert answer.status_code == 422
    assert answer.json()["code"] == "digest_mismatch"
    assert answer.headers["upload-offset"] == "0"
    assert pointers(answer) == ["#/sha256"]
    found = courier.look(declared)
    assert (found["state"], found["received"]) == ("open", 0)
    assert courier.parts() == []
    assert courier.put(declared, data).json()["state"] == "complete"


def test_a_length_that_does_not_fit_is_refused_before_anything_is_sent(courier: Courier) -> None:
    data = os.urandom(1000)
    declared = courier.declare(data)
    for wrong in (data[:-1], data + b"x"):
        answer = courier.put(declared, wrong)
        assert answer.status_code == 422
        assert pointers(answer) == ["#/size"]
        assert courier.received(declared) == 0
    assert courier.parts() == []
    assert courier.put(declared, data).json()["state"] == "complete"


def test_a_body_without_a_length_that_is_too_long_is_dropped(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    answer = courier.put(declared, iter([data, b"x"]))
    assert answer.status_code == 422
    assert pointers(answer) == ["#/size"]
    assert courier.received(declared) == 0
    assert courier.parts() == []


def test_a_body_without_a_length_that_is_too_short_is_kept(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    answer = courier.put(declared, iter([data[:MIB]]))
    assert answer.status_code == 422
    assert pointers(answer) == ["#/size"]
    assert answer.headers["upload-offset"] == str(MIB)
    assert courier.resume(declared, data).json()["state"] == "complete"


@pytest.mark.parametrize("sha256", ["../../etc/passwd", "", "A" * 64, "0" * 63])
def test_a_digest_that_is_none_is_refused(courier: Courier, sha256: str) -> None:
    answer = courier.caller.post("/v1/uploads", {"sha256": sha256, "size": 3})
    assert answer.status_code == 422
    assert pointers(answer) == ["#/sha256"]


@pytest.mark.parametrize("size", [0, -1, 1 << 63, 1 << 200, 1.5, "many", None])
def test_a_size_that_is_none_is_refused(courier: Courier, size: object) -> None:
    answer = courier.caller.post("/v1/uploads", {"sha256": "0" * 64, "size": size})
    assert answer.status_code == 422
    assert pointers(answer) == ["#/size"]


def test_a_file_over_the_limit_is_refused_before_it_is_sent(courier: Courier) -> None:
    answer = courier.caller.post("/v1/uploads", {"sha256": "0" * 64, "size": 1 << 50})
    assert answer.status_code == 413
    assert answer.json()["code"] == "upload_too_large"
    assert pointers(answer) == ["#/size"]


def test_when_bytes_are_complete_all_uploads_that_wait_for_them_are(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    waiting, sent, lying = courier.declare(data), courier.declare(data), courier.declare(data, size=7)
    courier.broken_off(waiting, data, MIB)
    courier.put(sent, data)
    for declared in (waiting, lying):
        found = courier.look(declared)
        assert (found["state"], found["received"], found["size"]) == ("complete", len(data), len(data))
    assert courier.parts() == []


def test_a_key_finds_its_own_uploads(courier: Courier) -> None:
    stack = courier.caller.stack
    database = Database(stack.settings.database_url)
    with database.session() as session:
        _, key = issue_key(session, "another", ["submit"], secret=stack.settings.secret())
    database.dispose()
    data, other = os.urandom(1000), os.urandom(1000)
    with httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}) as http:
        assert http.get("/v1/uploads").json()["items"] == []
        for content in (data, other):
            body = {"sha256": hashlib.sha256(content).hexdigest(), "size": 1000}
            http.post("/v1/uploads", json=body)
        second, first = http.get("/v1/uploads").json()["items"]
        http.put(first["content"], content=data)
        assert [one["id"] for one in http.get("/v1/uploads?state=open").json()["items"]] == [second["id"]]
        by_digest = http.get(f"/v1/uploads?sha256={first['sha256']}").json()["items"]
        assert [one["id"] for one in by_digest] == [first["id"]]
        page = http.get("/v1/uploads?limit=1").json()
        following = http.get("/v1/uploads", params={"cursor": page["next_cursor"]}).json()
        assert [one["id"] for one in page["items"] + following["items"]] == [second["id"], first["id"]]
        assert http.get("/v1/uploads?state=failed").status_code == 422


def test_an_abandoned_upload_is_gone_with_all_that_arrived(courier: Courier) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    courier.broken_off(declared, data, MIB)
    path = f"/v1/uploads/{declared['id']}"
    assert courier.http.delete(path).status_code == 204
    assert courier.parts() == []
    for answer in (courier.http.delete(path), courier.http.get(path), courier.put(declared, data)):
        assert answer.status_code == 404
        assert answer.json()["code"] == "upload_not_found"
    assert courier.http.head(path).status_code == 404
    assert courier.parts() == []


def test_an_upload_that_is_abandoned_while_it_is_sent_ends_with_that(courier: Courier) -> None:
    data = os.urandom(4 * MIB)
    declared = courier.declare(data)
    with courier.wire(declared, transfer_encoding="chunked") as wire:
        wire.chunk(data[:MIB])
        until(lambda: courier.parts() != [], "it is being sent")
        assert courier.http.delete(f"/v1/uploads/{declared['id']}").status_code == 204
        wire.chunk(data[MIB:])
        wire.chunk(b"")
        answer = wire.answer()
    assert (answer.status, answer.json()["code"]) == (404, "upload_not_found")
    until(lambda: courier.parts() == [], "nothing of it is left")
    assert not courier.stored(data)


def test_an_upload_whose_bytes_come_another_way_while_it_is_sent_is_complete(courier: Courier) -> None:
    data = os.urandom(4 * MIB)
    slow, fast = courier.declare(data), courier.declare(data)
    with courier.wire(slow, transfer_encoding="chunked") as wire:
        wire.chunk(data[:MIB])
        until(lambda: courier.parts() != [], "it is being sent")
        assert courier.put(fast, data).json()["state"] == "complete"
        wire.chunk(data[MIB:])
        wire.chunk(b"")
        answer = wire.answer()
    assert (answer.status, answer.json()["state"]) == (200, "complete")
    until(lambda: courier.parts() == [], "nothing of it is left")


def test_a_complete_upload_cannot_be_abandoned(courier: Courier) -> None:
    data = os.urandom(1000)
    declared = courier.declare(data)
    courier.put(declared, data)
    answer = courier.http.delete(f"/v1/uploads/{declared['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_complete")
    assert courier.stored(data)


def test_an_upload_that_nobody_declared_is_not_found(courier: Courier) -> None:
    answer = courier.http.put(f"/v1/uploads/{uuid4()}/content", content=b"bytes")
    assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")
    assert courier.parts() == []


def test_an_upload_of_500_megabytes_does_not_grow_the_api(courier: Courier) -> None:
    piece, count = os.urandom(MIB), 500
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(piece)
    declared = courier.caller.post("/v1/uploads", {"sha256": digest.hexdigest(), "size": count * MIB}).json()
    before = _peak_memory(courier, reset=True)
    answer = courier.put(declared, (piece for _ in range(count)))
    assert answer.json()["state"] == "complete"
    assert _peak_memory(courier) - before < 64 * MIB
    assert courier.blobs.size(digest.hexdigest()) == count * MIB
    courier.blobs.path(digest.hexdigest()).unlink()


def _peak_memory(courier: Courier, *, reset: bool = False) -> int:
    """Bytes of physical memory that the API process ever had at once, or had since the last reset."""
    process = Path(f"/proc/{courier.caller.stack.pids['api']}")
    if reset:
        (process / "clear_refs").write_text("5")
    status = (process / "status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
