"""The service with its files in S3: uploads still resume, headers are read without a download, workers fetch once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings
from core.store.blobs import open_blobs
from tests.api.courier import MIB, Courier, courier_of, until
from tests.s3 import S3Server, s3_server
from tests.service import DIGITS, pointers
from worker.processes import Warden
from worker.supervisor import Component

PARTS: tuple[Component, ...] = ("valkey", "api", "relay", "worker")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, warden: Warden) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3"), warden) as server:
        yield server


@pytest.fixture(scope="module")
def courier(
    s3: S3Server, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Courier]:
    settings = Settings(blob_url=s3.bucket())
    with courier_of(module_database_url, tmp_path_factory.mktemp("remote"), settings, PARTS) as made:
        yield made


def test_an_upload_that_breaks_off_and_resumes_ends_in_the_bucket(s3: S3Server, courier: Courier) -> None:
    data = os.urandom(20 * MIB)
    declared = courier.declare(data)
    courier.broken_off(declared, data, 7 * MIB)
    answer = courier.resume(declared, data)
    assert (answer.status_code, answer.json()["state"]) == (200, "complete")
    settings, digest = courier.caller.stack.settings, declared["sha256"]
    assert f"some/prefix/{digest[:2]}/{digest[2:]}" in s3.keys(settings.blob_url)
    assert open_blobs(settings).read(digest) == data
    assert courier.parts() == []
    assert not settings.blob_dir.exists()
    again = courier.caller.post("/v1/uploads", {"sha256": digest, "size": len(data)})
    assert (again.status_code, again.json()["state"]) == (200, "complete")


def test_a_header_is_read_without_fetching_the_file(courier: Courier) -> None:
    tensors = {"weights": {"dtype": "F32", "shape": [2 * MIB], "data_offsets": [0, 8 * MIB]}}
    header = json.dumps(tensors).encode()
    data = len(header).to_bytes(8, "little") + header + os.urandom(8 * MIB)
    refused = courier.caller.register(data)
    assert refused.status_code == 422
    assert pointers(refused) == ["#/manifest/layout"]
    assert courier.caller.register(os.urandom(MIB)).status_code == 422
    assert not courier.caller.stack.settings.blob_cache.exists()


def test_a_worker_fetches_a_checkpoint_and_checks_it(courier: Courier, checkpoint: Path) -> None:
    model = courier.caller.service.push("in the bucket", checkpoint, DIGITS)
    assert model["state"] == "ready"
    copies = [path.name for path in courier.caller.stack.settings.blob_cache.iterdir() if path.is_file()]
    assert copies == [model["sha256"]]


def test_what_was_sent_survives_a_store_that_is_away(
    database_url: str, tmp_path: Path, warden: Warden
) -> None:
    with s3_server(tmp_path, warden) as server:
        blob_url = server.bucket()
        with courier_of(database_url, tmp_path, Settings(blob_url=blob_url)) as courier:
            data = os.urandom(2 * MIB)
            declared = courier.declare(data)
            courier.put(declared, data, upload_complete="?0")
            server.child.stop(5)
            away = courier.put(declared, b"", upload_offset=str(2 * MIB))
            assert (away.status_code, away.json()["code"]) == (503, "store_unavailable")
            assert "retry-after" in away.headers
            found = courier.look(declared)
            assert (found["state"], found["received"]) == ("open", 2 * MIB)
            server.child.start()
            server.child.wait_ready(30)
            server.make_bucket(blob_url)
            back = courier.put(declared, b"", upload_offset=str(2 * MIB))
            assert back.json()["state"] == "complete"
            until(lambda: courier.parts() == [], "nothing is left")
