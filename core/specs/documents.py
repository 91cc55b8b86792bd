"""What users send as JSON: model manifests and job specs, validated once for API, worker and library."""

import hashlib
import json
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.backbones import backbone
from core.datasets import DATASETS
from core.errors import InvalidError
from core.layouts import Layout
from core.specs.attack import AttackSpec
from core.specs.preprocessing import Preprocessing
from core.tasks import MetricRules, Task, profile

MAX_ATTACKS = 1_000
MAX_SAMPLES = 1_000_000


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


class EvaluationSpec(Document):
    """Attack one model on one data set: the clean pass and every attack, scored by ARP (paper Eq. 10)."""

    kind: Literal["evaluation"]
    model: UUID
    dataset: DatasetRef
    attacks: list[AttackSpec] = Field(min_length=1, max_length=MAX_ATTACKS)
    batch_size: int = Field(default=32, ge=1, le=4096)
    metric_rules: MetricRules = "standard"
    previews: int = Field(
        default=0, ge=0, le=16, description="Keep the first images, clean and attacked, as pictures."
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
        """Check that the model can be measured on the data set, and that it has every task that SINGLE attacks.

        Raises:
            InvalidError: it cannot, or has not; `field` names the place.
        """
        if manifest.profile != DATASETS[self.dataset.name].profile:
            raise InvalidError(
                f"the model's profile is {manifest.profile!r}, the data set's {DATASETS[self.dataset.name].profile!r}",
                field="dataset.name",
            )
        names = [task.name for task in manifest.task_list]
        for position, attack in enumerate(self.attacks):
            if attack.task is not None and attack.task not in names:
                raise InvalidError(
                    f"the model has no task {attack.task!r}; it has {', '.join(names)}",
                    field=f"attacks.{position}.objective",
                )


def _at(field: str, check: Any, *arguments: Any) -> None:
    """Run a check and let its error name the field."""
    try:
        check(*arguments)
    except InvalidError as error:
        path = f"{field}.{error.field}" if error.field else field
        raise InvalidError(str(error), field=path) from error
