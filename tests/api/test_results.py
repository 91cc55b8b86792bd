"""What a finished evaluation says, with intervals and flags."""

import csv
import io

import pytest

from tests.api.desk import INTERVALS, Desk
from tests.service import Json, pointers

WARNING: Json = {
    "code": "floored",
    "severity": "warning",
    "message": "a loss was 0",
    "evidence": {},
    "samples": 3,
}
ERROR: Json = {"code": "masked", "severity": "error", "message": "do not trust", "evidence": {"gap": 12.5}}


def test_results_carry_intervals_flags_and_the_arp_of_rounded_images(desk: Desk) -> None:
    summary = {"flags": [WARNING], "bootstrap": {"replicates": 1000, "seed": 0}}
    job = desk.evaluated(20.0, rows=[{"intervals": None}, {"flags": [WARNING]}], summary=summary)
    found = desk.get(job["links"]["results"]).json()
    attack = found["attacks"][0]
    assert (attack["arp"], attack["arp_8bit"], attack["intervals"]) == (20.0, 19.0, INTERVALS)
    assert attack["flags"] == [WARNING]
    assert attack["label"] == "fgsm/gb_mta/eps=1"
    assert found["clean"]["intervals"] is None
    assert found["clean"]["arp_8bit"] is None
    assert (found["flags"], found["bootstrap"]) == ([WARNING], summary["bootstrap"])
    assert [found["reliable"], found["clean"]["reliable"], attack["reliable"]] == [True, True, True]


def test_an_error_on_a_result_makes_it_unreliable_and_the_job(desk: Desk) -> None:
    job = desk.evaluated(20.0, 30.0, rows=[{}, {"flags": [WARNING, ERROR]}])
    found = desk.get(job["links"]["results"]).json()
    assert found["reliable"] is False
    assert found["attacks"][0]["flags"][1] == {**ERROR, "samples": None}
    results = [found["clean"], *found["attacks"]]
    assert [one["reliable"] for one in results] == [True, False, True]


def test_an_error_on_the_job_makes_every_result_unreliable(desk: Desk) -> None:
    job = desk.evaluated(20.0, 30.0, summary={"flags": [ERROR]})
    found = desk.get(job["links"]["results"]).json()
    results = [found, found["clean"], *found["attacks"]]
    assert [one["reliable"] for one in results] == [False] * 4


def test_csv_has_a_column_for_every_bound(desk: Desk) -> None:
    job = desk.evaluated(20.0, None, rows=[{"intervals": None}, {"flags": [ERROR]}])
    answer = desk.get(job["links"]["results"], params={"format": "csv"})
    clean, attacked, undefined = csv.DictReader(io.StringIO(answer.text))
    assert answer.headers["content-type"].startswith("text/csv")
    assert (attacked["arp_percent"], attacked["arp_percent.low"], attacked["arp_percent.high"]) == (
        "20.0",
        "10.0",
        "30.0",
    )
    assert (attacked["arp_percent.left.low"], attacked["arp_percent.left.high"]) == ("5.0", "15.0")
    assert (attacked["arp_percent.right"], attacked["arp_percent.right.low"]) == ("", "")
    assert (attacked["arp_8bit_percent"], attacked["left.accuracy"]) == ("19.0", "70.0")
    assert (clean["attack"], clean["arp_percent.low"], clean["arp_8bit_percent"]) == ("clean", "", "")
    assert (undefined["arp_percent"], undefined["arp_8bit_percent"]) == ("", "")
    assert [row["reliable"] for row in (clean, attacked, undefined)] == ["True", "False", "True"]


@pytest.mark.parametrize(
    ("ordinal", "code"),
    [
        (-2, "picture_not_found"),
        (1, "picture_not_found"),
        (10**30, "picture_not_found"),
        (-1, "blob_not_found"),
        (0, "blob_not_found"),
    ],
)
def test_pictures_of_no_attack_or_of_lost_shards_are_not_found(desk: Desk, ordinal: int, code: str) -> None:
    """The desk's shards point at a blob that is not in the store."""
    answer = desk.get(f"/v1/jobs/{desk.evaluated(20.0)['id']}/images/{ordinal}/0.png")
    assert (answer.status_code, pointers(answer)) == (404, [])
    assert answer.json()["code"] == code


@pytest.mark.parametrize("path", ["results", "differences?attack=0&other=0"])
def test_a_job_that_is_not_done_has_no_results_yet(desk: Desk, path: str) -> None:
    job = desk.submit(desk.caller.evaluation(desk.model()))
    early = desk.get(f"/v1/jobs/{job['id']}/{path}")
    assert (early.status_code, early.json()["code"]) == (409, "job_not_finished")
    assert "retry-after" in early.headers
    desk.caller.post(job["links"]["cancel"], None)
    late = desk.get(f"/v1/jobs/{job['id']}/{path}")
    assert (late.status_code, late.json()["code"]) == (409, "job_cancelled")


def test_shards_that_wait_are_no_reason_to_start_workers(desk: Desk) -> None:
    """Every other test's job is over by now or is cancelled here."""
    for job in desk.get("/v1/jobs", params={"state": "queued"}).json()["items"]:
        desk.caller.post(job["links"]["cancel"], None)
    assert desk.get("/readyz").json()["oldest_queued_seconds"] is None
    search = {"algorithm": "auto_mta", "eps": 8}
    desk.submit(desk.caller.evaluation(desk.model(), attacks=[search], health=False))
    ready = desk.get("/readyz").json()
    assert (ready["status"], ready["queued_shards"]) == ("degraded", 2)
    assert ready["oldest_queued_seconds"] < 60
