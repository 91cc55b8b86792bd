"""`AttackSpec`: what is refused and under which field, step rules, and when two specs are one attack."""

import json
from dataclasses import fields
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from core.datasets import DATASETS
from core.errors import InvalidError
from core.specs import AttackSpec, AttackSpecError
from core.specs.algorithms import DEFAULT_STEPS, METHODS
from core.specs.attack_fields import FIELD_DOCS, MAX_EPS, MAX_L2_EPS, MAX_STEPS
from core.specs.documents import DatasetRef, EvaluationSpec, TransferabilitySpec
from core.specs.manifests import ModelManifest
from core.specs.objective import HOLD, TASK_WEIGHTS, parse_objective

NAN, INFINITY = float("nan"), float("inf")
NOISE = ("uniform_noise", "sign_noise")
ADAPTER = TypeAdapter(AttackSpec)


def spec(**changes: Any) -> AttackSpec:
    written: dict[str, Any] = {"algorithm": "pgd", "objective": "gb_mta", "eps": 8}
    return AttackSpec(**written | changes)


def noise(**changes: Any) -> AttackSpec:
    return spec(**{"algorithm": "uniform_noise", "objective": None} | changes)


OUT_OF_RANGE: list[tuple[str, dict[str, Any]]] = [
    ("algorithm", {"algorithm": "bim"}),
    ("norm", {"norm": "l1"}),
    ("preset", {"preset": "weak"}),
    *[
        ("objective", {"objective": name})
        for name in (
            "sum",
            "",
            "single",
            "single:",
            "single:a b",
            "single:a+b",
            "stealth:",
            "stealth:a+",
            "total\n",
        )
    ],
    ("objective", {"objective": "stealth:depth+depth"}),
    *[("eps", {"eps": value}) for value in (0, -1, 256, NAN, INFINITY, True, "8", None)],
    *[("eps", {"norm": "l2", "eps": value}) for value in (0, 1e7, NAN)],
    *[("steps", {"steps": value}) for value in (0, -1, MAX_STEPS + 1, 2.5, True, NAN)],
    *[("step_size", {"step_size": value}) for value in (0, -0.5, 3 * MAX_EPS, NAN, INFINITY, True)],
    *[("restarts", {"random_start": True, "restarts": value}) for value in (0, -1, 1001, 1.5, True)],
    *[("eot", {"eot": value}) for value in (0, 1001, 1.5, True)],
    *[("seed", {"seed": value}) for value in (-1, 2**63, 0.5, True)],
    *[("decay", {"algorithm": "mim", "decay": value}) for value in (-0.1, 11, NAN, INFINITY, True)],
    *[("power", {"objective": "power", "power": value}) for value in (-0.1, 4.1, NAN, INFINITY, True)],
    *[
        ("weights.depth", {"objective": "total", "weights": {"depth": value}})
        for value in (-1, 1e7, NAN, INFINITY, True, "1", None)
    ],
    *[
        ("targets.depth", {"objective": "total", "targets": {"depth": value}})
        for value in (NAN, INFINITY, True, "last", None, 1e7, -1e7, 10**400)
    ],
    ("weights", {"objective": "total", "weights": {}}),
    ("targets", {"objective": "total", "targets": {}}),
]

CONTRADICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("steps", {"algorithm": "fgsm", "steps": 2}),
    ("step_size", {"algorithm": "fgsm", "step_size": 4}),
    ("random_start", {"algorithm": "fgsm", "random_start": True}),
    ("restarts", {"algorithm": "fgsm", "restarts": 2}),
    ("restarts", {"restarts": 2}),
    ("norm", {"algorithm": "auto_sage", "norm": "l2"}),
    *[("decay", {"algorithm": name, "decay": 0.5}) for name in ("fgsm", "pgd", "apgd", "square")],
    ("power", {"objective": "power"}),
    *[("power", {"objective": name, "power": 1}) for name in ("gb_mta", "total", "single:depth", None)],
    *[
        ("weights", {"objective": name, "weights": {"depth": 2}})
        for name in ("single:depth", "sign_total", "pcgrad", "mgda")
    ],
    ("weights.depth", {"objective": "stealth:depth", "weights": {"depth": 2}}),
    ("targets", {"objective": "stealth:depth", "targets": {"depth": 2}}),
    ("targets.edges", {"objective": "single:depth", "targets": {"edges": 2}}),
    ("targets.edges", {"objective": "total", "weights": {"edges": 0}, "targets": {"edges": 2}}),
    *[
        ("objective", {"algorithm": "auto_sage", "objective": name})
        for name in ("sign_total", "pcgrad", "mgda", "stealth:depth")
    ],
    *[
        ("eot", {"algorithm": name, "objective": None, "eot": 2})
        for name in ("square", "auto_mta", "sign_noise")
    ],
    ("random_start", {"algorithm": "square", "random_start": True}),
    ("step_size", {"algorithm": "square", "step_size": 8}),
    *[
        (field, {"algorithm": name, "objective": None, field: value})
        for name in NOISE
        for field, value in (
            ("objective", "total"),
            ("power", 1),
            ("steps", 1),
            ("step_size", 8),
            ("random_start", True),
            ("restarts", 2),
            ("decay", 0.0),
            ("eot", 2),
            ("weights", {"depth": 2}),
            ("targets", {"depth": 2}),
        )
    ],
    *[
        (field, {"algorithm": "auto_mta", "objective": None, field: value})
        for field, value in (
            ("objective", "gb_mta"),
            ("power", 1),
            ("step_size", 8),
            ("random_start", True),
            ("restarts", 2),
            ("decay", 0.0),
            ("weights", {"depth": 2}),
            ("targets", {"depth": 2}),
        )
    ],
]


@pytest.mark.parametrize(("field", "changes"), OUT_OF_RANGE + CONTRADICTIONS, ids=str)
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


def test_apgd_begins_with_two_eps_and_under_the_paper_preset_with_eps_over_steps() -> None:
    assert spec(algorithm="apgd").resolved().step_size == 16
    assert spec(algorithm="apgd", steps=10, preset="paper").resolved().step_size == 0.8


def test_fgsm_is_one_step_of_eps_under_either_preset() -> None:
    full = spec(algorithm="fgsm", preset="paper").resolved()
    assert (full.steps, full.step_size) == (1, 8)
    assert full == spec(algorithm="fgsm").resolved()


@pytest.mark.parametrize(("algorithm", "decay"), [("mim", 1.0), ("auto_sage", 0.0), ("pgd", None)])
def test_momentum_has_its_algorithms_default(algorithm: str, decay: float | None) -> None:
    assert spec(algorithm=algorithm).resolved().decay == decay


@pytest.mark.parametrize("preset", ["strong", "paper"])
@pytest.mark.parametrize("algorithm", [name for name, method in METHODS.items() if method.step_size])
def test_a_step_size_that_is_given_beats_the_presets_rule(algorithm: str, preset: str) -> None:
    assert spec(algorithm=algorithm, step_size=0.7, preset=preset).resolved().step_size == 0.7


@pytest.mark.parametrize(("norm", "eps"), [("linf", MAX_EPS), ("l2", MAX_L2_EPS)])
@pytest.mark.parametrize("algorithm", ["pgd", "mim", "apgd"])
def test_the_default_step_of_the_largest_ball_is_allowed(algorithm: str, norm: str, eps: float) -> None:
    full = spec(algorithm=algorithm, norm=norm, eps=eps, steps=1).resolved()
    assert full.step_size == eps * (2 if algorithm == "apgd" else 2.5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"steps": 20}),
        ({}, {"step_size": 1.0}),
        ({}, {"step_size": 1.0, "preset": "paper"}),
        ({}, {"seed": 3}),
        ({}, {"eps": 8.0}),
        ({}, {"objective": None}),
        ({}, {"weights": {"depth": 1.0}}),
        ({"algorithm": "mim"}, {"algorithm": "mim", "decay": 1.0}),
        ({"algorithm": "square"}, {"algorithm": "square", "steps": 200, "preset": "paper"}),
        ({"objective": "stealth:a+b"}, {"objective": "stealth:b+a"}),
        ({"objective": "stealth:a"}, {"objective": "stealth:a", "weights": {"b": HOLD}}),
        (
            {"objective": "total", "weights": {"a": 2, "b": 3}},
            {"objective": "total", "weights": {"b": 3.0, "c": 1, "a": 2.0}},
        ),
        (
            {"objective": "stealth:c", "weights": {"a": 2, "b": 3}},
            {"objective": "stealth:c", "weights": {"b": 3.0, "a": 2.0}},
        ),
        (
            {"objective": "total", "targets": {"a": 2, "b": "next"}},
            {"objective": "total", "targets": {"b": "next", "a": 2.0}},
        ),
    ],
    ids=str,
)
def test_specs_that_run_alike_resolve_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert spec(**one).resolved() == spec(**other).resolved()
    assert hash(spec(**one).resolved()) == hash(spec(**other).resolved())
    assert spec(**one).label == spec(**other).label


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "pgd/gb_mta/eps=8"),
        ({"objective": None}, "pgd/gb_mta/eps=8"),
        ({"algorithm": "fgsm", "objective": "single:depth", "eps": 0.5}, "fgsm/single:depth/eps=0.5"),
        ({"steps": 10}, "pgd/gb_mta/eps=8/steps=10"),
        ({"preset": "paper"}, "pgd/gb_mta/eps=8/step_size=0.4"),
        ({"random_start": True, "seed": 3}, "pgd/gb_mta/eps=8/random_start=3"),
        ({"random_start": True, "restarts": 5}, "pgd/gb_mta/eps=8/random_start=0/restarts=5"),
        ({"norm": "l2", "eot": 4}, "pgd/gb_mta/l2=8/eot=4"),
        ({"algorithm": "mim", "decay": 0.9}, "mim/gb_mta/eps=8/decay=0.9"),
        ({"objective": "power", "power": 0.5}, "pgd/power^0.5/eps=8"),
        (
            {"objective": "total", "weights": {"b": 2, "a": 0.5}, "targets": {"c": "next"}},
            "pgd/total/eps=8/weights=a:0.5,b:2/targets=c:next",
        ),
        ({"algorithm": "uniform_noise", "objective": None}, "uniform_noise/eps=8"),
        ({"algorithm": "sign_noise", "objective": None, "seed": 7}, "sign_noise/eps=8/seed=7"),
        ({"algorithm": "square", "steps": 500}, "square/gb_mta/eps=8/steps=500"),
        ({"algorithm": "auto_mta", "objective": None}, "auto_mta/eps=8"),
        ({"eps": 8.00000001}, "pgd/gb_mta/eps=8.00000001"),
    ],
)
def test_a_label_says_what_is_not_the_default(changes: dict[str, Any], label: str) -> None:
    assert spec(**changes).label == label


TASKS = st.sampled_from(("depth", "edges", "normals"))
NEARLY = (8.0, 8, 8.0000001, 0.5, 1 / 3, 0.333333, 204.5, 255)
AIMS = st.one_of(
    st.none(),
    st.sampled_from(("total", "sign_total", "gb_mta", "power", "pcgrad", "mgda")),
    TASKS.map("single:{}".format),
    st.lists(TASKS, min_size=1, unique=True).map(lambda names: "stealth:" + "+".join(names)),
)


@st.composite
def specs(draw: st.DrawFn) -> AttackSpec:
    """Any spec that is allowed, with few and close values, so that two are often nearly the same."""

    def sometimes(name: str, values: st.SearchStrategy[Any], *, when: bool = True) -> None:
        if when and draw(st.booleans()):
            written[name] = draw(values)

    algorithm = draw(st.sampled_from(tuple(METHODS)))
    method = METHODS[algorithm]
    written: dict[str, Any] = {"algorithm": algorithm, "eps": draw(st.sampled_from(NEARLY))}
    sometimes("objective", AIMS, when=method.objective)
    if algorithm == "auto_sage" and written.get("objective") is not None:
        written["objective"] = draw(st.sampled_from(("total", "gb_mta", "power", "single:depth")))
    aim = parse_objective(written.get("objective") or "gb_mta") if method.objective else None
    if aim is not None and aim.family == "power":
        written["power"] = draw(st.sampled_from((0, 0.5, 0.50000001, 1, 2.0)))
    if aim is not None and aim.family in TASK_WEIGHTS:
        free = TASKS.filter(lambda name: name not in aim.tasks)
        values = st.sampled_from((0.5, 1, 1.0, 2, HOLD, 2.00000001))
        sometimes("weights", st.dictionaries(free, values, min_size=1), when=len(aim.tasks) < 3)
    if aim is not None and aim.family != "stealth":
        named = st.sampled_from(aim.tasks) if aim.tasks else TASKS
        sometimes("targets", st.dictionaries(named, st.sampled_from(("next", 0, 1, 1.0, 0.25)), min_size=1))
    sometimes("norm", st.sampled_from(method.norms))
    sometimes("steps", st.sampled_from((1, 7, 20, 200)), when=method.steps is not None)
    sometimes("step_size", st.sampled_from((0.5, 1.0, 1.00000001, 16.0)), when=method.step_size)
    sometimes("random_start", st.booleans(), when=method.random_start)
    random = written.get("random_start", False) or method.random
    sometimes("restarts", st.integers(1, 3), when=method.restarts and random)
    sometimes("decay", st.sampled_from((0.0, 0.9, 1, 1.0)), when=method.decay)
    sometimes("eot", st.integers(1, 3), when=method.eot)
    sometimes("seed", st.integers(0, 2))
    sometimes("preset", st.sampled_from(("strong", "paper")))
    return AttackSpec(**written)


thorough = settings(max_examples=150, deadline=None, derandomize=True)


@thorough
@given(specs(), specs())
def test_labels_differ_exactly_where_resolved_specs_do(one: AttackSpec, other: AttackSpec) -> None:
    assert (one.label == other.label) == (one.resolved() == other.resolved())


@thorough
@given(specs(), st.data())
def test_one_field_that_matters_changes_the_label(one: AttackSpec, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from([item.name for item in fields(AttackSpec)]))
    other = data.draw(specs())
    try:
        changed = AttackSpec(**one.to_json() | {field: getattr(other, field)})
    except AttackSpecError:
        return
    assert (one.label == changed.label) == (one.resolved() == changed.resolved())


@thorough
@given(specs())
def test_resolving_leaves_no_default_open_and_twice_changes_nothing(one: AttackSpec) -> None:
    full = one.resolved()
    assert full.resolved() == full
    assert full.label == one.label
    assert (full.objective is None) == (not full.method.objective)
    assert (full.steps is None) == (full.algorithm in NOISE)
    assert full.preset == "strong"


@thorough
@given(specs())
def test_scaling_multiplies_eps_and_step_size_alike(one: AttackSpec) -> None:
    full, unit = one.resolved(), one.scaled(1 / 255)
    assert unit.eps == full.eps * (1 / 255)
    assert unit.resolved() == unit
    assert (unit.step_size is None) == (full.step_size is None)
    if full.step_size is not None:
        assert unit.step_size == full.step_size * (1 / 255)


@thorough
@given(specs())
def test_a_spec_survives_json_by_hand_and_through_pydantic(one: AttackSpec) -> None:
    written = json.loads(json.dumps(one.to_json(), allow_nan=False))
    assert AttackSpec(**written) == one
    assert ADAPTER.validate_json(json.dumps(written)) == one
    assert ADAPTER.validate_python(ADAPTER.dump_python(one, mode="json")) == one


def test_json_leaves_out_what_newer_fields_have_by_default_and_keeps_the_rest() -> None:
    assert list(spec().to_json()) == [
        "algorithm",
        "objective",
        "eps",
        "norm",
        "steps",
        "step_size",
        "random_start",
        "seed",
        "preset",
    ]
    said = {"restarts": 2, "power": 0.5, "weights": {"depth": 2.0}, "targets": {"edges": 0.5}, "eot": 2}
    written = spec(objective="power", random_start=True, **said).to_json()
    assert {name: written[name] for name in said} == said
    assert spec(algorithm="mim", decay=0.5).to_json()["decay"] == 0.5


def field_of(error: ValidationError) -> str:
    """Where Pydantic found it, and below that the field that our own error names."""
    first = error.errors()[0]
    ours = first.get("ctx", {}).get("error")
    return ".".join((*map(str, first["loc"]), *([ours.field] if isinstance(ours, InvalidError) else [])))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epz": 8}, "epz"),
        ({"eps": "much"}, "eps"),
        ({"eps": 0}, "eps"),
        ({"weights": {"depth": -1}}, "weights.depth"),
    ],
)
def test_pydantic_refuses_what_the_spec_refuses_and_unknown_fields(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(spec().to_json() | changes)
    assert field_of(caught.value) == field


def test_every_field_is_described_and_nothing_else() -> None:
    properties = ADAPTER.json_schema()["properties"]
    assert FIELD_DOCS.keys() == {item.name for item in fields(AttackSpec)} == properties.keys()
    for name, schema in properties.items():
        assert schema["description"].endswith("."), name
    assert ADAPTER.json_schema()["additionalProperties"] is False
    assert all(name in properties["algorithm"]["description"] for name in METHODS)


@pytest.mark.parametrize(
    ("objective", "task"),
    [("single:depth", "depth"), ("total", None), ("gb_mta", None), (None, None), ("stealth:depth", None)],
)
def test_only_single_attacks_one_task(objective: str | None, task: str | None) -> None:
    assert spec(objective=objective).task == task
    assert noise().task is None


def test_a_spec_knows_every_task_that_it_names_and_where() -> None:
    assert spec(objective="stealth:a+b", weights={"c": 2}).named_tasks == {
        "a": "objective",
        "b": "objective",
        "c": "weights",
    }
    assert spec(objective="total", targets={"a": 1}).named_tasks == {"a": "targets"}
    assert noise().named_tasks == {}


# Documents


SCENES = ModelManifest(backbone="sapling", layout="all-shared", profile="scenes")


def evaluation(*attacks: AttackSpec, dataset: str = "scenes") -> EvaluationSpec:
    return EvaluationSpec(
        kind="evaluation", model=uuid4(), dataset=DatasetRef(name=dataset, limit=4), attacks=list(attacks)
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"objective": "single:gloss"}, "objective"),
        ({"objective": "stealth:depth+gloss"}, "objective"),
        ({"objective": "total", "weights": {"gloss": 2}}, "weights"),
        ({"objective": "stealth:depth", "weights": {"gloss": 2}}, "weights"),
        ({"objective": "total", "targets": {"gloss": 2}}, "targets"),
        ({"objective": "total", "targets": {"segmentation": 13}}, "targets.segmentation"),
        ({"objective": "total", "targets": {"segmentation": -1}}, "targets.segmentation"),
        ({"objective": "total", "targets": {"segmentation": 0.5}}, "targets.segmentation"),
        ({"objective": "total", "targets": {"depth": "next"}}, "targets.depth"),
        ({"objective": "total", "targets": {"depth": 255}}, "targets.depth"),
        ({"objective": "total", "targets": {"normals": 0}}, "targets.normals"),
        ({"objective": "total", "targets": {"normals": "next"}}, "targets.normals"),
    ],
    ids=str,
)
def test_a_model_without_what_an_attack_names_is_refused_with_the_place(
    changes: dict[str, Any], field: str
) -> None:
    wanted = evaluation(spec(), spec(**changes))
    with pytest.raises(InvalidError) as caught:
        wanted.check_model(SCENES, DATASETS["scenes"])
    assert caught.value.field == f"attacks.1.{field}"


def test_a_model_with_everything_that_the_attacks_name_is_taken() -> None:
    evaluation(
        spec(),
        spec(objective="single:depth"),
        spec(objective="stealth:depth+normals", weights={"edges": 2}),
        spec(objective="total", targets={"segmentation": 12, "depth": 0.0, "edges": -1.5}),
        spec(objective="total", targets={"segmentation": "next"}),
        spec(objective="power", power=0.5, weights={"depth": 0}),
        noise(),
    ).check_model(SCENES, DATASETS["scenes"])


def test_the_same_attack_twice_is_refused_however_it_is_written() -> None:
    with pytest.raises(ValidationError, match="the same attack as number 0"):
        evaluation(spec(), spec(steps=20, seed=5))
    evaluation(spec(objective="total", weights={"depth": 2}), spec(objective="total", weights={"depth": 3}))


@pytest.mark.parametrize(
    ("attack", "field"),
    [
        (spec(), "attack.objective"),
        (spec(objective="single:depth"), "attack.objective"),
        (noise(), "attack.algorithm"),
        (spec(algorithm="auto_mta", objective=None), "attack.algorithm"),
        (spec(objective=None, weights={"depth": 2.0}), "attack.weights"),
        (spec(objective=None, targets={"depth": 2.0}), "attack.targets"),
    ],
    ids=lambda value: getattr(value, "label", value),
)
def test_a_transferability_attack_is_single_for_each_task_in_turn(attack: AttackSpec, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TransferabilitySpec(
            kind="transferability", models=[uuid4()], dataset=DatasetRef(name="scenes"), attack=attack
        )
    assert field_of(caught.value) == field


@pytest.mark.parametrize("algorithm", [name for name, method in METHODS.items() if method.objective])
def test_every_algorithm_with_an_objective_can_attack_one_task(algorithm: str) -> None:
    wanted = TransferabilitySpec(
        kind="transferability",
        models=[uuid4()],
        dataset=DatasetRef(name="scenes"),
        attack=spec(algorithm=algorithm, objective=None),
    )
    assert wanted.attack_on("depth") == spec(algorithm=algorithm, objective="single:depth")
