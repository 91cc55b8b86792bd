"""Baselines of several models in one repository, each by the name that the repository has for it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

LINE_OR_NONE = r"'^[^\u0001-\u001f\u007f]{0,200}$'"


def upgrade() -> None:
    op.add_column("baselines", sa.Column("model_name", sa.Text(), server_default="", nullable=False))
    op.create_check_constraint(op.f("ck_baselines_model_name"), "baselines", f"model_name ~ {LINE_OR_NONE}")
    _hold_one_by(["repository", "model_name", "kind", "ref"])


def downgrade() -> None:
    op.execute("DELETE FROM baselines WHERE model_name <> ''")  # without it they would be another model's
    op.drop_constraint(op.f("ck_baselines_model_name"), "baselines")
    _hold_one_by(["repository", "kind", "ref"])
    op.drop_column("baselines", "model_name")


def _hold_one_by(columns: list[str]) -> None:
    op.drop_index("uq_baselines_held", "baselines")
    op.create_index(
        "uq_baselines_held",
        "baselines",
        columns,
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
