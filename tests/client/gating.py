"""What a scripted service says to a gate, from the file to the verdict."""

from typing import Any

from tests.client.misbehaving import JOB, Json, Reply, answer, events

GATE_FILE = """\
version: 1
model: {file: model.safetensors, name: mine}
dataset: {name: digits}
suite: quick
rules:
  - {name: attacked, on: arp, at_most: 45}
"""
WARNING = GATE_FILE + "on_service_error: warn\n"

NOTHING: Json = {"items": [], "next_cursor": None}
QUEUED: Json = {**JOB, "state": "queued"}
MODEL: Json = {
    "id": "model-1",
    "name": "mine",
    "sha256": "0" * 64,
    "state": "ready",
    "manifest": None,
    "reason": None,
    "parameters": None,
    "facts": None,
    "job": None,
    "created_at": "2026-11-22T12:00:00Z",
}
UPLOADED: Json = {
    "id": "u-1",
    "sha256": "0" * 64,
    "size": 7,
    "received": 7,
    "state": "complete",
    "name": None,
}
RULE: Json = {"name": "attacked", "on": "arp", "at_most": 45}
FILE: Json = {
    "model": {"file": "model.safetensors", "name": "mine", "manifest": {"profile": "digits"}},
    "rules": [RULE],
    "baseline": None,
    "deadline_minutes": 60,
    "on_service_error": "fail",
}
OUTCOME: Json = {
    "rule": "attacked",
    "on": "arp",
    "level": "error",
    "status": "pass",
    "attack": "pgd/gb_mta/eps=8",
    "message": "ARP is 40 %",
    "observed": {"value": 40.0, "interval": [38.0, 42.0], "unit": "%"},
    "limit": {"bound": "at_most", "value": 45.0, "unit": "%", "relative": False, "strict": True},
}
PASSED: Json = {
    "status": "passed",
    "exit_code": 0,
    "message": "the model keeps the policy",
    "job": "job-1",
    "model": "model-1",
    "model_name": "mine",
    "baseline": None,
    "counts": {"pass": 1},
    "outcomes": [OUTCOME],
    "notes": [],
    "level": 0.95,
    "look": {"number": 1, "of": 1, "samples": 64, "effort": 1, "restarts": 1},
    "next": None,
}
FAILED: Json = {
    **PASSED,
    "status": "failed",
    "exit_code": 1,
    "message": "the model does not keep it",
    "outcomes": [{**OUTCOME, "status": "fail", "message": "ARP is 50 %: too much,\nby 5"}],
}
PUBLISHED: Json = {
    "id": "report-1",
    "job": "job-1",
    "status": "passed",
    "exit_code": 0,
    "url": "/r/secret",
    "expires_at": "2027-02-20T12:00:00Z",
}
UNPUBLISHED = answer(404, {"code": "not_found", "detail": "Not Found"})
"""What a service that keeps no reports says to one."""
SUCCEEDED = events("id: 9\nevent: job.succeeded\ndata: {}\n\n")


def look(number: int) -> Json:
    evaluation: Json = {"dataset": {"name": "digits", "limit": 64 * number}, "attacks": []}
    return {"number": number, "evaluation": evaluation, "digest": f"{number}" * 64}


def checked(*, looks: int = 1, **file: Any) -> Json:
    """What a check of the gate file answers."""
    return {
        "file": {**FILE, **file},
        "policy": {},
        "lines": {"#/rules": 5, "#/rules/0": 6},
        "digest": "0" * 64,
        "compares": False,
        "level": 0.95,
        "looks": [look(number + 1) for number in range(looks)],
        "transferability": None,
    }


def until_submitted(**file: Any) -> list[Reply]:
    """All answers before the evaluation is submitted."""
    return [answer(200, checked(**file)), *PUSHED]


PUSHED = [
    answer(200, NOTHING),
    answer(200, UPLOADED),
    answer(200, MODEL),
    answer(200, MODEL),
]


def until_verdict(**file: Any) -> list[Reply]:
    """All answers before the verdict."""
    return [
        *until_submitted(**file),
        answer(202, QUEUED),
        SUCCEEDED,
        answer(200, {**JOB, "state": "succeeded"}),
    ]
