CREATE TABLE dim_rule (
    rule_id TEXT NOT NULL,
    rule_version TEXT NOT NULL,
    title TEXT NOT NULL,
    CONSTRAINT pk_dim_rule PRIMARY KEY (rule_id, rule_version)
)

CREATE TABLE delivery (
    delivery_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    organization_key TEXT NOT NULL,
    packet_digest TEXT NOT NULL,
    as_of DATETIME NOT NULL,
    delivery_key TEXT NOT NULL,
    accounts INTEGER NOT NULL,
    parts TEXT NOT NULL,
    found BOOLEAN NOT NULL,
    remote TEXT NOT NULL,
    delivered_at DATETIME NOT NULL,
    pipeline_version TEXT NOT NULL,
    CONSTRAINT pk_delivery PRIMARY KEY (delivery_id)
)

CREATE INDEX ix_delivery_of_name ON delivery (organization_key, name)

CREATE TRIGGER delivery_no_update BEFORE UPDATE ON delivery BEGIN SELECT RAISE(ABORT, 'delivery is append-only'); END

CREATE TRIGGER delivery_no_delete BEFORE DELETE ON delivery BEGIN SELECT RAISE(ABORT, 'delivery is append-only'); END

DROP VIEW sync_coverage

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
    SELECT x.organization_key, x.first_day, MAX(COALESCE(b.last_day, x.first_day), COALESCE(
        (SELECT n.last_day
         FROM (SELECT MAX(e.last_day) AS last_day FROM organization_end e WHERE e.organization_key = x.organization_key) n
         WHERE n.last_day >= COALESCE(b.last_day, x.first_day)), date('now')))
    FROM expected x
    LEFT JOIN believed b ON b.organization_key = x.organization_key
    UNION ALL
    SELECT organization_key, date(partition_date, '+1 day'), last_day FROM day WHERE partition_date < last_day
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
       CASE WHEN CAST(ROUND((julianday(seen.first_observed_at) - julianday(tried.due_at)) * 86400) AS INTEGER) > 0 THEN CAST(ROUND((julianday(seen.first_observed_at) - julianday(tried.due_at)) * 86400) AS INTEGER) WHEN CAST(ROUND((julianday(seen.first_observed_at) - julianday(tried.due_at)) * 86400) AS INTEGER) <= 0 THEN 0 END AS lateness_seconds,
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

CREATE VIEW current_account AS
WITH answering AS (
    SELECT h.organization_key, h.observed_at,
           MAX(CASE WHEN s.scope = 'project_permissions' THEN 1 ELSE 0 END) AS reads_projects,
           MAX(CASE WHEN s.scope = 'account_details' THEN 1 ELSE 0 END) AS reads_details
    FROM (SELECT organization_key, MAX(observed_at) AS observed_at FROM history_observation
          WHERE scope = 'core' GROUP BY organization_key) h
    JOIN history_observation s ON s.organization_key = h.organization_key AND s.observed_at = h.observed_at
    GROUP BY h.organization_key, h.observed_at
),
read_access AS (
    SELECT a.organization_key, a.login, a.access_type, a.resource, a.entitlement, a.granted_via,
           a.valid_from, a.valid_to, a.changed_after
    FROM fct_user_access a
    JOIN answering n ON n.organization_key = a.organization_key
    WHERE a.access_type <> 'project_permission' OR n.reads_projects = 1
),
life AS (
    SELECT organization_key, login, MIN(valid_from) AS first_seen,
           MAX(COALESCE(valid_to, valid_from)) AS access_unchanged_since,
           MAX(CASE WHEN valid_to IS NOT NULL THEN valid_to WHEN changed_after IS NOT NULL THEN valid_from END) AS last_change
    FROM read_access
    GROUP BY organization_key, login
),
account AS (
    SELECT organization_key, login FROM dim_user WHERE valid_to IS NULL
    UNION
    SELECT organization_key, login FROM read_access WHERE valid_to IS NULL
),
right_on_organization AS (
    SELECT a.organization_key, a.login, a.entitlement, CASE WHEN a.granted_via = 'direct' THEN 'direct' ELSE 'group ' || (CASE WHEN COALESCE(g.name, SUBSTR(a.granted_via, 7)) GLOB '*[;()"\]*' OR COALESCE(g.name, SUBSTR(a.granted_via, 7)) GLOB '*[' || char(1) || '-' || char(31) || ']*' OR COALESCE(g.name, SUBSTR(a.granted_via, 7)) <> TRIM(COALESCE(g.name, SUBSTR(a.granted_via, 7)), char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) THEN json_quote(COALESCE(g.name, SUBSTR(a.granted_via, 7))) ELSE COALESCE(g.name, SUBSTR(a.granted_via, 7)) END) END AS way
    FROM fct_user_access a
    LEFT JOIN dim_group g ON g.organization_key = a.organization_key AND g.group_id = SUBSTR(a.granted_via, 7) AND g.valid_to IS NULL
    WHERE a.access_type = 'organization_permission' AND a.valid_to IS NULL
),
in_group AS (
    SELECT a.organization_key, a.login, a.resource, CASE WHEN COALESCE(g.name, a.resource) GLOB '*[;()"\]*' OR COALESCE(g.name, a.resource) GLOB '*[' || char(1) || '-' || char(31) || ']*' OR COALESCE(g.name, a.resource) <> TRIM(COALESCE(g.name, a.resource), char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)) THEN json_quote(COALESCE(g.name, a.resource)) ELSE COALESCE(g.name, a.resource) END AS group_name
    FROM fct_user_access a
    LEFT JOIN dim_group g ON g.organization_key = a.organization_key AND g.group_id = a.resource AND g.valid_to IS NULL
    WHERE a.access_type = 'group' AND a.valid_to IS NULL
),
permission AS (
    SELECT organization_key, login, said
    FROM (SELECT organization_key, login,
                 GROUP_CONCAT(said, '; ') OVER (PARTITION BY organization_key, login ORDER BY said
                     ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS said,
                 ROW_NUMBER() OVER (PARTITION BY organization_key, login ORDER BY said) AS place
          FROM (SELECT DISTINCT organization_key, login, entitlement || ' (' || way || ')' AS said FROM right_on_organization) one) all_of
    WHERE place = 1
),
admin_way AS (
    SELECT organization_key, login, said
    FROM (SELECT organization_key, login,
                 GROUP_CONCAT(said, '; ') OVER (PARTITION BY organization_key, login ORDER BY said
                     ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS said,
                 ROW_NUMBER() OVER (PARTITION BY organization_key, login ORDER BY said) AS place
          FROM (SELECT DISTINCT organization_key, login, way AS said FROM right_on_organization WHERE entitlement = 'admin') one) all_of
    WHERE place = 1
),
membership AS (
    SELECT organization_key, login, said
    FROM (SELECT organization_key, login,
                 GROUP_CONCAT(said, '; ') OVER (PARTITION BY organization_key, login ORDER BY said
                     ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS said,
                 ROW_NUMBER() OVER (PARTITION BY organization_key, login ORDER BY said) AS place
          FROM (SELECT organization_key, login, group_name AS said FROM in_group) one) all_of
    WHERE place = 1
),
administered AS (
    SELECT organization_key, login, COUNT(DISTINCT project_key) AS projects
    FROM (SELECT organization_key, principal AS login, project_key
          FROM fct_permission_grant
          WHERE scope = 'project' AND permission = 'admin' AND principal_type = 'user' AND valid_to IS NULL
          UNION ALL
          SELECT g.organization_key, m.login, g.project_key
          FROM fct_permission_grant g
          JOIN bridge_group_member m ON m.organization_key = g.organization_key AND m.group_id = g.principal AND m.valid_to IS NULL
          WHERE g.scope = 'project' AND g.permission = 'admin' AND g.principal_type = 'group' AND g.valid_to IS NULL) way
    GROUP BY organization_key, login
)
SELECT a.organization_key, a.login, u.name,
       CASE WHEN n.reads_details = 1 THEN d.provider END AS provider,
       CASE WHEN u.login IS NULL THEN 0 ELSE 1 END AS is_member,
       CASE WHEN w.said IS NULL THEN 0 ELSE 1 END AS is_organization_admin,
       COALESCE(w.said, '') AS admin_through,
       u.is_organization_admin AS is_admin_by_sonarcloud,
       COALESCE(m.said, '') AS groups,
       COALESCE(p.said, '') AS organization_permissions,
       CASE WHEN n.reads_projects = 1 THEN CAST(COALESCE(t.projects, 0) AS INTEGER) END AS project_admin_count,
       l.first_seen, l.access_unchanged_since, l.last_change,
       n.observed_at AS last_observed_at
FROM account a
JOIN answering n ON n.organization_key = a.organization_key
LEFT JOIN dim_user u ON u.organization_key = a.organization_key AND u.login = a.login AND u.valid_to IS NULL
LEFT JOIN dim_account_detail d ON d.organization_key = a.organization_key AND d.login = a.login AND d.valid_to IS NULL
LEFT JOIN life l ON l.organization_key = a.organization_key AND l.login = a.login
LEFT JOIN admin_way w ON w.organization_key = a.organization_key AND w.login = a.login
LEFT JOIN membership m ON m.organization_key = a.organization_key AND m.login = a.login
LEFT JOIN permission p ON p.organization_key = a.organization_key AND p.login = a.login
LEFT JOIN administered t ON t.organization_key = a.organization_key AND t.login = a.login

CREATE VIEW current_finding AS
SELECT f.organization_key, f.rule_id, f.rule_version,
       r.title,
       f.severity, f.result, f.subject_type, f.subject,
       CASE f.subject_type WHEN 'account' THEN u.name WHEN 'group' THEN g.name END AS name,
       f.detail,
       CASE f.result WHEN 'fail' THEN p.valid_from END AS failing_since,
       CASE f.result WHEN 'fail' THEN p.changed_after END AS changed_after,
       n.observed_at AS last_observed_at
FROM fct_finding f
JOIN (SELECT organization_key, MAX(observed_at) AS observed_at FROM history_observation
      WHERE scope = 'core' GROUP BY organization_key) n ON n.organization_key = f.organization_key
LEFT JOIN finding_period p ON p.organization_key = f.organization_key AND p.rule_id = f.rule_id
    AND p.subject_type = f.subject_type AND p.subject = f.subject AND p.valid_to IS NULL
LEFT JOIN dim_rule r ON r.rule_id = f.rule_id AND r.rule_version = f.rule_version
LEFT JOIN dim_user u ON f.subject_type = 'account' AND u.organization_key = f.organization_key AND u.login = f.subject AND u.valid_to IS NULL
LEFT JOIN dim_group g ON f.subject_type = 'group' AND g.organization_key = f.organization_key AND g.group_id = f.subject AND g.valid_to IS NULL
WHERE f.valid_to IS NULL AND f.result <> 'pass'

CREATE VIEW daily_count AS
WITH admin_step AS (
    SELECT organization_key, login, moment, SUM(step) AS step
    FROM (SELECT organization_key, login, valid_from AS moment, 1 AS step FROM fct_user_access
          WHERE access_type = 'organization_permission' AND entitlement = 'admin'
          UNION ALL
          SELECT organization_key, login, valid_to, -1 FROM fct_user_access
          WHERE access_type = 'organization_permission' AND entitlement = 'admin' AND valid_to IS NOT NULL) way
    GROUP BY organization_key, login, moment
),
admin_way AS (
    SELECT organization_key, moment, step, SUM(step) OVER (PARTITION BY organization_key, login ORDER BY moment) AS ways
    FROM admin_step
    WHERE step <> 0
),
step AS (
    SELECT organization_key, 'members' AS measure, valid_from AS moment, 1 AS step FROM fct_user_access WHERE access_type = 'membership'
    UNION ALL
    SELECT organization_key, 'members', valid_to, -1 FROM fct_user_access WHERE access_type = 'membership' AND valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'groups' AS measure, valid_from AS moment, 1 AS step FROM dim_group
    UNION ALL
    SELECT organization_key, 'groups', valid_to, -1 FROM dim_group WHERE valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'group_members' AS measure, valid_from AS moment, 1 AS step FROM bridge_group_member
    UNION ALL
    SELECT organization_key, 'group_members', valid_to, -1 FROM bridge_group_member WHERE valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'organization_permissions' AS measure, valid_from AS moment, 1 AS step FROM fct_user_access WHERE access_type = 'organization_permission'
    UNION ALL
    SELECT organization_key, 'organization_permissions', valid_to, -1 FROM fct_user_access WHERE access_type = 'organization_permission' AND valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'projects' AS measure, valid_from AS moment, 1 AS step FROM dim_project
    UNION ALL
    SELECT organization_key, 'projects', valid_to, -1 FROM dim_project WHERE valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'project_permissions' AS measure, valid_from AS moment, 1 AS step FROM fct_user_access WHERE access_type = 'project_permission'
    UNION ALL
    SELECT organization_key, 'project_permissions', valid_to, -1 FROM fct_user_access WHERE access_type = 'project_permission' AND valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'answers' AS measure, valid_from AS moment, 1 AS step FROM fct_finding
    UNION ALL
    SELECT organization_key, 'answers', valid_to, -1 FROM fct_finding WHERE valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'failing' AS measure, valid_from AS moment, 1 AS step FROM fct_finding WHERE result = 'fail'
    UNION ALL
    SELECT organization_key, 'failing', valid_to, -1 FROM fct_finding WHERE result = 'fail' AND valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'not_evaluable' AS measure, valid_from AS moment, 1 AS step FROM fct_finding WHERE result = 'not_evaluable'
    UNION ALL
    SELECT organization_key, 'not_evaluable', valid_to, -1 FROM fct_finding WHERE result = 'not_evaluable' AND valid_to IS NOT NULL
    UNION ALL
    SELECT organization_key, 'admins', moment, CASE WHEN ways > 0 AND ways = step THEN 1 WHEN ways = 0 THEN -1 ELSE 0 END
    FROM admin_way
),
at_moment AS (
    SELECT organization_key, moment,
           SUM(CASE WHEN measure = 'members' THEN step ELSE 0 END) AS members,
           SUM(CASE WHEN measure = 'admins' THEN step ELSE 0 END) AS admins,
           SUM(CASE WHEN measure = 'groups' THEN step ELSE 0 END) AS groups,
           SUM(CASE WHEN measure = 'group_members' THEN step ELSE 0 END) AS group_members,
           SUM(CASE WHEN measure = 'organization_permissions' THEN step ELSE 0 END) AS organization_permissions,
           SUM(CASE WHEN measure = 'projects' THEN step ELSE 0 END) AS projects,
           SUM(CASE WHEN measure = 'project_permissions' THEN step ELSE 0 END) AS project_permissions,
           SUM(CASE WHEN measure = 'answers' THEN step ELSE 0 END) AS answers,
           SUM(CASE WHEN measure = 'failing' THEN step ELSE 0 END) AS failing,
           SUM(CASE WHEN measure = 'not_evaluable' THEN step ELSE 0 END) AS not_evaluable
    FROM (SELECT organization_key, measure, moment, step FROM step
          UNION ALL
          SELECT organization_key, 'observed', observed_at, 0 FROM history_observation WHERE scope = 'core') known
    GROUP BY organization_key, moment
),
level AS (
    SELECT organization_key, moment,
           SUM(members) OVER (PARTITION BY organization_key ORDER BY moment) AS members,
           SUM(admins) OVER (PARTITION BY organization_key ORDER BY moment) AS admins,
           SUM(groups) OVER (PARTITION BY organization_key ORDER BY moment) AS groups,
           SUM(group_members) OVER (PARTITION BY organization_key ORDER BY moment) AS group_members,
           SUM(organization_permissions) OVER (PARTITION BY organization_key ORDER BY moment) AS organization_permissions,
           SUM(projects) OVER (PARTITION BY organization_key ORDER BY moment) AS projects,
           SUM(project_permissions) OVER (PARTITION BY organization_key ORDER BY moment) AS project_permissions,
           SUM(answers) OVER (PARTITION BY organization_key ORDER BY moment) AS answers,
           SUM(failing) OVER (PARTITION BY organization_key ORDER BY moment) AS failing,
           SUM(not_evaluable) OVER (PARTITION BY organization_key ORDER BY moment) AS not_evaluable
    FROM at_moment
)
SELECT c.organization_key, c.partition_date, c.status, l.moment AS observed_at,
       CAST(l.members AS INTEGER) AS members, CAST(l.admins AS INTEGER) AS admins, CAST(l.groups AS INTEGER) AS groups, CAST(l.group_members AS INTEGER) AS group_members, CAST(l.organization_permissions AS INTEGER) AS organization_permissions,
       CASE WHEN l.moment IS NOT NULL AND EXISTS (SELECT 1 FROM history_observation s WHERE s.organization_key = c.organization_key AND s.scope = 'project_permissions' AND s.observed_at = c.observed_at) THEN CAST(l.projects AS INTEGER) END AS projects,
       CASE WHEN l.moment IS NOT NULL AND EXISTS (SELECT 1 FROM history_observation s WHERE s.organization_key = c.organization_key AND s.scope = 'project_permissions' AND s.observed_at = c.observed_at) THEN CAST(l.project_permissions AS INTEGER) END AS project_permissions,
       CASE WHEN l.answers > 0 THEN CAST(l.failing AS INTEGER) END AS failing,
       CASE WHEN l.answers > 0 THEN CAST(l.not_evaluable AS INTEGER) END AS not_evaluable
FROM sync_coverage c
LEFT JOIN history_observation h ON h.organization_key = c.organization_key AND h.observed_at = c.observed_at AND h.scope = 'core'
LEFT JOIN level l ON l.organization_key = h.organization_key AND l.moment = h.observed_at
