"""Transferability jobs over HTTP: refusals, and what a finished one says."""

import csv
import io
from uuid import uuid4

import pytest

from tests.api.desk import Desk
from tests.service import Json, pointers

PGD: Json = {"algorithm": "pgd", "eps": 8, "steps": 5}


def spec(*models: str, **changes: object) -> Json:
    dataset = {"name": "digits", "limit": 32}
    return {"kind": "transferability", "models": list(models), "dataset": dataset, "attack": PGD, **changes}


@pytest.fixture
def models(desk: Desk) -> list[str]:
    return [desk.model(), desk.model(layout="independent")]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"models": []}, "#/models"),
        ({"models": [str(uuid4()) for _ in range(17)]}, "#/models"),
        ({"models": [str(uuid4())] * 2}, "#/models"),
        ({"models": ["mine"]}, "#/models/0"),
        ({"models": str(uuid4())}, "#/models"),
        ({"attack": {**PGD, "objective": "single:left"}}, "#/attack/objective"),
        ({"attack": {**PGD, "objective": "gb_mta"}}, "#/attack/objective"),
        ({"attack": {**PGD, "weights": {"left": 2}}}, "#/attack/weights"),
        ({"attack": {"algorithm": "uniform_noise", "eps": 8}}, "#/attack/algorithm"),
        ({"attack": {"algorithm": "auto_mta", "eps": 8}}, "#/attack/algorithm"),
        ({"attack": {**PGD, "eps": 0}}, "#/attack/eps"),
        ({"attacks": [PGD]}, "#/attacks"),
        ({"previews": 2}, "#/previews"),
        ({"dataset": {"name": "scenes"}}, "#/dataset/name"),
        ({"evaluation": {}}, "#/evaluation"),
        ({"transferability": {}}, "#/transferability"),
    ],
)
def test_a_wrong_spec_is_refused_at_its_place(
    desk: Desk, models: list[str], change: Json, place: str
) -> None:
    answer = desk.caller.post("/v1/jobs", {**spec(*models), **change})
    assert answer.status_code == 422, answer.text
    assert pointers(answer) == [place]


def test_a_model_that_cannot_be_used_is_pointed_at(desk: Desk, models: list[str]) -> None:
    unknown = desk.caller.post("/v1/jobs", spec(*models, str(uuid4())))
    assert (unknown.status_code, pointers(unknown)) == (422, ["#/models/2"])
    unready = desk.caller.post("/v1/jobs", spec(models[0], desk.model("checking")))
    assert (unready.status_code, pointers(unready)) == (409, ["#/models/1"])
    other_tasks = desk.caller.post("/v1/jobs", spec(*models, desk.model(tasks=["left"])))
    assert (other_tasks.status_code, pointers(other_tasks)) == (422, ["#/models/2"])


KINDS = "kind must be one of evaluation, transferability, training, study"


@pytest.mark.parametrize("kind", ["guess", "", "model_check", 5, None, [], {}, "a'b"])
def test_an_unknown_kind_is_told_the_kinds_there_are(desk: Desk, models: list[str], kind: object) -> None:
    answer = desk.caller.post("/v1/jobs", spec(*models, kind=kind))
    assert (answer.status_code, pointers(answer)) == (422, ["#/kind"])
    assert answer.json()["detail"].startswith(f"{KINDS}; got ")


def test_a_kind_that_is_half_a_character_is_refused(desk: Desk) -> None:
    headers = {"Content-Type": "application/json"}
    answer = desk.caller.http.post("/v1/jobs", content=b'{"kind": "\\ud800"}', headers=headers)
    assert (answer.status_code, pointers(answer)) == (422, ["#/kind"])


def test_a_spec_without_a_kind_is_told_the_kinds_there_are(desk: Desk) -> None:
    answer = desk.caller.post("/v1/jobs", {"models": []})
    assert (answer.status_code, pointers(answer)) == (422, ["#/kind"])
    assert answer.json()["detail"] == f"{KINDS}; it is missing"


def test_a_job_lists_its_models_and_is_found_by_each(desk: Desk, models: list[str]) -> None:
    job = desk.submit(spec(*models))
    assert (job["kind"], job["model"], job["models"]) == ("transferability", models[0], models)
    assert job["progress"]["shards_total"] == 2 * (1 + 2)
    for model in models:
        found = desk.get("/v1/jobs", params={"model": model}).json()["items"]
        assert [one["id"] for one in found] == [job["id"]]
    assert desk.get("/v1/jobs", params={"model": str(uuid4())}).json()["items"] == []


def test_repeats_make_one_job(desk: Desk, models: list[str]) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    first = desk.caller.post("/v1/jobs", spec(*models), headers=headers)
    again = desk.caller.post("/v1/jobs", spec(*models), headers=headers)
    assert again.json() == first.json()
    assert again.headers["idempotent-replay"] == "true"
    other = desk.caller.post("/v1/jobs", spec(*reversed(models)), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    name = f"repo@{uuid4().hex}"
    named = [desk.submit(spec(*models, client_ref=name))["id"] for _ in range(2)]
    assert named[0] == named[1]
    assert named[0] != first.json()["id"]


def pair(source: int, target: int, own: float | None, other: float | None, **more: Json) -> Json:
    """SINGLE-left and SINGLE-right that do alike: `own` to the attacked task, `other` to the other."""
    matrix = {"left": {"left": own, "right": other}, "right": {"left": other, "right": own}}
    intervals: Json = {task: dict.fromkeys(row) for task, row in matrix.items()}
    intervals["left"]["left"] = [1.0, 2.0]
    return {"source": source, "target": target, "matrix": matrix, "intervals": intervals, **more}


@pytest.fixture
def finished(desk: Desk, models: list[str]) -> Json:
    """A finished job; the second model's own attack does nothing to it."""
    transfer: Json = {
        "transfer": {"left": 0.25, "right": None},
        "transfer_intervals": {"left": [0.2, 0.3], "right": None},
        "undefined": {"right": "its ARP is 0"},
    }
    pairs = [
        pair(0, 0, 40.0, 10.0, **transfer),
        pair(0, 1, 10.0, 2.0),
        pair(1, 0, 5.0, None),
        pair(1, 1, 0.0, 0.0),
    ]
    summary = {"models": models, "tasks": ["left", "right"], "attack": PGD, "pairs": pairs, "samples": 32}
    job = desk.submit(spec(*models))
    desk.end(job, [], summary)
    return job


def test_a_finished_job_has_a_matrix_for_every_pair_of_models(
    desk: Desk, models: list[str], finished: Json
) -> None:
    found = desk.get(finished["links"]["results"]).json()
    assert (found["models"], found["tasks"], found["samples"]) == (models, ["left", "right"], 32)
    assert found["label"] == "pgd/single:each/eps=8/steps=5"
    assert (found["reliable"], found["flags"]) == (True, [])
    own, across, back, idle = found["pairs"]
    assert own["matrix"]["left"] == {"left": 40.0, "right": 10.0}
    assert own["intervals"]["left"] == {"left": [1.0, 2.0], "right": None}
    assert (own["transfer"], own["undefined"]) == ({"left": 0.25, "right": None}, {"right": "its ARP is 0"})
    assert own["transfer_intervals"]["left"] == [0.2, 0.3]
    assert own["retained"] == {}
    assert across["transfer"] == {}
    assert across["retained"] == {"left": 0.25, "right": 0.25}
    assert back["retained"] == {"left": None, "right": None}
    assert idle["retained"] == {}


def test_csv_has_a_row_for_every_cell(desk: Desk, models: list[str], finished: Json) -> None:
    answer = desk.get(finished["links"]["results"], params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 4 * 2 * 2
    assert rows[0] == {
        "source": models[0],
        "target": models[0],
        "attacked": "left",
        "damaged": "left",
        "arp_percent": "40.0",
        "arp_percent.low": "1.0",
        "arp_percent.high": "2.0",
    }
    assert (rows[5]["target"], rows[5]["damaged"], rows[5]["arp_percent.low"]) == (models[1], "right", "")


def test_it_keeps_no_pictures(desk: Desk, finished: Json) -> None:
    answer = desk.get(f"/v1/jobs/{finished['id']}/images/0/0.png")
    assert (answer.status_code, answer.json()["code"]) == (404, "picture_not_found")
