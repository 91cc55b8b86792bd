"""What a training over HTTP may say, and what its preset fills in."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.datasets import DATASETS
from core.errors import InvalidError
from core.specs.document import first_error
from core.specs.manifests import ModelManifest
from core.specs.trainings import TrainingSpec

DIGITS = {"backbone": "sapling", "layout": "all-shared", "profile": "digits"}


def spec(recipe: Any, **changes: Any) -> TrainingSpec:
    document = {"kind": "training", "manifest": DIGITS, "dataset": {"name": "digits"}, "recipe": recipe}
    return TrainingSpec.model_validate(document | changes)


def refused(recipe: Any, **changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        spec(recipe, **changes)
    return first_error(caught.value).field


def test_the_preset_alone_is_the_papers_recipe() -> None:
    recipe = spec({"preset": "paper"}).recipe
    assert (recipe.iterations, recipe.batch_size, recipe.optimiser.betas) == (20_000, 64, (0.5, 0.999))
    assert recipe.adversarial is not None
    assert (recipe.adversarial.steps, recipe.adversarial.patience, recipe.adversarial.mix) == (20, 20, "both")


def test_what_is_said_takes_the_place_of_the_presets_at_any_depth() -> None:
    adversarial = {"attack": {"objective": "total", "eps": 4}, "tau": 2}
    recipe = spec({"preset": "paper", "iterations": 7, "adversarial": adversarial}).recipe
    assert recipe.adversarial is not None
    attack = recipe.adversarial.attack
    assert (attack.objective, attack.eps, attack.steps, recipe.adversarial.tau) == ("total", 4, 20, 2)
    assert (recipe.iterations, recipe.batch_size) == (7, 64)


def test_epochs_take_the_place_of_the_presets_iterations() -> None:
    recipe = spec({"preset": "paper", "epochs": 2}).recipe
    assert (recipe.iterations, recipe.epochs) == (None, 2)


def test_of_another_optimiser_or_schedule_nothing_is_the_papers() -> None:
    recipe = spec({"preset": "paper", "optimiser": {"name": "sgd"}, "schedule": {"name": "cosine"}}).recipe
    assert (recipe.optimiser.betas, recipe.schedule.every) == (None, None)


def test_fgsm_takes_its_one_step() -> None:
    recipe = spec({"preset": "paper", "adversarial": {"attack": {"algorithm": "fgsm"}}}).recipe
    assert recipe.adversarial is not None
    assert recipe.adversarial.steps == 1


def test_the_paper_without_its_attack_is_clean_training() -> None:
    assert spec({"preset": "paper", "adversarial": None}).recipe.adversarial is None


def test_a_stored_spec_says_everything_and_reads_as_itself() -> None:
    first = spec({"preset": "paper"})
    again = TrainingSpec.model_validate(first.model_dump(mode="json"))
    assert again == first
    assert again.digest() == first.digest()


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ({"preset": "papers"}, "recipe.preset"),
        ({"preset": ["paper"]}, "recipe.preset"),
        ({"preset": "paper", "iteration": 3}, "recipe.iteration"),
        ({"preset": "paper", "optimiser": 3}, "recipe.optimiser"),
        ({"preset": "paper", "iterations": 3, "epochs": 3}, "recipe.iterations"),
        ({"preset": "paper", "adversarial": {"tau": 21}}, "recipe.adversarial.tau"),
        ({"preset": "paper", "adversarial": {"attack": {"steps": 0}}}, "recipe.adversarial.attack.steps"),
        (
            {"preset": "paper", "adversarial": {"attack": {"algorithm": []}}},
            "recipe.adversarial.attack.algorithm",
        ),
        (3, "recipe"),
        ([], "recipe"),
    ],
)
def test_a_wrong_recipe_is_refused_at_its_place(recipe: Any, field: str) -> None:
    assert refused(recipe) == field


def test_training_begins_with_one_thing() -> None:
    assert refused({"preset": "paper"}, manifest=None) == "model"
    assert refused({"preset": "paper"}, model="0190f5a4-0000-7000-8000-000000000000") == "model"


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ({"iterations": 1, "task_weights": {"up": 1}}, "recipe.task_weights.up"),
        ({"iterations": 1, "batch_size": 6_001}, "recipe.batch_size"),
        (
            {
                "iterations": 1,
                "adversarial": {"attack": {"algorithm": "pgd", "eps": 8, "objective": "single:up"}},
            },
            "recipe.adversarial.attack.objective",
        ),
    ],
)
def test_a_recipe_is_checked_against_tasks_and_samples(recipe: Any, field: str) -> None:
    info = DATASETS["digits"]
    wanted = spec(recipe)
    pinned = wanted.model_copy(update={"dataset": wanted.dataset.pinned(info)})
    with pytest.raises(InvalidError) as caught:
        pinned.check(ModelManifest.model_validate(DIGITS), info)
    assert caught.value.field == field
