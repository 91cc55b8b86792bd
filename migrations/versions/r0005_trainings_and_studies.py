"""Jobs that train and studies of jobs: models with a lineage, kept states, jobs without a model."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KIND, MODELS, TOPIC = "ck_jobs_kind", "ck_jobs_models", "ck_outbox_topic"


def upgrade() -> None:
    op.add_column("models", sa.Column("lineage", JSONB()))
    op.alter_column("jobs", "model_id", nullable=True)
    op.add_column("jobs", sa.Column("study_id", sa.Uuid()))
    op.add_column("jobs", sa.Column("part", sa.Text()))
    op.create_foreign_key(
        op.f("fk_jobs_study_id_jobs"), "jobs", "jobs", ["study_id"], ["id"], ondelete="CASCADE"
    )
    op.create_unique_constraint(op.f("uq_jobs_study_id_part"), "jobs", ["study_id", "part"])
    op.create_check_constraint(op.f("ck_jobs_part"), "jobs", "(study_id IS NULL) = (part IS NULL)")
    op.drop_constraint(op.f(MODELS), "jobs")
    op.create_check_constraint(op.f(MODELS), "jobs", "model_ids[1] IS NOT DISTINCT FROM model_id")
    _replace(KIND, "jobs", "kind IN ('evaluation', 'transferability', 'training', 'study', 'model_check')")
    _replace(TOPIC, "outbox", "topic IN ('shard', 'finalise', 'study')")
    op.add_column("shards", sa.Column("kept", sa.Double(), server_default=sa.text("0"), nullable=False))
    op.alter_column("shards", "kept", server_default=None)
    op.create_check_constraint(op.f("ck_shards_kept"), "shards", "kept >= 0 AND kept <= work")
    op.create_table(
        "kept_states",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_kept_states_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_kept_states")),
    )
    op.create_index(op.f("ix_kept_states_job_id"), "kept_states", ["job_id"])


def downgrade() -> None:
    op.execute("DELETE FROM jobs WHERE kind IN ('training', 'study')")
    op.execute("DELETE FROM outbox WHERE topic = 'study'")
    op.drop_table("kept_states")
    op.drop_constraint(op.f("ck_shards_kept"), "shards")
    op.drop_column("shards", "kept")
    _replace(TOPIC, "outbox", "topic IN ('shard', 'finalise')")
    _replace(KIND, "jobs", "kind IN ('evaluation', 'transferability', 'model_check')")
    op.drop_constraint(op.f(MODELS), "jobs")
    op.create_check_constraint(op.f(MODELS), "jobs", "model_ids[1] = model_id")
    op.drop_constraint(op.f("ck_jobs_part"), "jobs")
    op.drop_constraint(op.f("uq_jobs_study_id_part"), "jobs")
    op.drop_constraint(op.f("fk_jobs_study_id_jobs"), "jobs")
    op.drop_column("jobs", "part")
    op.drop_column("jobs", "study_id")
    op.alter_column("jobs", "model_id", nullable=False)
    op.drop_column("models", "lineage")


def _replace(name: str, table: str, condition: str) -> None:
    op.drop_constraint(op.f(name), table)
    op.create_check_constraint(op.f(name), table, condition)
