"""Requests that no HTTP library would send: broken off, stalled, lying about their length."""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from tests.service import Caller

PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection on which a PUT has begun; a context manager, which breaks it off."""

    def __init__(self, caller: Caller, path: str, **headers: object) -> None:
        address = urlsplit(caller.stack.url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE)
        lines = [
            f"PUT {path} HTTP/1.1",
            f"Host: {address.netloc}",
            f"Authorization: Bearer {caller.stack.key}",
        ]
        for name, value in headers.items():
            field = name.replace("_", "-")
            lines += [f"{field}: {one}" for one in (value if isinstance(value, list) else [value])]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def chunk(self, data: bytes) -> None:
        """Send a piece of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def answer(self) -> Answer:
        """What comes back, up to the end of its body."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += self._more()
        number = re.match(r"HTTP/1\.1 (\d{3})", status)
        assert number is not None, status
        return Answer(int(number[1]), headers, body)

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        assert data, "the connection was closed before the whole answer came"
        return data
