"""Data sets described without opening them, those that this service brings along among them: no torch here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.errors import InvalidError
from core.tasks import Task, profile

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What can be said of a data set before it is opened.

    Attributes:
        name: what `core.data.open_dataset` opens it by.
        version: changes whenever any byte of any sample does.
        title: for people.
        profile: name of its tasks.
        tasks: what it has labels for, and how they are measured.
        splits: number of samples by split.
        image_shape: channels, height, width (by default, where the resolution can be chosen).
    """

    name: str
    version: str
    title: str
    profile: str
    tasks: tuple[Task, ...]
    splits: dict[str, int]
    image_shape: tuple[int, int, int]

    def measured(self, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """A model's tasks as they are measured here: the labels' owner says how (metrics, class weights).

        The loss that is attacked is the model's, if its profile names one.

        Raises:
            InvalidError: it has no labels for one of them, or of another kind or number of channels.
        """
        return measured(self.name, self.tasks, tasks)


def samples_identity(name: str, version: str, split: str, shuffle: int | None = None) -> str:
    """Tells the samples of a split, in the order that they are taken in, from those of every other."""
    drawn = "" if shuffle is None else f"/shuffle={shuffle}"
    return f"{name}/{version}/{split}{drawn}"


def measured(dataset: str, labelled: Sequence[Task], tasks: Sequence[Task]) -> tuple[Task, ...]:
    """`DatasetInfo.measured`, of a data set of this name with labels for these tasks."""
    known = {task.name: task for task in labelled}
    found = []
    for task in tasks:
        own = known.get(task.name)
        if own is None:
            raise InvalidError(
                f"the model's task {task.name} has no labels in the data set {dataset!r}, which has {', '.join(known)}"
            )
        if (own.kind, own.channels) != (task.kind, task.channels):
            raise InvalidError(
                f"{task.name} is {_described(own)} in the data set {dataset!r}, and {_described(task)} in the model"
            )
        found.append(replace(own, loss=task.loss or own.loss))
    return tuple(found)


def _described(task: Task) -> str:
    return f"{task.kind} with {task.channels} channel{'' if task.channels == 1 else 's'}"


DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            name="scenes",
            version="1",
            title="Rendered indoor scenes",
            profile="scenes",
            tasks=profile("scenes").tasks,
            splits={"train": 8192, "validation": 512, "test": 1024},
            image_shape=(3, 64, 64),
        ),
        DatasetInfo(
            name="digits",
            version="1",
            title="Two scanned digits side by side",
            profile="digits",
            tasks=profile("digits").tasks,
            splits={"train": 6000, "validation": 500, "test": 1000},
            image_shape=(3, 32, 64),
        ),
    )
}
"""By name."""
