"""Published reports as answers show them."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from core.gates.verdict import Overall
from core.store.tables import Report


class ReportView(BaseModel):
    """A report that is kept; its address is told to whoever publishes it, and not again."""

    id: UUID
    job: UUID = Field(description="The evaluation that the verdict is on.")
    status: Overall
    exit_code: int
    created_at: datetime
    expires_at: datetime = Field(description="It is deleted then.")
    key: UUID | None = Field(description="Id of the API key that published it.")

    @classmethod
    def of(cls, row: Report) -> Self:
        """What a row says."""
        return cls.model_validate(_said(row))


class PublishedView(ReportView):
    """A report that was published just now, and its address."""

    url: str = Field(
        description="Whoever has it can read the page, without a key; with /badge.svg after it, it is the badge. A "
        "path where the service does not know its own address: it follows the one that was asked."
    )

    @classmethod
    def told(cls, row: Report, url: str) -> Self:
        """What a row says, and the address."""
        return cls.model_validate({**_said(row), "url": url})


def _said(row: Report) -> dict[str, object]:
    return {
        "id": row.id,
        "job": row.job_id,
        "status": row.status,
        "exit_code": row.exit_code,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "key": row.key_id,
    }
