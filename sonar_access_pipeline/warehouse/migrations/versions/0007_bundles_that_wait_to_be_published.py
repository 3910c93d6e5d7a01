"""Bundles that wait to be published, with their bytes, and what was published: nothing that is entered can fail to come about."""

import sqlalchemy as sa
from alembic import op

from sonar_access_pipeline.warehouse import guards

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "evidence_outbox",
        sa.Column("bundle_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("completed_by", sa.Text(), nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.Column("entered_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("bundle_id", name="pk_evidence_outbox"),
        sa.UniqueConstraint("path", name="uq_evidence_outbox_path"),
    )
    op.create_table(
        "publication",
        sa.Column("publication_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("entered_at", TIME, nullable=False),
        sa.Column("published_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("publication_id", name="pk_publication"),
    )
    op.create_index("ix_publication_path", "publication", ["path"])
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in guards.append_only("publication", is_postgresql=is_postgresql):
        op.execute(sa.text(statement.replace(":", r"\:")))
