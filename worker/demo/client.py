"""The demo's view of the service: plain HTTP, as anybody would use it."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from core.errors import WindthrowError

CHUNK_BYTES = 1 << 20
POLL_SECONDS = 0.2
CHECK_DEADLINE_SECONDS = 120.0

Json = dict[str, Any]


class ServiceError(WindthrowError):
    """The service refused something, or a job did not succeed."""

    code = "service_error"


class Service:
    """A client of one running service."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    @classmethod
    @contextmanager
    def at(cls, url: str, key: str) -> Iterator["Service"]:
        """Connect with an API key."""
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60.0) as http:
            yield cls(http)

    def push(self, name: str, weights: Path, manifest: Json) -> Json:
        """Upload a checkpoint, register it and wait until a worker has read it.

        Raises:
            ServiceError: it was refused.
        """
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        declared = {"sha256": digest, "size": weights.stat().st_size, "name": weights.name}
        upload = self._json("POST", "/v1/uploads", json=declared)
        if upload["state"] != "complete":
            with weights.open("rb") as file:
                self._json("PUT", upload["content"], content=iter(lambda: file.read(CHUNK_BYTES), b""))
        model = self._json(
            "POST", "/v1/models", json={"upload": upload["id"], "name": name, "manifest": manifest}
        )
        return self._ready(model["id"])

    def _ready(self, model_id: str) -> Json:
        deadline = time.monotonic() + CHECK_DEADLINE_SECONDS
        while (model := self._json("GET", f"/v1/models/{model_id}"))["state"] == "checking":
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"model {model_id} was not checked in {CHECK_DEADLINE_SECONDS:g} s; is a worker up?"
                )
            time.sleep(POLL_SECONDS)
        if model["state"] == "rejected":
            raise ServiceError(f"the service rejected {model['name']}: {model['reason']['message']}")
        return model

    def submit(self, spec: Json) -> Json:
        """Queue a job."""
        return self._json("POST", "/v1/jobs", json=spec)

    def job(self, job: Json) -> Json:
        """A job as it is now."""
        return self._json("GET", job["links"]["self"])

    def follow(self, job: Json, seen: Callable[[Json], None]) -> Json:
        """Wait for a job, showing each change of it, and return it at its end.

        Raises:
            ServiceError: it failed or was cancelled.
        """
        etag = ""
        while job["state"] in ("queued", "running"):
            headers = {"Prefer": "wait=10", "If-None-Match": etag}
            answer = self._http.get(job["links"]["self"], headers=headers)
            if answer.status_code != httpx.codes.NOT_MODIFIED:
                job = _checked(answer)
            etag = answer.headers["ETag"]
            seen(job)
        if job["state"] != "succeeded":
            reason = (job["error"] or {}).get("message", "")
            raise ServiceError(f"job {job['id']} {job['state']}: {reason}")
        return job

    def results(self, job: Json) -> Json:
        """What a finished job found."""
        return self._json("GET", job["links"]["results"])

    def difference(self, job: Json, attack: int, other: int) -> Json | None:
        """One attack's ARP less another's of the same job, with its interval; None where one has no ARP."""
        pair = {"attack": attack, "other": other}
        found: Json | None = self._json("GET", f"{job['links']['self']}/differences", params=pair)["arp"]
        return found

    def picture(self, job: Json, ordinal: int, sample: int) -> bytes:
        """A kept image as PNG; ordinal -1 is the clean one."""
        answer = self._http.get(f"{job['links']['self']}/images/{ordinal}/{sample}.png")
        _raise_for(answer)
        return answer.content

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        return _checked(self._http.request(method, path, **arguments))


def _checked(answer: httpx.Response) -> Json:
    _raise_for(answer)
    body: Json = answer.json()
    return body


def _raise_for(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text[:200]
    raise ServiceError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {detail}")
