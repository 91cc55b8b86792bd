"""What there is to choose from."""

import re

import pytest

from core.specs.algorithms import METHODS
from tests.service import Caller, pointers


def test_backbones_say_their_levels_and_parameters(caller: Caller) -> None:
    found = {entry["name"]: entry for entry in caller.get("/v1/backbones").json()}
    assert found["deeplab_resnet34"]["parameters"] == 21_284_672
    assert found["deeplab_resnet34"]["levels"] == 5
    assert found["sapling"]["output_stride"] == 8


def test_the_layout_catalogue_is_read_page_by_page(caller: Caller) -> None:
    indices: list[int] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = caller.get("/v1/layouts", params={"tasks": 3, "limit": 20, "cursor": cursor}).json()
        indices += [item["index"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert indices == list(range(51))


def test_layouts_count_a_backbones_parameters_as_the_paper_does(caller: Caller) -> None:
    page = caller.get("/v1/layouts", params={"backbone": "deeplab_resnet34", "limit": 3}).json()
    assert [round(item["parameters"] / 1e6, 2) for item in page["items"]] == [21.28, 42.55, 63.83]


def test_a_catalogue_too_large_to_list_is_refused(caller: Caller) -> None:
    answer = caller.get("/v1/layouts", params={"tasks": 16, "levels": 64})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_layout"


def test_a_layout_in_any_form_is_described(caller: Caller) -> None:
    answer = caller.post("/v1/layouts", {"layout": {"index": 14}, "tasks": 3})
    described = answer.json()
    same = caller.post("/v1/layouts", {"layout": described["levels"], "tasks": 3}).json()
    assert same == described
    assert described["index"] == 14
    assert "●" in described["drawing"]


@pytest.mark.parametrize(
    ("layout", "pointer"),
    [
        ([[[0, 1, 2]]] * 4 + [[[0, 1], [1, 2]]], "#/layout/levels/4/1"),
        ([[[0], [1, 2]], *[[[0, 1], [2]]] * 4], "#/layout/levels/1/0"),
        ({"index": 51}, "#/layout/index"),
        ("half-shared", "#/layout"),
    ],
)
def test_a_wrong_layout_is_refused_at_its_place(caller: Caller, layout: object, pointer: str) -> None:
    answer = caller.post("/v1/layouts", {"layout": layout, "tasks": 3})
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]


def test_profiles_say_their_metrics_and_directions(caller: Caller) -> None:
    profiles = {entry["name"]: entry for entry in caller.get("/v1/profiles").json()}
    depth = next(task for task in profiles["nyuv2"]["tasks"] if task["name"] == "depth")
    directions = {metric["name"]: metric["direction"] for metric in depth["metrics"]}
    assert directions["abs_error"] == "lower"
    assert directions["within_1.25"] == "higher"


def test_data_sets_say_their_sizes(caller: Caller) -> None:
    found = {entry["name"]: entry for entry in caller.get("/v1/datasets").json()}
    assert found["scenes"]["image_shape"] == [3, 64, 64]
    assert found["digits"]["splits"]["test"] == 1000


def test_attacks_come_with_the_schema_that_jobs_are_checked_by(caller: Caller) -> None:
    schema = caller.get("/v1/attacks").json()["schema"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["eps"]["exclusiveMinimum"] == 0
    assert set(schema["required"]) == {"algorithm", "eps"}


def test_algorithms_say_what_they_take(caller: Caller) -> None:
    found = {entry["name"]: entry for entry in caller.get("/v1/attacks").json()["algorithms"]}
    assert list(found) == list(METHODS)
    assert found["pgd"]["steps"] == 20
    assert found["mim"]["decay"] is True
    assert found["auto_sage"]["norms"] == ["linf"]
    noise = found["uniform_noise"]
    assert (noise["steps"], noise["random"]) == (None, True)
    assert not any(
        noise[name] for name in ("objective", "gradients", "step_size", "random_start", "restarts")
    )
    assert all(entry["about"] for entry in found.values())


def test_every_form_of_objective_is_one_that_attacks_take(caller: Caller) -> None:
    attacks = caller.get("/v1/attacks").json()
    objectives = {entry["form"]: entry for entry in attacks["objectives"]}
    for form in objectives:
        assert re.fullmatch(attacks["objective_pattern"], form.replace("<task>", "depth"))
    assert objectives["gb_mta"] == {"form": "gb_mta", "weights": True, "passes": "one"}
    assert objectives["pcgrad"] == {"form": "pcgrad", "weights": False, "passes": "one a task"}
    assert {"single:<task>", "stealth:<task>+<task>", "total", attacks["default_objective"]} <= set(
        objectives
    )


def test_recipes_are_the_presets_and_a_schema(caller: Caller) -> None:
    found = caller.get("/v1/recipes").json()
    paper = found["presets"]["paper"]
    assert (paper["iterations"], paper["optimiser"]["betas"]) == (20_000, [0.5, 0.999])
    assert paper["adversarial"]["attack"]["steps"] == 20
    assert "tau" in found["schema"]["$defs"]["Adversarial"]["properties"]
