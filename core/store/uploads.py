"""Uploads: the rows, and how much may be on its way in. Where the bytes lie, `core.store.staging` knows.

A row is deleted when its upload is abandoned or expires, so what has no row has no part either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import SQLColumnExpression

from core.errors import WindthrowError
from core.settings import Settings
from core.store.tables import Upload

ADMISSION_LOCK = 0x57746E41
"""Key of the advisory lock under which uploads are declared one after the other, so that quotas hold."""

BATCH = 100


class UploadTooLargeError(WindthrowError):
    """No upload may have so many bytes."""

    code = "upload_too_large"


class TooManyUploadsError(WindthrowError):
    """The key has as many files on their way in as it may."""

    code = "too_many_uploads"


class TooManyUploadBytesError(WindthrowError):
    """The files that the key has on their way in have as many bytes as they may."""

    code = "too_many_upload_bytes"


class StoreFullError(WindthrowError):
    """The service keeps as many bytes as it may."""

    code = "store_full"


class DiskFullError(WindthrowError):
    """The disk has no room for them."""

    code = "disk_full"


@dataclass(frozen=True, slots=True)
class Quota:
    """How much may be declared: `files` and `file_bytes` by one key, `store_bytes` by all together."""

    file_bytes: int
    files: int
    key_bytes: int
    store_bytes: int | None
    keep_free: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the operator has set."""
        return cls(
            file_bytes=min(settings.max_upload_bytes, settings.max_open_upload_bytes),
            files=settings.max_open_uploads,
            key_bytes=settings.max_open_upload_bytes,
            store_bytes=settings.max_store_bytes,
            keep_free=settings.keep_free_bytes,
        )


def admit(session: Session, *, key_id: UUID, size: int, quota: Quota, free: int) -> None:
    """Return if a file of `size` bytes may be declared in this transaction; others wait until it ends.

    Args:
        session: the transaction.
        key_id: who declares it.
        size: its bytes.
        quota: how much may be declared.
        free: bytes that are free on the disk.

    Raises:
        WindthrowError: one of this module; it says how there may be room.
    """
    session.execute(select(func.pg_advisory_xact_lock(ADMISSION_LOCK)))
    own = Upload.state == "open", Upload.key_id == key_id
    files, declared = session.execute(select(func.count(), _sum(Upload.size)).where(*own)).one()
    way_out = "finish one, or DELETE one that is not needed; `GET /v1/uploads?state=open` lists them"
    if files >= quota.files:
        raise TooManyUploadsError(f"{files} uploads of this key are open, and no more may be: {way_out}")
    if declared + size > quota.key_bytes:
        raise TooManyUploadBytesError(
            f"this key's open uploads have {declared} of at most {quota.key_bytes} bytes: {way_out}"
        )
    if quota.store_bytes is not None and (kept := _kept_bytes(session)) + size > quota.store_bytes:
        raise StoreFullError(
            f"uploads take {kept} of the {quota.store_bytes} bytes that the operator allows; ask for more"
        )
    coming = session.scalar(select(_sum(Upload.size - Upload.received)).where(Upload.state == "open")) or 0
    check_room(size + coming, quota=quota, free=free)


def check_size(size: int, quota: Quota) -> None:
    """Return if a file may have so many bytes at all.

    Raises:
        UploadTooLargeError: it may not.
    """
    if size > quota.file_bytes:
        raise UploadTooLargeError(f"files may have at most {quota.file_bytes} bytes")


def check_room(size: int, *, quota: Quota, free: int) -> None:
    """Return if the disk has room for so many bytes more.

    Raises:
        DiskFullError: it has not.
    """
    if size + quota.keep_free > free:
        raise DiskFullError("the disk has no room for that: try again later, or ask the operator for room")


def note_received(session: Session, upload_id: UUID, received: int) -> bool:
    """Note how many bytes are safe; False if the upload is not open any more."""
    statement = update(Upload).where(Upload.id == upload_id, Upload.state == "open")
    changed = statement.values(received=received, progressed_at=func.now()).returning(Upload.id)
    return session.execute(changed).first() is not None


def complete(session: Session, sha256: str, size: int) -> Sequence[UUID]:
    """The bytes are stored: every open upload of them is complete. Returns which these are."""
    statement = update(Upload).where(Upload.sha256 == sha256, Upload.state == "open")
    changed = statement.values(state="complete", size=size, received=size, completed_at=func.now())
    return session.scalars(changed.returning(Upload.id)).all()


def forget(session: Session, upload_id: UUID) -> bool:
    """Delete an open upload; False if there is none."""
    statement = delete(Upload).where(Upload.id == upload_id, Upload.state == "open")
    return session.execute(statement.returning(Upload.id)).first() is not None


def overdue(session: Session, *, seconds: float) -> Sequence[UUID]:
    """Some open uploads that nobody has sent to for so long."""
    return session.scalars(select(Upload.id).where(*_overdue(seconds)).limit(BATCH)).all()


def forget_overdue(session: Session, upload_id: UUID, *, seconds: float) -> bool:
    """Delete an upload if it still is overdue."""
    statement = delete(Upload).where(Upload.id == upload_id, *_overdue(seconds))
    return session.execute(statement.returning(Upload.id)).first() is not None


def not_open(session: Session, upload_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the uploads that are not open, or do not exist."""
    opened = session.scalars(select(Upload.id).where(Upload.id.in_(upload_ids), Upload.state == "open"))
    return set(upload_ids) - set(opened)


def _overdue(seconds: float) -> tuple[ColumnElement[bool], ...]:
    patience = func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    return Upload.state == "open", Upload.progressed_at < func.now() - patience


def _kept_bytes(session: Session) -> int:
    """Bytes of stored files, each counted once, and of those on their way in."""
    stored = select(Upload.sha256, Upload.size).where(Upload.state == "complete").distinct().subquery()
    coming = select(_sum(Upload.size)).where(Upload.state == "open")
    return (session.scalar(select(_sum(stored.c.size))) or 0) + (session.scalar(coming) or 0)


def _sum(column: SQLColumnExpression[int]) -> ColumnElement[int]:
    """PostgreSQL adds bigints up to a numeric."""
    return func.coalesce(func.sum(column), 0).cast(Upload.size.type)
