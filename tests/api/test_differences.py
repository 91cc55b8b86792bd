"""Two results compared sample by sample."""

import hashlib
from uuid import uuid4

import pytest

from tests.api.desk import Desk, replicates, result
from tests.service import Json, pointers


def differences(desk: Desk, job: Json, **params: object) -> Json:
    answer = desk.get(f"/v1/jobs/{job['id']}/differences", params=params)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_attacks_of_one_job_differ_with_an_interval_that_knows_they_share_samples(desk: Desk) -> None:
    """The replicates scatter by 1 around each number and alike, so that nothing of it is left in the difference."""
    job = desk.evaluated(20.0, 25.0)
    found = differences(desk, job, attack=1, other=0)
    assert found["arp"] == {"difference": 5.0, "interval": [5.0, 5.0]}
    assert found["tasks"] == {"left": {"difference": 5.0, "interval": [5.0, 5.0]}}
    assert found["metrics"]["left"] == {"accuracy": {"difference": -5.0, "interval": [-5.0, -5.0]}}
    assert set(found["metrics"]["right"]) == {"accuracy", "cross_entropy"}
    assert found["samples"] == 32
    assert found["attack"] == {
        "job": job["id"],
        "model": job["model"],
        "ordinal": 1,
        "label": "fgsm/gb_mta/eps=2",
    }
    assert found["other"]["label"] == "fgsm/gb_mta/eps=1"


def test_models_are_compared_by_their_jobs(desk: Desk) -> None:
    one, other = desk.evaluated(20.0), desk.evaluated(12.0, 14.0)
    found = differences(desk, one, attack=0, other=1, other_job=other["id"])
    assert found["arp"]["difference"] == 6.0
    assert (found["attack"]["model"], found["other"]["model"]) == (one["model"], other["model"])
    back = differences(desk, other, attack=1, other=0, other_job=one["id"])
    assert back["arp"]["difference"] == -6.0


def test_a_result_differs_from_itself_by_nothing(desk: Desk) -> None:
    found = differences(desk, desk.evaluated(20.0), attack=0, other=0)
    assert found["arp"] == {"difference": 0.0, "interval": [0.0, 0.0]}


def test_numbers_that_one_of_them_lacks_are_left_out(desk: Desk) -> None:
    found = differences(desk, desk.evaluated(20.0, None), attack=0, other=1)
    assert (found["arp"], found["tasks"]) == (None, {})
    assert set(found["metrics"]) == {"left", "right"}


@pytest.mark.parametrize(
    "change", [{"dataset": "digits 2"}, {"seed": 1}], ids=["other samples", "drawn otherwise"]
)
def test_results_that_share_no_samples_or_draws_have_no_difference(desk: Desk, change: Json) -> None:
    foreign = replicates(20.0, 70.0, **change).to_bytes()
    one, other = desk.evaluated(20.0), desk.evaluated(20.0, rows=[{}, {"replicates": foreign}])
    params = {"attack": 0, "other": 0, "other_job": other["id"]}
    answer = desk.get(f"/v1/jobs/{one['id']}/differences", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "unpaired")


def test_results_of_different_metric_rules_have_no_difference(desk: Desk) -> None:
    one, other = desk.evaluated(20.0), desk.evaluated(20.0, metric_rules="paper")
    params = {"attack": 0, "other": 0, "other_job": other["id"]}
    answer = desk.get(f"/v1/jobs/{one['id']}/differences", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "unpaired")
    assert "rules" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"attack": -1, "other": 0}, "attack"),
        ({"attack": 0, "other": -1}, "other"),
        ({"attack": 0}, "other"),
        ({"attack": "first", "other": 0}, "attack"),
        ({"attack": 10**30, "other": 0}, "attack"),
        ({"attack": 0, "other": 0, "other_job": "mine"}, "other_job"),
    ],
)
def test_a_wrong_question_is_refused_at_its_place(desk: Desk, params: Json, place: str) -> None:
    answer = desk.get(f"/v1/jobs/{uuid4()}/differences", params=params)
    assert answer.status_code == 422
    assert pointers(answer) == [place]


def test_an_attack_or_a_job_that_is_not_there_is_not_found(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    asked = [
        ({"attack": 0, "other": 1}, "attack_not_found"),
        ({"attack": 0, "other": 0, "other_job": str(uuid4())}, "job_not_found"),
    ]
    for params, code in asked:
        answer = desk.get(f"/v1/jobs/{job['id']}/differences", params=params)
        assert (answer.status_code, answer.json()["code"]) == (404, code)


def test_a_result_without_replicates_says_so(desk: Desk) -> None:
    job = desk.evaluated(20.0, 25.0, rows=[{}, {"replicates": None}])
    answer = desk.get(f"/v1/jobs/{job['id']}/differences", params={"attack": 1, "other": 0})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_replicates")


def test_replicates_that_were_lost_are_not_found(desk: Desk) -> None:
    job = desk.evaluated(33.125)
    desk.blobs.path(hashlib.sha256(result(0, 33.125, [{}]).replicates or b"").hexdigest()).unlink()
    answer = desk.get(f"/v1/jobs/{job['id']}/differences", params={"attack": 0, "other": 0})
    assert (answer.status_code, answer.json()["code"]) == (404, "blob_not_found")


def test_the_other_job_must_have_succeeded_and_be_an_evaluation(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    queued = desk.submit(desk.caller.evaluation(desk.model()))
    desk.caller.post(queued["links"]["cancel"], None)
    spec = {**desk.caller.evaluation(""), "kind": "transferability", "models": [desk.model()]}
    spec |= {"attack": {"algorithm": "fgsm", "eps": 1}}
    transfer = desk.submit({name: value for name, value in spec.items() if name not in {"model", "attacks"}})
    for other, status, code in ((queued, 409, "job_cancelled"), (transfer, 404, "no_results")):
        params = {"attack": 0, "other": 0, "other_job": other["id"]}
        answer = desk.get(f"/v1/jobs/{job['id']}/differences", params=params)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
