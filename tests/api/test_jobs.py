"""Jobs over HTTP: refusals, repeats, waiting, events, cancelling."""

import json
import threading
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.service import ATTACK, Caller, Json, pointers


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"attacks": [{**ATTACK, "eps": 0}]}, "#/attacks/0/eps"),
        ({"attacks": [ATTACK, {**ATTACK, "eps": -4}]}, "#/attacks/1/eps"),
        ({"attacks": [{**ATTACK, "objective": "single:middle"}]}, "#/attacks/0/objective"),
        ({"attacks": [{**ATTACK, "objective": "everything"}]}, "#/attacks/0/objective"),
        ({"attacks": [{**ATTACK, "algorithm": "magic"}]}, "#/attacks/0/algorithm"),
        ({"attacks": [{**ATTACK, "steps": 5}]}, "#/attacks/0/steps"),
        ({"attacks": [{**ATTACK, "colour": "red"}]}, "#/attacks/0/colour"),
        ({"attacks": [ATTACK, ATTACK]}, "#/attacks/1"),
        ({"attacks": []}, "#/attacks"),
        ({"dataset": {"name": "imagenet"}}, "#/dataset/name"),
        ({"dataset": {"name": "scenes"}}, "#/dataset/name"),
        ({"dataset": {"name": "digits", "limit": 10_000}}, "#/dataset/limit"),
        ({"batch_size": 0}, "#/batch_size"),
        ({"kind": "guess"}, "#/kind"),
        ({"model": str(uuid4())}, "#/model"),
        ({"model": "mine"}, "#/model"),
    ],
)
def test_a_wrong_spec_is_refused_at_its_place(
    caller: Caller, ready_model: str, change: Json, pointer: str
) -> None:
    answer = caller.post("/v1/jobs", caller.evaluation(ready_model, **change))
    assert answer.status_code == 422, answer.text
    assert pointers(answer) == [pointer]


@pytest.mark.parametrize("eps", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_an_eps_that_is_no_number_is_refused(caller: Caller, ready_model: str, eps: str) -> None:
    body = json.dumps(caller.evaluation(ready_model)).replace('"eps": 8', f'"eps": {eps}')
    answer = caller.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert pointers(answer) == ["#/attacks/0/eps"]


def test_refused_jobs_are_not_stored(caller: Caller, ready_model: str) -> None:
    before = caller.get("/v1/jobs", params={"limit": 1}).json()["items"][0]["id"]
    caller.post("/v1/jobs", caller.evaluation(ready_model, attacks=[{**ATTACK, "objective": "single:up"}]))
    assert caller.get("/v1/jobs", params={"limit": 1}).json()["items"][0]["id"] == before


def test_a_body_that_is_no_json_is_refused(caller: Caller) -> None:
    headers = {"Content-Type": "application/json"}
    answer = caller.http.post("/v1/jobs", content=b'{"kind":', headers=headers)
    assert answer.status_code == 422
    assert pointers(answer) == ["#"]


def test_a_body_that_is_too_large_is_refused(caller: Caller) -> None:
    answer = caller.post("/v1/jobs", {"kind": "x" * (2 << 20)})
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"
    assert pointers(answer) == []


def test_a_body_without_an_end_is_cut_off(caller: Caller) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b" " * 65536

    headers = {"Content-Type": "application/json"}
    try:
        answer = caller.http.post("/v1/jobs", content=endless(), headers=headers)
    except httpx.WriteError:
        return
    assert answer.status_code == 413


def test_a_job_answers_with_its_plan_and_where_to_look(caller: Caller, ready_model: str) -> None:
    answer = caller.post("/v1/jobs", caller.evaluation(ready_model))
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["progress"]["shards_total"] == 3
    assert job["progress"]["passes_total"] == 32 * (1 / 2 + 2 + 100)  # the last is the probe
    assert caller.get(job["links"]["self"]).json()["id"] == job["id"]


def test_an_idempotency_key_makes_a_repeat_the_same_job(caller: Caller, ready_model: str) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    first = caller.post("/v1/jobs", caller.evaluation(ready_model), headers=headers)
    again = caller.post("/v1/jobs", caller.evaluation(ready_model), headers=headers)
    assert again.status_code == 202
    assert again.headers["idempotent-replay"] == "true"
    assert again.json() == first.json()
    other = caller.post("/v1/jobs", caller.evaluation(ready_model, batch_size=16), headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"


def test_an_idempotency_key_of_a_refused_request_can_be_used_again(caller: Caller, ready_model: str) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    refused = caller.post("/v1/jobs", caller.evaluation(str(uuid4())), headers=headers)
    assert refused.status_code == 422
    assert caller.post("/v1/jobs", caller.evaluation(ready_model), headers=headers).status_code == 202


def test_simultaneous_repeats_make_one_job(caller: Caller, ready_model: str) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    found: list[str] = []

    def submit() -> None:
        with httpx.Client(base_url=caller.http.base_url, headers=caller.http.headers) as http:
            found.append(
                http.post("/v1/jobs", json=caller.evaluation(ready_model), headers=headers).json()["id"]
            )

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_a_client_ref_attaches_to_the_job_that_has_it(caller: Caller, ready_model: str) -> None:
    name = f"repo@{uuid4().hex}"
    first = caller.post("/v1/jobs", caller.evaluation(ready_model, client_ref=name)).json()
    again = caller.post("/v1/jobs", caller.evaluation(ready_model, client_ref=name))
    assert again.json()["id"] == first["id"]
    other = caller.post("/v1/jobs", caller.evaluation(ready_model, client_ref=name, batch_size=8))
    assert other.status_code == 409
    assert pointers(other) == ["#/client_ref"]


def test_a_cancelled_job_gives_its_client_ref_to_the_next(caller: Caller, ready_model: str) -> None:
    name = f"repo@{uuid4().hex}"
    attacks = [{"algorithm": "pgd", "objective": "total", "eps": 7, "steps": 9000}]
    spec = caller.evaluation(ready_model, client_ref=name, attacks=attacks)
    first = caller.post("/v1/jobs", spec).json()
    caller.post(first["links"]["cancel"], None)
    while first["state"] in ("queued", "running"):
        first = caller.get(first["links"]["self"], headers={"Prefer": "wait=30"}).json()
    second = caller.post("/v1/jobs", spec).json()
    assert second["id"] != first["id"]
    assert second["client_ref"] == name
    caller.post(second["links"]["cancel"], None)


def test_a_long_poll_ends_when_the_job_does(caller: Caller, ready_model: str) -> None:
    job = caller.post("/v1/jobs", caller.evaluation(ready_model)).json()
    while job["state"] in ("queued", "running"):
        answer = caller.get(job["links"]["self"], headers={"Prefer": "wait=60"})
        assert answer.headers["preference-applied"] == "wait=60"
        job = answer.json()
    assert job["state"] == "succeeded"
    assert job["progress"]["fraction"] == 1
    tag = answer.headers["etag"]
    unchanged = caller.get(job["links"]["self"], headers={"If-None-Match": tag})
    assert unchanged.status_code == 304


def test_events_tell_the_job_from_beginning_to_end_and_resume(caller: Caller, ready_model: str) -> None:
    job = caller.post("/v1/jobs", caller.evaluation(ready_model)).json()
    seen = _events(caller, job["links"]["events"])
    assert [name for _, name, _ in seen][:1] == ["job.queued"]
    assert seen[-1][1] == "job.succeeded"
    assert [data["shards_done"] for _, name, data in seen if name == "shard.succeeded"] == [1, 2, 3]
    resumed = _events(caller, job["links"]["events"], last=seen[-2][0])
    assert [name for _, name, _ in resumed] == ["job.succeeded"]


def _events(caller: Caller, path: str, last: str | None = None) -> list[tuple[str, str, Json]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    found: list[tuple[str, str, Json]] = []
    with caller.http.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                found.append((fields["id"], fields["event"], json.loads(fields["data"])))
                fields = {}
    return found


def test_events_of_no_job_are_a_problem(caller: Caller) -> None:
    answer = caller.get(f"/v1/jobs/{uuid4()}/events")
    assert answer.status_code == 404
    assert answer.json()["code"] == "job_not_found"


def test_a_cancelled_job_ends_cancelled_and_has_no_results(caller: Caller, ready_model: str) -> None:
    attacks = [{"algorithm": "pgd", "objective": "total", "eps": eps, "steps": 500} for eps in range(1, 40)]
    job = caller.post("/v1/jobs", caller.evaluation(ready_model, attacks=attacks)).json()
    early = caller.get(job["links"]["results"])
    assert early.status_code == 409
    assert early.json()["code"] == "job_not_finished"
    assert caller.post(job["links"]["cancel"], None).json()["cancel_requested"] is True
    while job["state"] in ("queued", "running"):
        job = caller.get(job["links"]["self"], headers={"Prefer": "wait=30"}).json()
    assert job["state"] == "cancelled"
    assert caller.get(job["links"]["results"]).json()["code"] == "job_cancelled"
    assert caller.post(job["links"]["cancel"], None).json()["state"] == "cancelled"


def test_jobs_are_listed_by_state_page_by_page(caller: Caller, ready_model: str) -> None:
    for _ in range(4):
        caller.post("/v1/jobs", caller.evaluation(ready_model))
    first = caller.get("/v1/jobs", params={"limit": 2, "kind": "evaluation"}).json()
    second = caller.get(
        "/v1/jobs", params={"limit": 2, "kind": "evaluation", "cursor": first["next_cursor"]}
    ).json()
    ids = [item["id"] for item in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 4
