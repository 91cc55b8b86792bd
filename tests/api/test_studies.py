"""Studies over HTTP: refusals, repeats, their parts, cancelling."""

from uuid import UUID

import pytest

from core.store.tables import Job
from tests.api.desk import Desk
from tests.core.jobs.study_steps import ATTACK, STUDY, advance_now, parts_of, train
from tests.service import DIGITS, Json, pointers

TRAINING: Json = {
    "kind": "training",
    "manifest": DIGITS,
    "dataset": {"name": "digits", "limit": 64},
    "recipe": {"epochs": 1},
}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"layouts": ["all-shared", "half"]}, "#/layouts/1"),
        ({"layouts": ["independent", {"levels": [[[0]]]}]}, "#/layouts/1/levels"),
        ({"layouts": ["all-shared", {"index": 0}]}, "#/layouts/1"),
        ({"model": {"backbone": "none", "profile": "digits"}}, "#/model/backbone"),
        ({"model": {"backbone": "sapling", "profile": "digits", "tasks": ["up"]}}, "#/model/tasks"),
        ({"modes": [{"name": "a", "recipe": {"epochs": 1}, "start": "b"}]}, "#/modes/0/start"),
        ({"modes": [{"name": "a", "recipe": {"epochs": 1, "pace": 1}}]}, "#/modes/0/recipe/pace"),
        ({"modes": [{"name": "a", "recipe": {"preset": "b"}}]}, "#/modes/0/recipe/preset"),
        (
            {"modes": [{"name": "a", "recipe": {"epochs": 1, "batch_size": 99}}]},
            "#/modes/0/recipe/batch_size",
        ),
        ({"dataset": {"name": "scenes"}}, "#/dataset/name"),
        ({"evaluation": {**STUDY["evaluation"], "dataset": {"name": "x"}}}, "#/evaluation/dataset/name"),
        ({"transferability": {"attack": ATTACK}}, "#/transferability/attack/objective"),
        ({"study": "x"}, "#/study"),
    ],
)
def test_a_wrong_study_is_refused_at_its_place(desk: Desk, change: Json, pointer: str) -> None:
    answer = desk.caller.post("/v1/jobs", {**STUDY, **change})
    assert (answer.status_code, pointers(answer)) == (422, [pointer]), answer.text


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"manifest": {**DIGITS, "layout": "half"}}, "#/manifest/layout"),
        ({"manifest": None}, "#/model"),
        ({"dataset": {"name": "scenes"}}, "#/dataset/name"),
        ({"recipe": {"epochs": 1, "task_weights": {"up": 1}}}, "#/recipe/task_weights/up"),
        ({"recipe": {"epochs": 1, "optimiser": {"name": "newton"}}}, "#/recipe/optimiser/name"),
    ],
)
def test_a_wrong_training_is_refused_at_its_place(desk: Desk, change: Json, pointer: str) -> None:
    answer = desk.caller.post("/v1/jobs", {**TRAINING, **change})
    assert (answer.status_code, pointers(answer)) == (422, [pointer]), answer.text


def test_a_training_has_a_model_or_none(desk: Desk) -> None:
    fresh, model = desk.submit(TRAINING), desk.model()
    assert (fresh["kind"], fresh["model"], fresh["models"], fresh["study"]) == ("training", None, [], None)
    on = desk.submit({**TRAINING, "manifest": None, "model": model})
    assert (on["model"], on["models"]) == (model, [model])


def test_a_study_links_to_its_parts(desk: Desk) -> None:
    study = desk.submit(STUDY)
    assert (study["kind"], study["model"], study["models"], study["part"]) == ("study", None, [], None)
    assert (study["progress"]["shards_total"], study["progress"]["shards_done"]) == (10, 0)
    listed = desk.get(study["links"]["parts"]).json()["items"]
    assert [part["part"] for part in listed] == ["layout 1/clean/training", "layout 0/clean/training"]
    assert {part["study"] for part in listed} == {study["id"]}
    assert "parts" not in listed[0]["links"]


def test_parts_can_be_filtered_like_jobs(desk: Desk) -> None:
    study = desk.submit(STUDY)
    with desk.database.session() as session:
        job = session.get_one(Job, UUID(study["id"]))
    train(desk.database, parts_of(desk.database, job)["layout 1/clean/training"])
    advance_now(desk.database, job)
    found = desk.get("/v1/jobs", params={"study": study["id"], "kind": "evaluation"}).json()["items"]
    assert [part["part"] for part in found] == ["layout 1/clean/evaluation"]
    shown = desk.get(study["links"]["self"]).json()
    assert (shown["state"], shown["progress"]["shards_done"]) == ("running", 1)
    assert 0 < shown["progress"]["fraction"] < 1


def test_a_study_under_a_client_ref_is_safe_to_repeat(desk: Desk) -> None:
    spec = {**STUDY, "client_ref": "study of studies"}
    assert desk.submit(spec)["id"] == desk.submit(spec)["id"]
    other = desk.caller.post("/v1/jobs", {**spec, "name": "another"})
    assert (other.status_code, pointers(other)) == (409, ["#/client_ref"])


def test_cancelling_a_study_over_http_cancels_its_parts(desk: Desk) -> None:
    study = desk.submit(STUDY)
    answer = desk.caller.post(study["links"]["cancel"], {})
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    listed = desk.get(study["links"]["parts"]).json()["items"]
    assert [part["state"] for part in listed] == ["cancelled"] * 2
