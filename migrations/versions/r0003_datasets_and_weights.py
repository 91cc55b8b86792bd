"""Registered data sets; what was said of a model beside what it is, and the file its weights are read from."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NOW = sa.text("now()")


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("options", JSONB(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("tasks", JSONB(), nullable=False),
        sa.Column("splits", JSONB(), nullable=False),
        sa.Column("image_shape", ARRAY(sa.Integer()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_datasets_name_version")),
    )
    op.add_column("models", sa.Column("weights", sa.Text(), nullable=True))
    op.add_column("models", sa.Column("declared", JSONB(), nullable=True))
    op.execute("UPDATE models SET declared = manifest")
    op.execute("UPDATE models SET weights = sha256 WHERE state = 'ready'")
    op.alter_column("models", "declared", nullable=False)
    op.alter_column("models", "manifest", nullable=True)


def downgrade() -> None:
    op.execute("UPDATE models SET manifest = declared WHERE manifest IS NULL")
    op.alter_column("models", "manifest", nullable=False)
    op.drop_column("models", "declared")
    op.drop_column("models", "weights")
    op.drop_table("datasets")
