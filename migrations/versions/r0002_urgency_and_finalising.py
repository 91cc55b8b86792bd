"""Bells of three urgencies, and a token for the lease under which a job is finalised."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

UNSENT = sa.text("sent_at IS NULL")


def upgrade() -> None:
    op.add_column("outbox", sa.Column("urgency", sa.Integer(), server_default="2", nullable=False))
    op.execute("UPDATE outbox SET urgency = 0 WHERE urgent")
    op.alter_column("outbox", "urgency", server_default=None)
    op.create_check_constraint(op.f("ck_outbox_urgency"), "outbox", "urgency BETWEEN 0 AND 2")
    op.drop_index("ix_outbox_unsent", "outbox")
    op.create_index("ix_outbox_unsent", "outbox", ["urgency", "id"], postgresql_where=UNSENT)
    op.drop_column("outbox", "urgent")

    op.add_column("jobs", sa.Column("finalising_token", sa.Uuid(), nullable=True))
    op.execute("UPDATE jobs SET finalising_until = NULL")
    op.create_check_constraint(
        op.f("ck_jobs_finalising"), "jobs", "(finalising_token IS NULL) = (finalising_until IS NULL)"
    )
    op.create_index("ix_shards_started_at", "shards", ["started_at"])


def downgrade() -> None:
    op.drop_index("ix_shards_started_at", "shards")
    op.drop_constraint(op.f("ck_jobs_finalising"), "jobs")
    op.drop_column("jobs", "finalising_token")

    op.add_column("outbox", sa.Column("urgent", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("UPDATE outbox SET urgent = true WHERE urgency = 0")
    op.alter_column("outbox", "urgent", server_default=None)
    op.drop_index("ix_outbox_unsent", "outbox")
    op.create_index("ix_outbox_unsent", "outbox", ["id"], postgresql_where=UNSENT)
    op.drop_column("outbox", "urgency")
