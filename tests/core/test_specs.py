"""`AttackSpec`: what is refused and under which field, step rules, and when two specs are one attack."""

import json
from typing import Any

import pytest

from core.specs import AttackSpec, AttackSpecError
from core.specs.attack import DEFAULT_STEPS, FIELD_DOCS, MAX_STEPS


def spec(**changes: Any) -> AttackSpec:
    fields: dict[str, Any] = {"algorithm": "pgd", "objective": "gb_mta", "eps": 8}
    return AttackSpec(**fields | changes)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("algorithm", {"algorithm": "bim"}),
        ("norm", {"norm": "l2"}),
        ("preset", {"preset": "weak"}),
        ("objective", {"objective": "sum"}),
        ("objective", {"objective": "single:"}),
        ("objective", {"objective": "single:a b"}),
        ("objective", {"objective": "single"}),
        ("eps", {"eps": 0}),
        ("eps", {"eps": -1}),
        ("eps", {"eps": 256}),
        ("eps", {"eps": float("nan")}),
        ("eps", {"eps": float("inf")}),
        ("steps", {"steps": 0}),
        ("steps", {"steps": MAX_STEPS + 1}),
        ("step_size", {"step_size": 0}),
        ("step_size", {"step_size": -0.5}),
        ("step_size", {"step_size": float("nan")}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 2**63}),
        ("steps", {"algorithm": "fgsm", "steps": 2}),
        ("step_size", {"algorithm": "fgsm", "step_size": 4}),
        ("random_start", {"algorithm": "fgsm", "random_start": True}),
    ],
)
def test_a_spec_that_cannot_be_run_is_refused_under_the_name_of_its_field(
    field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(AttackSpecError) as caught:
        spec(**changes)
    assert caught.value.field == field
    assert caught.value.code == "invalid_attack"


@pytest.mark.parametrize("changes", [{"steps": 1}, {"step_size": 8}, {"steps": 1, "step_size": 8.0}])
def test_fgsm_takes_the_only_values_it_can_have(changes: dict[str, Any]) -> None:
    assert spec(algorithm="fgsm", **changes).resolved() == spec(algorithm="fgsm").resolved()


def test_pgd_steps_by_two_and_a_half_eps_over_steps_unless_said() -> None:
    full = spec(steps=10).resolved()
    assert (full.steps, full.step_size) == (10, 2.0)


def test_pgd_steps_by_eps_over_steps_under_the_paper_preset() -> None:
    full = spec(preset="paper").resolved()
    assert (full.steps, full.step_size) == (DEFAULT_STEPS, 0.4)


def test_fgsm_is_one_step_of_eps_under_either_preset() -> None:
    full = spec(algorithm="fgsm", preset="paper").resolved()
    assert (full.steps, full.step_size) == (1, 8)
    assert full == spec(algorithm="fgsm").resolved()


@pytest.mark.parametrize("preset", ["strong", "paper"])
def test_a_step_size_that_is_given_beats_the_presets_rule(preset: str) -> None:
    assert spec(step_size=0.7, preset=preset).resolved().step_size == 0.7


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 20},
        {"step_size": 1.0},
        {"step_size": 1.0, "preset": "paper"},
        {"seed": 3},
        {"eps": 8.0},
    ],
)
def test_specs_that_run_alike_resolve_alike(changes: dict[str, Any]) -> None:
    assert spec(**changes).resolved() == spec().resolved()
    assert hash(spec(**changes).resolved()) == hash(spec().resolved())
    assert spec(**changes).label == spec().label


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"algorithm": "fgsm"},
    {"objective": "total"},
    {"objective": "single:depth"},
    {"eps": 4},
    {"steps": 10},
    {"steps": 10, "step_size": 0.5},
    {"step_size": 0.5},
    {"preset": "paper"},
    {"random_start": True},
    {"random_start": True, "seed": 3},
]


def test_specs_that_run_differently_resolve_differently() -> None:
    assert len({spec(**changes).resolved() for changes in DIFFERENT}) == len(DIFFERENT)


def test_specs_that_run_differently_have_different_labels() -> None:
    assert len({spec(**changes).label for changes in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "pgd/gb_mta/eps=8"),
        ({"algorithm": "fgsm", "objective": "single:depth", "eps": 0.5}, "fgsm/single:depth/eps=0.5"),
        ({"steps": 10}, "pgd/gb_mta/eps=8/steps=10"),
        ({"preset": "paper"}, "pgd/gb_mta/eps=8/step_size=0.4"),
        ({"random_start": True, "seed": 3}, "pgd/gb_mta/eps=8/random_start=3"),
    ],
)
def test_a_label_says_what_is_not_the_default(changes: dict[str, Any], label: str) -> None:
    assert spec(**changes).label == label


@pytest.mark.parametrize("changes", DIFFERENT)
def test_resolving_twice_changes_nothing(changes: dict[str, Any]) -> None:
    full = spec(**changes).resolved()
    assert full.resolved() == full


@pytest.mark.parametrize("changes", DIFFERENT)
def test_scaling_multiplies_eps_and_step_size_alike(changes: dict[str, Any]) -> None:
    full, unit = spec(**changes).resolved(), spec(**changes).scaled(1 / 255)
    assert full.step_size is not None
    assert unit.eps == full.eps / 255
    assert unit.step_size == full.step_size * (1 / 255)
    assert unit.resolved() == unit


@pytest.mark.parametrize(
    ("objective", "task"), [("single:depth", "depth"), ("total", None), ("gb_mta", None)]
)
def test_only_single_names_a_task(objective: str, task: str | None) -> None:
    assert spec(objective=objective).task == task


@pytest.mark.parametrize("changes", DIFFERENT)
def test_a_spec_survives_json(changes: dict[str, Any]) -> None:
    assert AttackSpec(**json.loads(json.dumps(spec(**changes).to_json()))) == spec(**changes)


def test_every_field_is_described_and_nothing_else() -> None:
    assert FIELD_DOCS.keys() == spec().to_json().keys()
