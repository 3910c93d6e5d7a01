"""Changes with all their kinds, rights on projects only where somebody observed them, since when a finding fails, days that
nobody expected, and bodies that are dropped on record.
"""

import sqlalchemy as sa
from alembic import op

from sonar_access_pipeline.warehouse import guards

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

SYNC_COVERAGE = """
CREATE VIEW sync_coverage AS
WITH RECURSIVE decided AS (
    SELECT snapshot_id, MAX(decision) AS decision FROM snapshot_decision GROUP BY snapshot_id
),
expected AS (
    SELECT organization_key, MIN(partition_date) AS first_day
    FROM (SELECT organization_key, partition_date FROM raw_snapshot
          UNION ALL
          SELECT organization_key, partition_date FROM sync_attempt) known
    GROUP BY organization_key
),
believed AS (
    SELECT s.organization_key, MAX(s.partition_date) AS last_day
    FROM raw_snapshot s
    LEFT JOIN decided d ON d.snapshot_id = s.snapshot_id
    WHERE s.verdict <> 'incomplete' AND (d.decision IS NULL OR d.decision <> 'retracted')
    GROUP BY s.organization_key
),
day(organization_key, partition_date, last_day) AS (
    SELECT x.organization_key, x.first_day, {latest}(COALESCE(b.last_day, x.first_day), COALESCE(
        (SELECT MAX(e.last_day) FROM organization_end e
         WHERE e.organization_key = x.organization_key
         HAVING MAX(e.last_day) >= COALESCE(b.last_day, x.first_day)), {today}))
    FROM expected x
    LEFT JOIN believed b ON b.organization_key = x.organization_key
    UNION ALL
    SELECT organization_key, {next_day}, last_day FROM day WHERE partition_date < last_day
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

FCT_ACCESS_CHANGE = """
CREATE VIEW fct_access_change AS
WITH renamed AS (
    SELECT o.organization_key, o.login AS old_login, n.login AS new_login, n.valid_from AS changed_by
    FROM dim_account_detail o
    JOIN dim_account_detail n ON n.organization_key = o.organization_key AND n.valid_from = o.valid_to
                             AND n.account_id = o.account_id AND n.login <> o.login
),
change AS (
    SELECT organization_key, login, access_type, resource, entitlement, granted_via,
           FALSE AS closes, changed_after, valid_from AS changed_by
    FROM fct_user_access
    UNION ALL
    SELECT organization_key, login, access_type, resource, entitlement, granted_via,
           TRUE AS closes, last_seen_at AS changed_after, valid_to AS changed_by
    FROM fct_user_access
    WHERE valid_to IS NOT NULL
),
named AS (
    SELECT c.*, s.partition_date AS changed_on,
           CASE WHEN c.access_type <> 'membership' THEN NULL
                WHEN c.closes THEN
                    (SELECT MIN(r.new_login) FROM renamed r WHERE r.organization_key = c.organization_key
                        AND r.old_login = c.login AND r.changed_by = c.changed_by)
                ELSE
                    (SELECT MIN(r.old_login) FROM renamed r WHERE r.organization_key = c.organization_key
                        AND r.new_login = c.login AND r.changed_by = c.changed_by)
           END AS other_login
    FROM change c
    JOIN raw_snapshot s ON s.organization_key = c.organization_key AND s.observed_at = c.changed_by
)
SELECT c.organization_key, c.login, c.access_type, c.resource, c.entitlement, c.granted_via,
       CASE WHEN c.changed_after IS NULL THEN 'first_observed'
            WHEN c.other_login IS NOT NULL THEN 'renamed'
            WHEN c.access_type = 'membership' AND c.closes THEN 'left'
            WHEN c.access_type = 'membership' AND EXISTS (
                SELECT 1 FROM fct_user_access e
                WHERE e.organization_key = c.organization_key AND e.login = c.login AND e.access_type = 'membership'
                  AND e.valid_to <= c.changed_by) THEN 'returned'
            WHEN c.access_type = 'membership' THEN 'joined'
            WHEN c.access_type = 'group' AND c.closes THEN 'removed_from_group'
            WHEN c.access_type = 'group' THEN 'added_to_group'
            WHEN c.access_type = 'organization_permission' AND c.entitlement = 'admin' AND c.closes AND NOT EXISTS (
                SELECT 1 FROM fct_user_access e
                WHERE e.organization_key = c.organization_key AND e.login = c.login
                  AND e.access_type = 'organization_permission' AND e.entitlement = 'admin'
                  AND e.valid_from <= c.changed_by AND (e.valid_to IS NULL OR e.valid_to > c.changed_by)) THEN 'demoted'
            WHEN c.access_type = 'organization_permission' AND c.entitlement = 'admin' AND NOT c.closes AND NOT EXISTS (
                SELECT 1 FROM fct_user_access e
                WHERE e.organization_key = c.organization_key AND e.login = c.login
                  AND e.access_type = 'organization_permission' AND e.entitlement = 'admin'
                  AND e.valid_from < c.changed_by AND (e.valid_to IS NULL OR e.valid_to >= c.changed_by)) THEN 'promoted'
            WHEN c.closes THEN 'permission_revoked'
            ELSE 'permission_granted' END AS kind,
       CASE WHEN c.other_login IS NULL OR c.changed_after IS NULL THEN NULL
            WHEN c.closes THEN 'is now ' || c.other_login
            ELSE 'was ' || c.other_login END AS detail,
       c.closes,
       c.changed_on,
       c.changed_after,
       c.changed_by
FROM named c
"""

SHOWN = """(SELECT MIN(s.observed_at) FROM history_observation s
            WHERE s.organization_key = g.organization_key AND s.scope = 'project_permissions' AND s.observed_at >= {moment})"""
BEFORE = """(SELECT s.started_at FROM history_observation s
            WHERE s.organization_key = r.organization_key AND s.scope = 'project_permissions' AND s.observed_at < {moment}
            ORDER BY s.observed_at DESC LIMIT 1)"""
LATER = "CASE WHEN g.valid_from >= m.valid_from THEN g.valid_from ELSE m.valid_from END"
EARLIER = "CASE WHEN m.valid_to IS NULL OR g.valid_to <= m.valid_to THEN g.valid_to ELSE m.valid_to END"

USER_PROJECT_ACCESS = f"""
CREATE VIEW user_project_access AS
SELECT organization_key, login, resource AS project_key, entitlement AS permission, granted_via,
       valid_from, valid_to, changed_after, last_seen_at
FROM fct_user_access
WHERE access_type = 'project_permission'
UNION ALL
SELECT r.organization_key, r.login, r.project_key, r.permission, r.granted_via, r.valid_from, r.valid_to,
       {BEFORE.format(moment="r.valid_from")} AS changed_after,
       CASE WHEN r.valid_to IS NOT NULL THEN {BEFORE.format(moment="r.valid_to")} END AS last_seen_at
FROM (
    SELECT g.organization_key, m.login, g.project_key, g.permission, 'group:' || g.principal AS granted_via,
           {SHOWN.format(moment=LATER)} AS valid_from,
           CASE WHEN {EARLIER} IS NOT NULL THEN COALESCE({SHOWN.format(moment=EARLIER)}, {EARLIER}) END AS valid_to
    FROM fct_permission_grant g
    JOIN bridge_group_member m
      ON m.organization_key = g.organization_key AND m.group_id = g.principal
     AND (g.valid_to IS NULL OR m.valid_from < g.valid_to)
     AND (m.valid_to IS NULL OR g.valid_from < m.valid_to)
    WHERE g.scope = 'project' AND g.principal_type = 'group'
) r
WHERE r.valid_from IS NOT NULL AND (r.valid_to IS NULL OR r.valid_from < r.valid_to)
"""

KEY = "organization_key, rule_id, subject_type, subject"
FINDING_PERIOD = f"""
CREATE VIEW finding_period AS
WITH marked AS (
    SELECT {KEY}, result, valid_from, valid_to, changed_after, last_seen_at,
           CASE WHEN LAG(valid_to) OVER (PARTITION BY {KEY} ORDER BY valid_from) = valid_from
                 AND LAG(result) OVER (PARTITION BY {KEY} ORDER BY valid_from) = result
                THEN 0 ELSE 1 END AS begins
    FROM fct_finding
),
numbered AS (
    SELECT m.*, SUM(begins) OVER (PARTITION BY {KEY} ORDER BY valid_from) AS period FROM marked m
)
SELECT {KEY}, result,
       MIN(valid_from) AS valid_from,
       CASE WHEN COUNT(valid_to) = COUNT(*) THEN MAX(valid_to) END AS valid_to,
       MIN(CASE WHEN begins = 1 THEN changed_after END) AS changed_after,
       CASE WHEN COUNT(valid_to) = COUNT(*) THEN MAX(last_seen_at) END AS last_seen_at
FROM numbered
GROUP BY {KEY}, result, period
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
    for view in ("sync_coverage", "fct_access_change", "user_project_access"):
        op.execute(f"DROP VIEW {view}")
    op.create_table(
        "body_drop",
        sa.Column("drop_id", sa.Integer(), nullable=False),
        sa.Column("organization_key", sa.Text(), nullable=False),
        sa.Column("older_than", TIME, nullable=True),
        sa.Column("keep_days", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("dropped_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("drop_id", name="pk_body_drop"),
    )
    op.create_table(
        "dropped_body",
        sa.Column("drop_id", sa.Integer(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["drop_id"], ["body_drop.drop_id"], name="fk_dropped_body_drop_id"),
        sa.ForeignKeyConstraint(["body_sha256"], ["raw_body.body_sha256"], name="fk_dropped_body_body_sha256"),
        sa.PrimaryKeyConstraint("drop_id", "body_sha256", name="pk_dropped_body"),
    )
    op.create_index("ix_dropped_body_body_sha256", "dropped_body", ["body_sha256"])
    op.create_table(
        "watch_look",
        sa.Column("home", sa.Text(), nullable=False),
        sa.Column("looked_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("home", name="pk_watch_look"),
    )
    op.create_index("ix_policy_version_in_force_from", "policy_version", ["in_force_from"])
    _note_earlier_drops()
    for table in ("body_drop", "dropped_body"):
        for statement in guards.append_only(table, is_postgresql=dialect == "postgresql"):
            op.execute(sa.text(statement.replace(":", r"\:")))
    for view in (SYNC_COVERAGE.format(**CALENDAR[dialect]), FCT_ACCESS_CHANGE, USER_PROJECT_ACCESS, FINDING_PERIOD):
        op.execute(sa.text(view.replace(":", r"\:")))


def _note_earlier_drops() -> None:
    """Bodies that were dropped before drops were on record: one drop per organization.

    Of a body that a redaction replaced the redaction is the record; what stands in its place may have been dropped by age.
    """
    dropped = (
        "SELECT s.organization_key, b.body_sha256, b.dropped_at "
        "FROM raw_body b JOIN raw_response r ON r.body_sha256 = b.body_sha256 "
        "JOIN raw_snapshot s ON s.snapshot_id = r.snapshot_id "
        "WHERE b.dropped_at IS NOT NULL AND b.body_sha256 NOT IN (SELECT body_sha256 FROM redacted_body) "
        "UNION SELECT d.organization_key, b.body_sha256, b.dropped_at "
        "FROM raw_body b JOIN redacted_body r ON r.new_sha256 = b.body_sha256 "
        "JOIN redaction d ON d.redaction_id = r.redaction_id "
        "WHERE b.dropped_at IS NOT NULL AND b.body_sha256 NOT IN (SELECT body_sha256 FROM redacted_body)"
    )
    op.execute(
        sa.text(
            "INSERT INTO body_drop (organization_key, older_than, keep_days, reason, dropped_at) "
            "SELECT organization_key, NULL, NULL, 'dropped by age, before drops were on record', MAX(dropped_at) "
            f"FROM ({dropped}) dropped GROUP BY organization_key"
        )
    )
    op.execute(
        sa.text(
            "INSERT INTO dropped_body (drop_id, body_sha256) "
            "SELECT d.drop_id, dropped.body_sha256 "
            f"FROM ({dropped}) dropped JOIN body_drop d ON d.organization_key = dropped.organization_key"
        )
    )
