"""The first tables and views."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
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
seen AS (
    SELECT s.organization_key, s.partition_date,
           COUNT(*) AS snapshots,
           MAX(o.observed_at) AS observed_at,
           SUM(CASE WHEN d.decision = 'retracted' THEN 1 ELSE 0 END) AS retracted,
           SUM(CASE WHEN s.verdict = 'held' AND d.decision IS NULL THEN 1 ELSE 0 END) AS held,
           SUM(CASE WHEN s.verdict = 'incomplete' THEN 1 ELSE 0 END) AS incomplete
    FROM raw_snapshot s
    LEFT JOIN observation o ON o.snapshot_id = s.snapshot_id
    LEFT JOIN (SELECT snapshot_id, MAX(decision) AS decision FROM snapshot_decision GROUP BY snapshot_id) d
           ON d.snapshot_id = s.snapshot_id
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
            WHEN seen.held > 0 THEN 'held'
            WHEN seen.retracted > 0 THEN 'retracted'
            WHEN seen.incomplete > 0 THEN 'incomplete'
            WHEN tried.attempts > 0 THEN 'failed'
            ELSE 'missing' END AS status,
       COALESCE(seen.snapshots, 0) AS snapshots,
       COALESCE(tried.attempts, 0) AS attempts,
       seen.observed_at,
       o.run_id,
       CASE WHEN seen.observed_at IS NULL THEN a.error END AS error
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
SELECT a.organization_key, o.name AS organization_name,
       a.login, u.name AS user_name,
       a.access_type,
       a.resource, CASE WHEN a.access_type = 'group' THEN g.name ELSE o.name END AS resource_name,
       a.entitlement,
       a.granted_via, v.name AS granted_via_name,
       a.valid_from, a.changed_after,
       (SELECT MAX(h.observed_at) FROM history_observation h
        WHERE h.organization_key = a.organization_key AND h.scope = 'core') AS last_observed_at
FROM fct_user_access a
LEFT JOIN dim_organization o ON o.organization_key = a.organization_key AND o.valid_to IS NULL
LEFT JOIN dim_user u ON u.organization_key = a.organization_key AND u.login = a.login AND u.valid_to IS NULL
LEFT JOIN dim_group g ON a.access_type = 'group' AND g.organization_key = a.organization_key
                     AND g.group_id = a.resource AND g.valid_to IS NULL
LEFT JOIN dim_group v ON v.organization_key = a.organization_key AND a.granted_via = 'group:' || v.group_id AND v.valid_to IS NULL
WHERE a.valid_to IS NULL
"""

CALENDAR = {
    "sqlite": {"latest": "MAX", "today": "date('now')", "next_day": "date(partition_date, '+1 day')"},
    "postgresql": {"latest": "GREATEST", "today": "(now() AT TIME ZONE 'UTC')::date", "next_day": "partition_date + 1"},
}
"""The few words in which the two databases differ about days; SQLite's clock and this one are UTC."""


def upgrade() -> None:
    op.create_table(
        "bridge_group_member",
        _organization_key(),
        sa.Column("group_id", sa.Text(), nullable=False, comment="id of the group; survives a rename"),
        sa.Column(
            "login",
            sa.Text(),
            nullable=False,
            comment="login of the account, as SonarCloud writes it; neither stable nor unique per person",
        ),
        *_interval(),
        sa.CheckConstraint("valid_from < valid_to", name="ck_bridge_group_member_interval"),
        sa.PrimaryKeyConstraint("organization_key", "group_id", "login", "valid_from", name="pk_bridge_group_member"),
        comment="History of one account in one group",
    )
    op.create_index("ix_bridge_group_member_valid_from", "bridge_group_member", ["organization_key", "valid_from"], unique=False)
    op.create_index("ix_bridge_group_member_valid_to", "bridge_group_member", ["organization_key", "valid_to"], unique=False)
    op.create_index(
        "uq_bridge_group_member_open",
        "bridge_group_member",
        ["organization_key", "group_id", "login"],
        unique=True,
        sqlite_where=sa.text("valid_to IS NULL"),
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "dim_group",
        _organization_key(),
        sa.Column("group_id", sa.Text(), nullable=False, comment="id of the group; survives a rename"),
        sa.Column("name", sa.Text(), nullable=True, comment="name of the group"),
        sa.Column("description", sa.Text(), nullable=True, comment="description of the group"),
        sa.Column("is_default", sa.Boolean(), nullable=True, comment="whether it is the built-in group of members"),
        *_interval(),
        sa.CheckConstraint("valid_from < valid_to", name="ck_dim_group_interval"),
        sa.PrimaryKeyConstraint("organization_key", "group_id", "valid_from", name="pk_dim_group"),
        comment="History of one group of the organization",
    )
    op.create_index("ix_dim_group_valid_from", "dim_group", ["organization_key", "valid_from"], unique=False)
    op.create_index("ix_dim_group_valid_to", "dim_group", ["organization_key", "valid_to"], unique=False)
    op.create_index(
        "uq_dim_group_open",
        "dim_group",
        ["organization_key", "group_id"],
        unique=True,
        sqlite_where=sa.text("valid_to IS NULL"),
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "dim_organization",
        _organization_key(),
        sa.Column("name", sa.Text(), nullable=True, comment="display name"),
        sa.Column("subscription", sa.Text(), nullable=True, comment="plan, as SonarCloud names it"),
        sa.Column("alm_key", sa.Text(), nullable=True, comment="DevOps platform it is bound to"),
        *_interval(),
        sa.CheckConstraint("valid_from < valid_to", name="ck_dim_organization_interval"),
        sa.PrimaryKeyConstraint("organization_key", "valid_from", name="pk_dim_organization"),
        comment="History of the organization itself",
    )
    op.create_index("ix_dim_organization_valid_from", "dim_organization", ["organization_key", "valid_from"], unique=False)
    op.create_index("ix_dim_organization_valid_to", "dim_organization", ["organization_key", "valid_to"], unique=False)
    op.create_index(
        "uq_dim_organization_open",
        "dim_organization",
        ["organization_key"],
        unique=True,
        sqlite_where=sa.text("valid_to IS NULL"),
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "dim_user",
        _organization_key(),
        sa.Column(
            "login",
            sa.Text(),
            nullable=False,
            comment="login of the account, as SonarCloud writes it; neither stable nor unique per person",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="display name"),
        sa.Column(
            "is_organization_admin", sa.Boolean(), nullable=True, comment="SonarCloud's own statement; NULL where it gave none"
        ),
        *_interval(),
        sa.CheckConstraint("valid_from < valid_to", name="ck_dim_user_interval"),
        sa.PrimaryKeyConstraint("organization_key", "login", "valid_from", name="pk_dim_user"),
        comment="History of one account in the member list",
    )
    op.create_index("ix_dim_user_valid_from", "dim_user", ["organization_key", "valid_from"], unique=False)
    op.create_index("ix_dim_user_valid_to", "dim_user", ["organization_key", "valid_to"], unique=False)
    op.create_index(
        "uq_dim_user_open",
        "dim_user",
        ["organization_key", "login"],
        unique=True,
        sqlite_where=sa.text("valid_to IS NULL"),
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "evidence_packet",
        sa.Column("packet_id", sa.Integer(), nullable=False),
        sa.Column("organization_key", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("previous_digest", sa.Text(), nullable=True),
        sa.Column("source_kind", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("sealed_at", TIME, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("pipeline_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("packet_id", name="pk_evidence_packet"),
        sa.UniqueConstraint("digest", name="uq_evidence_packet_digest"),
        comment="Every packet ever sealed; append-only",
    )
    op.create_table(
        "fct_permission_grant",
        _organization_key(),
        sa.Column("principal_type", sa.Text(), nullable=False, comment="user, group or anyone"),
        sa.Column("principal", sa.Text(), nullable=False, comment="login, group id, or Anyone"),
        sa.Column("scope", sa.Text(), nullable=False, comment="organization or project"),
        sa.Column("project_key", sa.Text(), nullable=False, comment="key of the project; empty for a grant on the organization"),
        sa.Column("permission", sa.Text(), nullable=False, comment="permission key"),
        *_interval(),
        sa.CheckConstraint("valid_from < valid_to", name="ck_fct_permission_grant_interval"),
        sa.PrimaryKeyConstraint(
            "organization_key",
            "principal_type",
            "principal",
            "scope",
            "project_key",
            "permission",
            "valid_from",
            name="pk_fct_permission_grant",
        ),
        comment="History of one permission granted to one principal",
    )
    op.create_index(
        "ix_fct_permission_grant_valid_from", "fct_permission_grant", ["organization_key", "valid_from"], unique=False
    )
    op.create_index("ix_fct_permission_grant_valid_to", "fct_permission_grant", ["organization_key", "valid_to"], unique=False)
    op.create_index(
        "uq_fct_permission_grant_open",
        "fct_permission_grant",
        ["organization_key", "principal_type", "principal", "scope", "project_key", "permission"],
        unique=True,
        sqlite_where=sa.text("valid_to IS NULL"),
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "fct_user_access",
        _organization_key(),
        sa.Column(
            "login",
            sa.Text(),
            nullable=False,
            comment="login of the account, as SonarCloud writes it; neither stable nor unique per person",
        ),
        sa.Column(
            "access_type", sa.Text(), nullable=False, comment="membership, group, organization_permission or project_permission"
        ),
        sa.Column(
            "resource", sa.Text(), nullable=False, comment="what the right is on: organization key, group id or project key"
        ),
        sa.Column("entitlement", sa.Text(), nullable=False, comment="member, or the permission key"),
        sa.Column("granted_via", sa.Text(), nullable=False, comment="direct, or group:<group id>"),
        *_interval(),
        sa.CheckConstraint("valid_from < valid_to", name="ck_fct_user_access_interval"),
        sa.PrimaryKeyConstraint(
            "organization_key",
            "login",
            "access_type",
            "resource",
            "entitlement",
            "granted_via",
            "valid_from",
            name="pk_fct_user_access",
        ),
        comment="History of one way in which one account has one right",
    )
    op.create_index("ix_fct_user_access_valid_from", "fct_user_access", ["organization_key", "valid_from"], unique=False)
    op.create_index("ix_fct_user_access_valid_to", "fct_user_access", ["organization_key", "valid_to"], unique=False)
    op.create_index(
        "uq_fct_user_access_open",
        "fct_user_access",
        ["organization_key", "login", "access_type", "resource", "entitlement", "granted_via"],
        unique=True,
        sqlite_where=sa.text("valid_to IS NULL"),
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "raw_body",
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("zlib_body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("body_sha256", name="pk_raw_body"),
        comment="One distinct response body, compressed; unchanged pages are stored once",
    )
    op.create_table(
        "raw_snapshot",
        sa.Column("snapshot_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("organization_key", sa.Text(), nullable=False),
        sa.Column("source_url", sa.Text(), nullable=False),
        sa.Column("source_kind", sa.Text(), nullable=False),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("observed_at", TIME, nullable=False),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.Column("server_started_at", TIME, nullable=True),
        sa.Column("server_observed_at", TIME, nullable=True),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("token_login", sa.Text(), nullable=False),
        sa.Column("pipeline_version", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("previous_sha256", sa.Text(), nullable=False),
        sa.CheckConstraint("verdict IN ('complete', 'incomplete', 'held')", name="ck_raw_snapshot_verdict"),
        sa.CheckConstraint("started_at <= observed_at", name="ck_raw_snapshot_times"),
        sa.PrimaryKeyConstraint("snapshot_id", name="pk_raw_snapshot"),
        sa.UniqueConstraint("organization_key", "observed_at", name="uq_raw_snapshot_organization_key_observed_at"),
        comment="One read of one organization",
    )
    op.create_index(
        "ix_raw_snapshot_organization_key_partition_date", "raw_snapshot", ["organization_key", "partition_date"], unique=False
    )
    op.create_index("ix_raw_snapshot_run_id", "raw_snapshot", ["run_id"], unique=False)
    op.create_table(
        "history_observation",
        sa.Column("organization_key", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("observed_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["raw_snapshot.snapshot_id"], name="fk_history_observation_snapshot_id"),
        sa.PrimaryKeyConstraint("organization_key", "scope", "observed_at", name="pk_history_observation"),
        comment="The observations that the history tables show; written in the transaction that merges them",
    )
    op.create_table(
        "raw_control",
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("control", sa.Text(), nullable=False),
        sa.Column("compares", sa.Text(), nullable=False),
        sa.Column("left_count", sa.Integer(), nullable=True),
        sa.Column("right_count", sa.Integer(), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["snapshot_id"], ["raw_snapshot.snapshot_id"], name="fk_raw_control_snapshot_id"),
        sa.PrimaryKeyConstraint("snapshot_id", "control", name="pk_raw_control"),
        comment="One comparison of two independent statements of a snapshot; passed is NULL where it could not be evaluated",
    )
    op.create_table(
        "raw_list",
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("list_name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reported_total", sa.Integer(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("distinct_keys", sa.Integer(), nullable=False),
        sa.Column("rereads", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["snapshot_id"], ["raw_snapshot.snapshot_id"], name="fk_raw_list_snapshot_id"),
        sa.PrimaryKeyConstraint("snapshot_id", "list_name", "subject", name="pk_raw_list"),
        comment="One list of a snapshot; subject is the group for the members of a group, else empty",
    )
    op.create_table(
        "raw_response",
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("list_name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reading", sa.Integer(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("server_time", TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("reported_total", sa.Integer(), nullable=True),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["body_sha256"], ["raw_body.body_sha256"], name="fk_raw_response_body_sha256"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["raw_snapshot.snapshot_id"], name="fk_raw_response_snapshot_id"),
        sa.PrimaryKeyConstraint("snapshot_id", "sequence", name="pk_raw_response"),
        comment="One HTTP response; the last reading of a list is the one that counts",
    )
    op.create_table(
        "snapshot_decision",
        sa.Column("decision_id", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.CheckConstraint("decision IN ('confirmed', 'retracted')", name="ck_snapshot_decision_decision"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["raw_snapshot.snapshot_id"], name="fk_snapshot_decision_snapshot_id"),
        sa.PrimaryKeyConstraint("decision_id", name="pk_snapshot_decision"),
        comment="What a person said of a snapshot afterwards; append-only",
    )
    op.create_index("ix_snapshot_decision_snapshot_id", "snapshot_decision", ["snapshot_id"], unique=False)
    op.create_table(
        "sync_attempt",
        sa.Column("attempt_id", sa.Integer(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("organization_key", sa.Text(), nullable=False),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("snapshot_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["snapshot_id"], ["raw_snapshot.snapshot_id"], name="fk_sync_attempt_snapshot_id"),
        sa.PrimaryKeyConstraint("attempt_id", name="pk_sync_attempt"),
        comment="Every try to sync, successful or not; outcome is NULL while it runs or when it was killed",
    )
    op.create_index(
        "ix_sync_attempt_organization_key_partition_date", "sync_attempt", ["organization_key", "partition_date"], unique=False
    )
    op.execute(OBSERVATION)
    op.execute(SYNC_COVERAGE.format(**CALENDAR[op.get_bind().dialect.name]))
    op.execute(FCT_ACCESS_CHANGE)
    op.execute(CURRENT_ACCESS)
