"""Two models that were evaluated alike, compared as a whole."""

from uuid import uuid4

import pytest

from tests.api.desk import Desk, replicates
from tests.service import Json


def comparison(desk: Desk, job: Json, other: Json, **params: str) -> Json:
    answer = desk.get(f"/v1/jobs/{job['id']}/comparison", params={"other_job": other["id"], **params})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def with_accuracy(accuracy: float) -> Json:
    """Changes to a clean pass: the left task's accuracy; the right one's stays at 50 % and 1 nat."""
    return {
        "metrics": {
            "left": {"accuracy": accuracy, "cross_entropy": None},
            "right": {"accuracy": 50.0, "cross_entropy": 1.0},
        },
        "replicates": replicates(None, accuracy).to_bytes(),
    }


def test_the_clean_price_is_ara_and_the_gain_what_attacks_do_less(desk: Desk) -> None:
    """72 instead of 80 % on one of two tasks is 10 % of it, so 5 % of both; the replicates shift alike."""
    sturdy = desk.evaluated(20.0, 30.0, rows=[with_accuracy(72.0)])
    plain = desk.evaluated(50.0, 90.0, rows=[with_accuracy(80.0)])
    found = comparison(desk, sturdy, plain)
    assert found["ara"]["overall"]["value"] == pytest.approx(-5.0)
    assert found["ara"]["tasks"]["left"]["value"] == pytest.approx(-10.0)
    assert found["ara"]["tasks"]["right"]["value"] == 0.0
    assert found["ara"]["undefined"] == ["left.cross_entropy"]
    low, high = found["ara"]["overall"]["interval"]
    assert -5.2 < low <= -5.0 <= high < -4.8
    first, second = found["attacks"]
    assert (first["arp"]["value"], first["other_arp"]["value"]) == (20.0, 50.0)
    assert first["robust_gain"]["value"] == 30.0
    assert first["robust_gain"]["interval"] == pytest.approx([30.0, 30.0])
    assert second["robust_gain"]["value"] == 60.0
    assert (found["model"], found["other_model"]) == (sturdy["model"], plain["model"])


def test_it_is_the_other_way_round_the_other_way_round(desk: Desk) -> None:
    sturdy, plain = desk.evaluated(20.0), desk.evaluated(50.0)
    assert comparison(desk, plain, sturdy)["attacks"][0]["robust_gain"]["value"] == -30.0


def test_attacks_that_one_of_them_did_not_run_are_left_out(desk: Desk) -> None:
    found = comparison(desk, desk.evaluated(20.0), desk.evaluated(50.0, 60.0))
    assert [attack["ordinal"] for attack in found["attacks"]] == [0]


def test_as_a_table_there_is_a_row_for_each_number(desk: Desk) -> None:
    one, other = desk.evaluated(20.0), desk.evaluated(50.0)
    answer = desk.get(f"/v1/jobs/{one['id']}/comparison", params={"other_job": other["id"], "format": "csv"})
    rows = answer.text.splitlines()
    assert rows[0] == "quantity,value,value.low,value.high"
    assert [row.split(",")[0] for row in rows[1:]] == [
        "ARA overall",
        "ARA left",
        "ARA right",
        "robust gain fgsm/gb_mta/eps=1",
    ]


@pytest.mark.parametrize(
    "change", [{"dataset": "digits 2"}, {"seed": 1}], ids=["other samples", "drawn otherwise"]
)
def test_what_is_not_on_the_same_samples_is_not_compared(desk: Desk, change: Json) -> None:
    one = desk.evaluated(20.0)
    strange = {"replicates": replicates(None, 90.0, **change).to_bytes()}
    other = desk.evaluated(50.0, rows=[strange])
    answer = desk.get(f"/v1/jobs/{one['id']}/comparison", params={"other_job": other["id"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "unpaired")


def test_models_of_different_tasks_are_not_compared(desk: Desk) -> None:
    one, other = desk.evaluated(20.0), desk.evaluated(50.0)
    stranger = desk.model(tasks=["left"])
    job = desk.submit(
        desk.caller.evaluation(stranger, attacks=[{"algorithm": "fgsm", "eps": 1}], health=False)
    )
    answer = desk.get(f"/v1/jobs/{job['id']}/comparison", params={"other_job": other["id"]})
    assert answer.json()["code"] == "job_not_finished"
    assert desk.get(f"/v1/jobs/{one['id']}/comparison", params={"other_job": str(uuid4())}).status_code == 404
