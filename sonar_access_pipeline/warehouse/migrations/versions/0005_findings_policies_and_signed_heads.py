"""Findings with their history, policies as they were from a time on, signed heads of the chain, and who signed a packet."""

import sqlalchemy as sa
from alembic import op

from sonar_access_pipeline.warehouse import guards

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
KEYS = ("organization_key", "rule_id", "subject_type", "subject")
VALUES = ("rule_version", "policy_version", "result", "severity", "detail")


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "policy_version",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("policy_sha256", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("in_force_from", TIME, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_policy_version"),
    )
    op.create_table(
        "signed_head",
        sa.Column("snapshot_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("head_sha256", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("key_fingerprint", sa.Text(), nullable=False),
        sa.Column("signed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", name="pk_signed_head"),
    )
    op.add_column("evidence_packet", sa.Column("format_version", sa.Integer(), nullable=True))
    op.add_column("evidence_packet", sa.Column("key_fingerprint", sa.Text(), nullable=True))
    _findings()
    statements = [
        *guards.no_overlap("fct_finding", KEYS, is_postgresql=is_postgresql),
        *guards.append_only("policy_version", is_postgresql=is_postgresql),
        *guards.append_only("signed_head", is_postgresql=is_postgresql),
    ]
    for statement in statements:
        op.execute(sa.text(statement.replace(":", r"\:")))


def _findings() -> None:
    op.create_table(
        "fct_finding",
        *(sa.Column(name, sa.Text(), nullable=False) for name in KEYS),
        *(sa.Column(name, sa.Text(), nullable=True) for name in VALUES),
        sa.Column("valid_from", TIME, nullable=False),
        sa.Column("valid_to", TIME, nullable=True),
        sa.Column("is_current", sa.Boolean(), sa.Computed("valid_to IS NULL", persisted=True)),
        sa.Column("changed_after", TIME, nullable=True),
        sa.Column("last_seen_at", TIME, nullable=True),
        sa.Column("row_hash", sa.LargeBinary(length=16), nullable=False),
        *(
            sa.ForeignKeyConstraint(
                ["organization_key", time],
                ["raw_snapshot.organization_key", "raw_snapshot.observed_at"],
                name=f"fk_fct_finding_{time}",
            )
            for time in ("valid_from", "valid_to")
        ),
        sa.CheckConstraint("valid_from < valid_to", name="ck_fct_finding_interval"),
        sa.PrimaryKeyConstraint(*KEYS, "valid_from", name="pk_fct_finding"),
    )
    opened, ended = sa.text("valid_to IS NULL"), sa.text("valid_to IS NOT NULL")
    op.create_index("uq_fct_finding_open", "fct_finding", list(KEYS), unique=True, sqlite_where=opened, postgresql_where=opened)
    op.create_index(
        "ix_fct_finding_shown",
        "fct_finding",
        ["organization_key", "row_hash", "valid_to"],
        sqlite_where=opened,
        postgresql_where=opened,
    )
    op.create_index(
        "ix_fct_finding_valid_to",
        "fct_finding",
        ["organization_key", "valid_to"],
        sqlite_where=ended,
        postgresql_where=ended,
    )
    op.create_index("ix_fct_finding_valid_from", "fct_finding", ["organization_key", "valid_from"])
    op.create_index("ix_fct_finding_subject", "fct_finding", ["organization_key", "subject"])
