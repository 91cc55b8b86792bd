"""What a study says of its cells: means over layouts, paired differences, and what is not there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from core.intervals import Interval, Origin, Replicates, Stored, UnpairedError, stored
from core.specs.studies import StudySpec
from core.store.tables import Result
from tests.service import Json
from worker.study_assembly import Cell, assemble_study

RECIPE: Json = {"epochs": 1}
FAT: Json = {"iterations": 5, "adversarial": {"attack": {"algorithm": "pgd", "eps": 8, "steps": 2}}}
PGD: Json = {"algorithm": "pgd", "steps": 2}
ATTACKS: list[Json] = [
    {**PGD, "objective": "gb_mta", "eps": 8},
    {**PGD, "objective": "total", "eps": 8},
    {**PGD, "objective": "single:left", "eps": 8},
    {**PGD, "objective": "gb_mta", "eps": 4},
]
LAYOUTS = ["all-shared", [[[0, 1]]] * 2 + [[[0], [1]]] * 3, "independent"]
ORIGIN = Origin.of("digits/1/test", np.arange(50), seed=0, replicates=400)
HARDNESS = np.random.default_rng(0).normal(0, 2, 400)
"""Of each replicate's samples, in points, alike for every model and attack."""

Value = float | None


def spec(layouts: Sequence[object] = LAYOUTS, **changes: object) -> StudySpec:
    document = {
        "kind": "study",
        "model": {"backbone": "sapling", "profile": "digits"},
        "layouts": layouts,
        "dataset": {"name": "digits"},
        "modes": [{"name": "clean", "recipe": RECIPE}, {"name": "FAT", "recipe": FAT, "start": "clean"}],
        "evaluation": {"dataset": {"name": "digits", "limit": 50}, "attacks": ATTACKS},
        "transferability": {"attack": {"algorithm": "apgd", "eps": 8}},
    }
    return StudySpec.model_validate(document | changes)


class Blobs(dict[str, bytes]):
    def keep(self, drawn: Replicates) -> str:
        digest = f"{len(self):064x}"
        self[digest] = drawn.to_bytes()
        return digest


BLOBS = Blobs()


def drawn(value: Value, shift: Stored | None = None) -> Stored:
    noise = stored(HARDNESS) if shift is None else shift
    return stored(np.full(400, np.nan) if value is None else value + noise)


def bounds(found: Interval | None) -> list[float] | None:
    return None if found is None else [found.low, found.high]


def row(
    ordinal: int, accuracy: tuple[Value, Value], arp: Value, *, origin: Origin = ORIGIN, **more: object
) -> Result:
    metrics = {"left": {"accuracy": accuracy[0]}, "right": {"accuracy": accuracy[1]}}
    kept = Replicates(
        origin, {task: {"accuracy": drawn(values["accuracy"])} for task, values in metrics.items()}
    )
    if ordinal >= 0:
        kept = replace(kept, tasks={task: drawn(arp) for task in metrics}, overall=drawn(arp))
    fields: Json = {
        "ordinal": ordinal,
        "attack": None if ordinal < 0 else ATTACKS[ordinal],
        "metrics": metrics,
        "task_arp": None if ordinal < 0 else dict.fromkeys(metrics, arp),
        "arp": arp,
        "intervals": {
            "arp": None if arp is None else bounds(kept.interval(arp)),
            "tasks": {task: bounds(kept.interval(arp, task=task)) for task in kept.tasks},
            "metrics": {
                task: {"accuracy": bounds(kept.interval(values["accuracy"], task=task, metric="accuracy"))}
                for task, values in metrics.items()
            },
        },
        "samples": 50,
        "flags": [],
        "replicates": BLOBS.keep(kept),
    }
    return Result(**fields | more)


def cell(
    layout: int,
    mode: str,
    accuracy: tuple[Value, Value] = (80.0, 60.0),
    arps: Sequence[Value] = (50.0, 40.0, 30.0, 20.0),
    **changes: object,
) -> Cell:
    rows = [row(-1, accuracy, None), *(row(ordinal, (1.0, 1.0), arp) for ordinal, arp in enumerate(arps))]
    fields: Json = {
        "layout": layout,
        "mode": mode,
        "model": UUID(int=100 * (mode == "FAT") + layout),
        "model_name": None,
        "parameters": 1000 + layout,
        "jobs": {"training": UUID(int=7), "evaluation": UUID(int=8)},
        "training": {"iterations": 5},
        "results": rows,
        "read": BLOBS.__getitem__,
        "transferability": None,
    }
    return Cell(**fields | changes)


def measured(model: int, transfer: Mapping[str, Value], unstable: Sequence[str] = (), **more: object) -> Json:
    """The summary of a transferability job on one model."""
    pair = {
        "source": 0,
        "target": 0,
        "transfer": dict(transfer),
        "transfer_intervals": {task: None if value is None else [0, 1] for task, value in transfer.items()},
        "undefined": {task: "no harm" for task, value in transfer.items() if value is None},
        "unstable": list(unstable),
    }
    return {"models": [str(UUID(int=model))], "pairs": [pair], "reliable": True, **more}


TRAINED = (72.0, 57.0)
"""Of 80 and 60: a tenth and a twentieth worse."""

FOUR = [
    cell(0, "clean"),
    cell(0, "FAT", TRAINED, (20.0, 25.0, 10.0, 8.0)),
    cell(1, "clean", arps=(60.0, 50.0, 20.0, 30.0)),
    cell(1, "FAT", TRAINED, (18.0, 15.0, 12.0, 6.0)),
]


@pytest.fixture(scope="module")
def four() -> Json:
    return assemble_study(spec(), FOUR)


def near(value: float) -> Json:
    return {"value": pytest.approx(value), "interval": [pytest.approx(value, abs=1e-3)] * 2}


def width(estimate: Json) -> float:
    low, high = estimate["interval"]
    return float(high - low)


def test_it_is_json(four: Json) -> None:
    assert json.loads(json.dumps(four, allow_nan=False)) == four


def test_layouts_modes_and_attacks_say_what_they_are(four: Json) -> None:
    assert [entry["sharing_level"] for entry in four["layouts"]] == [5, 2, 0]
    assert [entry["parameters"] for entry in four["layouts"]] == [1000, 1001, None]
    assert four["layouts"][0]["layout"] == [[[0, 1]]] * 5
    assert four["modes"] == [
        {"name": "clean", "baseline": True, "start": None, "attack": None},
        {"name": "FAT", "baseline": False, "start": "clean", "attack": "pgd/gb_mta/eps=8/steps=2"},
    ]
    assert [(entry["objective"], entry["eps"]) for entry in four["attacks"]][-2:] == [
        ("single:left", 8),
        ("gb_mta", 4),
    ]
    assert four["metrics"] == [
        {"task": task, "metric": "accuracy", "direction": "higher", "unit": "%"} for task in ("left", "right")
    ]
    assert four["bootstrap"] == {"level": 0.95, "replicates": 400, "seed": 0, "samples": 50}


def test_cells_come_in_the_specs_order_with_all_that_made_them(four: Json) -> None:
    backwards = assemble_study(spec(), FOUR[::-1])
    assert backwards["cells"] == four["cells"]
    assert [(entry["layout"], entry["mode"]) for entry in four["cells"]] == [
        (0, "clean"),
        (0, "FAT"),
        (1, "clean"),
        (1, "FAT"),
    ]
    first = four["cells"][1]
    assert first["jobs"] == {"training": str(UUID(int=7)), "evaluation": str(UUID(int=8))}
    assert first["training"] == {"iterations": 5}
    assert first["model"] == str(UUID(int=100))
    assert first["attacks"][1]["arp"] == {"value": 25, "interval": FOUR[1].results[2].intervals["arp"]}  # type: ignore[index]


def test_the_clean_price_is_ara_against_the_first_modes_model_of_the_same_layout(four: Json) -> None:
    clean, trained = four["cells"][:2]
    assert clean["ara"] is None
    ara = trained["ara"]
    assert {task: found["value"] for task, found in ara["tasks"].items()} == {
        "left": pytest.approx(-10),
        "right": pytest.approx(-5),
    }
    assert ara["overall"]["value"] == pytest.approx(-7.5)
    low, high = ara["overall"]["interval"]
    assert low < -7.5 < high
    assert high - low < 1, "hard samples are as hard for both models"


def test_the_gain_in_robustness_is_a_paired_difference(four: Json) -> None:
    assert all(found["robust_gain"] is None for found in four["cells"][0]["attacks"])
    gains = [found["robust_gain"] for found in four["cells"][1]["attacks"]]
    assert gains == [near(30), near(15), near(20), near(12)]
    assert width(four["cells"][1]["attacks"][0]["arp"]) > 5, (
        "what differs from sample to sample cancels in the gain"
    )


def test_the_matrix_averages_over_layouts_values_and_replicates_alike(four: Json) -> None:
    clean, trained = four["matrix"]
    assert [entry["arp"]["value"] for entry in clean] == [55, 45, 25, 25]
    assert [entry["arp"]["value"] for entry in trained] == [19, 20, 11, 7]
    assert all(entry["robust_gain"] is None for entry in clean)
    assert [entry["robust_gain"] for entry in trained] == [near(36), near(25), near(14), near(18)]
    assert trained[0]["gain_layouts"] == {"of": 2, "above_0": 2, "below_0": 0}
    assert {entry["layouts"] for entry in (*clean, *trained)} == {2}
    own = four["cells"][0]["attacks"][0]["arp"]
    assert width(clean[0]["arp"]) == pytest.approx(width(own), rel=1e-3), (
        "the samples are the same on every layout"
    )


def test_layouts_whose_replicates_disagree_make_the_means_interval_narrower() -> None:
    opposite = row(0, (1.0, 1.0), 50.0)
    flipped = replace(
        Replicates.from_bytes(BLOBS[str(opposite.replicates)]), overall=drawn(50.0, stored(-HARDNESS))
    )
    opposite.replicates = BLOBS.keep(flipped)
    other = replace(cell(1, "clean"), results=[row(-1, (80.0, 60.0), None), opposite])
    found = assemble_study(spec(), [cell(0, "clean"), other])
    assert found["matrix"][0][0]["arp"] == near(50)


def test_curves_join_attacks_that_differ_in_nothing_but_eps(four: Json) -> None:
    curve = next(
        entry for entry in four["curves"] if (entry["mode"], entry["objective"]) == ("FAT", "gb_mta")
    )
    assert curve["points"] == [{"eps": 4, "attack": 3}, {"eps": 8, "attack": 0}]
    assert len(four["curves"]) == 2 * 3


def test_accuracy_after_training_is_the_mean_over_layouts() -> None:
    cells = [
        cell(0, "clean"),
        cell(0, "FAT", TRAINED),
        cell(1, "clean", (90.0, 60.0)),
        cell(1, "FAT", (90.0, 66.0)),
    ]
    clean, trained = assemble_study(spec(), cells)["accuracy"]
    assert clean["ara"] is None
    assert clean["metrics"]["left"]["accuracy"]["value"] == 85
    assert trained["metrics"]["right"]["accuracy"]["value"] == pytest.approx(61.5)
    assert trained["ara"]["overall"]["value"] == pytest.approx((-7.5 + 5) / 2)
    assert trained["ara"]["layouts"] == {"of": 2, "above_0": 1, "below_0": 1}


def test_objectives_are_ranked_by_mean_arp_and_gb_mta_is_set_against_the_best_other(four: Json) -> None:
    clean, trained = four["rankings"]
    assert [entry["objective"] for entry in clean["objectives"]] == ["gb_mta", "total", "single:left"]
    assert clean["gb_mta"] == {
        "other": "total",
        "less_other": near(10),
        "layouts": {"of": 2, "above_0": 2, "below_0": 0},
    }
    assert [entry["objective"] for entry in trained["objectives"]] == ["total", "gb_mta", "single:left"]
    assert [entry["first_on"] for entry in trained["objectives"]] == [1, 1, 0]
    assert trained["gb_mta"] == {
        "other": "total",
        "less_other": near(-1),
        "layouts": {"of": 2, "above_0": 1, "below_0": 1},
    }
    assert {(entry["eps"], entry["layouts"]) for entry in four["rankings"]} == {(8, 2)}, (
        "one alone has no rank"
    )


def test_the_front_has_what_nothing_beats_in_accuracy_and_robustness_both() -> None:
    cells = [
        cell(0, "clean"),
        cell(0, "FAT", TRAINED, (20.0, 25.0, 10.0, 99.0)),
        cell(1, "clean", (64.0, 48.0), (45.0, 44.0, 20.0, 30.0)),
        cell(1, "FAT", (76.0, 60.0), (30.0, 15.0, 12.0, 6.0)),
    ]
    found = assemble_study(spec(), cells)["pareto"]
    assert (found["reference"], found["eps"], found["norm"]) == ({"layout": 0, "mode": "clean"}, 8, "linf")
    points = [
        (round(point["ara"]["value"], 6), point["arp"]["value"], point["attack"], point["front"])
        for point in found["points"]
    ]
    assert points == [(0, 50, 0, True), (-7.5, 25, 1, True), (-20, 45, 0, False), (-2.5, 30, 0, True)]


@pytest.fixture(scope="module")
def shared() -> Json:
    """Three layouts, of sharing levels 5, 2 and 0."""
    cells = [
        cell(0, "clean", transferability=measured(0, {"left": 0.6, "right": 0.4})),
        cell(1, "clean", transferability=measured(1, {"left": 0.3, "right": 0.5}, unstable=["right"])),
        cell(2, "clean", transferability=measured(2, {"left": 0.1, "right": 0.2})),
    ]
    found: Json = assemble_study(spec(), cells)["transferability"]
    return found


def test_transferability_goes_with_the_sharing_level(shared: Json) -> None:
    (mode,) = shared["modes"]
    assert (shared["label"], mode["mode"]) == ("apgd/gb_mta/eps=8", "clean")
    assert [entry["sharing_level"] for entry in mode["layouts"]] == [5, 2, 0]
    assert [entry["mean"] for entry in mode["layouts"]] == [
        pytest.approx(value) for value in (0.5, 0.4, 0.15)
    ]
    assert mode["layouts"][1]["tasks"]["right"] == {
        "value": 0.5,
        "interval": [0, 1],
        "undefined": None,
        "unstable": True,
    }
    assert mode["trend"]["mean"] == {"spearman": pytest.approx(1), "p": pytest.approx(1 / 6), "layouts": 3}
    assert mode["trend"]["tasks"]["right"] == {
        "spearman": pytest.approx(0.5),
        "p": pytest.approx(1 / 2),
        "layouts": 3,
    }


def test_a_layout_with_a_task_that_has_no_transferability_has_no_mean() -> None:
    cells = [
        cell(0, "clean", transferability=measured(0, {"left": 0.6, "right": None})),
        cell(1, "clean", transferability=measured(1, {"left": 0.3, "right": 0.5})),
        cell(2, "clean", transferability=measured(2, {"left": 0.7, "right": 0.2})),
    ]
    (mode,) = assemble_study(spec(), cells)["transferability"]["modes"]
    assert mode["layouts"][0]["mean"] is None
    assert mode["layouts"][0]["tasks"]["right"]["undefined"] == "no harm"
    assert mode["trend"]["mean"] == {"spearman": None, "p": None, "layouts": 2}
    assert mode["trend"]["tasks"]["left"] == {
        "spearman": pytest.approx(-0.5),
        "p": pytest.approx(5 / 6),
        "layouts": 3,
    }


def test_of_a_job_on_several_models_a_cell_takes_what_is_of_its_own() -> None:
    summary = measured(0, {"left": 0.6, "right": 0.4})
    own = {**summary["pairs"][0], "source": 1, "target": 1, "transfer": {"left": 0.3, "right": 0.1}}
    across = {**summary["pairs"][0], "target": 1}
    summary |= {"models": [str(UUID(int=0)), str(UUID(int=1))], "pairs": [summary["pairs"][0], across, own]}
    (mode,) = assemble_study(spec(), [cell(1, "clean", transferability=summary)])["transferability"]["modes"]
    assert mode["layouts"][0]["tasks"]["left"]["value"] == 0.3


def test_without_transferability_there_is_none() -> None:
    assert assemble_study(spec(transferability=None), FOUR)["transferability"] is None


def test_one_layout_and_one_mode_are_a_study_too() -> None:
    modes = [{"name": "clean", "recipe": RECIPE}]
    found = assemble_study(spec(["all-shared"], modes=modes), [cell(0, "clean")])
    assert [entry["arp"]["value"] for entry in found["matrix"][0]] == [50, 40, 30, 20]
    assert [point["front"] for point in found["pareto"]["points"]] == [True]
    assert found["accuracy"][0]["ara"] is None


def test_what_has_no_value_is_left_out_of_means_which_say_of_how_many_they_are() -> None:
    cells = [
        cell(0, "clean", arps=(None, 40.0, 30.0, 20.0)),
        cell(1, "clean", arps=(60.0, 50.0, 20.0, 30.0)),
        cell(1, "FAT", (None, 57.0)),
        cell(2, "FAT", TRAINED),
    ]
    found = assemble_study(spec(), cells)
    assert (found["matrix"][0][0]["arp"]["value"], found["matrix"][0][0]["layouts"]) == (60, 1)
    assert (found["matrix"][0][1]["arp"]["value"], found["matrix"][0][1]["layouts"]) == (45, 2)
    assert found["matrix"][1][0]["gain_layouts"]["of"] == 1, (
        "the third layout has no clean model to compare with"
    )
    ara = next(entry["ara"] for entry in found["cells"] if entry["mode"] == "FAT")
    assert ara["tasks"]["left"] == {"value": None, "interval": None}
    assert ara["undefined"] == ["left.accuracy"]
    assert ara["overall"]["value"] == pytest.approx(-5)
    assert found["cells"][-1]["ara"] is None
    ranking = found["rankings"][0]
    assert ranking["layouts"] == 1, "only one layout has an ARP for every objective"
    assert found["cells"][0]["attacks"][0]["arp"] == {"value": None, "interval": None}


def test_nothing_at_all_is_said_of_no_cells() -> None:
    found = assemble_study(spec(), [])
    assert (found["cells"], found["pareto"], found["rankings"], found["bootstrap"]) == ([], None, [], None)
    assert found["matrix"][0][0] == {
        "arp": {"value": None, "interval": None},
        "layouts": 0,
        "robust_gain": None,
        "gain_layouts": {"of": 0, "above_0": 0, "below_0": 0},
    }


def test_numbers_without_replicates_have_no_derived_intervals() -> None:
    bare = [row(-1, TRAINED, None, replicates=None), row(0, (1.0, 1.0), 20.0, replicates=None)]
    found = assemble_study(spec(), [cell(0, "clean"), replace(cell(0, "FAT"), results=bare)])
    trained = found["cells"][1]
    assert trained["ara"]["overall"] == {"value": pytest.approx(-7.5), "interval": None}
    assert trained["attacks"][0]["robust_gain"] == {"value": 30, "interval": None}
    assert found["matrix"][1][0]["gain_layouts"] == {"of": 1, "above_0": 0, "below_0": 0}
    assert found["accuracy"][1]["metrics"]["left"]["accuracy"] == {"value": 72, "interval": None}


def test_one_layout_without_replicates_leaves_the_mean_without_an_interval() -> None:
    bare = [row(-1, (70.0, 60.0), None, replicates=None), row(0, (1.0, 1.0), 20.0, replicates=None)]
    found = assemble_study(spec(), [cell(0, "clean"), replace(cell(1, "clean"), results=bare)])
    assert found["matrix"][0][0]["arp"] == {"value": 35, "interval": None}
    assert found["accuracy"][0]["metrics"]["left"]["accuracy"] == {"value": 75, "interval": None}


def test_a_difference_whose_interval_holds_0_is_neither_above_nor_below() -> None:
    unclear = row(0, (1.0, 1.0), 49.0)
    flipped = replace(
        Replicates.from_bytes(BLOBS[str(unclear.replicates)]), overall=drawn(49.0, stored(-HARDNESS))
    )
    unclear.replicates = BLOBS.keep(flipped)
    trained = replace(cell(0, "FAT"), results=[row(-1, TRAINED, None), unclear])
    found = assemble_study(spec(), [cell(0, "clean"), trained])["matrix"][1][0]
    assert found["robust_gain"]["interval"][0] < 0 < found["robust_gain"]["interval"][1]
    assert found["gain_layouts"] == {"of": 1, "above_0": 0, "below_0": 0}


@pytest.mark.parametrize("ordinal", [-1, 0])
def test_cells_on_other_samples_are_refused(ordinal: int) -> None:
    elsewhere = replace(ORIGIN, digest="0" * 64)
    rows = {number: row(number, (80.0, 60.0), 20.0 if number >= 0 else None) for number in (-1, 0)}
    rows[ordinal] = row(ordinal, (80.0, 60.0), 20.0 if ordinal >= 0 else None, origin=elsewhere)
    other = replace(cell(1, "clean"), results=list(rows.values()))
    with pytest.raises(UnpairedError):
        assemble_study(spec(), [cell(0, "clean"), other])


ERROR: Json = {"code": "weak_attack", "severity": "error", "message": "", "evidence": {}}


@pytest.mark.parametrize("on", ["row", "evaluation", "transferability"])
def test_one_error_anywhere_makes_the_study_unreliable(four: Json, on: str) -> None:
    assert four["reliable"]
    assert all(entry["reliable"] for entry in four["cells"])
    changes: dict[str, Json] = {
        "row": {"results": [row(-1, TRAINED, None), row(0, (1.0, 1.0), 9.0, flags=[ERROR])]},
        "evaluation": {"flags": [ERROR]},
        "transferability": {"transferability": measured(100, {"left": 0.1, "right": 0.2}, reliable=False)},
    }
    found = assemble_study(spec(), [cell(0, "clean"), replace(cell(0, "FAT"), **changes[on])])
    assert not found["reliable"]
    assert found["cells"][0]["reliable"]
    if on != "transferability":
        assert not found["cells"][1]["reliable"]
        assert found["cells"][1]["flags"] == [{"code": "weak_attack", "severity": "error", "count": 1}]
        assert not found["cells"][1]["attacks"][0]["reliable"]


def test_the_documentations_example_is_a_study() -> None:
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    example = json.loads(page.split("```json")[1].split("```")[0])
    assert [mode.start for mode in StudySpec.model_validate(example).modes] == [None, "clean"]
