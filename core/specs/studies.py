"""Studies as users send them: `kind: study`, layouts x training modes x attacks in one document."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationError, model_validator

from core.datasets import DatasetInfo
from core.errors import InvalidError, under
from core.specs.attack import AttackSpec
from core.specs.document import Document, Line, first_error
from core.specs.documents import Attacked, EvaluationSpec, OnSamples, TransferabilitySpec
from core.specs.manifests import BACKBONE, BACKBONE_SCHEMAS, ModelManifest
from core.specs.preprocessing import Preprocessing
from core.specs.profiles import ProfileReference
from core.specs.trainings import RecipeDocument, TrainingData, TrainingSpec

MAX_LAYOUTS = 64
MAX_MODES = 16
MAX_TRAINED = 256
"""Models of one study: layouts x modes."""

SHOWN_NAME = 100
"""Characters of the study's name that its models are called by."""

ANY_MODEL = UUID(int=0)
"""Stands in for a model that is not there yet, where it does not matter which it is."""

ModeName = Annotated[
    str, StringConstraints(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:+-]*$")
]
"""It is part of the names of jobs and models, which "/" separates."""


class ModelTemplate(Document):
    """A manifest without a layout; see `ModelManifest`."""

    backbone: Any = Field(description=BACKBONE, json_schema_extra={"anyOf": BACKBONE_SCHEMAS})
    profile: ProfileReference = Field(description="The tasks: a profile's name, or a profile written out.")
    tasks: tuple[str, ...] | None = Field(
        default=None, description="A subset of the profile's tasks; all unless said."
    )
    preprocessing: Preprocessing = Preprocessing()

    def with_layout(self, layout: Any) -> ModelManifest:
        """The manifest of one of the models, written out in full.

        Raises:
            InvalidError: there is no such manifest; `field` names the place in it.
        """
        fields = self.model_dump(mode="json")
        try:
            return ModelManifest.model_validate({**fields, "layout": layout}).resolved()
        except ValidationError as error:
            raise first_error(error) from error


class Mode(Document):
    """A way of training that every layout goes through."""

    name: ModeName = Field(description="Tells it from the study's other modes.")
    recipe: RecipeDocument
    start: ModeName | None = Field(
        default=None,
        description="An earlier mode: training goes on from the weights that it gave the same layout. From random "
        "weights unless said.",
    )


class StudyTransferability(Document):
    """Every task attacked by itself, on each layout's models of some modes."""

    attack: AttackSpec = Field(description="Without an objective: it is SINGLE, for each task in turn.")
    modes: list[ModeName] | None = Field(
        default=None,
        min_length=1,
        description="Whose models it is measured on; the first mode's unless said.",
    )


class StudySpec(OnSamples):
    """Train every layout in every mode, evaluate every model, and say what that shows.

    The first mode is what the others are compared with: the clean price of a mode is ARA (paper Eq. 6) against the
    first mode's model of the same layout.
    """

    kind: Literal["study"]
    name: Line | None = Field(default=None, description="Of the study; its models' names begin with it.")
    model: ModelTemplate = Field(description="What all models have in common.")
    layouts: list[Any] = Field(
        min_length=1, max_length=MAX_LAYOUTS, description="Each in any form that a manifest takes."
    )
    dataset: TrainingData = Field(description="What is trained on.")
    modes: list[Mode] = Field(
        min_length=1, max_length=MAX_MODES, description="The first is what the others are compared with."
    )
    evaluation: Attacked = Field(description="What is asked of every model once it is trained.")
    transferability: StudyTransferability | None = Field(
        default=None, description="Measured on the evaluation's samples; not at all unless said."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.layouts) * len(self.modes) > MAX_TRAINED:
            raise InvalidError(
                f"{len(self.layouts)} layouts in {len(self.modes)} modes are more than {MAX_TRAINED} models",
                field="layouts",
            )
        self._check_modes()
        self._check_layouts()
        self._check_transferability()
        return self

    def _check_modes(self) -> None:
        seen: set[str] = set()
        for position, mode in enumerate(self.modes):
            if mode.name in seen:
                raise InvalidError(f"two modes are called {mode.name!r}", field=f"modes.{position}.name")
            if mode.start is not None and mode.start not in seen:
                raise InvalidError(
                    f"there is no mode {mode.start!r} before this", field=f"modes.{position}.start"
                )
            seen.add(mode.name)

    def _check_layouts(self) -> None:
        seen: dict[Any, int] = {}
        for position, manifest in enumerate(self.manifests):
            first = seen.setdefault(manifest.tree, position)
            if first != position:
                raise InvalidError(f"the same layout as number {first}", field=f"layouts.{position}")

    def _check_transferability(self) -> None:
        if self.transferability is None:
            return
        self.transferability_of(ANY_MODEL)
        names = [mode.name for mode in self.modes]
        chosen = self.transferability.modes or []
        for position, name in enumerate(chosen):
            field = f"transferability.modes.{position}"
            if name not in names:
                raise InvalidError(f"there is no mode {name!r}", field=field)
            if name in chosen[:position]:
                raise InvalidError(f"{name!r} is named twice", field=field)

    @cached_property
    def manifests(self) -> tuple[ModelManifest, ...]:
        """One for each layout, in their order, written out in full. They differ in nothing but the layout."""
        return tuple(map(self._manifest, range(len(self.layouts))))

    def _manifest(self, layout: int) -> ModelManifest:
        common = {name: f"model.{name}" for name in ModelTemplate.model_fields}
        with _placed({"layout": f"layouts.{layout}", **common}):
            return self.model.with_layout(self.layouts[layout])

    @property
    def transferred(self) -> tuple[str, ...]:
        """The modes on whose models transferability is measured."""
        if self.transferability is None:
            return ()
        return tuple(self.transferability.modes or (self.modes[0].name,))

    def training(self, layout: int, mode: str, *, start: UUID | None) -> TrainingSpec:
        """The training of one of the models.

        Args:
            layout: position in `layouts`.
            mode: by name.
            start: the model that it goes on from; None is random weights.
        """
        recipe = next(one.recipe for one in self.modes if one.name == mode)
        return TrainingSpec(
            kind="training",
            model=start,
            manifest=self.manifests[layout] if start is None else None,
            dataset=self.dataset,
            recipe=recipe,
            name=f"{(self.name or 'study')[:SHOWN_NAME]}/layout {layout}/{mode}",
        )

    def evaluation_of(self, model: UUID) -> EvaluationSpec:
        """What is asked of a model."""
        fields = self.evaluation.model_dump()
        return EvaluationSpec.model_validate({**fields, "kind": "evaluation", "model": model})

    def transferability_of(self, model: UUID) -> TransferabilitySpec:
        """What is asked of a model of the modes in `transferred`.

        Raises:
            InvalidError: the attack cannot attack one task; `field` names the place.
        """
        assert self.transferability is not None
        fields = self.evaluation.model_dump(include={"dataset", "batch_size", "metric_rules", "precision"})
        asked = {"kind": "transferability", "models": [model], "attack": self.transferability.attack}
        with _placed({"attack": "transferability.attack"}):
            try:
                return TransferabilitySpec.model_validate({**fields, **asked})
            except ValidationError as error:
                raise first_error(error) from error

    def check(self, trained_on: DatasetInfo, evaluated_on: DatasetInfo) -> None:
        """Check that the models can be trained and measured so; the references to the data sets are pinned.

        One layout is enough, as all have the same tasks.

        Raises:
            InvalidError: they cannot; `field` names the place.
        """
        manifest = self.manifests[0]
        for position, mode in enumerate(self.modes):
            with _placed({"recipe": f"modes.{position}.recipe"}):
                self.training(0, mode.name, start=None).check(manifest, trained_on)
        with under("evaluation"):
            self.evaluation.check_model(manifest, evaluated_on)


def study_of(stored: object) -> StudySpec:
    """A stored study.

    Raises:
        InvalidError: it is none any more, such as when the package that had its backbone was uninstalled.
    """
    try:
        return StudySpec.model_validate(stored)
    except ValidationError as error:
        raise first_error(error) from error


@contextmanager
def _placed(places: dict[str, str]) -> Iterator[None]:
    """Errors inside are about a document that the study gives rise to: their fields say where that stands in it."""
    try:
        yield
    except InvalidError as error:
        first, *below = error.field.split(".")
        error.field = ".".join((places.get(first, first), *below))
        raise
