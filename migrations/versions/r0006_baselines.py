"""Baselines: what verdicts of a repository compare with, and what they compared with before."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

LINE = r"'^[^\u0001-\u001f\u007f]{1,200}$'"


def upgrade() -> None:
    op.create_table(
        "baselines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("key_id", sa.Uuid()),
        sa.CheckConstraint("kind IN ('commit', 'branch', 'tag')", name=op.f("ck_baselines_kind")),
        sa.CheckConstraint(f"repository ~ {LINE}", name=op.f("ck_baselines_repository")),
        sa.CheckConstraint(f"ref ~ {LINE}", name=op.f("ck_baselines_ref")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_baselines_job_id_jobs")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_baselines_model_id_models")),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_baselines_key_id_api_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_baselines")),
    )
    op.create_index(
        "uq_baselines_held",
        "baselines",
        ["repository", "kind", "ref"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("baselines")
