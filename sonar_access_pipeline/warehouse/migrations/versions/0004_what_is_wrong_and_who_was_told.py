"""Alerts and their delivery, why a try failed and when it was due, organizations that end, and how late a day was observed."""

import sqlalchemy as sa
from alembic import op

from sonar_access_pipeline.warehouse import guards

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

SYNC_COVERAGE = """
CREATE VIEW sync_coverage AS
WITH RECURSIVE day(organization_key, partition_date, last_day) AS (
    SELECT s.organization_key, MIN(s.partition_date), {latest}(MAX(s.partition_date), COALESCE(
        (SELECT MAX(e.last_day) FROM organization_end e
         WHERE e.organization_key = s.organization_key
         HAVING MAX(e.last_day) >= MAX(s.partition_date)), {today}))
    FROM raw_snapshot s
    GROUP BY s.organization_key
    UNION ALL
    SELECT organization_key, {next_day}, last_day FROM day WHERE partition_date < last_day
),
decided AS (
    SELECT snapshot_id, MAX(decision) AS decision FROM snapshot_decision GROUP BY snapshot_id
),
seen AS (
    SELECT s.organization_key, s.partition_date,
           COUNT(*) AS snapshots,
           MAX(o.observed_at) AS observed_at,
           MIN(o.observed_at) AS first_observed_at,
           MAX(CASE WHEN d.decision = 'retracted' THEN s.snapshot_id END) AS retracted,
           MAX(CASE WHEN s.verdict = 'held' AND d.decision IS NULL THEN s.snapshot_id END) AS held,
           MAX(CASE WHEN s.verdict = 'incomplete' THEN s.snapshot_id END) AS incomplete,
           MAX(s.imported_from) AS imported_from
    FROM raw_snapshot s
    LEFT JOIN observation o ON o.snapshot_id = s.snapshot_id
    LEFT JOIN decided d ON d.snapshot_id = s.snapshot_id
    GROUP BY s.organization_key, s.partition_date
),
tried AS (
    SELECT organization_key, partition_date, COUNT(*) AS attempts, MAX(attempt_id) AS last_attempt,
           MIN(due_at) AS due_at
    FROM sync_attempt
    GROUP BY organization_key, partition_date
)
SELECT day.organization_key,
       day.partition_date,
       CASE WHEN seen.observed_at IS NOT NULL THEN 'observed'
            WHEN seen.held IS NOT NULL THEN 'held'
            WHEN seen.retracted IS NOT NULL THEN 'retracted'
            WHEN seen.incomplete IS NOT NULL THEN 'incomplete'
            WHEN tried.attempts > 0 THEN 'failed'
            ELSE 'missing' END AS status,
       COALESCE(seen.snapshots, 0) AS snapshots,
       COALESCE(tried.attempts, 0) AS attempts,
       seen.observed_at,
       CASE WHEN {seconds} > 0 THEN {seconds} WHEN {seconds} <= 0 THEN 0 END AS lateness_seconds,
       o.run_id,
       CASE WHEN seen.observed_at IS NOT NULL THEN NULL
            WHEN seen.held IS NOT NULL THEN (SELECT h.reason FROM raw_snapshot h WHERE h.snapshot_id = seen.held)
            WHEN seen.retracted IS NOT NULL THEN
                (SELECT r.reason FROM snapshot_decision r WHERE r.snapshot_id = seen.retracted AND r.decision = 'retracted')
            WHEN seen.incomplete IS NOT NULL THEN (SELECT i.reason FROM raw_snapshot i WHERE i.snapshot_id = seen.incomplete)
            ELSE a.error END AS error,
       CASE WHEN seen.observed_at IS NOT NULL THEN o.imported_from ELSE seen.imported_from END AS imported_from
FROM day
LEFT JOIN seen ON seen.organization_key = day.organization_key AND seen.partition_date = day.partition_date
LEFT JOIN tried ON tried.organization_key = day.organization_key AND tried.partition_date = day.partition_date
LEFT JOIN observation o ON o.organization_key = day.organization_key AND o.observed_at = seen.observed_at
LEFT JOIN sync_attempt a ON a.attempt_id = tried.last_attempt
"""

CALENDAR = {
    "sqlite": {
        "latest": "MAX",
        "today": "date('now')",
        "next_day": "date(partition_date, '+1 day')",
        "seconds": "CAST(ROUND((julianday(seen.first_observed_at) - julianday(tried.due_at)) * 86400) AS INTEGER)",
    },
    "postgresql": {
        "latest": "GREATEST",
        "today": "(now() AT TIME ZONE 'UTC')::date",
        "next_day": "partition_date + 1",
        "seconds": "CAST(ROUND(EXTRACT(EPOCH FROM seen.first_observed_at - tried.due_at)) AS INTEGER)",
    },
}
"""The few words in which the two databases differ about days; SQLite's clock and this one are UTC."""


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    op.execute("DROP VIEW sync_coverage")
    op.add_column("sync_attempt", sa.Column("cause", sa.Text(), nullable=True))
    op.add_column("sync_attempt", sa.Column("due_at", TIME, nullable=True))
    op.create_table(
        "organization_end",
        sa.Column("ending_id", sa.Integer(), nullable=False),
        sa.Column("organization_key", sa.Text(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("ending_id", name="pk_organization_end"),
    )
    op.create_table(
        "alert",
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("shared_with", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=True),
        sa.Column("organization_key", sa.Text(), nullable=True),
        sa.Column("partition_date", sa.Date(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("told_once", sa.Boolean(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("noted_at", TIME, nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=True),
        sa.CheckConstraint("event IN ('raised', 'repeated', 'recovered', 'closed')", name="ck_alert_event"),
        sa.PrimaryKeyConstraint("alert_id", name="pk_alert"),
    )
    op.create_index("ix_alert_problem", "alert", ["problem"])
    op.create_index("ix_alert_message_id", "alert", ["message_id"])
    op.create_table(
        "alert_delivery",
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("made_at", TIME, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", TIME, nullable=False),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("message_id", "channel", name="pk_alert_delivery"),
    )
    undelivered = sa.text("delivered_at IS NULL")
    op.create_index(
        "ix_alert_delivery_next_try_at",
        "alert_delivery",
        ["next_try_at"],
        sqlite_where=undelivered,
        postgresql_where=undelivered,
    )
    for table in ("organization_end", "alert"):
        for statement in guards.append_only(table, is_postgresql=dialect == "postgresql"):
            op.execute(sa.text(statement))
    op.execute(sa.text(SYNC_COVERAGE.format(**CALENDAR[dialect]).replace(":", r"\:")))
