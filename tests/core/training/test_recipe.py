"""`Recipe`: what is refused and under which field, the paper's values, and that Pydantic reads it."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from core.errors import InvalidError
from core.specs.attack import AttackSpec
from core.specs.training import (
    Adversarial,
    Augmentation,
    Fooled,
    FooledWhen,
    Optimiser,
    Recipe,
    RecipeError,
    Schedule,
    paper_recipe,
)
from core.tasks import profile
from core.training import check_recipe

PGD = AttackSpec(algorithm="pgd", eps=8, steps=5)
SCENES = profile("scenes").tasks
DIGITS = profile("digits").tasks

WRONG: list[tuple[str, Callable[[], object]]] = [
    ("iterations", Recipe),
    ("iterations", lambda: Recipe(iterations=5, epochs=5)),
    ("iterations", lambda: Recipe(iterations=0)),
    ("epochs", lambda: Recipe(epochs=-1)),
    ("batch_size", lambda: Recipe(epochs=1, batch_size=0)),
    ("accumulation", lambda: Recipe(epochs=1, batch_size=4, accumulation=5)),
    ("task_weights.depth", lambda: Recipe(epochs=1, task_weights={"depth": -1.0})),
    ("precision", lambda: Recipe(epochs=1, precision="float16")),  # type: ignore[arg-type]
    ("ema", lambda: Recipe(epochs=1, ema=1.0)),
    ("seed", lambda: Recipe(epochs=1, seed=-1)),
    ("name", lambda: Optimiser(name="lion")),  # type: ignore[arg-type]
    ("learning_rate", lambda: Optimiser(learning_rate=0)),
    ("learning_rate", lambda: Optimiser(learning_rate=float("nan"))),
    ("weight_decay", lambda: Optimiser(weight_decay=-1)),
    ("betas", lambda: Optimiser(name="sgd", betas=(0.5, 0.9))),
    ("betas.1", lambda: Optimiser(betas=(0.5, 1.0))),
    ("momentum", lambda: Optimiser(name="adam", momentum=0.9)),
    ("momentum", lambda: Optimiser(name="sgd", momentum=1.5)),
    ("nesterov", lambda: Optimiser(name="adam", nesterov=True)),
    ("nesterov", lambda: Optimiser(name="sgd", momentum=0.0, nesterov=True)),
    ("name", lambda: Schedule(name="linear")),  # type: ignore[arg-type]
    ("every", lambda: Schedule(name="step")),
    ("every", lambda: Schedule(name="cosine", every=5)),
    ("factor", lambda: Schedule(name="one_cycle", factor=0.5)),
    ("factor", lambda: Schedule(name="cosine", factor=2.0)),
    ("rise", lambda: Schedule(name="step", every=5, rise=0.5)),
    ("rise", lambda: Schedule(name="one_cycle", rise=0.0)),
    ("shift", lambda: Augmentation(shift=-1)),
    ("steps", lambda: AttackSpec(algorithm="pgd", eps=8, steps=0)),
    ("tau", lambda: Adversarial(attack=PGD, tau=6)),
    ("tau", lambda: Adversarial(attack=PGD, tau=-1)),
    ("tau", lambda: Adversarial(attack=AttackSpec(algorithm="fgsm", eps=8), tau=2)),
    ("omega", lambda: Adversarial(attack=PGD, omega=-0.5)),
    ("mix", lambda: Adversarial(attack=PGD, mix="clean")),  # type: ignore[arg-type]
    ("attack.algorithm", lambda: Adversarial(attack=AttackSpec(algorithm="auto_mta", eps=8))),
    ("attack.algorithm", lambda: Adversarial(attack=AttackSpec(algorithm="apgd", eps=8))),
    ("attack.algorithm", lambda: Adversarial(attack=AttackSpec(algorithm="sign_noise", eps=8))),
    (
        "attack.restarts",
        lambda: Adversarial(attack=AttackSpec(algorithm="pgd", eps=8, random_start=True, restarts=2)),
    ),
    ("attack.eot", lambda: Adversarial(attack=AttackSpec(algorithm="pgd", eps=8, eot=2))),
    ("attack.seed", lambda: Adversarial(attack=AttackSpec(algorithm="pgd", eps=8, seed=1))),
    (
        "attack.targets",
        lambda: Adversarial(attack=AttackSpec(algorithm="pgd", eps=8, targets={"depth": 1.0})),
    ),
    ("by", lambda: FooledWhen(by="luck")),  # type: ignore[arg-type]
    ("threshold", lambda: FooledWhen(threshold=0.0)),
    ("threshold", lambda: FooledWhen(by="metric", metric="miou")),
    ("threshold", lambda: FooledWhen(by="label", threshold=1.0)),
    ("floor", lambda: FooledWhen(floor=0.0)),
    ("floor", lambda: FooledWhen(by="label", floor=0.1)),
    ("metric", lambda: FooledWhen(by="metric", threshold=1.0)),
    ("metric", lambda: FooledWhen(metric="miou")),
    ("aggregate", lambda: Fooled(aggregate="most")),  # type: ignore[arg-type]
    ("count", lambda: Fooled(aggregate="count")),
    ("count", lambda: Fooled(aggregate="count", count=0)),
    ("count", lambda: Fooled(count=2)),
]


@pytest.mark.parametrize(("field", "make"), WRONG)
def test_what_cannot_be_run_is_refused_under_its_field(field: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidError) as caught:
        make()
    assert caught.value.field == field


UNFIT: list[tuple[str, dict[str, Any]]] = [
    ("task_weights.colour", {"task_weights": {"colour": 1.0}}),
    (
        "adversarial.attack.objective",
        {"adversarial": Adversarial(attack=AttackSpec(algorithm="pgd", eps=8, objective="single:colour"))},
    ),
    (
        "adversarial.fooled.tasks.colour",
        {"adversarial": Adversarial(attack=PGD, fooled=Fooled(tasks={"colour": FooledWhen()}))},
    ),
    (
        "adversarial.fooled.tasks.depth.metric",
        {
            "adversarial": Adversarial(
                attack=PGD,
                fooled=Fooled(tasks={"depth": FooledWhen(by="metric", metric="miou", threshold=20)}),
            )
        },
    ),
    (
        "adversarial.fooled.rule.by",
        {"adversarial": Adversarial(attack=PGD, fooled=Fooled(rule=FooledWhen(by="label")))},
    ),
    (
        "adversarial.fooled.count",
        {"adversarial": Adversarial(attack=PGD, fooled=Fooled(aggregate="count", count=6))},
    ),
    (
        "adversarial.fooled.tasks.depth",
        {
            "adversarial": Adversarial(
                attack=AttackSpec(algorithm="pgd", eps=8, objective="stealth:normals"),
                fooled=Fooled(tasks={"depth": FooledWhen()}),
            )
        },
    ),
]


@pytest.mark.parametrize(("field", "fields"), UNFIT)
def test_what_does_not_fit_the_tasks_is_refused_under_its_field(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as caught:
        check_recipe(Recipe(epochs=1, **fields), SCENES)
    assert caught.value.field == field


def test_a_mean_of_rises_needs_a_rise_of_every_task() -> None:
    adversarial = Adversarial(attack=PGD, fooled=Fooled(aggregate="mean"))
    check_recipe(Recipe(epochs=1, adversarial=adversarial), SCENES)
    with pytest.raises(RecipeError, match="left is judged by label") as caught:
        check_recipe(Recipe(epochs=1, adversarial=adversarial), DIGITS)
    assert caught.value.field == "adversarial.fooled.rule"


def test_more_processes_than_samples_of_a_part_are_refused() -> None:
    recipe = Recipe(epochs=1, batch_size=8, accumulation=4)
    check_recipe(recipe, SCENES, processes=2)
    with pytest.raises(RecipeError, match="nothing to do") as caught:
        check_recipe(recipe, SCENES, processes=3)
    assert caught.value.field == "batch_size"


def test_tau_is_k_unless_said_and_k_is_the_number_of_the_attacks_steps() -> None:
    assert Adversarial(attack=PGD).patience == Adversarial(attack=PGD).steps == 5
    assert Adversarial(attack=PGD, tau=0).patience == 0
    assert Adversarial(attack=AttackSpec(algorithm="fgsm", eps=8)).steps == 1
    assert Adversarial(attack=AttackSpec(algorithm="mim", eps=8)).steps == 20


def test_a_classification_is_judged_by_its_label_unless_said_and_the_rest_by_its_loss() -> None:
    assert Fooled().rule_of(DIGITS[0]).by == "label"
    assert Fooled().rule_of(SCENES[0]).by == "rise"
    assert Fooled(rule=FooledWhen()).rule_of(DIGITS[0]).by == "rise"


def test_the_papers_recipe_has_the_papers_values() -> None:
    recipe = paper_recipe("single:depth")
    assert recipe.optimiser == Optimiser(
        name="adam", learning_rate=1e-3, betas=(0.5, 0.999), weight_decay=1e-4
    )
    assert recipe.schedule == Schedule(name="step", every=4_000, factor=0.5)
    assert (recipe.iterations, recipe.batch_size) == (20_000, 64)
    adversarial = recipe.adversarial
    assert adversarial is not None
    attack = adversarial.attack.resolved()
    assert adversarial.steps == adversarial.patience == 20
    assert (attack.algorithm, attack.objective, attack.eps) == ("pgd", "single:depth", 8)
    assert attack.step_size == pytest.approx(8 / 20)
    assert not attack.random_start
    assert adversarial.mix == "both"


def test_the_papers_recipe_of_tables_14_and_15_takes_one_step() -> None:
    adversarial = paper_recipe(algorithm="fgsm", eps=4).adversarial
    assert adversarial is not None
    assert (adversarial.steps, adversarial.attack.eps) == (1, 4)


def test_a_length_in_epochs_counts_full_batches() -> None:
    assert Recipe(epochs=3, batch_size=8).total(20) == 6
    assert Recipe(iterations=7, batch_size=8).total(20) == 7


DOCUMENT: dict[str, Any] = {
    "iterations": 100,
    "optimiser": {"name": "adam", "betas": [0.5, 0.999]},
    "schedule": {"name": "step", "every": 10},
    "task_weights": {"depth": 2},
    "adversarial": {
        "attack": {"algorithm": "pgd", "eps": 8, "steps": 10},
        "tau": 2,
        "fooled": {
            "tasks": {"segmentation": {"by": "metric", "metric": "miou", "threshold": 20}},
            "aggregate": "count",
            "count": 2,
        },
        "goal_aware": True,
    },
}


def test_pydantic_reads_a_recipe_and_its_json_again() -> None:
    adapter = TypeAdapter(Recipe)
    recipe = adapter.validate_python(DOCUMENT)
    assert recipe.adversarial is not None
    assert recipe.adversarial.fooled.tasks["segmentation"].metric == "miou"
    assert recipe.optimiser.betas == (0.5, 0.999)
    assert adapter.validate_python(recipe.to_json()) == recipe


def test_a_recipe_has_a_json_schema_with_the_attacks_descriptions() -> None:
    schema = TypeAdapter(Recipe).json_schema()
    assert set(schema["properties"]) == set(paper_recipe().to_json())
    assert "Radius of the ball" in schema["$defs"]["AttackSpec"]["properties"]["eps"]["description"]


def test_an_error_below_keeps_its_field_and_its_place_under_pydantic() -> None:
    document = DOCUMENT | {"adversarial": DOCUMENT["adversarial"] | {"tau": 11}}
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Recipe).validate_python(document)
    found = caught.value.errors()[0]
    assert found["loc"] == ("adversarial",)
    assert found["ctx"]["error"].field == "tau"


def test_unknown_fields_are_refused_under_pydantic() -> None:
    with pytest.raises(ValidationError, match="patience"):
        TypeAdapter(Recipe).validate_python(DOCUMENT | {"patience": 3})
