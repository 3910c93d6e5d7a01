"""Projects and account details, snapshots that came in an archive, and views that know scopes."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


TIME = sa.DateTime(timezone=True)


def _organization_key() -> "sa.Column[str]":
    return sa.Column("organization_key", sa.Text(), nullable=False, comment="key of the organization")


def _interval() -> list["sa.Column[Any]"]:
    return [
        sa.Column("valid_from", TIME, nullable=False, comment="first observation that shows this version of the row"),
        sa.Column("valid_to", TIME, nullable=True, comment="first observation that no longer shows it; NULL while open"),
        sa.Column("is_current", sa.Boolean(), sa.Computed("valid_to IS NULL", persisted=True), comment="valid_to IS NULL"),
        sa.Column("changed_after", TIME, comment="start of the observation before valid_from; NULL at the baseline"),
        sa.Column("last_seen_at", TIME, comment="start of the observation before valid_to; NULL while open"),
        sa.Column("row_hash", sa.LargeBinary(length=16), nullable=False, comment="hash of the row's values, without its times"),
    ]


OBSERVATION = """
CREATE VIEW observation AS
SELECT s.*
FROM raw_snapshot s
WHERE (s.verdict = 'complete'
       OR (s.verdict = 'held'
           AND EXISTS (SELECT 1 FROM snapshot_decision d WHERE d.snapshot_id = s.snapshot_id AND d.decision = 'confirmed')))
  AND NOT EXISTS (SELECT 1 FROM snapshot_decision d WHERE d.snapshot_id = s.snapshot_id AND d.decision = 'retracted')
"""

SYNC_COVERAGE = """
CREATE VIEW sync_coverage AS
WITH RECURSIVE day(organization_key, partition_date, last_day) AS (
    SELECT organization_key, MIN(partition_date), {latest}(MAX(partition_date), {today})
    FROM raw_snapshot
    GROUP BY organization_key
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
    SELECT organization_key, partition_date, COUNT(*) AS attempts, MAX(attempt_id) AS last_attempt
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

FCT_ACCESS_CHANGE = """
CREATE VIEW fct_access_change AS
SELECT organization_key, login, access_type, resource, entitlement, granted_via,
       CASE WHEN changed_after IS NULL THEN 'first_observed'
            WHEN access_type = 'membership' THEN 'joined'
            WHEN access_type = 'group' THEN 'added_to_group'
            ELSE 'permission_granted' END AS kind,
       changed_after,
       valid_from AS changed_by
FROM fct_user_access
UNION ALL
SELECT organization_key, login, access_type, resource, entitlement, granted_via,
       CASE WHEN access_type = 'membership' THEN 'left'
            WHEN access_type = 'group' THEN 'removed_from_group'
            ELSE 'permission_revoked' END AS kind,
       last_seen_at AS changed_after,
       valid_to AS changed_by
FROM fct_user_access
WHERE valid_to IS NOT NULL
"""

CURRENT_ACCESS = """
CREATE VIEW current_access AS
WITH last_observed AS (
    SELECT organization_key, scope, MAX(observed_at) AS observed_at FROM history_observation GROUP BY organization_key, scope
)
SELECT a.organization_key, o.name AS organization_name,
       a.login, u.name AS user_name,
       a.access_type,
       a.resource,
       CASE a.access_type WHEN 'group' THEN g.name WHEN 'project_permission' THEN p.name ELSE o.name END AS resource_name,
       a.entitlement,
       a.granted_via, v.name AS granted_via_name,
       a.valid_from, a.changed_after,
       l.observed_at AS last_observed_at
FROM fct_user_access a
LEFT JOIN dim_organization o ON o.organization_key = a.organization_key AND o.valid_to IS NULL
LEFT JOIN dim_user u ON u.organization_key = a.organization_key AND u.login = a.login AND u.valid_to IS NULL
LEFT JOIN dim_group g ON a.access_type = 'group' AND g.organization_key = a.organization_key
                     AND g.group_id = a.resource AND g.valid_to IS NULL
LEFT JOIN dim_project p ON a.access_type = 'project_permission' AND p.organization_key = a.organization_key
                       AND p.project_key = a.resource AND p.valid_to IS NULL
LEFT JOIN dim_group v ON v.organization_key = a.organization_key AND a.granted_via = 'group:' || v.group_id AND v.valid_to IS NULL
LEFT JOIN last_observed l ON l.organization_key = a.organization_key
    AND l.scope = CASE a.access_type WHEN 'project_permission' THEN 'project_permissions' ELSE 'core' END
WHERE a.valid_to IS NULL
"""

USER_PROJECT_ACCESS = """
CREATE VIEW user_project_access AS
SELECT organization_key, login, resource AS project_key, entitlement AS permission, granted_via,
       valid_from, valid_to, changed_after, last_seen_at
FROM fct_user_access
WHERE access_type = 'project_permission'
UNION ALL
SELECT g.organization_key, m.login, g.project_key, g.permission, 'group:' || g.principal AS granted_via,
       CASE WHEN g.valid_from >= m.valid_from THEN g.valid_from ELSE m.valid_from END AS valid_from,
       CASE WHEN m.valid_to IS NULL OR g.valid_to <= m.valid_to THEN g.valid_to ELSE m.valid_to END AS valid_to,
       CASE WHEN g.valid_from >= m.valid_from THEN g.changed_after ELSE m.changed_after END AS changed_after,
       CASE WHEN m.valid_to IS NULL OR g.valid_to <= m.valid_to THEN g.last_seen_at ELSE m.last_seen_at END AS last_seen_at
FROM fct_permission_grant g
JOIN bridge_group_member m
  ON m.organization_key = g.organization_key AND m.group_id = g.principal
 AND (g.valid_to IS NULL OR m.valid_from < g.valid_to)
 AND (m.valid_to IS NULL OR g.valid_from < m.valid_to)
WHERE g.scope = 'project' AND g.principal_type = 'group'
"""

CALENDAR = {
    "sqlite": {"latest": "MAX", "today": "date('now')", "next_day": "date(partition_date, '+1 day')"},
    "postgresql": {"latest": "GREATEST", "today": "(now() AT TIME ZONE 'UTC')::date", "next_day": "partition_date + 1"},
}
"""The few words in which the two databases differ about days; SQLite's clock and this one are UTC."""


def upgrade() -> None:
    for view in ("current_access", "fct_access_change", "sync_coverage", "observation"):
        op.execute(f"DROP VIEW {view}")
    op.add_column("raw_snapshot", sa.Column("tls_bundle_sha256", sa.Text(), nullable=True))
    op.add_column("raw_snapshot", sa.Column("imported_from", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.create_table_comment(
            "raw_list",
            "One list of a snapshot; subject is the group or project of a list that there are many of, else empty",
            existing_comment="One list of a snapshot; subject is the group for the members of a group, else empty",
        )
    op.create_table(
        "dim_account_detail",
        _organization_key(),
        sa.Column(
            "login",
            sa.Text(),
            nullable=False,
            comment="login of the account, as SonarCloud writes it; neither stable nor unique per person",
        ),
        sa.Column("account_id", sa.Text(), nullable=True, comment="durable id of the account, where SonarCloud gives it"),
        sa.Column("email", sa.Text(), nullable=True, comment="e-mail address of the account, where SonarCloud gives it"),
        sa.Column(
            "provider",
            sa.Text(),
            nullable=True,
            comment="identity provider that signs the account in, where SonarCloud gives it",
        ),
        *_interval(),
        sa.CheckConstraint("valid_from < valid_to", name="ck_dim_account_detail_interval"),
        sa.PrimaryKeyConstraint("organization_key", "login", "valid_from", name="pk_dim_account_detail"),
        comment="History of what only the v2 interface says of an account; personal data, and of scope account_details alone",
    )
    op.create_table(
        "dim_project",
        _organization_key(),
        sa.Column("project_key", sa.Text(), nullable=False, comment="key of the project"),
        sa.Column("name", sa.Text(), nullable=True, comment="name of the project"),
        sa.Column(
            "visibility",
            sa.Text(),
            nullable=True,
            comment="public or private; a public project can be read by anyone",
        ),
        *_interval(),
        sa.CheckConstraint("valid_from < valid_to", name="ck_dim_project_interval"),
        sa.PrimaryKeyConstraint("organization_key", "project_key", "valid_from", name="pk_dim_project"),
        comment="History of one project that the token's owner can see",
    )
    for table, key in (("dim_account_detail", "login"), ("dim_project", "project_key")):
        for column in ("valid_from", "valid_to"):
            op.create_index(f"ix_{table}_{column}", table, ["organization_key", column], unique=False)
        op.create_index(
            f"uq_{table}_open",
            table,
            ["organization_key", key],
            unique=True,
            sqlite_where=sa.text("valid_to IS NULL"),
            postgresql_where=sa.text("valid_to IS NULL"),
        )
    op.execute(OBSERVATION)
    op.execute(SYNC_COVERAGE.format(**CALENDAR[op.get_bind().dialect.name]))
    op.execute(FCT_ACCESS_CHANGE)
    op.execute(CURRENT_ACCESS)
    op.execute(USER_PROJECT_ACCESS)
