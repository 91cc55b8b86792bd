"""Somebody who uploads: declares files, and looks at what the service keeps of them."""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from core.settings import Settings
from core.store.blobs import FileBlobs
from tests.api.wire import Wire
from tests.service import Caller, Json
from worker.supervisor import Component, Stack

MIB = 1 << 20
PATIENCE = 30.0
PIECE = MIB // 2
LOCKS = Path("/proc/locks")


class Courier:
    """An API key's holder with files to send."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.http = caller.http
        self.blobs = FileBlobs(caller.stack.settings.blob_dir)
        self.staging = caller.stack.settings.staging

    def declare(self, data: bytes, **changes: object) -> Json:
        body = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), **changes}
        answer = self.caller.post("/v1/uploads", body)
        assert answer.status_code == 201, answer.text
        declared: Json = answer.json()
        return declared

    def put(self, declared: Json, content: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.put(declared["content"], content=content, headers=named)

    def resume(self, declared: Json, data: bytes) -> httpx.Response:
        """Send what is not here yet."""
        here = self.received(declared)
        return self.put(declared, data[here:], upload_offset=str(here))

    def look(self, declared: Json) -> Json:
        found: Json = self.caller.get(f"/v1/uploads/{declared['id']}").json()
        return found

    def received(self, declared: Json) -> int:
        return int(self.look(declared)["received"])

    def wire(self, declared: Json, **headers: object) -> Wire:
        return Wire(self.caller, declared["content"], **headers)

    def broken_off(self, declared: Json, data: bytes, end: int, *, begin: int = 0) -> int:
        """Send the file from `begin` on and break the connection off at `end`; how much is here then.

        That is all, or all but the last piece: uvicorn keeps to itself what it has not handed on by then.
        """
        headers = {"content_length": len(data) - begin, "upload_offset": begin}
        with self.wire(declared, **headers) as wire:
            until(lambda: self.held(declared), "the request has begun")
            wire.send(data[begin:end])
        until(lambda: not self.held(declared), "the request has ended")
        here = self.received(declared)
        assert max(begin, end - PIECE) <= here <= end
        return here

    def held(self, declared: Json) -> bool:
        """Whether a request is sending it: whether the kernel knows of a lock on its part. Asking takes none."""
        try:
            number = (self.staging / f"{declared['id']}.part").stat().st_ino
        except FileNotFoundError:
            return False
        return any(line.split()[5].endswith(f":{number}") for line in LOCKS.read_text().splitlines())

    def parts(self) -> list[Path]:
        """Files on their way in, of whatever kind."""
        places = (self.staging, self.blobs.root / "tmp")
        return [path for place in places if place.exists() for path in place.iterdir()]

    def stored(self, data: bytes) -> bool:
        return self.blobs.exists(hashlib.sha256(data).hexdigest())

    def restart(self, how: signal.Signals) -> None:
        """Stop the API, and wait until the supervisor has started it again."""
        stack = self.caller.stack
        before = stack.pids["api"]
        os.kill(before, how)
        until(lambda: stack.pids.get("api") != before and self._answers(), "the API is back")

    def _answers(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


@contextmanager
def courier_of(
    database_url: str,
    directory: Path,
    settings: Settings,
    components: Collection[Component] = frozenset({"api"}),
) -> Iterator[Courier]:
    """Somebody with a key to an API with these settings; it is by itself unless said."""
    chosen = settings.model_copy(update={"database_url": database_url})
    with Stack(data_dir=directory, components=components, settings=chosen) as stack:
        headers = {"Authorization": f"Bearer {stack.key}"}
        with httpx.Client(base_url=stack.url, headers=headers, timeout=PATIENCE) as http:
            yield Courier(Caller(stack, http))
