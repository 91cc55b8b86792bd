"""How much may be on its way in, and what becomes of what nobody sends to any more."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import delete, func, update

from core.settings import Settings
from core.store.database import Database
from core.store.sweeping import Sweeper, Swept
from core.store.tables import Upload
from tests.api.courier import MIB, Courier, courier_of, until
from tests.service import Json, pointers

FILES, KEY_BYTES, STORE_BYTES = 3, 4 * MIB, 6 * MIB
EXPIRY = 3600.0


@pytest.fixture(scope="module")
def service(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Courier]:
    settings = Settings(
        max_open_uploads=FILES,
        max_open_upload_bytes=KEY_BYTES,
        max_store_bytes=STORE_BYTES,
        upload_expiry_seconds=EXPIRY,
    )
    with courier_of(module_database_url, tmp_path_factory.mktemp("quotas"), settings) as made:
        yield made


@pytest.fixture
def courier(service: Courier) -> Iterator[Courier]:
    """The service without any uploads."""
    yield service
    database = Database(service.caller.stack.settings.database_url, pool_size=1)
    with database.session() as session:
        session.execute(delete(Upload))
    database.dispose()
    for path in service.parts():
        path.unlink()


@pytest.fixture
def sweeper(courier: Courier) -> Iterator[Sweeper]:
    database = Database(courier.caller.stack.settings.database_url)
    yield Sweeper.of(courier.caller.stack.settings, database)
    database.dispose()


def _declared(courier: Courier, size: int) -> httpx.Response:
    body = {"sha256": hashlib.sha256(os.urandom(8)).hexdigest(), "size": size}
    return courier.caller.post("/v1/uploads", body)


def test_what_may_be_declared_is_limited_and_finishing_or_abandoning_makes_room(courier: Courier) -> None:
    data = [os.urandom(1000) for _ in range(FILES)]
    declared = [courier.declare(one) for one in data]
    refused = _declared(courier, 1)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_uploads")
    assert "DELETE" in refused.json()["detail"]
    courier.put(declared[0], data[0])
    declared.append(_declared(courier, 1).json())
    assert _declared(courier, 1).status_code == 429
    assert courier.http.delete(f"/v1/uploads/{declared[1]['id']}").status_code == 204
    assert _declared(courier, 1).status_code == 201

    for one in courier.http.get("/v1/uploads?state=open").json()["items"]:
        courier.http.delete(f"/v1/uploads/{one['id']}")
    assert _declared(courier, KEY_BYTES + 1).status_code == 413
    large = _declared(courier, KEY_BYTES - 10)
    assert large.status_code == 201
    refused = _declared(courier, 11)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_upload_bytes")
    assert pointers(refused) == ["#/size"]
    assert _declared(courier, 10).status_code == 201


def test_all_uploads_together_are_limited_each_file_counted_once(courier: Courier) -> None:
    data = os.urandom(3 * MIB)
    for _ in range(2):
        courier.caller.upload(data)
    assert _declared(courier, 2 * MIB).status_code == 201
    refused = _declared(courier, MIB + 1)
    assert (refused.status_code, refused.json()["code"]) == (507, "store_full")
    assert pointers(refused) == ["#/size"]
    assert _declared(courier, MIB).status_code == 201
    again = courier.caller.post("/v1/uploads", {"sha256": hashlib.sha256(data).hexdigest(), "size": 3 * MIB})
    assert again.status_code == 200


def test_quotas_hold_when_files_are_declared_at_once(courier: Courier) -> None:
    start = Barrier(12)

    def declare(_: int) -> int:
        start.wait()
        return _declared(courier, 1).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(declare, range(12)))
    assert sorted(statuses) == [201] * FILES + [429] * (12 - FILES)


def test_room_on_the_disk_is_kept_free(database_url: str, tmp_path: Path) -> None:
    data, database = os.urandom(1000), Database(database_url, pool_size=1)
    with courier_of(database_url, tmp_path, Settings(keep_free_bytes=1 << 60)) as courier:
        refused = _declared(courier, 1)
        assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
        assert pointers(refused) == ["#/size"]
        with database.session() as session:  # as if declared when there was room
            upload = Upload(sha256=hashlib.sha256(data).hexdigest(), size=1000)
            session.add(upload)
        answer = courier.http.put(f"/v1/uploads/{upload.id}/content", content=data)
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        assert courier.parts() == []
    database.dispose()


def test_an_upload_expires_when_nobody_has_sent_to_it_for_long(courier: Courier, sweeper: Sweeper) -> None:
    data = os.urandom(2 * MIB)
    left, fresh = courier.declare(data), courier.declare(os.urandom(2 * MIB))
    for declared in (left, fresh):
        courier.put(declared, data[:MIB], upload_complete="?0")
    _grow_old(courier, left)
    assert sweeper.sweep() == Swept(expired=1, parts=0, drafts=0)
    assert [path.stem for path in courier.parts()] == [fresh["id"]]
    assert courier.received(fresh) == MIB
    late = courier.put(left, data[MIB:], upload_offset=str(MIB))
    assert (late.status_code, late.json()["code"]) == (404, "upload_not_found")
    assert [path.stem for path in courier.parts()] == [fresh["id"]]
    assert sweeper.sweep() == Swept(0, 0, 0)


def test_an_upload_that_is_being_sent_does_not_expire(courier: Courier, sweeper: Sweeper) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    with courier.wire(declared, content_length=len(data)) as wire:
        until(lambda: courier.held(declared), "the request has begun")
        _grow_old(courier, declared)
        assert sweeper.sweep().expired == 0
        wire.send(data)
        assert wire.answer().json()["state"] == "complete"


def test_whatever_gets_on_is_not_left(courier: Courier, sweeper: Sweeper) -> None:
    data = os.urandom(2 * MIB)
    declared = courier.declare(data)
    for begin in (0, MIB // 2):
        _grow_old(courier, declared)
        piece = data[begin : begin + MIB // 2]
        courier.put(declared, piece, upload_offset=str(begin), upload_complete="?0")
        assert sweeper.sweep().expired == 0
    assert courier.resume(declared, data).json()["state"] == "complete"


def test_expiry_never_takes_a_file_from_under_a_request(courier: Courier, sweeper: Sweeper) -> None:
    """Sending and sweeping begin at once: the file is whole, or there is none, or the request came too early."""
    statuses = Counter[int]()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(40):
            data = os.urandom(10_000)
            declared = courier.declare(data)
            courier.put(declared, data[:5000], upload_complete="?0")
            _grow_old(courier, declared)
            sweeping = pool.submit(sweeper.sweep)
            answer = courier.put(declared, data[5000:], upload_offset="5000")
            expired = sweeping.result().expired
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                assert courier.blobs.read(declared["sha256"]) == data
            elif answer.status_code == 409:
                assert answer.json()["code"] == "upload_busy"
            else:
                assert (answer.status_code, expired) == (404, 1)
            assert courier.parts() == []
    assert set(statuses) <= {200, 404, 409}


def test_strays_of_a_crash_are_cleared_away_once_they_are_old(courier: Courier, sweeper: Sweeper) -> None:
    data = os.urandom(2 * MIB)
    kept = courier.declare(data)
    courier.put(kept, data[:MIB], upload_complete="?0")
    drafts = courier.blobs.root / "tmp"
    drafts.mkdir(parents=True, exist_ok=True)
    strays = [courier.staging / f"{uuid4()}.part", drafts / "tmpabc"]
    foreign = courier.staging / "notes.txt"
    for path in (*strays, foreign):
        path.write_bytes(b"left behind")
    assert sweeper.sweep() == Swept(0, 0, 0)
    for path in (*courier.parts(), foreign):
        os.utime(path, (0, 0))
    assert sweeper.sweep() == Swept(expired=0, parts=1, drafts=1)
    assert not any(path.exists() for path in strays)
    assert foreign.exists()
    foreign.unlink()
    assert courier.resume(kept, data).json()["state"] == "complete"


def test_the_relay_sweeps(database_url: str, tmp_path: Path) -> None:
    settings = Settings(upload_expiry_seconds=1, broker_url="redis://127.0.0.1:1")
    with courier_of(database_url, tmp_path, settings, {"api", "relay"}) as courier:
        declared = courier.declare(os.urandom(2 * MIB))
        courier.put(declared, os.urandom(MIB), upload_complete="?0")
        path = f"/v1/uploads/{declared['id']}"
        until(lambda: courier.http.get(path).status_code == 404, "the upload expires")
        until(lambda: courier.parts() == [], "its part is gone")


def _grow_old(courier: Courier, declared: Json) -> None:
    """Let it be long ago that anything was sent."""
    database = Database(courier.caller.stack.settings.database_url, pool_size=1)
    with database.session() as session:
        row = update(Upload).where(Upload.id == UUID(declared["id"]))
        session.execute(row.values(progressed_at=func.now() - timedelta(seconds=2 * EXPIRY)))
    database.dispose()
