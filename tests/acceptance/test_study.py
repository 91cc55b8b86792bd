"""A small study through the real stack, and the same with one attack more."""

import pytest

from tests.service import ATTACK, Caller, Json

STUDY: Json = {
    "kind": "study",
    "name": "digits",
    "model": {"backbone": "sapling", "profile": "digits"},
    "layouts": ["all-shared", "independent"],
    "dataset": {"name": "digits", "limit": 64},
    "modes": [
        {"name": "clean", "recipe": {"iterations": 6, "batch_size": 16}},
        {
            "name": "fat",
            "start": "clean",
            "recipe": {"iterations": 3, "batch_size": 16, "adversarial": {"attack": ATTACK}},
        },
    ],
    "evaluation": {"dataset": {"name": "digits", "limit": 32}, "attacks": [ATTACK], "health": False},
    "transferability": {"attack": {"algorithm": "fgsm", "eps": 8}},
}


def ended(caller: Caller, study: Json) -> Json:
    return caller.service.follow(caller.service.submit(study), lambda _: None)


def parts(caller: Caller, job: Json) -> list[Json]:
    found: list[Json] = caller.get(job["links"]["parts"]).json()["items"]
    return found


@pytest.fixture(scope="module")
def done(caller: Caller) -> Json:
    return ended(caller, STUDY)


def test_every_model_is_trained_measured_and_compared(caller: Caller, done: Json) -> None:
    found = caller.service.results(done)
    assert [(cell["layout"], cell["mode"]) for cell in found["cells"]] == [
        (0, "clean"),
        (0, "fat"),
        (1, "clean"),
        (1, "fat"),
    ]
    for cell in found["cells"]:
        assert (cell["ara"] is None) == (cell["mode"] == "clean")
        assert cell["metrics"]["left"]["accuracy"]["interval"] is not None
        assert [attack["attack"] for attack in cell["attacks"]] == [0]
    assert [row[0]["layouts"] for row in found["matrix"]] == [2, 2]
    assert [row["sharing_level"] for row in found["transferability"]["modes"][0]["layouts"]] == [5, 0]
    rows = caller.get(done["links"]["results"], params={"format": "csv"}).text.splitlines()
    assert len(rows) == 1 + 4


def test_its_parts_are_jobs_and_its_models_models(caller: Caller, done: Json) -> None:
    jobs = parts(caller, done)
    assert len(jobs) == done["progress"]["shards_total"] == 10
    assert {job["study"] for job in jobs} == {done["id"]}
    fat = next(job for job in jobs if job["part"] == "layout 0/fat/training")
    clean = next(job for job in jobs if job["part"] == "layout 0/clean/training")
    assert fat["model"] == caller.service.results(clean)["model"]
    model = caller.get(f"/v1/models/{caller.service.results(fat)['model']}").json()
    assert (model["name"], model["state"]) == ("digits/layout 0/fat", "ready")


def test_an_extended_study_does_only_what_is_new(caller: Caller, done: Json) -> None:
    more = {**STUDY["evaluation"], "attacks": [ATTACK, {**ATTACK, "eps": 4}]}
    again = ended(caller, {**STUDY, "name": "more", "evaluation": more})
    new = 0
    for job in parts(caller, again):
        events = caller.get(job["links"]["events"]).text.replace(" ", "")
        assert '"reused":' in events
        new += events.count('"reused":false')
        if job["kind"] != "evaluation":
            assert '"reused":false' not in events
    assert new == 4, "the new attack, on every model"
    models = [cell["model"] for cell in caller.service.results(again)["cells"]]
    assert models == [cell["model"] for cell in caller.service.results(done)["cells"]]
