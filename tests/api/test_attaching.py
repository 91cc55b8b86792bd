"""Whether a submission made its job or found it there is what the status says."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import httpx

from tests.api.desk import Desk
from tests.core.jobs.study_steps import STUDY
from tests.service import Caller


def test_a_job_that_was_made_is_202_and_one_that_was_there_200(caller: Caller, ready_model: str) -> None:
    spec = caller.evaluation(ready_model, client_ref=f"repo@{uuid4().hex}")
    made, there = caller.post("/v1/jobs", spec), caller.post("/v1/jobs", spec)
    assert (made.status_code, there.status_code) == (202, 200)
    assert there.json()["id"] == made.json()["id"]
    assert there.headers["location"] == made.headers["location"]


def test_a_study_tells_as_well(desk: Desk) -> None:
    spec = {**STUDY, "client_ref": f"study {uuid4().hex}"}
    assert [desk.caller.post("/v1/jobs", spec).status_code for _ in range(2)] == [202, 200]


def test_of_submissions_at_once_one_made_the_job(caller: Caller, ready_model: str) -> None:
    spec = caller.evaluation(ready_model, client_ref=f"repo@{uuid4().hex}")
    together = Barrier(6)

    def submit(_: int) -> tuple[int, str]:
        with httpx.Client(base_url=caller.http.base_url, headers=caller.http.headers) as http:
            together.wait(60)
            answer = http.post("/v1/jobs", json=spec)
            return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(submit, range(6)))
    assert sorted(status for status, _ in found) == [200] * 5 + [202]
    assert len({job for _, job in found}) == 1


def test_a_repeat_under_its_idempotency_key_is_told_what_was_told_first(
    caller: Caller, ready_model: str
) -> None:
    spec = caller.evaluation(ready_model, client_ref=f"repo@{uuid4().hex}")
    keys = [{"Idempotency-Key": uuid4().hex} for _ in range(2)]
    asked = [caller.post("/v1/jobs", spec, headers=key) for key in (*keys, *keys)]
    assert [answer.status_code for answer in asked] == [202, 200, 202, 200]
    assert [answer.headers.get("idempotent-replay") for answer in asked] == [None, None, "true", "true"]
    assert len({answer.json()["id"] for answer in asked}) == 1


def test_both_answers_are_in_the_description_of_the_api(caller: Caller) -> None:
    described = caller.get("/openapi.json").json()["paths"]["/v1/jobs"]["post"]["responses"]
    bodies = [described[status]["content"]["application/json"]["schema"] for status in ("200", "202")]
    assert bodies == [{"$ref": "#/components/schemas/JobView"}] * 2
