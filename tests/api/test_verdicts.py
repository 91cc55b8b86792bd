"""The gate over HTTP."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from core.specs.policies import GatePolicy
from tests.api.desk import Desk, replicates, result
from tests.service import Json, pointers

ARP: Json = {"name": "strong", "on": "arp", "at_most": 40}
GAIN: Json = {"name": "sturdier", "on": "robust_gain", "at_least": 10}
PROBED: Json = {"probe": {"full_range": {}}}


def policy(*rules: Json, **more: object) -> Json:
    return {"version": 1, "rules": list(rules), **more}


def asked(desk: Desk, job: Json, document: Json, baseline: str | None = None) -> httpx.Response:
    return desk.caller.post(f"/v1/jobs/{job['id']}/verdict", {"policy": document, "baseline": baseline})


def verdict(desk: Desk, job: Json, document: Json, baseline: Json | None = None) -> Json:
    answer = asked(desk, job, document, None if baseline is None else str(baseline["id"]))
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_a_verdict_follows_from_what_is_stored(desk: Desk) -> None:
    job = desk.evaluated(20.0, summary=PROBED)
    document = policy(
        ARP,
        {"name": "left", "on": "task_arp", "task": "left", "at_most": 4, "attacks": {"eps": 1}},
        {
            "name": "clean",
            "on": "metric",
            "task": "left",
            "metric": "accuracy",
            "at_least": 70,
            "level": "warn",
        },
        {"name": "trust", "on": "health"},
    )
    found = verdict(desk, job, document)
    assert [outcome["status"] for outcome in found["outcomes"]] == ["pass", "fail", "pass", "pass"]
    assert (found["status"], found["exit_code"], found["counts"]) == ("failed", 1, {"fail": 1, "pass": 3})
    assert (found["job"], found["model"], found["baseline"]) == (job["id"], job["model"], None)
    assert found["policy"] == GatePolicy.model_validate(document).digest()
    assert (found["dataset"]["name"], found["dataset"]["limit"]) == ("digits", 32)
    assert (found["metric_version"], found["metric_rules"]) == ("1", "standard")
    first = found["outcomes"][0]
    assert first["observed"] == {"value": 20.0, "interval": [10.0, 30.0], "unit": "%"}
    assert (first["attack"], first["ordinal"], first["samples"]) == ("fgsm/gb_mta/eps=1", 0, 32)


def test_against_a_baseline_differences_are_paired(desk: Desk) -> None:
    sturdy, plain = desk.evaluated(20.0), desk.evaluated(50.0)
    document = policy(
        GAIN,
        {"name": "no worse", "on": "arp", "no_worse_than_baseline_by": 0},
        {"name": "price", "on": "ara", "task": "left", "no_worse_than_baseline_by": 12},
    )
    found = verdict(desk, sturdy, document, plain)
    assert (found["status"], found["exit_code"]) == ("passed", 0)
    gain, worse = found["outcomes"][0]["observed"], found["outcomes"][1]["worse_by"]
    assert (gain["value"], gain["interval"], gain["unit"]) == (30.0, pytest.approx([30.0, 30.0]), "points")
    assert (worse["value"], worse["interval"]) == (-30.0, pytest.approx([-30.0, -30.0]))
    compared = {"job": plain["id"], "model": plain["model"], "model_name": None, "resolved_by": "job"}
    assert found["baseline"] == compared
    assert verdict(desk, plain, document, sturdy)["status"] == "failed"
    assert verdict(desk, sturdy, document)["exit_code"] == 4


def test_too_wide_an_interval_is_inconclusive(desk: Desk) -> None:
    found = verdict(desk, desk.evaluated(20.0), policy({**ARP, "at_most": 25}))
    assert (found["status"], found["exit_code"]) == ("inconclusive", 4)
    assert found["outcomes"][0]["samples_needed"] == 128


def test_errors_on_the_evaluation_fail_it(desk: Desk) -> None:
    flag = {"code": "masked", "severity": "error", "message": "do not trust", "evidence": {}}
    job = desk.evaluated(20.0, summary={"flags": [flag], **PROBED})
    found = verdict(desk, job, policy(ARP, {"name": "trust", "on": "health"}))
    assert [(outcome["status"], outcome["flags"]) for outcome in found["outcomes"]] == [
        ("error", ["masked"]),
        ("fail", ["masked"]),
    ]


def test_health_that_nobody_looked_at_is_no_health(desk: Desk) -> None:
    found = verdict(desk, desk.evaluated(20.0), policy({"name": "trust", "on": "health"}))
    assert found["outcomes"][0]["status"] == "error"


def test_waivers_end_by_todays_date(desk: Desk) -> None:
    today = datetime.now(UTC).date()
    job, rule = desk.evaluated(20.0), {**ARP, "at_most": 5}
    for days, status in ((30, "passed"), (-1, "failed")):
        expires = (today + timedelta(days=days)).isoformat()
        waiver = {"rule": "strong", "reason": "known", "expires": expires}
        assert verdict(desk, job, policy(rule, waivers=[waiver]))["status"] == status


def test_a_baseline_on_other_samples_is_an_error_where_it_is_compared_with(desk: Desk) -> None:
    strange = {"replicates": replicates(50.0, 40.0, dataset="digits 2").to_bytes()}
    found = verdict(desk, desk.evaluated(20.0), policy(ARP, GAIN), desk.evaluated(50.0, rows=[{}, strange]))
    assert [outcome["status"] for outcome in found["outcomes"]] == ["pass", "error"]
    assert "on different samples" in found["outcomes"][1]["message"]


def test_the_same_attack_is_found_however_it_is_written(desk: Desk) -> None:
    one = desk.evaluated(20.0)
    attacks = [
        {"algorithm": "pgd", "eps": 2},
        {"algorithm": "fgsm", "eps": 1, "objective": "gb_mta", "seed": 3},
    ]
    other = desk.submit(desk.caller.evaluation(desk.model(), attacks=attacks, health=False))
    desk.end(other, [result(ordinal, arp, attacks) for ordinal, arp in ((-1, None), (0, 90.0), (1, 50.0))])
    assert verdict(desk, one, policy(GAIN), other)["outcomes"][0]["observed"]["value"] == 30.0


@pytest.mark.parametrize(
    ("rule", "pointer", "said"),
    [
        ({"name": "x", "on": "apr", "at_most": 3}, "#/policy/rules/0/on", "did you mean 'arp'?"),
        ({"name": "x", "on": "arp", "at_mots": 3}, "#/policy/rules/0/at_mots", "did you mean 'at_most'?"),
        ({"name": "x", "on": "arp", "at_most": "z"}, "#/policy/rules/0/at_most", "number"),
        (ARP | {"attacks": {"algorithm": "apdg"}}, "#/policy/rules/0/attacks/algorithm", "'apgd'"),
        ({"name": "x", "on": "arp"}, "#/policy/rules/0", "one limit"),
    ],
)
def test_a_policy_that_says_nothing_is_refused_with_the_place(
    desk: Desk, rule: Json, pointer: str, said: str
) -> None:
    answer = asked(desk, {"id": str(uuid4())}, policy(rule))
    assert (answer.status_code, pointers(answer)) == (422, [pointer])
    assert said in answer.json()["errors"][0]["message"]


def test_only_a_finished_evaluation_is_decided(desk: Desk) -> None:
    done = desk.evaluated(20.0)
    attacks = [{"algorithm": "fgsm", "eps": 1}]
    queued = desk.submit(desk.caller.evaluation(desk.model(), attacks=attacks, health=False))
    transfer = desk.submit(
        {
            "kind": "transferability",
            "models": [done["model"]],
            "dataset": {"name": "digits", "limit": 32},
            "attack": {"algorithm": "fgsm", "eps": 1},
        }
    )
    nowhere = {"id": str(uuid4())}
    for job, status, code in (
        (queued, 409, "job_not_finished"),
        (transfer, 404, "no_results"),
        (nowhere, 404, "job_not_found"),
    ):
        answer = asked(desk, job, policy(ARP))
        assert (answer.status_code, answer.json()["code"], pointers(answer)) == (status, code, [])
        answer = asked(desk, done, policy(ARP), str(job["id"]))
        assert (answer.status_code, answer.json()["code"], pointers(answer)) == (status, code, ["#/baseline"])


def test_the_schema_of_a_policy_can_be_had(desk: Desk) -> None:
    assert desk.get("/v1/policy-schema").json() == GatePolicy.model_json_schema()
    stranger = httpx.get(f"{desk.caller.stack.url}/v1/policy-schema")
    assert stranger.status_code == 401
