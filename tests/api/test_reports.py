"""Reports over HTTP: a verdict's page for whoever has its link, until it expires, is withdrawn, or makes room."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select, update

from core.gates.verdict import EXIT_CODES, Overall
from core.settings import Settings
from core.store import reports
from core.store.keys import issue_key
from core.store.sweeping import Sweeper
from core.store.tables import REPORT_STATUSES, Report
from tests.api.desk import Desk
from tests.api.test_verdict_formats import POLICY
from tests.service import Json, pointers
from worker.supervisor import Stack


def publish(desk: Desk, of: Json, **body: object) -> httpx.Response:
    asked: Json = {"job": of["id"], "policy": POLICY}
    return desk.caller.post("/v1/reports", asked | body)


def published(desk: Desk, job: Json, **body: object) -> Json:
    answer = publish(desk, job, **body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def anyone(desk: Desk, path: str) -> httpx.Response:
    """What somebody without a key gets."""
    return httpx.get(desk.caller.stack.url + path, timeout=30)


def kept(desk: Desk, job: Json) -> list[str]:
    listed = desk.get("/v1/reports", params={"job": job["id"]}).json()["items"]
    return [one["id"] for one in listed]


def test_whoever_has_the_link_reads_what_the_verdict_says(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    found = published(desk, job, report="https://ci.example/1")
    assert (found["job"], found["status"], found["exit_code"]) == (job["id"], "failed", 1)
    page = anyone(desk, found["url"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    body: Json = {"policy": POLICY, "report": "https://ci.example/1"}
    assert page.text == desk.caller.post(f"/v1/jobs/{job['id']}/verdict?format=html", body).text
    badge = anyone(desk, found["url"] + "/badge.svg")
    assert (badge.status_code, badge.headers["content-type"]) == (200, "image/svg+xml")
    assert "windthrow: failed" in badge.text


def test_a_report_goes_no_further_than_its_link(desk: Desk) -> None:
    url = published(desk, desk.evaluated(20.0))["url"]
    for path in (url, f"{url}/badge.svg", "/r/none"):
        headers = anyone(desk, path).headers
        assert headers["cache-control"] == "private, no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "noindex" in headers["x-robots-tag"]
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "sandbox" in policy
        assert "script" not in policy


def test_the_token_is_long_and_nowhere_kept(desk: Desk) -> None:
    found = published(desk, desk.evaluated(20.0))
    token = found["url"].removeprefix("/r/")
    assert len(token) >= 43
    with desk.database.session() as session:
        row = session.get_one(Report, UUID(found["id"]))
        columns = {getattr(row, column.key) for column in Report.__table__.columns}
    assert hashlib.sha256(token.encode()).hexdigest() in columns
    assert not [value for value in columns if isinstance(value, str) and token in value]
    assert token not in desk.get("/v1/reports").text


def test_what_it_says_stays_as_it_was_decided(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    lenient: Json = {"version": 1, "rules": [{"name": "lenient", "on": "arp", "at_most": 90}]}
    first, second = published(desk, job), published(desk, job, policy=lenient)
    assert (first["status"], second["status"]) == ("failed", "passed")
    assert "Gate failed" in anyone(desk, first["url"]).text
    assert "Gate passed" in anyone(desk, second["url"]).text


def test_a_report_is_kept_for_ninety_days_unless_said(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    for days, body in ((90, {}), (7, {"days": 7}), (3650, {"days": 3650})):
        found = published(desk, job, **body)
        times = [datetime.fromisoformat(found[name]) for name in ("created_at", "expires_at")]
        assert times[1] - times[0] == timedelta(days=days)
        assert abs(datetime.now(UTC) - times[0]) < timedelta(minutes=5)


@pytest.mark.parametrize("days", [0, -1, 3651, "soon"])
def test_no_report_is_kept_for_ever(desk: Desk, days: object) -> None:
    answer = publish(desk, desk.evaluated(20.0), days=days)
    assert (answer.status_code, pointers(answer)) == (422, ["#/days"])


def test_an_expired_report_is_gone_and_then_deleted(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    old, new = published(desk, job), published(desk, job)
    with desk.database.session() as session:
        past = update(Report).where(Report.id == UUID(old["id"]))
        session.execute(past.values(expires_at=func.now() - timedelta(seconds=1)))
    gone, unknown = anyone(desk, old["url"]), anyone(desk, "/r/" + "x" * 43)
    assert (gone.status_code, gone.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert (gone.status_code, gone.text) == (unknown.status_code, unknown.text)
    assert anyone(desk, old["url"] + "/badge.svg").status_code == 404
    assert kept(desk, job) == [new["id"]]

    assert Sweeper.of(desk.caller.stack.settings, desk.database).sweep().reports == 1
    with desk.database.session() as session:
        left = list(session.scalars(select(Report.id).where(Report.job_id == UUID(job["id"]))))
    assert left == [UUID(new["id"])]
    assert anyone(desk, new["url"]).status_code == 200


def test_a_withdrawn_report_s_link_leads_nowhere(desk: Desk) -> None:
    found = published(desk, desk.evaluated(20.0))
    path = f"/v1/reports/{found['id']}"
    assert desk.caller.http.delete(path).status_code == 204
    assert anyone(desk, found["url"]).status_code == 404
    again = desk.caller.http.delete(path)
    assert (again.status_code, again.json()["code"]) == (404, "report_not_found")


def test_the_oldest_reports_of_a_job_make_room(desk: Desk) -> None:
    job, other = desk.evaluated(20.0), desk.evaluated(20.0)
    beside = published(desk, other)
    made = [published(desk, job) for _ in range(reports.MAX_OF_A_JOB + 2)]
    assert kept(desk, job) == [one["id"] for one in reversed(made[2:])]
    assert [anyone(desk, one["url"]).status_code for one in made[1:3]] == [404, 200]
    assert anyone(desk, beside["url"]).status_code == 200


def test_a_page_that_is_too_large_is_not_kept(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    large = "x" * (reports.MAX_PAGE_BYTES + 1)
    with desk.database.session() as session, pytest.raises(reports.ReportTooLargeError):
        reports.publish(session, UUID(job["id"]), status="passed", page=large, badge="", days=1)


def test_a_key_that_may_only_read_lists_and_publishes_nothing(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    found = published(desk, job)
    with desk.database.session() as session:
        secret = desk.caller.stack.settings.secret()
        _, key = issue_key(session, "reader", ["read"], secret=secret)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=desk.caller.stack.url, headers=headers, timeout=30) as reader:
        assert reader.get("/v1/reports").status_code == 200
        said = reader.post("/v1/reports", json={"job": job["id"], "policy": POLICY})
        assert (said.status_code, said.json()["code"]) == (403, "missing_scope")
        assert reader.delete(f"/v1/reports/{found['id']}").status_code == 403
    assert anyone(desk, "/v1/reports").status_code == 401


@pytest.mark.parametrize(
    ("change", "status", "pointer"),
    [
        ({"job": str(uuid4())}, 404, "#/job"),
        ({"job": "mine"}, 422, "#/job"),
        ({"policy": None}, 422, "#/policy"),
        ({"baseline": str(uuid4())}, 404, "#/baseline"),
        ({"policy": {"version": 1, "rules": []}}, 422, "#/policy/rules"),
    ],
)
def test_what_a_verdict_refuses_is_refused_at_its_place(
    desk: Desk, change: Json, status: int, pointer: str
) -> None:
    job = desk.evaluated(20.0)
    answer = publish(desk, job, **change)
    assert (answer.status_code, pointers(answer)) == (status, [pointer])
    assert kept(desk, job) == []


def test_an_evaluation_that_is_not_done_has_no_report(desk: Desk) -> None:
    job = desk.submit(desk.caller.evaluation(desk.model()))
    answer = publish(desk, job)
    assert (answer.status_code, pointers(answer)) == (409, ["#/job"])


def test_a_verdict_s_statuses_are_those_of_the_table() -> None:
    assert set(REPORT_STATUSES) == set(get_args(Overall)) == set(EXIT_CODES)


def test_a_service_that_knows_its_address_says_the_whole_link(desk: Desk, tmp_path: Path) -> None:
    settings = Settings(database_url=desk.caller.stack.settings.database_url, broker_url="")
    public = settings.model_copy(update={"public_url": "https://gates.example/windthrow/"})
    job = desk.evaluated(20.0)
    with Stack(data_dir=tmp_path, components={"api"}, settings=public) as stack:
        headers = {"Authorization": f"Bearer {stack.key}"}
        body: Json = {"job": job["id"], "policy": POLICY}
        answer = httpx.post(f"{stack.url}/v1/reports", json=body, headers=headers, timeout=30)
    assert answer.json()["url"].startswith("https://gates.example/windthrow/r/"), answer.text


@pytest.mark.parametrize(
    "wrong", ["windthrow.example.com", "javascript:x", "https://a b", "https://a?b", "https://u@x"]
)
def test_a_public_url_is_an_address(wrong: str) -> None:
    assert Settings(public_url="https://a.example:8443/windthrow/").public_url
    with pytest.raises(ValueError, match="public_url"):
        Settings(public_url=wrong)
