"""What users send as JSON: job specs, validated once for API, worker and library."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from core.datasets import DatasetInfo
from core.errors import InvalidError, under
from core.specs.attack import AttackSpec, check_target
from core.specs.document import Document
from core.specs.manifests import ModelManifest
from core.specs.objective import SINGLE
from core.specs.precision import Precision
from core.tasks import MetricRules, Task

MAX_ATTACKS = 1_000
MAX_SAMPLES = 1_000_000
MAX_MODELS = 16
MAX_SHUFFLE = 2**32 - 1

CALIBRATION_SPLITS = ("validation", "train", "test")
"""Where searches find samples that are not evaluated: the first of these that is another split."""


def _is_none(value: object) -> bool:
    return value is None


class DatasetRef(Document):
    """Samples to evaluate on: the first `limit` of a split, in its own order or in one that is drawn."""

    name: str = Field(min_length=1, max_length=200)
    version: str | None = Field(
        default=None,
        max_length=200,
        description="The newest unless said; a job keeps to the one it began with.",
    )
    split: Literal["train", "validation", "test"] = "test"
    limit: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    shuffle: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SHUFFLE,
        strict=True,
        exclude_if=_is_none,  # documents of before there was this stay the same, byte for byte
        description="Take the split's samples in an order drawn with this seed; in the data set's order unless said.",
    )

    def pinned(self, info: DatasetInfo) -> "DatasetRef":
        """The same samples with version and number spelled out.

        Raises:
            InvalidError: the data set has no such split, or fewer samples; `field` names the place.
        """
        there = info.splits.get(self.split, 0)
        if not there:
            have = ", ".join(name for name, count in info.splits.items() if count)
            raise InvalidError(f"{self.name} has no split {self.split!r}; it has {have}", field="split")
        if self.limit is not None and self.limit > there:
            raise InvalidError(f"{self.split} has {there} samples", field="limit")
        return self.model_copy(update={"version": info.version, "limit": self.limit or there})

    @property
    def samples(self) -> int:
        """How many samples that is; only a pinned reference knows."""
        assert self.limit is not None
        return self.limit


class OnSamples(Document):
    """A document that names samples."""

    dataset: DatasetRef


class Measurement(OnSamples):
    """What the job kinds that attack and measure have in common."""

    batch_size: int = Field(default=32, ge=1, le=4096)
    metric_rules: MetricRules = "standard"
    precision: Precision = Field(
        default="float32",
        description="What attacks compute in; metrics are always taken in float32 from the model as given.",
    )


class Attacked(Measurement):
    """An evaluation of a model that need not be there yet."""

    attacks: list[AttackSpec] = Field(min_length=1, max_length=MAX_ATTACKS)
    previews: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Keep the images that are taken first, clean and attacked, as pictures.",
    )
    health: bool = Field(
        default=True,
        description="Also run the checks that tell whether the attacks can be trusted on this model, on a few samples.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        with under("attacks"):
            check_distinct(self.attacks)
        return self

    def check_model(self, manifest: ModelManifest, info: DatasetInfo) -> None:
        """Check that the model can be measured on the data set, and that it has every task that an attack names.

        Raises:
            InvalidError: it cannot, or has not; `field` names the place.
        """
        self.check_tasks(manifest.task_list, info)

    def check_tasks(self, tasks: Sequence[Task], info: DatasetInfo) -> None:
        """`check_model`, of a model with these tasks."""
        _check_measured(tasks, info)
        for position, attack in enumerate(self.attacks):
            _check_tasks(attack, tasks, field=f"attacks.{position}")
        _check_calibration(self.attacks, self.dataset, info)


class EvaluationSpec(Attacked):
    """Attack one model on one data set: the clean pass and every attack, scored by ARP (paper Eq. 10)."""

    kind: Literal["evaluation"]
    model: UUID

    @property
    def asked(self) -> Attacked:
        """What is asked of the model."""
        return Attacked.model_validate(self.model_dump(exclude={"kind", "model"}))


class TransferabilitySpec(Measurement):
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
        with under("attack"):
            check_single(self.attack)
        return self

    def attack_on(self, task: str) -> AttackSpec:
        """The attack on one task."""
        return replace(self.attack, objective=SINGLE + task)

    def check_models(self, manifests: Sequence[ModelManifest], info: DatasetInfo) -> None:
        """Check that the models have the same tasks and can be measured on the data set.

        Raises:
            InvalidError: they have not, or one cannot; `field` names the place.
        """
        first = [task.name for task in manifests[0].task_list]
        for position, manifest in enumerate(manifests):
            _check_measured(manifest.task_list, info)
            names = [task.name for task in manifest.task_list]
            if names != first:
                raise InvalidError(
                    f"the first model's tasks are {', '.join(first)}, this one's {', '.join(names)}",
                    field=f"models.{position}",
                )


def check_distinct(attacks: Sequence[AttackSpec]) -> None:
    """Check that each attack is there once.

    Raises:
        InvalidError: one is there again, or has no defaults that it can be run with; `field` begins with its position.
    """
    seen: dict[AttackSpec, int] = {}
    for position, attack in enumerate(attacks):
        with under(str(position)):
            first = seen.setdefault(attack.resolved(), position)
            if first != position:
                raise InvalidError(f"the same attack as number {first}")


def check_single(attack: AttackSpec) -> None:
    """Check that an attack can be SINGLE on each task in turn.

    Raises:
        InvalidError: it cannot, or says on what it is; `field` names the place.
    """
    for name in ("objective", "weights", "targets"):
        if getattr(attack, name) is not None:
            raise InvalidError(f"each task is attacked by itself, with SINGLE; leave {name} out", field=name)
    if not attack.method.objective:
        raise InvalidError(f"{attack.algorithm} cannot attack one task", field="algorithm")


def _check_measured(tasks: Sequence[Task], info: DatasetInfo) -> None:
    with under("dataset.name"):
        info.measured(tasks)


def _check_tasks(attack: AttackSpec, tasks: Sequence[Task], *, field: str) -> None:
    known = {task.name: task for task in tasks}
    for name, where in attack.named_tasks.items():
        if name not in known:
            raise InvalidError(
                f"the model has no task {name!r}; it has {', '.join(known)}", field=f"{field}.{where}"
            )
    for name, value in (attack.targets or {}).items():
        try:
            check_target(known[name], value)
        except InvalidError as error:
            raise InvalidError(str(error), field=f"{field}.targets.{name}") from error


def _check_calibration(attacks: Sequence[AttackSpec], dataset: DatasetRef, info: DatasetInfo) -> None:
    """`auto_mta` searches on samples of another split: there must be one."""
    for position, attack in enumerate(attacks):
        if attack.algorithm == "auto_mta" and calibration_split(dataset, info.splits) is None:
            raise InvalidError(
                f"auto_mta searches on samples that are not evaluated, and {dataset.name} has no other split",
                field=f"attacks.{position}.algorithm",
            )


def calibration_split(dataset: DatasetRef, splits: Mapping[str, int]) -> str | None:
    """The split that searches use when this one is evaluated; None if the data set has no other."""
    return next((name for name in CALIBRATION_SPLITS if name != dataset.split and splits.get(name)), None)
