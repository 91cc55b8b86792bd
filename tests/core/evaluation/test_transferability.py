"""Transferability (paper Eq. 11), among others against the paper's own Tables 1 and 12."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import core
from core.arp import Arp
from core.errors import InvalidError
from core.evaluation.transferability import transfer_ratio, transferability
from core.intervals import Interval, Origin, Replicates, stored
from core.tasks import profile

PAPER = json.loads((Path(core.__file__).parent / "reference" / "nyuv2.json").read_text())
NYUV2 = tuple(task.name for task in profile("nyuv2").tasks)
ALL_SHARED, INDEPENDENT = "0", "2"


def arp(**tasks: float | None) -> Arp:
    values = [value for value in tasks.values() if value is not None]
    return Arp(tasks, sum(values) / len(values) if values else None)


def replicates(result: Arp, *, spread: float, seed: int = 0) -> Replicates:
    """ARP by task about that of a result."""
    generator = np.random.default_rng(seed)
    drawn = {
        task: stored(generator.normal(np.nan if value is None else value, spread, 1000))
        for task, value in result.tasks.items()
    }
    origin = Origin.of("made up", np.arange(400), seed=0, replicates=1000)
    return Replicates(origin, {}, drawn, stored(np.zeros(1000)))


STRONG = {
    "segmentation": arp(segmentation=80.0, normals=20.0, depth=40.0),
    "normals": arp(segmentation=15.0, normals=60.0, depth=21.0),
    "depth": arp(segmentation=-10.0, normals=30.0, depth=100.0),
}


def test_it_is_the_mean_over_the_other_tasks_of_their_arp_over_the_attacked_tasks() -> None:
    found = transferability(STRONG)
    assert found.tasks == ("segmentation", "normals", "depth")
    assert found.values == pytest.approx({"segmentation": 0.375, "normals": 0.3, "depth": 0.1})
    assert found.matrix["segmentation"] == {"segmentation": 80.0, "normals": 20.0, "depth": 40.0}
    assert (found.undefined, found.unstable) == ({}, ())


@pytest.mark.parametrize(("model", "row"), [(ALL_SHARED, "AS/5L"), (INDEPENDENT, "IND/0L")])
@pytest.mark.parametrize("attacked", NYUV2)
def test_it_is_the_papers_with_one_over_n_minus_1(model: str, row: str, attacked: str) -> None:
    # Tables 1 and 12 print ARP over all tasks and transferability t: then ARP-X is n ARP / (1 + (n - 1) t).
    overall = PAPER["models"][model]["arp"][f"apgd/single:{attacked}/eps=8"]
    printed = PAPER["transferability"][row][attacked]
    own = 3 * overall / (1 + 2 * printed)
    tasks = {task: own if task == attacked else (3 * overall - own) / 2 for task in NYUV2}
    assert transferability({attacked: arp(**tasks)}).values == {attacked: pytest.approx(printed)}
    if attacked == "segmentation":
        assert own == pytest.approx(88, abs=1), "both of its metrics are nearly wiped out, whatever is shared"


def test_without_replicates_there_are_no_intervals() -> None:
    found = transferability(STRONG)
    assert set(found.intervals.values()) == {None}
    assert found.matrix_intervals["depth"] == dict.fromkeys(NYUV2)


def test_intervals_hold_the_values_and_the_matrix() -> None:
    drawn = {task: replicates(result, spread=2.0) for task, result in STRONG.items()}
    found = transferability(STRONG, drawn)
    for attacked in NYUV2:
        value, bounds = found.values[attacked], found.intervals[attacked]
        assert value is not None
        assert bounds is not None
        assert bounds.low < value < bounds.high
        for task in NYUV2:
            bounds = found.matrix_intervals[attacked][task]
            assert bounds is not None
            assert bounds.high - bounds.low == pytest.approx(4 * 1.96, rel=0.15)
    assert found.unstable == ()


def test_an_interval_follows_each_replicates_own_ratio() -> None:
    result = STRONG["segmentation"]
    drawn = replicates(result, spread=0.0)
    scale = stored(np.random.default_rng(0).uniform(0.5, 2, 1000))
    scaled = Replicates(drawn.origin, {}, {task: values * scale for task, values in drawn.tasks.items()})
    found = transferability({"segmentation": result}, {"segmentation": scaled})
    bounds = found.intervals["segmentation"]
    assert bounds is not None
    assert (bounds.low, bounds.high) == pytest.approx((0.375, 0.375))


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        (0.0, r"the attack on depth did not harm it \(ARP 0\.00 %\)"),
        (-3.0, r"the attack on depth did not harm it \(ARP -3\.00 %\)"),
        (None, "the attack on depth has no ARP on it"),
    ],
)
def test_an_attack_that_did_its_own_task_no_harm_has_none_and_says_why(
    own: float | None, sentence: str
) -> None:
    result = arp(normals=5.0, depth=own)
    found = transferability({"depth": result}, {"depth": replicates(result, spread=1.0)})
    assert (found.values, found.intervals) == ({"depth": None}, {"depth": None})
    assert re.match(sentence, found.undefined["depth"])
    assert found.unstable == ()


def test_a_model_of_one_task_has_none_and_says_why() -> None:
    found = transferability({"depth": arp(depth=50.0)})
    assert found.values == {"depth": None}
    assert found.undefined["depth"].startswith("depth is the only task")


def test_a_task_without_arp_does_not_count_among_the_others() -> None:
    result = arp(segmentation=None, normals=20.0, depth=50.0)
    found = transferability({"depth": result})
    assert found.values["depth"] == pytest.approx(0.4)
    assert found.matrix["depth"]["segmentation"] is None


def test_where_no_other_task_has_arp_there_is_none() -> None:
    found = transferability({"depth": arp(normals=None, depth=50.0)})
    assert found.undefined == {"depth": "no task besides depth has an ARP"}


def test_an_own_arp_that_might_be_zero_keeps_the_value_and_marks_it() -> None:
    weak = arp(segmentation=1.0, normals=2.0, depth=3.0)
    found = transferability({"depth": weak}, {"depth": replicates(weak, spread=1.7)})
    own = found.matrix_intervals["depth"]["depth"]
    assert own is not None
    assert own.low <= 0
    assert found.values["depth"] == pytest.approx(0.5)
    assert found.unstable == ("depth",)


def test_replicates_that_did_the_own_task_no_harm_are_undefined() -> None:
    weak = arp(normals=2.0, depth=3.0)
    drawn = replicates(weak, spread=3.0)
    ratios = transfer_ratio("depth", drawn.tasks)
    assert np.array_equal(np.isnan(ratios), drawn.tasks["depth"] <= 0)
    assert transferability({"depth": weak}, {"depth": drawn}).intervals == {"depth": None}


@pytest.mark.parametrize("arps", [{}, {"edges": STRONG["depth"]}])
def test_an_attack_on_a_task_that_is_not_measured_is_refused(arps: dict[str, Arp]) -> None:
    with pytest.raises(InvalidError, match="a SINGLE attack on a task that is measured"):
        transferability(arps)


def test_the_table_has_a_line_for_every_attack_and_the_reasons_below() -> None:
    arps = {"normals": arp(normals=50.0, depth=10.0), "depth": arp(normals=5.0, depth=-1.0)}
    assert transferability(arps).table().splitlines() == [
        "attacked  normals ARP %  depth ARP %  transferability",
        "normals   50.00          10.00        0.20",
        "depth     5.00           -1.00        -",
        "depth: the attack on depth did not harm it (ARP -1.00 %), so there is no harm to compare with",
    ]


def test_the_table_shows_intervals_and_what_is_unstable() -> None:
    weak = arp(normals=2.0, depth=3.0)
    text = transferability({"depth": weak}, {"depth": replicates(weak, spread=1.7)}).table()
    assert "3.00 [-0." in text
    assert text.endswith(" unstable")


def test_json_has_every_field() -> None:
    drawn = {task: replicates(result, spread=2.0) for task, result in STRONG.items()}
    found = transferability(STRONG, drawn)
    read = json.loads(json.dumps(found.to_json()))
    assert read["values"]["normals"] == found.values["normals"]
    assert Interval(**read["intervals"]["normals"]) == found.intervals["normals"]
    assert read["tasks"] == list(NYUV2)
