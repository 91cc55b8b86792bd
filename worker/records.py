"""What the database knows of a job's models and data set, as those who compute need it."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.store import registered
from core.store.tables import Model
from worker.contract import DatasetRecord, ModelRecord


def dataset_record(session: Session, spec: Mapping[str, Any]) -> DatasetRecord | None:
    """The data set that a job's spec names, if it names one."""
    named = spec.get("dataset")
    return None if named is None else dataset_version(session, named["name"], str(named.get("version")))


def dataset_version(session: Session, name: str, version: str) -> DatasetRecord:
    """A data set as a job keeps to it: also one that was retired since."""
    row = registered.registration(session, name, version)
    if row is None:
        info = registered.find(session, name)  # that came along, whatever its version is by now
        return DatasetRecord(name=name, version=version, tasks=info.tasks, splits=info.splits)
    info, options = registered.described(row), row.options
    size = options.get("size")
    return DatasetRecord(
        name=name,
        version=version,
        tasks=info.tasks,
        splits=info.splits,
        format=row.format,
        location=row.location,
        fingerprint=row.fingerprint,
        size=None if size is None else (size[0], size[1]),
        on_bad=options.get("on_bad", "error"),
    )


def model_records(session: Session, ids: Sequence[UUID]) -> tuple[ModelRecord, ...]:
    """A job's models, in this order."""
    found = {model.id: model for model in session.scalars(select(Model).where(Model.id.in_(ids)))}
    models = (found[model_id] for model_id in ids)
    return tuple(
        ModelRecord(
            model.id,
            model.weights or model.sha256,
            model.declared if model.manifest is None else model.manifest,
        )
        for model in models
    )
