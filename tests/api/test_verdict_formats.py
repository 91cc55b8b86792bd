"""A verdict over HTTP as the files that a CI shows."""

from typing import get_args
from xml.etree import ElementTree as ET

import httpx
import pytest

from core.gates.rendering import Format
from tests.api.desk import Desk
from tests.api.test_policies import REFUSED_SUITES, WITH_PROFILE
from tests.service import Json, pointers

POLICY: Json = {
    "version": 1,
    "rules": [
        {"name": "a | <b>", "on": "arp", "at_most": 5},
        {"name": "lenient", "on": "arp", "at_most": 40},
    ],
}


def asked(desk: Desk, job: Json, query: str = "", **body: object) -> httpx.Response:
    return desk.caller.post(f"/v1/jobs/{job['id']}/verdict{query}", {"policy": POLICY, **body})


@pytest.mark.parametrize(
    ("output", "media_type", "start"),
    [
        ("json", "application/json", "{"),
        ("markdown", "text/markdown; charset=utf-8", "## Gate failed: "),
        ("junit", "application/xml", "<?xml"),
        ("sarif", "application/sarif+json", "{"),
        ("badge", "image/svg+xml", "<svg"),
        ("shields", "application/json", "{"),
        ("text", "text/plain; charset=utf-8", "fail"),
    ],
)
def test_a_verdict_is_had_as_a_file(desk: Desk, output: str, media_type: str, start: str) -> None:
    answer = asked(desk, desk.evaluated(20.0), f"?format={output}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.text.startswith(start)


def test_json_is_what_it_is_without_a_format(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    assert asked(desk, job).json() == asked(desk, job, "?format=json").json()


def test_the_formats_say_what_the_verdict_says(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    found = asked(desk, job).json()
    assert found["status"] == "failed"
    suite = ET.fromstring(asked(desk, job, "?format=junit").content)  # noqa: S314 - our own output
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert "a &#124; &lt;b&gt;" in asked(desk, job, "?format=markdown").text
    assert asked(desk, job, "?format=shields").json()["message"] == "failed"
    last = asked(desk, job, "?format=text").text.splitlines()[-1]
    assert last.split(maxsplit=1) == ["failed", found["message"]]


def test_sarif_points_to_the_policy_that_the_caller_names(desk: Desk) -> None:
    place: Json = {
        "policy_file": "gates/policy.json",
        "policy_lines": {"a | <b>": 4},
        "report": "https://ci.example/1",
    }
    answer = asked(desk, desk.evaluated(20.0), "?format=sarif", **place)
    (result,) = answer.json()["runs"][0]["results"]
    assert result["hostedViewerUri"] == "https://ci.example/1"
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "gates/policy.json", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 4},
    }


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"policy_file": "/policy.json"}, "#/policy_file"),
        ({"policy_lines": {"a": 0}}, "#/policy_lines/a"),
        ({"report": "javascript:alert(1)"}, "#/report"),
    ],
)
def test_a_place_that_files_cannot_point_to_is_refused(desk: Desk, body: Json, pointer: str) -> None:
    answer = asked(desk, desk.evaluated(20.0), **body)
    assert (answer.status_code, pointers(answer)) == (422, [pointer])


@pytest.mark.parametrize("wrong", ["mine", 5, {"job": "mine"}])
def test_a_transferability_job_that_has_no_id_is_refused_at_its_place(desk: Desk, wrong: object) -> None:
    answer = asked(desk, desk.evaluated(20.0), transferability=wrong)
    assert (answer.status_code, pointers(answer)) == (422, ["#/transferability"])


@pytest.mark.parametrize(("change", "place", "said"), REFUSED_SUITES)
def test_a_gate_file_whose_suite_cannot_be_run_is_refused(
    desk: Desk, change: tuple[str, str], place: str, said: str
) -> None:
    path = f"/v1/jobs/{desk.evaluated(20.0)['id']}/verdict"
    answer = desk.caller.post(path, {"gate_file": WITH_PROFILE.replace(*change)})
    assert (answer.status_code, pointers(answer)) == (422, [place])
    assert said in answer.json()["detail"]


def test_an_unknown_format_is_refused(desk: Desk) -> None:
    answer = asked(desk, desk.evaluated(20.0), "?format=pdf")
    assert (answer.status_code, pointers(answer)) == (422, ["format"])


def test_the_formats_are_in_the_api_description(desk: Desk) -> None:
    described = desk.get("/openapi.json").json()["paths"]["/v1/jobs/{job_id}/verdict"]["post"]
    (query,) = [each for each in described["parameters"] if each["name"] == "format"]
    assert query["schema"]["enum"] == list(get_args(Format))
    content = described["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/VerdictView"}
    assert {"application/xml", "application/sarif+json", "image/svg+xml"} <= set(content)
