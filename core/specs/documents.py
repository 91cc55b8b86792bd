"""What users send as JSON: model manifests and job specs, validated once for API, worker and library."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.backbones import backbone
from core.datasets import DATASETS
from core.errors import InvalidError
from core.layouts import Layout
from core.specs.attack import AttackSpec, check_target
from core.specs.objective import SINGLE
from core.specs.precision import Precision
from core.specs.preprocessing import Preprocessing
from core.tasks import MetricRules, Task, profile

MAX_ATTACKS = 1_000
MAX_SAMPLES = 1_000_000
MAX_MODELS = 16

CALIBRATION_SPLITS = ("validation", "train", "test")
"""Where searches find samples that are not evaluated: the first of these that is another split."""


class Document(BaseModel):
    """A JSON document from outside: unknown fields are refused, NaN and Infinity are no numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def canonical(self) -> str:
        """The document as canonical JSON: sorted keys, no spaces, defaults spelled out."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


class ModelManifest(Document):
    """Everything beside the weights that makes a model; the checkpoint's tensors are checked against it."""

    backbone: str
    layout: Any = Field(
        description='JSON levels, {"index": 14}, "all-shared" or "independent"; tasks by number or name.'
    )
    profile: str = Field(description="The tasks and their order.")
    tasks: tuple[str, ...] | None = Field(
        default=None, description="A subset of the profile's tasks; all unless said."
    )
    preprocessing: Preprocessing = Preprocessing()

    @model_validator(mode="after")
    def _check(self) -> Self:
        _at("backbone", backbone, self.backbone)
        _at("profile", profile, self.profile)
        _at("tasks", self._selected)
        _at("layout", self._parsed)
        return self

    def _selected(self) -> tuple[Task, ...]:
        whole = profile(self.profile)
        if self.tasks is None:
            return whole.tasks
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise InvalidError("tasks names each task once, and at least one")
        return tuple(whole.task(name) for name in self.tasks)

    def _parsed(self) -> Layout:
        names = [task.name for task in self._selected()]
        return Layout.parse(self.layout, tasks=names, levels=backbone(self.backbone).levels)

    @property
    def task_list(self) -> tuple[Task, ...]:
        """The model's tasks, in the order that its layout numbers them."""
        return self._selected()

    @property
    def tree(self) -> Layout:
        """The layout, parsed."""
        return self._parsed()

    def resolved(self) -> "ModelManifest":
        """The same manifest with layout and tasks written out in canonical form."""
        return self.model_copy(
            update={
                "layout": self._parsed().canonical.to_json(),
                "tasks": tuple(task.name for task in self._selected()),
            }
        )


class DatasetRef(Document):
    """Samples to evaluate on: the first `limit` of a split."""

    name: str
    split: Literal["train", "validation", "test"] = "test"
    limit: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in DATASETS:
            raise InvalidError(f"no data set {self.name!r}; there are {', '.join(DATASETS)}", field="name")
        if self.limit is not None and self.limit > DATASETS[self.name].splits[self.split]:
            raise InvalidError(
                f"{self.split} has {DATASETS[self.name].splits[self.split]} samples", field="limit"
            )
        return self

    @property
    def samples(self) -> int:
        """How many samples that is."""
        return self.limit or DATASETS[self.name].splits[self.split]


class _Measurement(Document):
    """What the job kinds that attack and measure have in common."""

    dataset: DatasetRef
    batch_size: int = Field(default=32, ge=1, le=4096)
    metric_rules: MetricRules = "standard"
    precision: Precision = Field(
        default="float32",
        description="What attacks compute in; metrics are always taken in float32 from the model as given.",
    )


class EvaluationSpec(_Measurement):
    """Attack one model on one data set: the clean pass and every attack, scored by ARP (paper Eq. 10)."""

    kind: Literal["evaluation"]
    model: UUID
    attacks: list[AttackSpec] = Field(min_length=1, max_length=MAX_ATTACKS)
    previews: int = Field(
        default=0, ge=0, le=16, description="Keep the first images, clean and attacked, as pictures."
    )
    health: bool = Field(
        default=True,
        description="Also run the checks that tell whether the attacks can be trusted on this model, on a few samples.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        seen: dict[AttackSpec, int] = {}
        for position, attack in enumerate(self.attacks):
            first = seen.setdefault(attack.resolved(), position)
            if first != position:
                raise InvalidError(f"the same attack as number {first}", field=f"attacks.{position}")
        return self

    def check_model(self, manifest: ModelManifest) -> None:
        """Check that the model can be measured on the data set, and that it has every task that an attack names.

        Raises:
            InvalidError: it cannot, or has not; `field` names the place.
        """
        _check_profile(manifest, self.dataset)
        for position, attack in enumerate(self.attacks):
            _check_tasks(attack, manifest, field=f"attacks.{position}")
        _check_calibration(self.attacks, self.dataset)


class TransferabilitySpec(_Measurement):
    """How far an attack on one task damages the others (paper Eq. 11), within a model and from model to model.

    Every task of every model is attacked by itself, and the images are scored on all models.
    """

    kind: Literal["transferability"]
    models: list[UUID] = Field(min_length=1, max_length=MAX_MODELS)
    attack: AttackSpec = Field(description="Without an objective: it is SINGLE, for each task in turn.")

    @model_validator(mode="after")
    def _single(self) -> Self:
        if len(set(self.models)) != len(self.models):
            raise InvalidError("models names each model once", field="models")
        method = self.attack.method
        for name in ("objective", "weights", "targets"):
            if getattr(self.attack, name) is not None:
                raise InvalidError(
                    f"each task is attacked by itself, with SINGLE; leave {name} out", field=f"attack.{name}"
                )
        if not method.objective:
            raise InvalidError(f"{self.attack.algorithm} cannot attack one task", field="attack.algorithm")
        return self

    def attack_on(self, task: str) -> AttackSpec:
        """The attack on one task."""
        return replace(self.attack, objective=SINGLE + task)

    def check_models(self, manifests: Sequence[ModelManifest]) -> None:
        """Check that the models have the same tasks and can be measured on the data set.

        Raises:
            InvalidError: they have not, or one cannot; `field` names the place.
        """
        first = [task.name for task in manifests[0].task_list]
        for position, manifest in enumerate(manifests):
            _check_profile(manifest, self.dataset)
            names = [task.name for task in manifest.task_list]
            if names != first:
                raise InvalidError(
                    f"the first model's tasks are {', '.join(first)}, this one's {', '.join(names)}",
                    field=f"models.{position}",
                )


def _check_profile(manifest: ModelManifest, dataset: DatasetRef) -> None:
    wanted = DATASETS[dataset.name].profile
    if manifest.profile != wanted:
        raise InvalidError(
            f"the model's profile is {manifest.profile!r}, the data set's {wanted!r}", field="dataset.name"
        )


def _check_tasks(attack: AttackSpec, manifest: ModelManifest, *, field: str) -> None:
    tasks = {task.name: task for task in manifest.task_list}
    for name, where in attack.named_tasks.items():
        if name not in tasks:
            raise InvalidError(
                f"the model has no task {name!r}; it has {', '.join(tasks)}", field=f"{field}.{where}"
            )
    for name, value in (attack.targets or {}).items():
        try:
            check_target(tasks[name], value)
        except InvalidError as error:
            raise InvalidError(str(error), field=f"{field}.targets.{name}") from error


def _check_calibration(attacks: Sequence[AttackSpec], dataset: DatasetRef) -> None:
    """`auto_mta` searches on samples of another split: there must be one."""
    for position, attack in enumerate(attacks):
        if attack.algorithm == "auto_mta" and calibration_split(dataset) is None:
            raise InvalidError(
                f"auto_mta searches on samples that are not evaluated, and {dataset.name} has no other split",
                field=f"attacks.{position}.algorithm",
            )


def calibration_split(dataset: DatasetRef) -> str | None:
    """The split that searches use when this one is evaluated; None if the data set has no other."""
    splits = DATASETS[dataset.name].splits
    return next((name for name in CALIBRATION_SPLITS if name != dataset.split and splits.get(name)), None)


def _at(field: str, check: Any, *arguments: Any) -> None:
    """Run a check and let its error name the field."""
    try:
        check(*arguments)
    except InvalidError as error:
        path = f"{field}.{error.field}" if error.field else field
        raise InvalidError(str(error), field=path) from error
