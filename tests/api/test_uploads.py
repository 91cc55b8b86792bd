"""Files in: whole or not at all."""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.service import Caller, pointers

MIB = 1 << 20


def _declare(caller: Caller, data: bytes, **changes: object) -> dict[str, str]:
    body = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), **changes}
    answer = caller.post("/v1/uploads", body)
    assert answer.status_code == 201, answer.text
    declared: dict[str, str] = answer.json()
    return declared


def test_bytes_that_are_here_already_need_not_be_sent(caller: Caller) -> None:
    data = os.urandom(1000)
    caller.upload(data)
    again = caller.post("/v1/uploads", {"sha256": hashlib.sha256(data).hexdigest(), "size": 1000})
    assert again.status_code == 200
    assert again.json()["state"] == "complete"


def test_bytes_of_another_digest_are_refused_and_not_kept(caller: Caller) -> None:
    data = os.urandom(1000)
    declared = _declare(caller, data)
    answer = caller.http.put(declared["content"], content=os.urandom(1000))
    assert answer.status_code == 422
    assert pointers(answer) == ["#/sha256"]
    assert caller.get(f"/v1/uploads/{declared['id']}").json()["state"] == "open"
    assert _drafts(caller) == []


def test_more_or_fewer_bytes_than_declared_are_refused(caller: Caller) -> None:
    data = os.urandom(1000)
    declared = _declare(caller, data)
    for wrong in (data[:-1], data + b"x"):
        answer = caller.http.put(declared["content"], content=wrong)
        assert answer.status_code == 422
        assert pointers(answer) == ["#/size"]
    assert caller.http.put(declared["content"], content=data).json()["state"] == "complete"


def test_a_broken_connection_leaves_nothing_behind(caller: Caller) -> None:
    data = os.urandom(MIB)
    declared = _declare(caller, data)
    address = urlsplit(caller.stack.url)
    head = (
        f"PUT {declared['content']} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {MIB}\r\n"
        f"Authorization: Bearer {caller.stack.key}\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(head.encode() + data[: MIB // 2])
    assert caller.http.put(declared["content"], content=data).json()["state"] == "complete"
    assert _drafts(caller) == []


def test_a_digest_that_is_none_is_refused(caller: Caller) -> None:
    answer = caller.post("/v1/uploads", {"sha256": "../../etc/passwd", "size": 3})
    assert answer.status_code == 422
    assert pointers(answer) == ["#/sha256"]


def test_a_file_over_the_limit_is_refused_before_it_is_sent(caller: Caller) -> None:
    answer = caller.post("/v1/uploads", {"sha256": "0" * 64, "size": 1 << 50})
    assert answer.status_code == 413
    assert pointers(answer) == ["#/size"]


def test_an_upload_of_500_megabytes_does_not_grow_the_api(caller: Caller) -> None:
    piece = os.urandom(MIB)
    count = 500
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(piece)
    body = {"sha256": digest.hexdigest(), "size": count * MIB}
    declared = caller.post("/v1/uploads", body).json()
    before = _peak_memory(caller)

    def pieces() -> Iterator[bytes]:
        for _ in range(count):
            yield piece

    answer = caller.http.put(declared["content"], content=pieces())
    assert answer.json()["state"] == "complete"
    assert _peak_memory(caller) - before < 64 * MIB
    path = caller.stack.settings.blob_dir / digest.hexdigest()[:2] / digest.hexdigest()[2:]
    assert path.stat().st_size == count * MIB
    path.unlink()


def _peak_memory(caller: Caller) -> int:
    """Bytes of physical memory that the API process ever had at once."""
    status = Path(f"/proc/{caller.stack.pids['api']}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _drafts(caller: Caller) -> list[Path]:
    return list((caller.stack.settings.blob_dir / "tmp").iterdir())
