"""When an upload last got on, and no state that none was ever in."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OPEN = sa.text("state = 'open'")
STATE = "ck_uploads_state"


def upgrade() -> None:
    op.add_column(
        "uploads",
        sa.Column(
            "progressed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
    )
    op.create_index("ix_uploads_open", "uploads", ["key_id"], postgresql_where=OPEN)
    op.drop_constraint(op.f(STATE), "uploads")
    op.create_check_constraint(op.f(STATE), "uploads", "state IN ('open', 'complete')")


def downgrade() -> None:
    op.drop_constraint(op.f(STATE), "uploads")
    op.create_check_constraint(op.f(STATE), "uploads", "state IN ('open', 'complete', 'failed')")
    op.drop_index("ix_uploads_open", "uploads")
    op.drop_column("uploads", "progressed_at")
