"""Trainings as users send them: `kind: training`, and the recipe's presets."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, Field, model_validator

from core.datasets import DatasetInfo
from core.errors import InvalidError, under
from core.specs.document import Line
from core.specs.documents import Attacked, DatasetRef, EvaluationSpec, OnSamples
from core.specs.fitting import check_recipe
from core.specs.manifests import ModelManifest
from core.specs.training import Recipe, paper_recipe

PRESET = "preset"
PRESETS = ("paper",)


def spelled_out(recipe: object) -> object:
    """A recipe with its preset's fields in the place of those that are not said; anything else as it is.

    Raises:
        InvalidError: there is no such preset.
    """
    if not isinstance(recipe, Mapping) or recipe.get(PRESET) is None:
        return recipe
    if recipe[PRESET] not in PRESETS:
        raise InvalidError(f"preset must be {', '.join(PRESETS)}; got {recipe[PRESET]!r}", field=PRESET)
    said = {name: value for name, value in recipe.items() if name != PRESET}
    usual = paper_recipe().to_json()
    if said.get("epochs") is not None:
        del usual["iterations"]
    return _merged(usual, said)


def _merged(usual: dict[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings are merged, all else is what was said; of another optimiser or schedule, nothing is usual."""
    merged = deepcopy(usual)
    for name, value in said.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, Mapping):
            another = value.get("name", below.get("name")) != below.get("name")
            merged[name] = dict(value) if another else _merged(below, value)
        else:
            merged[name] = value
    if said.get("algorithm") not in (None, usual.get("algorithm")) and "steps" not in said:
        merged.pop("steps", None)
    return merged


RecipeDocument = Annotated[
    Recipe,
    BeforeValidator(spelled_out),
    Field(
        description='How it is trained. {"preset": "paper"} takes what is not said from the paper: Adam with betas '
        "(0.5, 0.999), 20,000 iterations of 64 samples, PGD with K = tau = 20, eps = 8, on clean and attacked batches."
    ),
]
"""A recipe, with or without a preset; stored with everything spelled out."""


class TrainingData(DatasetRef):
    """Samples to train on: the first `limit` of a split, in its own order or in one that is drawn."""

    split: Literal["train", "validation", "test"] = "train"


class TrainedEvaluation(Attacked):
    """What is asked of a model once it is trained, and of the one that it is compared with."""

    baseline: UUID | None = Field(
        default=None,
        description="A model of the same tasks to compare with; the one that training began with unless said.",
    )

    def of(self, model: UUID) -> EvaluationSpec:
        """The evaluation of a model."""
        fields = self.model_dump(exclude={"baseline"})
        return EvaluationSpec.model_validate({**fields, "kind": "evaluation", "model": model})


class TrainingSpec(OnSamples):
    """Train a model, clean or adversarially, from random weights or on from a stored model."""

    kind: Literal["training"]
    model: UUID | None = Field(default=None, description="Of which weights it begins.")
    manifest: ModelManifest | None = Field(
        default=None, description="What to train from random weights, which the recipe's seed decides."
    )
    dataset: TrainingData
    recipe: RecipeDocument
    name: Line | None = Field(default=None, description="Of the model that comes out.")
    evaluation: TrainedEvaluation | None = Field(
        default=None, description="Evaluated at once when training ends, and its baseline beside it."
    )

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.model is None) == (self.manifest is None):
            raise InvalidError("say what to train: either a stored model or a manifest", field="model")
        return self

    def check(self, manifest: ModelManifest, info: DatasetInfo) -> None:
        """Check that a model of this manifest can be trained so on the data set, whose reference is pinned.

        Raises:
            InvalidError: it cannot; `field` names the place.
        """
        with under("dataset.name"):
            tasks = info.measured(manifest.task_list)
        with under("recipe"):
            check_recipe(self.recipe, tasks)
            self.recipe.total(self.dataset.samples)
