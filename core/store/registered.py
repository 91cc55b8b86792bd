"""The data sets there are: those that came along, and those that an operator registered."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core.datasets import DATASETS, DatasetInfo
from core.errors import InvalidError
from core.store.tables import Dataset
from core.tasks import Task


class DatasetNotFoundError(InvalidError):
    """There is no such data set, or no such version of it."""

    code = "dataset_not_found"


def register(
    session: Session,
    info: DatasetInfo,
    *,
    form: str,
    location: str,
    fingerprint: str,
    size: tuple[int, int] | None = None,
    on_bad: Literal["error", "skip"] = "error",
) -> Dataset:
    """Offer a data set; one of the same name and version is offered anew, at this place.

    Args:
        session: the transaction to do it in.
        info: what it is.
        form: one of `core.data.folders.FORMATS`.
        location: its folder, as workers see it.
        fingerprint: the version of its files.
        size: height and width that samples are resized to.
        on_bad: what is done about bad samples.

    Raises:
        InvalidError: a data set that comes along has this name.
    """
    if info.name in DATASETS:
        raise InvalidError(f"{info.name} is a data set that comes along; take another name", field="name")
    row = session.scalar(select(Dataset).where(Dataset.name == info.name, Dataset.version == info.version))
    if row is None:
        row = Dataset(name=info.name, version=info.version)
        session.add(row)
    row.title, row.profile, row.format, row.location = info.title, info.profile, form, location
    row.fingerprint, row.options = fingerprint, {"size": size, "on_bad": on_bad}
    row.tasks = [task_to_json(task) for task in info.tasks]
    row.splits, row.image_shape = dict(info.splits), list(info.image_shape)
    row.created_at, row.retired_at = func.now(), None
    session.flush()
    session.refresh(row)
    return row


def retire(session: Session, name: str) -> int:
    """Offer no version of a data set to new jobs any more; the number of versions that this concerned."""
    offered = update(Dataset).where(Dataset.name == name, Dataset.retired_at.is_(None))
    return len(session.scalars(offered.values(retired_at=func.now()).returning(Dataset.id)).all())


def offered(session: Session) -> list[DatasetInfo]:
    """The newest version of every data set that new jobs may name."""
    rows = session.scalars(
        select(Dataset)
        .where(Dataset.retired_at.is_(None))
        .ext(distinct_on(Dataset.name))
        .order_by(Dataset.name, Dataset.created_at.desc(), Dataset.id.desc())
    )
    return [*DATASETS.values(), *map(described, rows)]


def find(session: Session, name: str, version: str | None = None) -> DatasetInfo:
    """A data set; its newest version unless said.

    Raises:
        DatasetNotFoundError: it is not offered.
    """
    if name in DATASETS:
        info = DATASETS[name]
        if version in (None, info.version):
            return info
        raise DatasetNotFoundError(f"{name} has the version {info.version}, not {version}", field="version")
    known = {info.name: info for info in offered(session)}
    if name not in known:
        raise DatasetNotFoundError(f"no data set {name!r}; there are {', '.join(known)}", field="name")
    if version in (None, known[name].version):
        return known[name]
    row = registration(session, name, str(version))
    if row is None or row.retired_at is not None:
        raise DatasetNotFoundError(f"{name} has no version {version}", field="version")
    return described(row)


def registration(session: Session, name: str, version: str) -> Dataset | None:
    """An operator's data set, retired or not; None for one that came along."""
    return session.scalar(select(Dataset).where(Dataset.name == name, Dataset.version == version))


def fitting(session: Session, tasks: Sequence[Task]) -> DatasetInfo | None:
    """A data set with labels for these tasks, if there is one; the fewer others it has, the better."""
    found = []
    for info in offered(session):
        try:
            info.measured(tasks)
        except InvalidError:
            continue
        found.append(info)
    return min(found, key=lambda info: len(info.tasks), default=None)


def described(row: Dataset) -> DatasetInfo:
    """What a row says."""
    channels, height, width = row.image_shape
    return DatasetInfo(
        name=row.name,
        version=row.version,
        title=row.title,
        profile=row.profile,
        tasks=tuple(map(task_from_json, row.tasks)),
        splits=dict(row.splits),
        image_shape=(channels, height, width),
    )


def task_to_json(task: Task) -> dict[str, object]:
    """A task as JSON values."""
    return asdict(task)


def task_from_json(raw: dict[str, object]) -> Task:
    """Read what `task_to_json` wrote."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
    return Task(**values)  # type: ignore[arg-type]
