"""Replies that no service would make: without an end, far too large, or letter by letter."""

import gzip
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

from tests.client.misbehaving import Reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIP_SECONDS = 0.02


def raw(data: bytes) -> Reply:
    """These very bytes, and no more."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            handler.wfile.write(data)
        handler.close_connection = True

    return reply


def dripping(begin: bytes, drop: bytes, *, until: threading.Event) -> Reply:
    """A beginning, and then a drop now and then."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            handler.wfile.write(begin)
            while not until.wait(DRIP_SECONDS):
                handler.wfile.write(drop)
        handler.close_connection = True

    return reply


def endless(begin: bytes, more: bytes, *, times: int) -> Reply:
    """A beginning, and the same so many times, as fast as it is taken; that nobody wants it any more is no trouble."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            handler.wfile.write(begin)
            for _ in range(times):
                handler.wfile.write(more)
        handler.close_connection = True

    return reply


def inflating(layers: int, megabytes: int) -> Reply:
    """A gzip that is small, and what it inflates to is not."""
    body = gzip.compress(bytes(megabytes << 20))
    for _ in range(layers - 1):
        body = gzip.compress(body)
    encodings = ", ".join(["gzip"] * layers).encode()
    head = b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encodings, len(body))
    return raw(HEAD + head + body)
