"""A server that answers as a test has scripted it: well, late, half, or not at all."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
Reply = Callable[[BaseHTTPRequestHandler], None]

KEY = "wt_test"
JOB: Json = {
    "id": "job-1",
    "kind": "evaluation",
    "state": "running",
    "cancel_requested": False,
    "models": ["model-1"],
    "client_ref": None,
    "progress": {"shards_done": 1, "shards_total": 4, "fraction": 0.25, "eta_seconds": 3.0},
    "error": None,
    "created_at": "2026-11-22T12:00:00Z",
}
DONE = {**JOB, "state": "succeeded"}


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Misbehaving:
    """The server's script, and what it has seen. A request beyond the script's end is a 500."""

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self.seen: list[Seen] = []
        self.url = ""

    def will(self, *replies: Reply) -> None:
        """Answer the next requests like this."""
        self.replies.extend(replies)

    @property
    def lines(self) -> list[str]:
        """Method and path of what arrived."""
        return [f"{one.method} {one.path}" for one in self.seen]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing: who is answered like this may hang up."""


@contextmanager
def misbehaving_server() -> Iterator[Misbehaving]:
    """Such a server on this machine."""
    script = Misbehaving()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            reply = script.replies.popleft() if script.replies else answer(500, {"of": "no script"})
            body = b"" if hasattr(reply, "reads_itself") else _body(self)
            script.seen.append(Seen(self.command, self.path, dict(self.headers.items()), body))
            reply(self)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any, **__: Any) -> None:
            """Write nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))


def answer(status: int, document: Any = None, *, kind: str = "application/json", **headers: str) -> Reply:
    """A whole answer; underscores in header names are dashes."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Type", kind)
        if status != 304:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if status != 304:
            handler.wfile.write(body)

    return reply


def problem(status: int, code: str, detail: str = "it is so", *, errors: Any = (), **headers: str) -> Reply:
    """A refusal as the service words it."""
    document = {"code": code, "detail": detail, "errors": list(errors), "request_id": "r-1"}
    return answer(status, document, kind="application/problem+json", **headers)


def hang_up() -> Reply:
    """No answer at all."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    return reply


def truncated(document: Any) -> Reply:
    """An answer that breaks off in the middle."""
    body = json.dumps(document).encode()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.close_connection = True

    return reply


def events(text: str) -> Reply:
    """A stream of events that breaks off after this."""
    return holding(text, until=None)


def holding(text: str, *, until: threading.Event | None) -> Reply:
    """A stream of events that brings nothing after this, and then breaks off."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        data = text.encode()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if until is not None:
            until.wait(60)
        handler.close_connection = True

    return reply


def reading(size: int, then: Reply, *, into: list[bytes]) -> Reply:
    """Take so many bytes of the body before answering, whatever was announced."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        into.append(handler.rfile.read(size))
        then(handler)
        handler.close_connection = True

    reply.reads_itself = True  # type: ignore[attr-defined]  # a mark on a function
    return reply
