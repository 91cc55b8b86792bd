"""Baselines over HTTP, and verdicts that look for theirs."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.store.keys import issue_key
from tests.api.desk import Desk
from tests.service import Json, pointers

GAIN: Json = {"version": 1, "rules": [{"name": "sturdier", "on": "robust_gain", "at_least": 10}]}
ERROR: Json = {"code": "masked", "severity": "error", "message": "do not trust", "evidence": {}}


@pytest.fixture
def repository() -> str:
    """A repository of the test's own."""
    return f"github.com/acme/{uuid4().hex}"


def asked(
    desk: Desk, repository: str, job: Json, kind: str = "branch", ref: str = "main", **more: Any
) -> Any:
    body = {"repository": repository, "kind": kind, "ref": ref, "job": job["id"], **more}
    return desk.caller.http.put("/v1/baselines", json=body)


def put(desk: Desk, repository: str, job: Json, kind: str = "branch", ref: str = "main", **more: Any) -> Json:
    answer = asked(desk, repository, job, kind, ref, **more)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def listed(desk: Desk, repository: str, **query: Any) -> Json:
    answer = desk.get("/v1/baselines", params={"repository": repository, **query})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def verdict(desk: Desk, job: Json, baseline: Any) -> httpx.Response:
    return desk.caller.post(f"/v1/jobs/{job['id']}/verdict", {"policy": GAIN, "baseline": baseline})


def test_a_baseline_is_set_found_and_retired(desk: Desk, repository: str) -> None:
    job = desk.evaluated(50.0)
    made = put(desk, repository, job, note="first release")
    assert (made["repository"], made["kind"], made["ref"]) == (repository, "branch", "main")
    assert made["model_name"] == ""
    assert (made["job"], made["model"], made["note"]) == (job["id"], job["model"], "first release")
    assert made["ended_at"] is None
    assert made["key"] is not None
    query = {"repository": repository, "merge_base": "c0ffee", "branch": "main"}
    found = desk.get("/v1/baselines/resolve", params=query).json()
    assert found == {"baseline": made, "resolved_by": "branch", "other_names": []}
    assert desk.caller.http.delete(f"/v1/baselines/{made['id']}").status_code == 204
    assert desk.caller.http.delete(f"/v1/baselines/{made['id']}").status_code == 204
    found = desk.get("/v1/baselines/resolve", params=query).json()
    assert found == {"baseline": None, "resolved_by": None, "other_names": []}
    assert listed(desk, repository)["items"] == []


def test_the_history_is_listed_page_by_page(desk: Desk, repository: str) -> None:
    jobs = [desk.evaluated(arp) for arp in (30.0, 40.0, 50.0)]
    made = [put(desk, repository, job) for job in jobs]
    assert [row["id"] for row in listed(desk, repository)["items"]] == [made[2]["id"]]
    first = listed(desk, repository, ended=True, limit=2)
    rest = listed(desk, repository, ended=True, limit=2, cursor=first["next_cursor"])
    rows = [*first["items"], *rest["items"]]
    assert [row["job"] for row in rows] == [job["id"] for job in reversed(jobs)]
    assert [row["ended_at"] for row in rows] == [None, rows[0]["set_at"], rows[1]["set_at"]]
    assert rest["next_cursor"] is None
    assert made[2]["id"] in {row["id"] for row in desk.get("/v1/baselines").json()["items"]}


def test_what_cannot_be_compared_with_is_refused_with_its_place(desk: Desk, repository: str) -> None:
    attacks = [{"algorithm": "fgsm", "eps": 1}]
    queued = desk.submit(desk.caller.evaluation(desk.model(), attacks=attacks, health=False))
    flagged = desk.evaluated(20.0, summary={"flags": [ERROR]})
    cases: list[tuple[Json, Json, int, str, list[str]]] = [
        ({"id": str(uuid4())}, {}, 404, "job_not_found", []),
        (queued, {}, 422, "not_a_baseline", ["#/job"]),
        (flagged, {}, 422, "unreliable_baseline", ["#/job"]),
        (flagged, {"force": True}, 422, "unreliable_baseline", ["#/note"]),
        (flagged, {"kind": "fork"}, 422, "invalid_request", ["#/kind"]),
        (flagged, {"ref": "a\nb"}, 422, "invalid_request", ["#/ref"]),
        (flagged, {"repository": ""}, 422, "invalid_request", ["#/repository"]),
        (flagged, {"forse": True}, 422, "invalid_request", ["#/forse"]),
    ]
    for job, more, status, code, places in cases:
        body = {"repository": repository, "kind": "branch", "ref": "main", "job": job["id"], **more}
        answer = desk.caller.http.put("/v1/baselines", json=body)
        assert (answer.status_code, answer.json()["code"], pointers(answer)) == (status, code, places)
    assert put(desk, repository, flagged, force=True, note="a known bug")["job"] == flagged["id"]


def test_looking_nowhere_is_refused(desk: Desk, repository: str) -> None:
    answer = desk.get("/v1/baselines/resolve", params={"repository": repository})
    assert answer.status_code == 422
    assert "a merge_base, a branch or a tag" in answer.json()["detail"]
    answer = desk.get("/v1/baselines/resolve", params={"repository": repository, "brnach": "main"})
    assert (answer.status_code, pointers(answer)) == (422, ["brnach"])
    answer = desk.caller.http.delete(f"/v1/baselines/{uuid4()}")
    assert (answer.status_code, answer.json()["code"]) == (404, "baseline_not_found")


def test_a_key_that_may_only_read_sets_and_retires_nothing(desk: Desk, repository: str) -> None:
    made = put(desk, repository, desk.evaluated(50.0))
    with desk.database.session() as session:
        _, key = issue_key(session, "reader", ["read"], secret=desk.caller.stack.settings.secret())
    body = {"repository": repository, "kind": "tag", "ref": "v1", "job": made["job"]}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=desk.caller.stack.url, headers=headers) as reader:
        assert reader.put("/v1/baselines", json=body).status_code == 403
        assert reader.delete(f"/v1/baselines/{made['id']}").status_code == 403
        assert reader.get("/v1/baselines", params={"repository": repository}).json()["items"] == [made]


def test_a_verdict_looks_for_its_baseline_and_says_how_it_was_found(desk: Desk, repository: str) -> None:
    sturdy, plain, older = desk.evaluated(20.0), desk.evaluated(50.0), desk.evaluated(60.0)
    place = {"repository": repository, "merge_base": "c0ffee", "branch": "main", "tag": "v1"}
    put(desk, repository, older, "tag", "v1")
    for kind, ref, job, by in (
        ("tag", "v1", older, "tag"),
        ("branch", "main", plain, "branch"),
        ("commit", "c0ffee", older, "merge_base"),
    ):
        put(desk, repository, job, kind, ref)
        answer = verdict(desk, sturdy, place)
        assert answer.status_code == 200, answer.text
        assert answer.json()["baseline"] == {
            "job": job["id"],
            "model": job["model"],
            "model_name": None,
            "resolved_by": by,
        }
        assert answer.json()["status"] == "passed"
    named = verdict(desk, sturdy, plain["id"]).json()
    assert (named["baseline"]["job"], named["baseline"]["resolved_by"]) == (plain["id"], "job")


def test_without_a_baseline_to_be_found_the_gate_does_not_pass(desk: Desk, repository: str) -> None:
    found = verdict(desk, desk.evaluated(20.0), {"repository": repository, "branch": "main"}).json()
    assert (found["status"], found["exit_code"], found["baseline"]) == ("no_baseline", 4, None)


def test_a_verdicts_files_compare_with_the_baseline_that_was_found(desk: Desk, repository: str) -> None:
    sturdy, plain = desk.evaluated(20.0), desk.evaluated(50.0)
    put(desk, repository, plain)
    body = {"policy": GAIN, "baseline": {"repository": repository, "branch": "main"}}
    answer = desk.caller.post(f"/v1/jobs/{sturdy['id']}/verdict?format=markdown", body)
    assert answer.status_code == 200
    assert plain["id"] in answer.text


@pytest.mark.parametrize(
    ("baseline", "place"),
    [
        ("main", "#/baseline"),
        (7, "#/baseline"),
        ({"repository": "github.com/acme/depth"}, "#/baseline"),
        ({"branch": "main"}, "#/baseline/repository"),
        ({"repository": "github.com/acme/depth", "branch": ""}, "#/baseline/branch"),
        ({"repository": "github.com/acme/depth", "brnach": "main"}, "#/baseline/brnach"),
    ],
)
def test_a_baseline_that_says_nothing_is_refused_with_its_place(
    desk: Desk, baseline: Any, place: str
) -> None:
    answer = verdict(desk, {"id": str(uuid4())}, baseline)
    assert (answer.status_code, pointers(answer)) == (422, [place])
