"""What an upload costs beside writing and hashing the same bytes here, and how much memory the API needs for it.

A real API (uvicorn, PostgreSQL) takes one file over loopback HTTP several times, in turn with a plain loop that
writes and hashes the same file in pieces of 1 MiB and makes it safe, on the same disk. Then one is broken off near
its end and resumed. Run from the repository root, on Linux: `python -m bench.upload [--mib 500] [--check]`.
"""

import argparse
import hashlib
import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worker.supervisor import Stack

MIB = 2**20

LEAST_PACE = 0.6
"""How fast an upload must be at least, in times the plain loop."""

MOST_GROWTH = 64.0
"""Most MiB by which the API's peak may be above what it took when idle."""

LAST_MIB = 8
"""What is left to send when an upload is resumed."""


class Api:
    """A running API, and the file that it is sent."""

    def __init__(self, stack: Stack, path: Path) -> None:
        self._address = urlsplit(stack.url)
        self._key = stack.key
        self._process = Path(f"/proc/{stack.pids['api']}")
        self._blobs = stack.settings.blob_dir
        self._path = path
        self._digest = hashlib.file_digest(path.open("rb"), "sha256").hexdigest()

    def declare(self) -> str:
        """Declare the file; where its bytes go."""
        body = json.dumps({"sha256": self._digest, "size": self._path.stat().st_size})
        declared = self._json("POST", "/v1/uploads", body)
        return str(declared["content"])

    def send(self, content: str, begin: int = 0, end: int | None = None) -> float:
        """Send the file from `begin` on, breaking off at `end`; seconds until the answer was here."""
        size = self._path.stat().st_size
        head = (
            f"PUT {content} HTTP/1.1\r\nHost: {self._address.netloc}\r\nAuthorization: Bearer {self._key}\r\n"
            f"Upload-Offset: {begin}\r\nContent-Length: {size - begin}\r\nConnection: close\r\n\r\n"
        )
        with self._connected() as connection, self._path.open("rb") as file:
            started = time.perf_counter()
            connection.sendall(head.encode())
            connection.sendfile(file, begin, (size if end is None else end) - begin)
            if end is None:
                answer = b"".join(iter(lambda: connection.recv(MIB), b""))
                assert answer.startswith(b"HTTP/1.1 200"), answer
                assert b'"state":"complete"' in answer, answer
            return time.perf_counter() - started

    def received(self, content: str) -> int:
        """How many bytes are safe."""
        found = self._json("GET", content.removesuffix("/content"))
        return int(found["received"])

    def forget(self) -> None:
        """Take the file out of the store again."""
        (self._blobs / self._digest[:2] / self._digest[2:]).unlink()

    def peak(self, *, reset: bool = False) -> float:
        """MiB of memory that the process ever had at once, or had since the last reset."""
        if reset:
            (self._process / "clear_refs").write_text("5")
        status = dict(line.split(":", 1) for line in (self._process / "status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) / 1024

    def _connected(self) -> socket.socket:
        return socket.create_connection((self._address.hostname or "", self._address.port or 0), timeout=60)

    def _json(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._address.netloc)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return answer


def write_here(source: Path, target: Path) -> float:
    """Seconds to write and hash the file in pieces, and to make it safe as an upload is before it is answered."""
    started, digest = time.perf_counter(), hashlib.sha256()
    with source.open("rb") as file, target.open("wb") as copy:
        while piece := file.read(MIB):
            copy.write(piece)
            digest.update(piece)
        copy.flush()
        os.fsync(copy.fileno())
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def resume(api: Api, size: int) -> float:
    """Break an upload off shortly before its end; seconds that the rest takes."""
    content, end = api.declare(), size - LAST_MIB * MIB
    api.send(content, end=end)
    deadline = time.monotonic() + 30
    while (here := api.received(content)) != end and time.monotonic() < deadline:
        time.sleep(0.05)
    seconds = api.send(content, begin=here)
    api.forget()
    return seconds


def measure(api: Api, path: Path, rounds: int) -> bool:
    """Print what is found; whether the targets are met."""
    size = path.stat().st_size
    idle = api.peak(reset=True)
    pairs = []
    for _ in range(rounds):
        here = write_here(path, path.with_suffix(".copy"))
        there = api.send(api.declare())
        api.forget()
        pairs.append((here, there))
        print(f"  here {here:5.2f} s, uploaded {there:5.2f} s, {here / there:4.2f}", flush=True)
    growth = api.peak() - idle
    pace = statistics.median(here / there for here, there in pairs)
    here, there = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    rest = resume(api, size)
    print(f"{size / MIB:.0f} MiB: {here:.2f} s here, {there:.2f} s uploaded ({size / MIB / there:.0f} MiB/s)")
    print(f"pace of an upload {pace:.2f} of the plain loop's (median of {rounds} pairs; target {LEAST_PACE})")
    print(f"memory of the API {idle:.0f} MiB idle, at most {growth:.0f} more (target {MOST_GROWTH:.0f})")
    print(f"resumed with {LAST_MIB} MiB to go, the rest of them hashed again: {rest:.2f} s")
    return pace >= LEAST_PACE and growth <= MOST_GROWTH


def main() -> int:
    """Measure; 1 with `--check` when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        with path.open("wb") as file:
            for _ in range(asked.mib):
                file.write(os.urandom(MIB))
        with Stack(data_dir=Path(folder) / "data", components=("postgres", "api")) as stack:
            met = measure(Api(stack, path), path, asked.rounds)
    return 1 if asked.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
