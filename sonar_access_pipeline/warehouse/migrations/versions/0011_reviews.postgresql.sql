CREATE TABLE review (
    review_id SERIAL NOT NULL,
    organization_key TEXT NOT NULL,
    series TEXT NOT NULL,
    scope TEXT NOT NULL,
    packet_digest TEXT NOT NULL,
    packet_location TEXT NOT NULL,
    source_kind TEXT NOT NULL,
    as_of TIMESTAMP WITH TIME ZONE NOT NULL,
    due DATE NOT NULL,
    items INTEGER NOT NULL,
    left_out INTEGER NOT NULL,
    owner TEXT,
    fallback TEXT NOT NULL,
    policy_version INTEGER NOT NULL,
    previous_review_id INTEGER,
    opened_by TEXT NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_review PRIMARY KEY (review_id),
    CONSTRAINT ck_review_scope CHECK (scope IN ('everybody', 'admins', 'services'))
)

CREATE INDEX ix_review_organization_key ON review (organization_key)

CREATE TABLE review_item (
    review_id INTEGER NOT NULL,
    item_no INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    "right" TEXT NOT NULL,
    resource TEXT NOT NULL,
    name TEXT,
    held TEXT NOT NULL,
    shown TEXT NOT NULL,
    findings TEXT NOT NULL,
    unchanged_since TEXT,
    item_digest TEXT NOT NULL,
    change_class TEXT NOT NULL,
    left_out_why TEXT,
    previous_decision_id INTEGER,
    CONSTRAINT pk_review_item PRIMARY KEY (review_id, item_no),
    CONSTRAINT uq_review_item_subject_kind_right_resource_review_id UNIQUE (subject, kind, "right", resource, review_id),
    CONSTRAINT ck_review_item_kind CHECK (kind IN ('account', 'privilege', 'grant')),
    CONSTRAINT fk_review_item_review_id FOREIGN KEY(review_id) REFERENCES review (review_id)
)

CREATE TABLE review_assignment (
    assignment_id SERIAL NOT NULL,
    review_id INTEGER NOT NULL,
    item_no INTEGER NOT NULL,
    reviewer TEXT NOT NULL,
    basis TEXT NOT NULL,
    assigned_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    assigned_at TIMESTAMP WITH TIME ZONE NOT NULL,
    supersedes INTEGER,
    CONSTRAINT pk_review_assignment PRIMARY KEY (assignment_id),
    CONSTRAINT fk_review_assignment_review_id FOREIGN KEY(review_id, item_no) REFERENCES review_item (review_id, item_no),
    CONSTRAINT uq_review_assignment_assignment_id_review_id_item_no UNIQUE (assignment_id, review_id, item_no),
    CONSTRAINT fk_review_assignment_line FOREIGN KEY(supersedes, review_id, item_no) REFERENCES review_assignment (assignment_id, review_id, item_no),
    CONSTRAINT ck_review_assignment_line CHECK (supersedes < assignment_id),
    CONSTRAINT uq_review_assignment_supersedes UNIQUE (supersedes)
)

CREATE INDEX ix_review_assignment_review_id_item_no ON review_assignment (review_id, item_no)

CREATE UNIQUE INDEX uq_review_assignment_root ON review_assignment (review_id, item_no) WHERE supersedes IS NULL

CREATE TABLE review_decision (
    decision_id SERIAL NOT NULL,
    review_id INTEGER NOT NULL,
    item_no INTEGER NOT NULL,
    decision TEXT NOT NULL,
    remove TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    strength TEXT NOT NULL,
    channel TEXT NOT NULL,
    file_sha256 TEXT,
    batch TEXT,
    seconds FLOAT,
    item_digest TEXT NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE,
    supersedes INTEGER,
    CONSTRAINT pk_review_decision PRIMARY KEY (decision_id),
    CONSTRAINT fk_review_decision_review_id FOREIGN KEY(review_id, item_no) REFERENCES review_item (review_id, item_no),
    CONSTRAINT uq_review_decision_decision_id_review_id_item_no UNIQUE (decision_id, review_id, item_no),
    CONSTRAINT fk_review_decision_line FOREIGN KEY(supersedes, review_id, item_no) REFERENCES review_decision (decision_id, review_id, item_no),
    CONSTRAINT ck_review_decision_line CHECK (supersedes < decision_id),
    CONSTRAINT ck_review_decision_decision CHECK (decision IN ('keep', 'change', 'revoke')),
    CONSTRAINT ck_review_decision_strength CHECK (strength IN ('signed', 'verified', 'mailed', 'declared')),
    CONSTRAINT uq_review_decision_supersedes UNIQUE (supersedes)
)

CREATE INDEX ix_review_decision_review_id_item_no ON review_decision (review_id, item_no)

CREATE UNIQUE INDEX uq_review_decision_root ON review_decision (review_id, item_no) WHERE supersedes IS NULL

CREATE TABLE review_signoff (
    signoff_id SERIAL NOT NULL,
    review_id INTEGER NOT NULL,
    part TEXT NOT NULL,
    signer TEXT NOT NULL,
    text_version INTEGER NOT NULL,
    statement TEXT NOT NULL,
    statement_sha256 TEXT NOT NULL,
    items INTEGER NOT NULL,
    strength TEXT NOT NULL,
    signature TEXT,
    key_fingerprint TEXT,
    signed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_review_signoff PRIMARY KEY (signoff_id),
    CONSTRAINT uq_review_signoff_review_id_part_signer_statement_sha256 UNIQUE (review_id, part, signer, statement_sha256),
    CONSTRAINT ck_review_signoff_part CHECK (part IN ('reviewer', 'owner')),
    CONSTRAINT fk_review_signoff_review_id FOREIGN KEY(review_id) REFERENCES review (review_id)
)

CREATE TABLE review_event (
    event_id SERIAL NOT NULL,
    review_id INTEGER NOT NULL,
    event TEXT NOT NULL,
    item_no INTEGER,
    noted_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    noted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_review_event PRIMARY KEY (event_id),
    CONSTRAINT fk_review_event_review_id FOREIGN KEY(review_id) REFERENCES review (review_id)
)

CREATE INDEX ix_review_event_review_id ON review_event (review_id)

CREATE TABLE fct_follow_up (
    organization_key TEXT NOT NULL,
    review_id INTEGER NOT NULL,
    item_no INTEGER NOT NULL,
    decision_id INTEGER NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_shown TIMESTAMP WITH TIME ZONE,
    first_not_shown TIMESTAMP WITH TIME ZONE,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_fct_follow_up PRIMARY KEY (organization_key, review_id, item_no, valid_from),
    CONSTRAINT fk_fct_follow_up_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_fct_follow_up_interval CHECK (valid_from < valid_to)
)

CREATE TRIGGER review_no_update BEFORE UPDATE ON review FOR EACH ROW WHEN (NOT (NEW."review_id" IS NOT DISTINCT FROM OLD."review_id" AND NEW."organization_key" IS NOT DISTINCT FROM OLD."organization_key" AND NEW."series" IS NOT DISTINCT FROM OLD."series" AND NEW."scope" IS NOT DISTINCT FROM OLD."scope" AND NEW."packet_digest" IS NOT DISTINCT FROM OLD."packet_digest" AND NEW."packet_location" IS NOT DISTINCT FROM OLD."packet_location" AND NEW."source_kind" IS NOT DISTINCT FROM OLD."source_kind" AND NEW."as_of" IS NOT DISTINCT FROM OLD."as_of" AND NEW."due" IS NOT DISTINCT FROM OLD."due" AND NEW."items" IS NOT DISTINCT FROM OLD."items" AND NEW."left_out" IS NOT DISTINCT FROM OLD."left_out" AND NEW."policy_version" IS NOT DISTINCT FROM OLD."policy_version" AND NEW."previous_review_id" IS NOT DISTINCT FROM OLD."previous_review_id" AND NEW."opened_at" IS NOT DISTINCT FROM OLD."opened_at" AND (NEW."owner" IS NOT DISTINCT FROM OLD."owner" OR NEW."owner" LIKE 'redacted-%') AND (NEW."fallback" IS NOT DISTINCT FROM OLD."fallback" OR NEW."fallback" LIKE 'redacted-%') AND (NEW."opened_by" IS NOT DISTINCT FROM OLD."opened_by" OR NEW."opened_by" LIKE 'redacted-%'))) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_no_delete BEFORE DELETE ON review FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_no_truncate BEFORE TRUNCATE ON review FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_item_no_update BEFORE UPDATE ON review_item FOR EACH ROW WHEN (NOT (NEW."review_id" IS NOT DISTINCT FROM OLD."review_id" AND NEW."item_no" IS NOT DISTINCT FROM OLD."item_no" AND NEW."kind" IS NOT DISTINCT FROM OLD."kind" AND NEW."right" IS NOT DISTINCT FROM OLD."right" AND NEW."resource" IS NOT DISTINCT FROM OLD."resource" AND NEW."held" IS NOT DISTINCT FROM OLD."held" AND NEW."shown" IS NOT DISTINCT FROM OLD."shown" AND NEW."findings" IS NOT DISTINCT FROM OLD."findings" AND NEW."unchanged_since" IS NOT DISTINCT FROM OLD."unchanged_since" AND NEW."item_digest" IS NOT DISTINCT FROM OLD."item_digest" AND NEW."change_class" IS NOT DISTINCT FROM OLD."change_class" AND NEW."left_out_why" IS NOT DISTINCT FROM OLD."left_out_why" AND NEW."previous_decision_id" IS NOT DISTINCT FROM OLD."previous_decision_id" AND (NEW."subject" IS NOT DISTINCT FROM OLD."subject" OR NEW."subject" LIKE 'redacted-%') AND (NEW."name" IS NOT DISTINCT FROM OLD."name" OR NEW."name" LIKE 'redacted-%'))) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_item_no_delete BEFORE DELETE ON review_item FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_item_no_truncate BEFORE TRUNCATE ON review_item FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_assignment_no_update BEFORE UPDATE ON review_assignment FOR EACH ROW WHEN (NOT (NEW."assignment_id" IS NOT DISTINCT FROM OLD."assignment_id" AND NEW."review_id" IS NOT DISTINCT FROM OLD."review_id" AND NEW."item_no" IS NOT DISTINCT FROM OLD."item_no" AND NEW."basis" IS NOT DISTINCT FROM OLD."basis" AND NEW."reason" IS NOT DISTINCT FROM OLD."reason" AND NEW."assigned_at" IS NOT DISTINCT FROM OLD."assigned_at" AND NEW."supersedes" IS NOT DISTINCT FROM OLD."supersedes" AND (NEW."reviewer" IS NOT DISTINCT FROM OLD."reviewer" OR NEW."reviewer" LIKE 'redacted-%') AND (NEW."assigned_by" IS NOT DISTINCT FROM OLD."assigned_by" OR NEW."assigned_by" LIKE 'redacted-%'))) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_assignment_no_delete BEFORE DELETE ON review_assignment FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_assignment_no_truncate BEFORE TRUNCATE ON review_assignment FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_decision_no_update BEFORE UPDATE ON review_decision FOR EACH ROW WHEN (NOT (NEW."decision_id" IS NOT DISTINCT FROM OLD."decision_id" AND NEW."review_id" IS NOT DISTINCT FROM OLD."review_id" AND NEW."item_no" IS NOT DISTINCT FROM OLD."item_no" AND NEW."decision" IS NOT DISTINCT FROM OLD."decision" AND NEW."remove" IS NOT DISTINCT FROM OLD."remove" AND NEW."reason" IS NOT DISTINCT FROM OLD."reason" AND NEW."strength" IS NOT DISTINCT FROM OLD."strength" AND NEW."channel" IS NOT DISTINCT FROM OLD."channel" AND NEW."file_sha256" IS NOT DISTINCT FROM OLD."file_sha256" AND NEW."batch" IS NOT DISTINCT FROM OLD."batch" AND NEW."seconds" IS NOT DISTINCT FROM OLD."seconds" AND NEW."item_digest" IS NOT DISTINCT FROM OLD."item_digest" AND NEW."decided_at" IS NOT DISTINCT FROM OLD."decided_at" AND NEW."due_at" IS NOT DISTINCT FROM OLD."due_at" AND NEW."supersedes" IS NOT DISTINCT FROM OLD."supersedes" AND (NEW."decided_by" IS NOT DISTINCT FROM OLD."decided_by" OR NEW."decided_by" LIKE 'redacted-%'))) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_decision_no_delete BEFORE DELETE ON review_decision FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_decision_no_truncate BEFORE TRUNCATE ON review_decision FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_signoff_no_update BEFORE UPDATE ON review_signoff FOR EACH ROW WHEN (NOT (NEW."signoff_id" IS NOT DISTINCT FROM OLD."signoff_id" AND NEW."review_id" IS NOT DISTINCT FROM OLD."review_id" AND NEW."part" IS NOT DISTINCT FROM OLD."part" AND NEW."text_version" IS NOT DISTINCT FROM OLD."text_version" AND NEW."statement" IS NOT DISTINCT FROM OLD."statement" AND NEW."statement_sha256" IS NOT DISTINCT FROM OLD."statement_sha256" AND NEW."items" IS NOT DISTINCT FROM OLD."items" AND NEW."strength" IS NOT DISTINCT FROM OLD."strength" AND NEW."signature" IS NOT DISTINCT FROM OLD."signature" AND NEW."key_fingerprint" IS NOT DISTINCT FROM OLD."key_fingerprint" AND NEW."signed_at" IS NOT DISTINCT FROM OLD."signed_at" AND (NEW."signer" IS NOT DISTINCT FROM OLD."signer" OR NEW."signer" LIKE 'redacted-%'))) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_signoff_no_delete BEFORE DELETE ON review_signoff FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_signoff_no_truncate BEFORE TRUNCATE ON review_signoff FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_event_no_update BEFORE UPDATE ON review_event FOR EACH ROW WHEN (NOT (NEW."event_id" IS NOT DISTINCT FROM OLD."event_id" AND NEW."review_id" IS NOT DISTINCT FROM OLD."review_id" AND NEW."event" IS NOT DISTINCT FROM OLD."event" AND NEW."item_no" IS NOT DISTINCT FROM OLD."item_no" AND NEW."reason" IS NOT DISTINCT FROM OLD."reason" AND NEW."noted_at" IS NOT DISTINCT FROM OLD."noted_at" AND (NEW."noted_by" IS NOT DISTINCT FROM OLD."noted_by" OR NEW."noted_by" LIKE 'redacted-%'))) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_event_no_delete BEFORE DELETE ON review_event FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER review_event_no_truncate BEFORE TRUNCATE ON review_event FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE VIEW review_item_status AS
SELECT r.organization_key, i.review_id, i.item_no, i.kind, i.subject, i.name, i."right", i.resource, i.shown, i.change_class, i.left_out_why,
       a.reviewer, a.basis, d.decision_id, d.decision, d.remove, d.reason, d.decided_by, d.strength, d.decided_at, d.due_at,
       CASE WHEN i.left_out_why IS NOT NULL THEN 'left out'
            WHEN d.decision_id IS NULL THEN 'open'
            WHEN g.signed_at >= d.decided_at AND g.signed_at >= l.assigned_at THEN 'signed'
            ELSE 'decided' END AS state
FROM review_item i
JOIN review r ON r.review_id = i.review_id
LEFT JOIN review_assignment a ON a.review_id = i.review_id AND a.item_no = i.item_no
      AND NOT EXISTS (SELECT 1 FROM review_assignment later WHERE later.supersedes = a.assignment_id)
LEFT JOIN review_decision d ON d.review_id = i.review_id AND d.item_no = i.item_no
      AND NOT EXISTS (SELECT 1 FROM review_decision later WHERE later.supersedes = d.decision_id)
LEFT JOIN (SELECT s.review_id, lower(trim(s.signer)) AS who, MAX(s.signed_at) AS signed_at
           FROM review_signoff s WHERE s.part = 'reviewer' GROUP BY s.review_id, lower(trim(s.signer))) g
       ON g.review_id = i.review_id AND g.who = lower(trim(a.reviewer))
LEFT JOIN (SELECT b.review_id, lower(trim(b.reviewer)) AS who, MAX(b.assigned_at) AS assigned_at
           FROM review_assignment b GROUP BY b.review_id, lower(trim(b.reviewer))) l
       ON l.review_id = i.review_id AND l.who = lower(trim(a.reviewer))

CREATE VIEW review_status AS
SELECT t.review_id, t.organization_key, t.series, t.scope, t.packet_digest, t.as_of, t.due, t.items, t.left_out, t.owner, t.opened_at,
       t.undecided, t.kept, t.changed, t.revoked, t.reviewers, t.signed, t.acknowledged_at, t.ended_at,
       COALESCE(t.ended, CASE WHEN t.undecided > 0 THEN 'open'
                              WHEN t.signed < t.reviewers THEN 'decided'
                              WHEN t.acknowledged_at IS NULL THEN 'signed'
                              ELSE 'acknowledged' END) AS state
FROM (
    SELECT r.*, COALESCE(c.undecided, 0) AS undecided, COALESCE(c.kept, 0) AS kept, COALESCE(c.changed, 0) AS changed,
           COALESCE(c.revoked, 0) AS revoked, COALESCE(c.reviewers, 0) AS reviewers, COALESCE(c.reviewers, 0) - COALESCE(c.unsigned, 0) AS signed,
           (SELECT MAX(s.signed_at) FROM review_signoff s WHERE s.review_id = r.review_id AND s.part = 'owner') AS acknowledged_at,
           (SELECT MIN(e.noted_at) FROM review_event e WHERE e.review_id = r.review_id AND e.event IN ('sealed', 'closed incomplete', 'cancelled')) AS ended_at,
           (SELECT MIN(e.event) FROM review_event e WHERE e.review_id = r.review_id AND e.event IN ('sealed', 'closed incomplete', 'cancelled')) AS ended
    FROM review r
    LEFT JOIN (
        SELECT s.review_id,
               SUM(CASE WHEN s.state = 'open' THEN 1 ELSE 0 END) AS undecided,
               SUM(CASE WHEN s.decision = 'keep' THEN 1 ELSE 0 END) AS kept,
               SUM(CASE WHEN s.decision = 'change' THEN 1 ELSE 0 END) AS changed,
               SUM(CASE WHEN s.decision = 'revoke' THEN 1 ELSE 0 END) AS revoked,
               COUNT(DISTINCT lower(trim(s.reviewer))) AS reviewers,
               COUNT(DISTINCT CASE WHEN s.state <> 'signed' THEN lower(trim(s.reviewer)) END) AS unsigned
        FROM review_item_status s
        WHERE s.state <> 'left out'
        GROUP BY s.review_id
    ) c ON c.review_id = r.review_id
) t

CREATE VIEW follow_up AS
SELECT s.organization_key, s.review_id, s.item_no, s.kind, s.subject, s."right", s.resource, d.decision_id, d.decision, d.remove, d.decided_by, d.decided_at,
       COALESCE(f.state, 'open') AS state, d.due_at, f.last_shown, f.first_not_shown, f.valid_from AS observed_from
FROM review_item_status s
JOIN review_decision d ON d.review_id = s.review_id AND d.item_no = s.item_no
     AND NOT EXISTS (SELECT 1 FROM review_decision later WHERE later.supersedes = d.decision_id)
LEFT JOIN fct_follow_up f ON f.organization_key = s.organization_key AND f.review_id = s.review_id AND f.item_no = s.item_no
     AND f.decision_id = d.decision_id AND f.valid_to IS NULL
WHERE d.decision <> 'keep'
  AND NOT EXISTS (SELECT 1 FROM review_event e WHERE e.review_id = s.review_id AND e.event = 'cancelled')
  AND NOT EXISTS (SELECT 1 FROM review_item o
                  JOIN review n ON n.review_id = o.review_id AND n.organization_key = s.organization_key
                  JOIN review_decision p ON p.review_id = o.review_id AND p.item_no = o.item_no
                  WHERE o.subject = s.subject AND o.kind = s.kind AND o."right" = s."right" AND o.resource = s.resource AND o.review_id > s.review_id
                    AND NOT EXISTS (SELECT 1 FROM review_event e WHERE e.review_id = o.review_id AND e.event = 'cancelled'))
