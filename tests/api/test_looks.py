"""A gate file's looks over HTTP: planned by one answer, followed from verdict to verdict."""

from uuid import uuid4

import pytest

from tests.api.desk import Desk, result
from tests.api.test_policies import WITH_PROFILE, asked, checked
from tests.service import Json, pointers

FILE = """\
version: 1
model: {file: nets/a.pt}
dataset: {name: digits, limit: 128}
suite:
  attacks: [{algorithm: pgd, objective: gb_mta, eps: 8, steps: 5}]
escalate: {samples: 256, effort: 2}
rules:
  - {name: strong, on: arp, at_most: 40}
"""
RELATIVE = FILE + "  - {name: no worse, on: arp, no_worse_than_baseline_by: 2}\n"
TRANSFERRED = FILE + "  - {name: apart, on: transferability, task: left, at_most: 0.5}\n"


def evaluated(desk: Desk, look: Json, arp: float, *, model: str) -> Json:
    """A finished evaluation of a look."""
    spec = {**look["evaluation"], "kind": "evaluation", "model": model}
    job = desk.submit(spec)
    attacks = spec["attacks"]
    rows = [result(number, arp if number >= 0 else None, attacks) for number in range(-1, len(attacks))]
    desk.end(job, rows, {"probe": {"full_range": {}}})
    return job


def verdict(desk: Desk, job: Json, text: str, **more: object) -> Json:
    answer = desk.caller.post(f"/v1/jobs/{job['id']}/verdict", {"gate_file": text, **more})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_the_looks_of_a_file_are_planned(desk: Desk) -> None:
    found = checked(desk, FILE, model=desk.model())
    planned = [(look["number"], look["samples"], look["effort"], look["restarts"]) for look in found["looks"]]
    assert planned == [
        (1, 64, 1, None),
        (2, 128, 1, None),
        (3, 256, 1, None),
        (4, 256, 2, None),
        (5, 256, 2, 2),
    ]
    assert [look["early"] for look in found["looks"]] == [True, False, False, False, False]
    assert found["level"] == pytest.approx(0.99)
    assert {look["evaluation"]["dataset"]["version"] for look in found["looks"]} == {"1"}
    assert {look["evaluation"]["dataset"]["shuffle"] for look in found["looks"]} == {0}
    assert found["file"]["dataset"]["shuffle"] == 0
    assert len({look["digest"] for look in found["looks"]}) == 5
    assert (found["compares"], found["transferability"]) == (False, None)
    assert checked(desk, RELATIVE)["compares"]


def test_a_verdict_says_which_look_it_is_on_and_which_is_next(desk: Desk) -> None:
    model = desk.model()
    looks = checked(desk, FILE, model=model)["looks"]
    open_ = verdict(desk, evaluated(desk, looks[0], 40.2, model=model), FILE)
    assert open_["look"] == {"number": 1, "of": 5, "samples": 64, "effort": 1, "restarts": None}
    assert (open_["next"]["number"], open_["next"]["samples"], open_["status"]) == (2, 128, "inconclusive")
    settled = verdict(desk, evaluated(desk, looks[1], 20.0, model=model), FILE)
    assert (settled["look"]["number"], settled["next"], settled["status"]) == (2, None, "passed")
    assert settled["level"] == pytest.approx(0.99)
    last = verdict(desk, evaluated(desk, looks[4], 40.2, model=model), FILE)
    assert (last["look"]["number"], last["next"], last["exit_code"]) == (5, None, 4)


def test_any_other_evaluation_is_refused_but_on_trial(desk: Desk) -> None:
    model = desk.model()
    (look, *_) = checked(desk, FILE, model=model)["looks"]
    asked_for = look["evaluation"]
    fewer = {**asked_for["dataset"], "limit": 32}
    for changes in (
        {"dataset": fewer},
        {"dataset": {**asked_for["dataset"], "split": "train"}},
        {"dataset": {**asked_for["dataset"], "shuffle": None}},
        {"dataset": {**asked_for["dataset"], "shuffle": 1}},
        {"batch_size": 16},
        {"health": False},
        {"attacks": [{"algorithm": "uniform_noise", "eps": 0.01}]},
    ):
        job = evaluated(desk, {"evaluation": {**asked_for, **changes}}, 20.0, model=model)
        answer = desk.caller.post(f"/v1/jobs/{job['id']}/verdict", {"gate_file": FILE})
        assert (answer.status_code, answer.json()["code"]) == (409, "not_a_look")
    tried = verdict(desk, job, FILE, trial=True)
    assert (tried["look"], tried["next"], tried["level"], tried["gate_file"]) == (None, None, 0.95, None)


def test_pictures_and_spelt_out_defaults_make_no_other_look(desk: Desk) -> None:
    model = desk.model()
    (look, *_) = checked(desk, FILE, model=model)["looks"]
    spelt_out = [{**attack, "step_size": 2.5 * 8 / 5} for attack in look["evaluation"]["attacks"]]
    changed = {**look["evaluation"], "previews": 4, "attacks": spelt_out}
    job = evaluated(desk, {"evaluation": changed}, 20.0, model=model)
    assert verdict(desk, job, FILE)["look"]["number"] == 1


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("name: digits,", 'name: digits, version: "99",'), "#/dataset/version"),
        (("name: digits,", "name: scenes,"), "#/dataset/name"),
        (("file: nets/a.pt", "file: nets/a.pt, manifest: {profile: nyuv2}"), "#/model/manifest/profile"),
        (("limit: 128", "limit: 100000"), "#/dataset/limit"),
        (("on: arp, at_most: 40", "on: arp, at_most: 40, attacks: {eps: 4}"), "#/rules/0/attacks"),
    ],
)
def test_a_verdict_refuses_a_file_of_something_else(desk: Desk, change: tuple[str, str], place: str) -> None:
    model = desk.model()
    (look, *_) = checked(desk, FILE, model=model)["looks"]
    job = evaluated(desk, look, 20.0, model=model)
    answer = desk.caller.post(f"/v1/jobs/{job['id']}/verdict", {"gate_file": FILE.replace(*change)})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_gate_file")
    assert pointers(answer) == [place]


def test_the_files_lines_are_pointed_to(desk: Desk) -> None:
    model = desk.model()
    (look, *_) = checked(desk, FILE, model=model)["looks"]
    job = evaluated(desk, look, 60.0, model=model)
    body = {"gate_file": FILE, "policy_file": "windthrow.yaml"}
    sarif = desk.caller.post(f"/v1/jobs/{job['id']}/verdict?format=sarif", body).json()
    (found,) = sarif["runs"][0]["results"]
    assert found["locations"][0]["physicalLocation"]["region"]["startLine"] == 8


def test_a_broken_file_is_said_with_its_lines(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    answer = desk.caller.post(
        f"/v1/jobs/{job['id']}/verdict", {"gate_file": FILE.replace("at_most", "at_mots")}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_gate_file")
    assert answer.json()["errors"][0]["line"] == 8


def test_one_policy_is_asked_for(desk: Desk) -> None:
    job = desk.evaluated(20.0)
    for body in ({}, {"gate_file": FILE, "policy": {"version": 1, "rules": []}}):
        answer = desk.caller.post(f"/v1/jobs/{job['id']}/verdict", body)
        assert answer.status_code == 422
        assert "#/policy" in pointers(answer)[0]


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        (("on: arp, at_most: 40", "on: arp, at_most: 40, attacks: {eps: 4}"), "#/rules/0/attacks", "eps=8"),
        (("on: arp, at_most: 40", "on: task_arp, task: lfet, at_most: 4"), "#/rules/0/task", "left"),
        (
            ("on: arp, at_most: 40", "on: metric, task: left, metric: miou, at_least: 4"),
            "#/rules/0/metric",
            "accuracy",
        ),
        (("name: digits,", "name: dgits,"), "#/dataset/name", "digits"),
        (("limit: 128", "limit: 100000"), "#/dataset/limit", "samples"),
        (("name: digits,", "name: scenes,"), "#/dataset/name", "labels"),
    ],
)
def test_what_no_evaluation_could_decide_is_refused_before_one_is_run(
    desk: Desk, change: tuple[str, str], place: str, said: str
) -> None:
    answer = asked(desk, FILE.replace(*change), model=desk.model())
    assert (answer.status_code, pointers(answer)) == (422, [place])
    assert said in answer.json()["errors"][0]["message"]


def test_a_rule_on_health_needs_a_suite_that_looks(desk: Desk) -> None:
    text = WITH_PROFILE.replace("on: arp\n    at_most: 40", "on: health")
    assert pointers(asked(desk, text)) == ["#/rules/0/on"]


def test_a_rule_on_transferability_is_decided_by_its_own_job(desk: Desk) -> None:
    model = desk.model()
    found = checked(desk, TRANSFERRED, model=model)
    spec = found["transferability"]["spec"]
    assert (spec["attack"]["algorithm"], spec["attack"]["steps"], spec["dataset"]["limit"]) == (
        "pgd",
        20,
        128,
    )
    job = evaluated(desk, found["looks"][0], 20.0, model=model)
    without = verdict(desk, job, TRANSFERRED)
    assert [outcome["status"] for outcome in without["outcomes"]] == ["pass", "error"]
    transfer = desk.submit({**spec, "kind": "transferability", "models": [model]})
    unfinished = {"gate_file": TRANSFERRED, "transferability": transfer["id"]}
    answer = desk.caller.post(f"/v1/jobs/{job['id']}/verdict", unfinished)
    assert (answer.status_code, pointers(answer)) == (409, ["#/transferability"])
    desk.end(transfer, [], transferred(model))
    said = verdict(desk, job, TRANSFERRED, transferability=transfer["id"])
    assert [outcome["status"] for outcome in said["outcomes"]] == ["pass", "pass"]
    assert said["transferability"] == transfer["id"]
    weak = desk.submit(
        {**spec, "kind": "transferability", "models": [model], "attack": {"algorithm": "fgsm", "eps": 0.001}}
    )
    desk.end(weak, [], transferred(model))
    body = {"gate_file": TRANSFERRED, "transferability": weak["id"]}
    answer = desk.caller.post(f"/v1/jobs/{job['id']}/verdict", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_the_files_job")
    other = evaluated(desk, found["looks"][0], 20.0, model=desk.model())
    strange = verdict(desk, other, TRANSFERRED, transferability=transfer["id"])
    assert strange["outcomes"][1]["status"] == "error"
    for wrong in (job["id"], str(uuid4())):
        answer = desk.caller.post(
            f"/v1/jobs/{job['id']}/verdict", {"gate_file": TRANSFERRED, "transferability": wrong}
        )
        assert (answer.status_code, pointers(answer)) == (404, ["#/transferability"])


def transferred(model: str) -> Json:
    """What a transferability job of a digits model found."""
    matrix = {"left": {"left": 50.0, "right": 10.0}, "right": {"left": 5.0, "right": 50.0}}
    bounds = {task: {other: [1.0, 60.0] for other in matrix} for task in matrix}
    pair = {
        "source": 0,
        "target": 0,
        "matrix": matrix,
        "intervals": bounds,
        "transfer": {"left": 0.2, "right": 0.1},
        "transfer_intervals": {"left": [0.1, 0.3], "right": [0.05, 0.15]},
        "undefined": {},
        "unstable": [],
    }
    said: Json = {"models": [model], "tasks": ["left", "right"], "pairs": [pair], "samples": 128}
    return said | {"attack": {"algorithm": "pgd", "eps": 8}, "flags": [], "reliable": True, "bootstrap": None}


def test_a_baseline_is_compared_by_the_evaluation_that_was_done_alike(desk: Desk) -> None:
    repository, models = f"example.org/{uuid4()}", [desk.model(), desk.model()]
    looks = checked(desk, RELATIVE, model=models[0])["looks"]
    set_at = desk.evaluated(30.0)
    mine, theirs = (
        evaluated(desk, looks[0], arp, model=model) for arp, model in zip((20.0, 21.0), models, strict=True)
    )
    place = {"repository": repository, "branch": "main"}
    assert verdict(desk, mine, RELATIVE, baseline=place)["status"] == "no_baseline"
    baseline = {"repository": repository, "kind": "branch", "ref": "main"}
    desk.caller.http.put("/v1/baselines", json={**baseline, "job": theirs["id"]}).raise_for_status()
    found = verdict(desk, mine, RELATIVE, baseline={**place, "evaluation": theirs["id"]})
    assert (found["baseline"]["resolved_by"], found["outcomes"][1]["status"]) == ("branch", "pass")
    desk.caller.http.put("/v1/baselines", json={**baseline, "job": set_at["id"]}).raise_for_status()
    moved = {"gate_file": RELATIVE, "baseline": {**place, "evaluation": theirs["id"]}}
    answer = desk.caller.post(f"/v1/jobs/{mine['id']}/verdict", moved)
    assert (answer.status_code, answer.json()["code"], pointers(answer)) == (
        409,
        "baseline_moved",
        ["#/baseline/evaluation"],
    )
