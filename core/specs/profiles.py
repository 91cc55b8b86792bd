"""A profile as users write it: the tasks of a data set that the service does not know by name."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from core.errors import InvalidError
from core.specs.document import Document, first_error
from core.tasks import Loss, Profile, Task, TaskKind

MAX_TASKS = 16
MAX_CHANNELS = 1024
MAX_CLASSES = 255
"""255 marks what does not count."""


class TaskDocument(Document):
    """One task: see `core.tasks.Task`."""

    name: str = Field(min_length=1, max_length=64)
    kind: TaskKind
    channels: int = Field(ge=1, le=MAX_CHANNELS)
    metrics: tuple[str, ...] = Field(
        default=(), description="Those that enter ARP; the kind's own unless said."
    )
    class_names: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = Field(default=(), description="Of a segmentation loss.")
    loss: Loss | Literal[""] = Field(default="", description="The kind's usual one unless said.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind in ("segmentation", "classification") and self.channels > MAX_CLASSES:
            raise InvalidError(f"there may be {MAX_CLASSES} classes", field="channels")
        self.task()
        return self

    def task(self) -> Task:
        """The task that is meant."""
        return Task(**self.model_dump())


class ProfileDocument(Document):
    """Tasks in the order that layouts number them."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    title: str = Field(default="", max_length=200)
    tasks: tuple[TaskDocument, ...] = Field(min_length=1, max_length=MAX_TASKS)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise InvalidError("tasks have different names", field="tasks")
        return self

    def profile(self) -> Profile:
        """The profile that is meant."""
        return Profile(self.name, self.title or self.name, tuple(task.task() for task in self.tasks))


def _read(value: object) -> object:
    """Read a profile that is written out, so that its errors name their places and not the union's members."""
    if isinstance(value, Mapping):
        try:
            return ProfileDocument.model_validate(value)
        except ValidationError as error:
            raise first_error(error) from error
    if not isinstance(value, str | ProfileDocument | None):
        raise InvalidError("a profile is a name, or an object with name and tasks")
    return value


ProfileReference = Annotated[str | ProfileDocument, BeforeValidator(_read)]
"""A profile's name, or a profile written out."""
