"""Which store lies where, how long what lies there is locked, which packets are stamped, and what people state of the line."""

import sqlalchemy as sa
from alembic import op

from sonar_access_pipeline.warehouse import guards

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("evidence_packet", sa.Column("time_stamp", sa.Boolean(), nullable=True))
    op.add_column("publication", sa.Column("locked_until", TIME, nullable=True))
    op.create_table(
        "evidence_store",
        sa.Column("note_id", sa.Integer(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("noted_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("note_id", name="pk_evidence_store"),
    )
    op.create_index("ix_evidence_store_location", "evidence_store", ["location"])
    op.create_table(
        "evidence_statement",
        sa.Column("statement_id", sa.Integer(), nullable=False),
        sa.Column("organization_key", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("stated_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("key_fingerprint", sa.Text(), nullable=False),
        sa.Column("stated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("statement_id", name="pk_evidence_statement"),
    )
    op.create_index("ix_evidence_statement_organization_key", "evidence_statement", ["organization_key"])
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for table in ("evidence_store", "evidence_statement"):
        for statement in guards.append_only(table, is_postgresql=is_postgresql):
            op.execute(sa.text(statement.replace(":", r"\:")))
