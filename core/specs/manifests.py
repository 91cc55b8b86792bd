"""What a model is beside its weights: a whole manifest, or as much of one as a user has to say."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from core.backbones import backbone, canonical_reference, declaration_schema
from core.errors import InvalidError, under
from core.layouts import Layout
from core.specs.document import Document, first_error
from core.specs.preprocessing import Preprocessing
from core.specs.profiles import ProfileDocument, ProfileReference
from core.tasks import Profile, Task, profile

BACKBONE = 'A name, or a residual network written out: {"kind": "residual", …}.'
BACKBONE_SCHEMAS: list[Any] = [{"type": "string"}, declaration_schema()]


class ModelManifest(Document):
    """Everything beside the weights that makes a model; the checkpoint's tensors are checked against it."""

    backbone: Any = Field(description=BACKBONE, json_schema_extra={"anyOf": BACKBONE_SCHEMAS})
    layout: Any = Field(
        description='JSON levels, {"index": 14}, "all-shared" or "independent"; tasks by number or name.'
    )
    profile: ProfileReference = Field(
        description="The tasks and their order: a profile's name, or a profile written out."
    )
    tasks: tuple[str, ...] | None = Field(
        default=None, description="A subset of the profile's tasks; all unless said."
    )
    preprocessing: Preprocessing = Preprocessing()

    @model_validator(mode="after")
    def _check(self) -> Self:
        _at("backbone", backbone, self.backbone)
        _at("profile", self._whole)
        _at("tasks", self._selected)
        _at("layout", self._parsed)
        return self

    def _whole(self) -> Profile:
        return profile(self.profile) if isinstance(self.profile, str) else self.profile.profile()

    def _selected(self) -> tuple[Task, ...]:
        whole = self._whole()
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
        """The same manifest with backbone, layout and tasks written out in canonical form."""
        return self.model_copy(
            update={
                "backbone": canonical_reference(self.backbone),
                "layout": self._parsed().canonical.to_json(),
                "tasks": tuple(task.name for task in self._selected()),
            }
        )


def manifest_of(stored: object) -> ModelManifest:
    """A stored manifest.

    Raises:
        InvalidError: it is none any more, such as when the package that had its backbone was uninstalled.
    """
    try:
        return ModelManifest.model_validate(stored)
    except ValidationError as error:
        raise first_error(error) from error


def tasks_of(stored: Mapping[str, Any]) -> tuple[Task, ...]:
    """The tasks of a stored manifest, for whoever need not know whether its backbone can still be had."""
    reference = stored["profile"]
    whole = (
        profile(reference)
        if isinstance(reference, str)
        else ProfileDocument.model_validate(reference).profile()
    )
    names = stored.get("tasks")
    return whole.tasks if names is None else tuple(whole.task(name) for name in names)


class ManifestHints(Document):
    """What the user says of a model: a whole manifest, or as much as its file does not tell by itself.

    Checkpoints of TreeMTL and of its attacks hold layout, tasks and heads, and need nothing said.
    """

    backbone: Any = Field(
        default=None, description=BACKBONE, json_schema_extra={"anyOf": [*BACKBONE_SCHEMAS, {"type": "null"}]}
    )
    layout: Any = Field(default=None, description="Of a branched model; in any form that a manifest takes.")
    profile: ProfileReference | None = None
    tasks: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    state_dict: str | None = Field(
        default=None, max_length=200, description="Where in the file the weights are, if that is not plain."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.complete() is None:
            if self.backbone is not None:
                _at("backbone", backbone, self.backbone)
            if isinstance(self.profile, str):
                _at("profile", profile, self.profile)
        return self

    def said(self) -> dict[str, Any]:
        """The fields of a manifest that are said."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"state_dict"})

    def complete(self) -> ModelManifest | None:
        """The manifest, if nothing is left to the file.

        Raises:
            InvalidError: there is no such manifest; `field` names the place.
        """
        if self.backbone is None or self.layout is None or self.profile is None:
            return None
        return self.completed({})

    def completed(self, found: Mapping[str, Any]) -> ModelManifest:
        """The manifest that these and what was found in the file make together; what is said goes first.

        Raises:
            InvalidError: there is no such manifest; `field` names the place.
        """
        try:
            return ModelManifest.model_validate({**found, **self.said()}).resolved()
        except ValidationError as error:
            raise first_error(error) from error


def _at(field: str, check: Callable[..., object], *arguments: object) -> None:
    """Run a check and let its error name the field."""
    with under(field):
        check(*arguments)
