"""What a gate does for the link to its report: publishes it, passes it on, and lets nothing depend on it."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from windthrow import AsyncClient, Client, ServiceError
from windthrow._gate_calls import FORMS, report_address

from tests.client.gating import (
    FAILED,
    GATE_FILE,
    PASSED,
    PUBLISHED,
    UNPUBLISHED,
    until_submitted,
    until_verdict,
)
from tests.client.misbehaving import DONE, KEY, Json, Misbehaving, Reply, answer, hang_up, problem
from tests.client.processes import Windthrow

CI = {"CI_JOB_URL": "https://ci.example/jobs/7"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "windthrow.yaml").write_text(GATE_FILE)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def test_the_link_is_everywhere(windthrow: Windthrow, to_misbehaving: Misbehaving, here: Path) -> None:
    kinds = [FORMS[form] for form in ("markdown", "junit", "sarif", "badge", "shields", "html")]
    files = [answer(200, b"made", kind=kind) for kind in kinds]
    to_misbehaving.will(*until_verdict(), answer(200, PASSED), answer(201, PUBLISHED), *files)
    ended = windthrow("gate", "--out", "out", "--json", **CI)
    assert ended.returncode == 0, ended.stderr
    link = f"{to_misbehaving.url}/r/secret"
    assert f"the report is published at {link}" in ended.stderr
    assert json.loads(ended.stdout) == {**PASSED, "report": link}
    assert json.loads((here / "out" / "verdict.json").read_text()) == {**PASSED, "report": link}
    *_, verdict, published = [one for one in to_misbehaving.seen if "?format" not in one.path]
    assert published.path == "/v1/reports"
    asked = json.loads(verdict.body)
    assert json.loads(published.body) == {"job": "job-1", **asked}
    assert asked["report"] == CI["CI_JOB_URL"]
    forms = [json.loads(one.body) for one in to_misbehaving.seen if "?format" in one.path]
    assert forms == [{**asked, "report": link}] * 6


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (UNPUBLISHED, "the service is too old for that"),
        (problem(405, "method_not_allowed"), "the service is too old for that"),
        (problem(403, "missing_scope", "this needs a key with the scope 'submit'"), "the scope 'submit'"),
        (problem(422, "report_too_large", "the page has too many bytes"), "too many bytes"),
        (problem(500, "internal_error", "something broke"), "something broke"),
        (hang_up(), "cannot be reached"),
        (answer(201, {**PUBLISHED, "url": "javascript:alert(1)"}), "where the report is"),
        (answer(201, {**PUBLISHED, "url": None}), "where the report is"),
        (answer(200, b"<html>", kind="text/html"), "makes no sense"),
    ],
)
@pytest.mark.parametrize("verdict", [PASSED, FAILED])
def test_a_verdict_does_not_depend_on_its_report(
    windthrow: Windthrow, to_misbehaving: Misbehaving, reply: Reply, said: str, verdict: Json
) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, verdict), reply)
    ended = windthrow("gate", WINDTHROW_RETRIES="0", **CI)
    assert ended.returncode == verdict["exit_code"], ended.stderr
    assert f"report: {CI['CI_JOB_URL']}\n" in ended.stdout
    (line,) = [line for line in ended.stderr.splitlines() if "no report is published" in line]
    assert said in line


@pytest.mark.parametrize("more", [("--no-publish",), ("--report", "https://mine.example/1")])
def test_nothing_is_published_unasked(
    windthrow: Windthrow, to_misbehaving: Misbehaving, more: tuple[str, ...]
) -> None:
    to_misbehaving.will(*until_verdict(), answer(200, PASSED))
    ended = windthrow("gate", *more, **CI)
    assert ended.returncode == 0, ended.stderr
    assert f"report: {more[1] if len(more) > 1 else CI['CI_JOB_URL']}\n" in ended.stdout
    assert not [one for one in to_misbehaving.seen if one.path == "/v1/reports"]


def test_a_report_that_never_comes_is_not_waited_for_beyond_the_deadline(
    server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def never(_: BaseHTTPRequestHandler) -> None:
        over.wait(60)

    monkeypatch.setattr("windthrow._gating.GRACE_SECONDS", 0.5)
    server.will(*until_submitted(), answer(200, DONE), answer(200, PASSED), never)
    began = time.monotonic()
    with Client(server.url, KEY, retries=0) as client:
        gated = client.gate(GATE_FILE, roots=["."], deadline=5.0, publish=True)
    over.set()
    assert (gated.exit_code, gated.report) == (0, None)
    assert time.monotonic() - began < 25


def test_both_clients_publish(server: Misbehaving) -> None:
    server.will(answer(201, PUBLISHED), answer(201, {**PUBLISHED, "url": "https://public.example/r/x"}))
    with Client(server.url, KEY) as client:
        assert client.publish_report("job-1", gate_file="a", days=7)["url"] == f"{server.url}/r/secret"

    async def again() -> str:
        async with AsyncClient(server.url, KEY) as client:
            published = await client.publish_report("job-1", policy={})
            return str(published["url"])

    assert asyncio.run(again()) == "https://public.example/r/x"
    assert json.loads(server.seen[0].body) == {"job": "job-1", "gate_file": "a", "days": 7}


def test_an_address_is_below_the_service_or_whole() -> None:
    assert report_address({"url": "/r/x"}, "https://a.example/b/") == "https://a.example/b/r/x"
    assert report_address({"url": "http://c.example/r/x"}, "https://a.example") == "http://c.example/r/x"
    with pytest.raises(ServiceError):
        report_address({"url": "r/x"}, "https://a.example")
