"""Gate files over HTTP."""

import json
from uuid import uuid4

import httpx
import pytest

from core.gates.policy_file import read_gate_file
from core.specs.gate_file import gate_file_schema
from tests.api.desk import Desk
from tests.service import Json, pointers

TEXT = """\
version: 1
model: {file: nets/a.pt}
dataset: {name: digits, limit: 32}
suite: quick
rules:
  - name: strong
    on: arp
    at_most: 40
waivers:
  - {rule: strong, reason: no, expires: 2026-06-30}
"""
WITH_PROFILE = TEXT.replace("nets/a.pt", "nets/a.pt, manifest: {profile: digits}")


def asked(desk: Desk, text: str | bytes, media_type: str = "text/yaml", **query: str) -> httpx.Response:
    headers = {"Content-Type": media_type}
    return desk.caller.http.post("/v1/policies/check", content=text, headers=headers, params=query)


def checked(desk: Desk, text: str, **query: str) -> Json:
    answer = asked(desk, text, **query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_a_file_is_spelled_out(desk: Desk) -> None:
    found = checked(desk, TEXT)
    assert (found["file"]["eps"], found["file"]["on_service_error"]) == ([8.0], "fail")
    assert found["policy"]["rules"][0]["strict"] is True
    assert found["policy"]["waivers"][0]["expires"] == "2026-06-30"
    assert (found["lines"]["#/rules/0"], found["lines"]["#/rules/0/on"]) == (6, 7)
    assert found["digest"] == read_gate_file(TEXT).file.policy.digest()
    assert found["evaluation"] is None


@pytest.mark.parametrize("media_type", ["application/yaml", "text/yaml; charset=utf-8", "Text/YAML"])
def test_yaml_has_several_names(desk: Desk, media_type: str) -> None:
    assert asked(desk, TEXT, media_type).json() == checked(desk, TEXT)


def test_the_text_can_stand_in_json(desk: Desk) -> None:
    answer = desk.caller.post("/v1/policies/check", {"text": TEXT})
    assert answer.json() == checked(desk, TEXT)


def test_what_it_answers_with_can_be_submitted_and_decided(desk: Desk) -> None:
    model = desk.model()
    found = checked(desk, TEXT.replace("quick", "standard"), model=model)
    objectives = {attack["objective"] for attack in found["evaluation"]["attacks"]}
    assert objectives == {"gb_mta", "total", "single:left", "single:right", "sign_total"}
    desk.submit({**found["evaluation"], "kind": "evaluation", "model": model})
    job = desk.evaluated(20.0)
    verdict = desk.caller.post(f"/v1/jobs/{job['id']}/verdict", {"policy": found["policy"]})
    assert (verdict.json()["status"], verdict.json()["policy"]) == ("passed", found["digest"])


def test_the_profile_in_the_file_tells_the_tasks_too(desk: Desk) -> None:
    found = checked(desk, WITH_PROFILE)
    assert [attack["objective"] for attack in found["evaluation"]["attacks"]] == ["gb_mta", "total"]
    assert found["evaluation"]["dataset"]["limit"] == 32


def test_what_is_wrong_has_pointer_and_line(desk: Desk) -> None:
    answer = asked(desk, TEXT.replace("at_most", "at_mots"))
    assert (answer.status_code, pointers(answer)) == (422, ["#/rules/0/at_mots"])
    (error,) = answer.json()["errors"]
    assert (error["line"], error["column"]) == (8, 5)
    assert error["message"] == "line 8, column 5: there is no field 'at_mots'; did you mean 'at_most'?"
    assert answer.json()["code"] == "invalid_gate_file"


def test_all_that_is_wrong_is_said(desk: Desk) -> None:
    answer = asked(desk, TEXT.replace("name: digits", "nmae: digits"))
    assert pointers(answer) == ["#/dataset/name", "#/dataset/nmae"]
    assert answer.json()["detail"].startswith("2 things")


def test_an_attack_on_a_task_that_the_model_has_not_has_its_line(desk: Desk) -> None:
    attack = '{attacks: [{algorithm: pgd, eps: 8, objective: "single:depth"}]}'
    answer = asked(desk, WITH_PROFILE.replace("quick", attack))
    assert pointers(answer) == ["#/suite/attacks/0/objective"]
    assert answer.json()["errors"][0]["line"] == 4


ATTACK = "{algorithm: pgd, eps: 8}"
REFUSED_SUITES = [
    (("suite: quick", f"suite: {{attacks: [{ATTACK}, {ATTACK}]}}"), "#/suite/attacks/1", "number 0"),
    (
        ("suite: quick", f"suite: {{attacks: [{ATTACK}, {{algorithm: pgd, eps: 5e-324}}]}}"),
        "#/suite/attacks/1/step_size",
        "step_size",
    ),
    (("suite: quick", "suite: quick\neps: [5e-324]"), "#/suite", "step_size"),
]
"""What to change in the file, and what is said of it and where."""


@pytest.mark.parametrize(("change", "place", "said"), REFUSED_SUITES)
def test_a_suite_that_cannot_be_run_has_its_line(
    desk: Desk, change: tuple[str, str], place: str, said: str
) -> None:
    answer = asked(desk, WITH_PROFILE.replace(*change))
    assert (answer.status_code, pointers(answer)) == (422, [place])
    (error,) = answer.json()["errors"]
    assert error["line"] == 4
    assert said in error["message"]


def test_more_samples_are_more_than_the_file_asks_for(desk: Desk) -> None:
    answer = asked(desk, WITH_PROFILE + "escalate: {samples: 32}\n")
    assert (answer.status_code, pointers(answer)) == (422, ["#/escalate/samples"])
    assert "asks for 32 samples already" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x]\nb: [*a, *a]", "anchors"),
        ("[" * 60_000, "nested"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: \0", "U+0000"),
        ("x" * 70_000, "64 KiB"),
        ("", "empty"),
    ],
)
def test_hostile_text_is_refused(desk: Desk, text: str, said: str) -> None:
    answer = asked(desk, text)
    assert (answer.status_code, len(pointers(answer))) == (422, 1)
    assert said in answer.json()["detail"]


def test_other_bodies_are_refused(desk: Desk) -> None:
    for body, media_type, status, code in (
        (TEXT, "text/plain", 415, "unsupported_media_type"),
        (b"a: \xff", "text/yaml", 422, "not_utf8"),
        (TEXT.encode("utf-16"), "text/yaml", 422, "not_utf8"),
        ("{", "application/json", 422, "invalid_request"),
        (json.dumps({"text": 5}), "application/json", 422, "invalid_request"),
        (json.dumps({"text": TEXT, "model": "a"}), "application/json", 422, "invalid_request"),
        ('{"text": "\\ud800"}', "application/json", 422, "invalid_request"),
        ("[" * 50_000, "application/json", 422, "invalid_request"),
    ):
        answer = asked(desk, body, media_type)
        pointers(answer)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body


def test_a_model_must_be_there(desk: Desk) -> None:
    answer = asked(desk, TEXT, model=str(uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")


def test_the_schema_is_for_editors(desk: Desk) -> None:
    schema = desk.get("/v1/gate-file-schema").json()
    assert schema == json.loads(json.dumps(gate_file_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:windthrow:gate-file:1"


def test_strangers_are_told_nothing(desk: Desk) -> None:
    url = desk.caller.stack.url
    assert httpx.get(f"{url}/v1/gate-file-schema").status_code == 401
    assert httpx.post(f"{url}/v1/policies/check", json={"text": TEXT}).status_code == 401
