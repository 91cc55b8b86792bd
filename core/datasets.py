"""The data sets this service brings along, described without opening them: no torch here."""

from dataclasses import dataclass

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What can be said of a data set before it is opened.

    Attributes:
        name: what `core.data.open_dataset` opens it by.
        version: changes whenever any byte of any sample does.
        title: for people.
        profile: name of its tasks in `core.tasks.PROFILES`.
        splits: number of samples by split.
        image_shape: channels, height, width (by default, where the resolution can be chosen).
    """

    name: str
    version: str
    title: str
    profile: str
    splits: dict[str, int]
    image_shape: tuple[int, int, int]


DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            name="scenes",
            version="1",
            title="Rendered indoor scenes",
            profile="scenes",
            splits={"train": 8192, "validation": 512, "test": 1024},
            image_shape=(3, 64, 64),
        ),
        DatasetInfo(
            name="digits",
            version="1",
            title="Two scanned digits side by side",
            profile="digits",
            splits={"train": 6000, "validation": 500, "test": 1000},
            image_shape=(3, 32, 64),
        ),
    )
}
"""By name."""
