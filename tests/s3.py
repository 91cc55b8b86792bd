"""A server that speaks S3, in a process of its own: moto's, which keeps its buckets in memory."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from worker.processes import Child, Command, Warden

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "an id", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_REGION": "us-east-1"}


class S3Server:
    """A running server; a new bucket for whoever asks."""

    def __init__(self, child: Child, url: str) -> None:
        self.child = child
        self.url = url

    def bucket(self) -> str:
        """The URL of a store in a new bucket, as WINDTHROW_BLOB_URL has it."""
        blob_url = f"s3://bucket-{uuid4().hex}/some/prefix?endpoint_url={quote(self.url, safe='')}"
        self.make_bucket(blob_url)
        return blob_url

    def make_bucket(self, blob_url: str) -> None:
        """Make the bucket of a store."""
        httpx.put(f"{self.url}/{_bucket(blob_url)}").raise_for_status()

    def keys(self, blob_url: str) -> list[str]:
        """What lies in the bucket of a store."""
        listing = httpx.get(f"{self.url}/{_bucket(blob_url)}?list-type=2").raise_for_status().text
        return [piece.partition("</Key>")[0] for piece in listing.split("<Key>")[1:]]


def _bucket(blob_url: str) -> str:
    return blob_url.removeprefix("s3://").partition("/")[0]


@contextmanager
def s3_server(directory: Path, warden: Warden) -> Iterator[S3Server]:
    """Start one; the environment has credentials for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/moto-api/").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    argv = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    child = Child(Command(name="s3", argv=argv, ready=answers), log=directory / "s3.log", warden=warden)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        try:
            child.start()
            child.wait_ready(30)
            yield S3Server(child, url)
        finally:
            child.stop(5)
