"""Baselines of several models in one repository, over HTTP: each is compared with its own, and with no other."""

from uuid import uuid4

import pytest

from tests.api.desk import Desk
from tests.api.test_baselines import GAIN, asked, listed, put, repository
from tests.api.test_looks import RELATIVE, evaluated, verdict
from tests.api.test_policies import checked
from tests.service import Json, pointers

__all__ = ["repository"]

DEPTH = RELATIVE.replace("file: nets/a.pt", "file: nets/a.pt, name: depth")


def compared(desk: Desk, job: Json, place: Json) -> Json:
    """A verdict by a policy alone."""
    answer = desk.caller.post(f"/v1/jobs/{job['id']}/verdict", {"policy": GAIN, "baseline": place})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def resolved(desk: Desk, repository: str, **query: str) -> Json:
    answer = desk.get("/v1/baselines/resolve", params={"repository": repository, "branch": "main", **query})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


@pytest.fixture
def looked_at(desk: Desk) -> Json:
    """An evaluation that is a look of the gate file."""
    model = desk.model()
    (look, *_) = checked(desk, DEPTH, model=model)["looks"]
    return evaluated(desk, look, 20.0, model=model)


def test_two_models_have_their_baselines_at_one_branch(desk: Desk, repository: str) -> None:
    jobs = {name: desk.evaluated(arp) for name, arp in (("depth", 50.0), ("seg", 60.0), ("", 70.0))}
    made = {name: put(desk, repository, job, model_name=name) for name, job in jobs.items()}
    assert {name: one["model_name"] for name, one in made.items()} == {name: name for name in jobs}
    for name, job in jobs.items():
        found = resolved(desk, repository, model_name=name)
        assert found == {"baseline": made[name], "resolved_by": "branch", "other_names": []}
        assert listed(desk, repository, model_name=name)["items"] == [made[name]]
        place = {"repository": repository, "model_name": name, "branch": "main"}
        assert compared(desk, desk.evaluated(20.0), place)["baseline"]["job"] == job["id"]
    assert resolved(desk, repository)["baseline"] == made[""]
    assert len(listed(desk, repository)["items"]) == 3


def test_another_models_baseline_is_none_and_is_named(desk: Desk, repository: str) -> None:
    put(desk, repository, desk.evaluated(50.0), model_name="seg")
    job, there = desk.evaluated(20.0), "there are baselines there for: seg"
    for name in ("", "depth"):
        found = resolved(desk, repository, model_name=name)
        assert found == {"baseline": None, "resolved_by": None, "other_names": ["seg"]}
        place = {"repository": repository, "model_name": name, "branch": "main"}
        decided = compared(desk, job, place)
        assert (decided["status"], decided["baseline"]) == ("no_baseline", None)
        assert decided["outcomes"][0]["message"].endswith(there)
    put(desk, repository, desk.evaluated(50.0), ref="release")
    place = {"repository": repository, "model_name": "seg", "branch": "release"}
    assert compared(desk, job, place)["outcomes"][0]["message"].endswith("for: a model without a name")
    answer = desk.caller.post(
        f"/v1/jobs/{job['id']}/verdict?format=text", {"policy": GAIN, "baseline": place}
    )
    assert "for: a model without a name" in answer.text


def test_a_verdict_takes_the_models_name_from_its_gate_file(
    desk: Desk, repository: str, looked_at: Json
) -> None:
    mine, other = desk.evaluated(50.0), desk.evaluated(60.0)
    put(desk, repository, other)
    place: Json = {"repository": repository, "branch": "main"}
    found = verdict(desk, looked_at, DEPTH, baseline=place)
    assert found["baseline"] is None
    assert "for: a model without a name" in found["outcomes"][-1]["message"]
    put(desk, repository, mine, model_name="depth")
    for said in ({}, {"model_name": "depth"}):
        for trial in (False, True):
            found = verdict(desk, looked_at, DEPTH, baseline={**place, **said}, trial=trial)
            assert (found["baseline"]["job"], found["baseline"]["resolved_by"]) == (mine["id"], "branch")
    assert verdict(desk, looked_at, RELATIVE, baseline=place)["baseline"]["job"] == other["id"]


@pytest.mark.parametrize(("text", "said"), [(DEPTH, "seg"), (DEPTH, ""), (RELATIVE, "depth")])
def test_a_place_that_contradicts_the_gate_file_is_refused(
    desk: Desk, repository: str, looked_at: Json, text: str, said: str
) -> None:
    put(desk, repository, desk.evaluated(50.0), model_name=said)
    place = {"repository": repository, "branch": "main", "model_name": said}
    for trial in (False, True):
        body = {"gate_file": text, "baseline": place, "trial": trial}
        answer = desk.caller.post(f"/v1/jobs/{looked_at['id']}/verdict", body)
        assert (answer.status_code, answer.json()["code"]) == (422, "other_model_name")
        assert pointers(answer) == ["#/baseline/model_name"]


def test_a_model_name_is_a_line(desk: Desk, repository: str) -> None:
    answer = asked(desk, repository, {"id": str(uuid4())}, model_name="a\nb")
    assert (answer.status_code, pointers(answer)) == (422, ["#/model_name"])
    place = {"repository": repository, "branch": "main", "model_name": "x" * 201}
    answer = desk.get("/v1/baselines/resolve", params=place)
    assert (answer.status_code, pointers(answer)) == (422, ["model_name"])
    answer = desk.caller.post(f"/v1/jobs/{uuid4()}/verdict", {"policy": GAIN, "baseline": place})
    assert (answer.status_code, pointers(answer)) == (422, ["#/baseline/model_name"])
