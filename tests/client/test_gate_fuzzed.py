"""Whatever a server answers to a gate: it ends with an exit code and a sentence, and passes with a verdict only."""

import copy
import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from windthrow.cli.app import main

from tests.client.gating import MODEL, NOTHING, PASSED, QUEUED, UPLOADED, checked
from tests.client.hostile import raw
from tests.client.misbehaving import DONE, Json, Misbehaving, Reply, answer, hang_up

EVENTS = "id: 3\nevent: job.started\ndata: {}\n\nid: 9\nevent: job.succeeded\ndata: {}\n\n"
JUNIT = b'<?xml version="1.0"?><testsuites/>'


@dataclass(frozen=True)
class Said:
    """What a server answers."""

    body: bytes
    status: int = 200
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def reply(self) -> Reply:
        return answer(self.status, self.body, kind=self.kind, **dict(self.headers))


def document(found: Json, status: int = 200) -> Said:
    return Said(json.dumps(found).encode(), status)


WELL = [
    document(checked()),
    document(NOTHING),
    document(UPLOADED),
    document(MODEL),
    document(MODEL),
    document(QUEUED, 202),
    Said(EVENTS.encode(), kind="text/event-stream"),
    document(DONE),
    document(PASSED),
    Said(JUNIT, kind="application/xml"),
]
"""All that a gate asks, answered as the service does."""
VERDICT = 8

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["passed", "failed", "succeeded", "warn", "\ud800", "\0", "../x"]
)
NUMBERS = st.integers(-2, 5) | st.sampled_from([10**400, 0.0, 1e308, True, False, float("nan"), float("inf")])
VALUES = st.recursive(
    st.none() | TEXTS | NUMBERS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
KINDS = st.sampled_from(["text/html", "application/json", "text/event-stream", "application/xml", "", ";"])
STATUSES = st.sampled_from([200, 202, 204, 206, 301, 304, 400, 401, 404, 409, 413, 422, 429, 500, 503])
HEADERS = st.sampled_from(
    [
        ("Content_Encoding", "gzip"),
        ("Content_Encoding", "br"),
        ("Retry_After", "\xb2"),
        ("Retry_After", "-1"),
        ("ETag", "\xe9"),
        ("Location", "http://[::1"),
        ("Set_Cookie", "\xff=;;Expires=x"),
        ("Connection", "close"),
    ]
)
CODES = st.sampled_from(["invalid_gate_file", "job_failed", "baseline_moved", "upload_busy", "odd"])


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a document."""
    if above:
        yield above
    inside = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    for name, one in inside:
        yield from places(one, (*above, name))


def changed(said: Said, draw: Callable[..., Any]) -> Said:
    """The same document but for one place."""
    found = copy.deepcopy(json.loads(said.body))
    *above, last = draw(st.sampled_from(list(places(found))))
    inside = found
    for name in above:
        inside = inside[name]
    if draw(st.booleans()):
        inside[last] = draw(VALUES)
    else:
        del inside[last]
    return replace(said, body=json.dumps(found).encode())


@st.composite
def scripts(draw: Callable[..., Any]) -> list[Said | Reply]:
    """All that is answered; one or two answers are not what they should be."""
    script: list[Said | Reply] = list(WELL)
    for at in draw(st.sets(st.sampled_from(range(len(WELL))), min_size=1, max_size=2)):
        said = WELL[at]
        how = draw(
            st.sampled_from(
                ["changed"] * 5 + ["value", "bytes", "kind", "status", "header", "problem", "raw"]
            )
        )
        if how == "changed" and said.kind == "application/json":
            script[at] = changed(said, draw)
        elif how == "value":
            script[at] = replace(said, body=json.dumps(draw(VALUES)).encode())
        elif how == "kind":
            script[at] = replace(said, kind=draw(KINDS))
        elif how == "status":
            script[at] = replace(said, status=draw(STATUSES))
        elif how == "header":
            script[at] = replace(
                said, headers=(draw(HEADERS),), status=draw(st.sampled_from([said.status, 503]))
            )
        elif how == "problem":
            refused = {"code": draw(CODES | VALUES), "detail": draw(TEXTS | VALUES), "errors": draw(VALUES)}
            script[at] = replace(document(refused), status=draw(STATUSES))
        elif how == "raw":
            script[at] = draw(st.binary(max_size=30).map(raw) | st.just(hang_up()))
        else:
            cut = draw(st.integers(0, len(said.body)))
            script[at] = replace(said, body=said.body[:cut] + draw(st.binary(max_size=20)))
    return script


def ended(*arguments: str) -> tuple[int, str]:
    """The exit code and what was said, of the command line in this process."""
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = io.StringIO(), io.StringIO()
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["windthrow", *arguments])
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as stop:
                main()
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
    assert isinstance(stop.value.code, int)
    return stop.value.code, out.getvalue() + err.getvalue()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=scripts())
def test_a_gate_passes_with_a_verdict_that_says_so_and_else_ends_with_a_sentence(
    to_misbehaving: Misbehaving, here: Path, script: list[Said | Reply]
) -> None:
    (here / "junit.xml").unlink(missing_ok=True)
    to_misbehaving.replies.clear()
    to_misbehaving.seen.clear()
    to_misbehaving.will(*(one.reply if isinstance(one, Said) else one for one in script))
    code, said = ended("gate", "--junit", "junit.xml", "--report", "https://ci.example.org/7")
    assert code in range(5)
    assert "Traceback" not in said
    if code == 0:
        verdict = script[VERDICT]
        assert isinstance(verdict, Said)
        found = json.loads(verdict.body)
        assert (found["status"], found["exit_code"], type(found["exit_code"])) == ("passed", 0, int)
        asked = [one.path for one in to_misbehaving.seen if "/verdict" in one.path]
        assert asked[0] == f"/v1/jobs/{quote(found['job'], safe='')}/verdict"
        submitted = [json.loads(one.body) for one in to_misbehaving.seen if one.path == "/v1/jobs"]
        assert submitted[0]["model"] == found["model"]
        assert found["outcomes"]
        report = script[-1]
        assert isinstance(report, Said)
        assert (here / "junit.xml").read_bytes() == report.body
