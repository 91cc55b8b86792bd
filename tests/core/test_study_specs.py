"""`StudySpec`: what is refused and under which field, and what its parts will ask."""

from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from core.datasets import DATASETS
from core.errors import InvalidError
from core.specs.document import first_error
from core.specs.studies import MAX_LAYOUTS, MAX_MODES, MAX_TRAINED, StudySpec, study_of
from core.specs.training import paper_recipe

MODEL = {"backbone": "sapling", "profile": "scenes"}
CLEAN = {"name": "clean", "recipe": {"epochs": 1}}
PGD = {"algorithm": "pgd", "eps": 8, "steps": 5}

STUDY: dict[str, Any] = {
    "kind": "study",
    "model": MODEL,
    "layouts": ["all-shared", {"index": 14}],
    "dataset": {"name": "scenes", "limit": 64},
    "modes": [CLEAN, {"name": "fat", "recipe": {"preset": "paper"}, "start": "clean"}],
    "evaluation": {"dataset": {"name": "scenes", "limit": 32}, "attacks": [PGD], "batch_size": 16},
}


def study(**changes: Any) -> StudySpec:
    return StudySpec.model_validate(STUDY | changes)


def layouts(count: int) -> list[Any]:
    return [{"index": number} for number in range(count)]


def modes(count: int) -> list[Any]:
    return [{**CLEAN, "name": f"mode {number}"} for number in range(count)]


def transfer(**changes: Any) -> dict[str, Any]:
    return {"transferability": {"attack": {**PGD, **changes}}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": {**MODEL, "backbone": "resnet"}}, "model.backbone"),
        ({"model": {**MODEL, "profile": "nowhere"}}, "model.profile"),
        ({"model": {**MODEL, "profile": {"name": "mine", "tasks": []}}}, "model.profile.tasks"),
        ({"model": {**MODEL, "tasks": ["depth", "depth"]}}, "model.tasks"),
        ({"model": {**MODEL, "preprocessing": {"scale": "much"}}}, "model.preprocessing.scale"),
        ({"model": {**MODEL, "layout": "all-shared"}}, "model.layout"),
        ({"layouts": []}, "layouts"),
        ({"layouts": layouts(MAX_LAYOUTS + 1)}, "layouts"),
        ({"layouts": ["all-shared", "half-shared"]}, "layouts.1"),
        ({"layouts": ["independent", {"levels": [[[0, 1]]]}]}, "layouts.1.levels"),
        ({"layouts": ["all-shared", "independent", {"index": 0}]}, "layouts.2"),
        ({"layouts": [[[[0, 1, 2, 3, 4]]] * 5, "all-shared"]}, "layouts.1"),
        ({"layouts": layouts(MAX_LAYOUTS), "modes": modes(5)}, "layouts"),
        ({"modes": []}, "modes"),
        ({"modes": modes(MAX_MODES + 1)}, "modes"),
        ({"modes": [CLEAN, CLEAN]}, "modes.1.name"),
        ({"modes": [{**CLEAN, "name": "a/b"}]}, "modes.0.name"),
        ({"modes": [{**CLEAN, "name": "a\n"}]}, "modes.0.name"),
        ({"modes": [{**CLEAN, "start": "clean"}]}, "modes.0.start"),
        ({"modes": [{**CLEAN, "start": "fat"}, {**CLEAN, "name": "fat"}]}, "modes.0.start"),
        ({"modes": [{**CLEAN, "recipe": {"preset": "book"}}]}, "modes.0.recipe.preset"),
        ({"modes": [{**CLEAN, "recipe": {"epochs": 0}}]}, "modes.0.recipe.epochs"),
        ({"modes": [{**CLEAN, "recipe": {}}]}, "modes.0.recipe.iterations"),
        ({"evaluation": {**STUDY["evaluation"], "attacks": []}}, "evaluation.attacks"),
        ({"evaluation": {**STUDY["evaluation"], "attacks": [PGD, PGD]}}, "evaluation.attacks.1"),
        ({"evaluation": {**STUDY["evaluation"], "model": str(uuid4())}}, "evaluation.model"),
        (transfer(objective="total"), "transferability.attack.objective"),
        (transfer(weights={"depth": 2}), "transferability.attack.weights"),
        (
            {"transferability": {"attack": {"algorithm": "auto_mta", "eps": 8}}},
            "transferability.attack.algorithm",
        ),
        ({"transferability": {"attack": PGD, "modes": []}}, "transferability.modes"),
        ({"transferability": {"attack": PGD, "modes": ["fat", "slim"]}}, "transferability.modes.1"),
        ({"transferability": {"attack": PGD, "modes": ["fat", "fat"]}}, "transferability.modes.1"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        study(**changes)
    assert first_error(caught.value).field == field


def test_as_many_models_as_the_limit_are_fine() -> None:
    found = study(layouts=layouts(MAX_LAYOUTS), modes=modes(MAX_TRAINED // MAX_LAYOUTS))
    assert len(found.layouts) * len(found.modes) == MAX_TRAINED


def test_a_stored_study_is_the_same() -> None:
    found = study(transferability={"attack": PGD, "modes": ["fat"]}, name="mine")
    assert study_of(found.model_dump(mode="json")) == found
    assert study_of(found.model_dump(mode="json")).digest() == found.digest()


def test_a_preset_is_stored_spelled_out() -> None:
    assert study().modes[1].recipe == paper_recipe()


def test_a_stored_study_that_is_none_any_more_says_where() -> None:
    with pytest.raises(InvalidError) as caught:
        study_of(STUDY | {"model": {**MODEL, "backbone": "uninstalled"}})
    assert caught.value.field == "model.backbone"


def test_manifests_differ_in_nothing_but_the_layout() -> None:
    shared, other = study().manifests
    assert (shared.tree.sharing_level, other.tree.index) == (5, 14)
    assert shared.model_copy(update={"layout": None}) == other.model_copy(update={"layout": None})


def test_a_training_begins_with_a_model_or_a_manifest() -> None:
    asked, start = study(name="mine"), uuid4()
    fresh, on = asked.training(1, "fat", start=None), asked.training(1, "fat", start=start)
    assert (fresh.model, fresh.manifest) == (None, asked.manifests[1])
    assert (on.model, on.manifest) == (start, None)
    assert (fresh.recipe, fresh.dataset, fresh.name) == (
        asked.modes[1].recipe,
        asked.dataset,
        "mine/layout 1/fat",
    )


def test_the_longest_names_make_a_models_name() -> None:
    longest = "m" * 60
    asked = study(name="n" * 200, layouts=layouts(64), modes=[{**CLEAN, "name": longest}])
    assert asked.training(63, longest, start=None).name == f"{'n' * 100}/layout 63/{longest}"


def test_models_are_asked_what_the_study_says() -> None:
    asked, model = study(**transfer()), uuid4()
    evaluation, transferability = asked.evaluation_of(model), asked.transferability_of(model)
    assert (evaluation.model, evaluation.attacks) == (model, asked.evaluation.attacks)
    assert (transferability.models, transferability.dataset) == ([model], asked.evaluation.dataset)
    assert (evaluation.batch_size, transferability.batch_size) == (16, 16)
    assert asked.transferred == ("clean",)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (
            {"model": {"backbone": "sapling", "profile": "digits"}, "layouts": ["all-shared"]},
            "dataset.name",
        ),
        (
            {"modes": [CLEAN, {"name": "b", "recipe": {"epochs": 1, "batch_size": 65}}]},
            "modes.1.recipe.batch_size",
        ),
        (
            {"modes": [{"name": "a", "recipe": {"epochs": 1, "task_weights": {"left": 1}}}]},
            "modes.0.recipe.task_weights.left",
        ),
        (
            {
                "modes": [
                    {
                        "name": "a",
                        "recipe": {"epochs": 1, "adversarial": {"attack": {**PGD, "objective": "single:up"}}},
                    }
                ]
            },
            "modes.0.recipe.adversarial.attack.objective",
        ),
        (
            {"evaluation": {**STUDY["evaluation"], "attacks": [{**PGD, "objective": "single:up"}]}},
            "evaluation.attacks.0.objective",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_named_by_its_place(changes: dict[str, Any], field: str) -> None:
    info = DATASETS["scenes"]
    with pytest.raises(InvalidError) as caught:
        study(**changes).check(info, info)
    assert caught.value.field == field


def test_the_samples_it_is_evaluated_on_need_labels_too() -> None:
    with pytest.raises(InvalidError) as caught:
        study().check(DATASETS["scenes"], DATASETS["digits"])
    assert caught.value.field == "evaluation.dataset.name"
