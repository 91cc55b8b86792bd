"""Lists by cursor: newest first, by time-ordered id, so that a page never shifts while rows are added."""

from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.orm import Session

Item = TypeVar("Item")
MAX_PAGE = 200


class Page(BaseModel, Generic[Item]):
    """Some items, and the cursor of the next page if there is one."""

    items: list[Item]
    next_cursor: str | None = None


Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[UUID | None, Query(description="`next_cursor` of the page before.")]


def newest(
    session: Session, statement: Select[Any], id_column: Any, *, cursor: UUID | None, limit: int
) -> tuple[list[Any], str | None]:
    """Rows of one page and the next cursor."""
    if cursor is not None:
        statement = statement.where(id_column < cursor)
    rows = list(session.scalars(statement.order_by(id_column.desc()).limit(limit + 1)))
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else None
