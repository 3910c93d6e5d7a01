CREATE EXTENSION IF NOT EXISTS btree_gist

CREATE FUNCTION sonar_access.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$

CREATE TABLE alert (
    alert_id SERIAL NOT NULL,
    problem TEXT NOT NULL,
    event TEXT NOT NULL,
    cause TEXT NOT NULL,
    shared_with TEXT NOT NULL,
    connection TEXT,
    organization_key TEXT,
    partition_date DATE,
    run_id TEXT,
    told_once BOOLEAN NOT NULL,
    sentence TEXT NOT NULL,
    noted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    message_id INTEGER,
    CONSTRAINT pk_alert PRIMARY KEY (alert_id),
    CONSTRAINT ck_alert_event CHECK (event IN ('raised', 'repeated', 'recovered', 'closed'))
)

CREATE INDEX ix_alert_message_id ON alert (message_id)

CREATE INDEX ix_alert_problem ON alert (problem)

CREATE TABLE alert_delivery (
    message_id INTEGER NOT NULL,
    channel TEXT NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    tries INTEGER NOT NULL,
    next_try_at TIMESTAMP WITH TIME ZONE NOT NULL,
    delivered_at TIMESTAMP WITH TIME ZONE,
    error TEXT,
    CONSTRAINT pk_alert_delivery PRIMARY KEY (message_id, channel)
)

CREATE INDEX ix_alert_delivery_next_try_at ON alert_delivery (next_try_at) WHERE delivered_at IS NULL

CREATE TABLE body_drop (
    drop_id SERIAL NOT NULL,
    organization_key TEXT NOT NULL,
    older_than TIMESTAMP WITH TIME ZONE,
    keep_days INTEGER,
    reason TEXT NOT NULL,
    dropped_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_body_drop PRIMARY KEY (drop_id)
)

CREATE TABLE evidence_outbox (
    bundle_id SERIAL NOT NULL,
    path TEXT NOT NULL,
    location TEXT NOT NULL,
    completed_by TEXT NOT NULL,
    files BYTEA NOT NULL,
    entered_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_evidence_outbox PRIMARY KEY (bundle_id),
    CONSTRAINT uq_evidence_outbox_path UNIQUE (path)
)

CREATE TABLE evidence_packet (
    packet_id SERIAL NOT NULL,
    organization_key TEXT NOT NULL,
    first_day DATE NOT NULL,
    last_day DATE NOT NULL,
    digest TEXT NOT NULL,
    previous_digest TEXT,
    source_kind TEXT NOT NULL,
    location TEXT NOT NULL,
    sealed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    run_id TEXT NOT NULL,
    pipeline_version TEXT NOT NULL,
    format_version INTEGER NOT NULL,
    key_fingerprint TEXT NOT NULL,
    time_stamp BOOLEAN NOT NULL,
    CONSTRAINT pk_evidence_packet PRIMARY KEY (packet_id),
    CONSTRAINT uq_evidence_packet_digest UNIQUE (digest)
)

CREATE TABLE evidence_statement (
    statement_id SERIAL NOT NULL,
    organization_key TEXT NOT NULL,
    about TEXT NOT NULL,
    stated_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    location TEXT NOT NULL,
    key_fingerprint TEXT NOT NULL,
    stated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_evidence_statement PRIMARY KEY (statement_id)
)

CREATE INDEX ix_evidence_statement_organization_key ON evidence_statement (organization_key)

CREATE TABLE evidence_store (
    note_id SERIAL NOT NULL,
    location TEXT NOT NULL,
    name TEXT NOT NULL,
    noted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_evidence_store PRIMARY KEY (note_id)
)

CREATE INDEX ix_evidence_store_location ON evidence_store (location)

CREATE TABLE organization_end (
    ending_id SERIAL NOT NULL,
    organization_key TEXT NOT NULL,
    last_day DATE NOT NULL,
    reason TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_organization_end PRIMARY KEY (ending_id)
)

CREATE TABLE policy_version (
    version SERIAL NOT NULL,
    policy_sha256 TEXT NOT NULL,
    document TEXT NOT NULL,
    in_force_from TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_policy_version PRIMARY KEY (version)
)

CREATE INDEX ix_policy_version_in_force_from ON policy_version (in_force_from)

CREATE TABLE publication (
    publication_id SERIAL NOT NULL,
    path TEXT NOT NULL,
    location TEXT NOT NULL,
    entered_at TIMESTAMP WITH TIME ZONE NOT NULL,
    published_at TIMESTAMP WITH TIME ZONE NOT NULL,
    locked_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_publication PRIMARY KEY (publication_id)
)

CREATE INDEX ix_publication_path ON publication (path)

CREATE TABLE raw_body (
    body_sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    zlib_body BYTEA NOT NULL,
    dropped_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_raw_body PRIMARY KEY (body_sha256)
)

CREATE TABLE raw_snapshot (
    snapshot_id INTEGER NOT NULL,
    connection TEXT NOT NULL,
    organization_key TEXT NOT NULL,
    source_url TEXT NOT NULL,
    source_kind TEXT NOT NULL,
    partition_date DATE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    server_started_at TIMESTAMP WITH TIME ZONE,
    server_observed_at TIMESTAMP WITH TIME ZONE,
    scopes TEXT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT,
    run_id TEXT NOT NULL,
    token_login TEXT NOT NULL,
    tls_bundle_sha256 TEXT,
    pipeline_version TEXT NOT NULL,
    counts TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    previous_sha256 TEXT NOT NULL,
    imported_from TEXT,
    CONSTRAINT pk_raw_snapshot PRIMARY KEY (snapshot_id),
    CONSTRAINT uq_raw_snapshot_organization_key_observed_at UNIQUE (organization_key, observed_at),
    CONSTRAINT ck_raw_snapshot_verdict CHECK (verdict IN ('complete', 'incomplete', 'held')),
    CONSTRAINT ck_raw_snapshot_times CHECK (started_at <= observed_at)
)

CREATE INDEX ix_raw_snapshot_organization_key_partition_date ON raw_snapshot (organization_key, partition_date)

CREATE INDEX ix_raw_snapshot_run_id ON raw_snapshot (run_id)

CREATE TABLE redaction (
    redaction_id SERIAL NOT NULL,
    organization_key TEXT NOT NULL,
    pseudonym TEXT NOT NULL,
    salt TEXT NOT NULL,
    basis TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    redacted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_snapshot_id INTEGER NOT NULL,
    CONSTRAINT pk_redaction PRIMARY KEY (redaction_id)
)

CREATE TABLE rule_version (
    introduction SERIAL NOT NULL,
    rule_id TEXT NOT NULL,
    rule_version INTEGER NOT NULL,
    in_force_from TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_rule_version PRIMARY KEY (introduction),
    CONSTRAINT uq_rule_version_rule_id_rule_version UNIQUE (rule_id, rule_version)
)

CREATE TABLE signed_head (
    snapshot_id INTEGER NOT NULL,
    head_sha256 TEXT NOT NULL,
    location TEXT NOT NULL,
    key_fingerprint TEXT NOT NULL,
    signed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_signed_head PRIMARY KEY (snapshot_id)
)

CREATE TABLE watch_look (
    home TEXT NOT NULL,
    looked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_watch_look PRIMARY KEY (home)
)

CREATE TABLE bridge_group_member (
    organization_key TEXT NOT NULL,
    group_id TEXT NOT NULL,
    login TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_bridge_group_member PRIMARY KEY (organization_key, group_id, login, valid_from),
    CONSTRAINT fk_bridge_group_member_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_bridge_group_member_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_bridge_group_member_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_bridge_group_member_login ON bridge_group_member (organization_key, login)

CREATE INDEX ix_bridge_group_member_shown ON bridge_group_member (organization_key, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_bridge_group_member_valid_from ON bridge_group_member (organization_key, valid_from)

CREATE INDEX ix_bridge_group_member_valid_to ON bridge_group_member (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_bridge_group_member_open ON bridge_group_member (organization_key, group_id, login) WHERE valid_to IS NULL

CREATE TABLE dim_account_detail (
    organization_key TEXT NOT NULL,
    login TEXT NOT NULL,
    account_id TEXT,
    email TEXT,
    provider TEXT,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_dim_account_detail PRIMARY KEY (organization_key, login, valid_from),
    CONSTRAINT fk_dim_account_detail_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_dim_account_detail_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_dim_account_detail_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_dim_account_detail_shown ON dim_account_detail (organization_key, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_dim_account_detail_valid_from ON dim_account_detail (organization_key, valid_from)

CREATE INDEX ix_dim_account_detail_valid_to ON dim_account_detail (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_dim_account_detail_open ON dim_account_detail (organization_key, login) WHERE valid_to IS NULL

CREATE TABLE dim_group (
    organization_key TEXT NOT NULL,
    group_id TEXT NOT NULL,
    name TEXT,
    description TEXT,
    is_default BOOLEAN,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_dim_group PRIMARY KEY (organization_key, group_id, valid_from),
    CONSTRAINT fk_dim_group_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_dim_group_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_dim_group_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_dim_group_shown ON dim_group (organization_key, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_dim_group_valid_from ON dim_group (organization_key, valid_from)

CREATE INDEX ix_dim_group_valid_to ON dim_group (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_dim_group_open ON dim_group (organization_key, group_id) WHERE valid_to IS NULL

CREATE TABLE dim_organization (
    organization_key TEXT NOT NULL,
    name TEXT,
    subscription TEXT,
    alm_key TEXT,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_dim_organization PRIMARY KEY (organization_key, valid_from),
    CONSTRAINT fk_dim_organization_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_dim_organization_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_dim_organization_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_dim_organization_shown ON dim_organization (organization_key, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_dim_organization_valid_from ON dim_organization (organization_key, valid_from)

CREATE INDEX ix_dim_organization_valid_to ON dim_organization (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_dim_organization_open ON dim_organization (organization_key) WHERE valid_to IS NULL

CREATE TABLE dim_project (
    organization_key TEXT NOT NULL,
    project_key TEXT NOT NULL,
    name TEXT,
    visibility TEXT,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_dim_project PRIMARY KEY (organization_key, project_key, valid_from),
    CONSTRAINT fk_dim_project_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_dim_project_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_dim_project_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_dim_project_shown ON dim_project (organization_key, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_dim_project_valid_from ON dim_project (organization_key, valid_from)

CREATE INDEX ix_dim_project_valid_to ON dim_project (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_dim_project_open ON dim_project (organization_key, project_key) WHERE valid_to IS NULL

CREATE TABLE dim_user (
    organization_key TEXT NOT NULL,
    login TEXT NOT NULL,
    name TEXT,
    is_organization_admin BOOLEAN,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_dim_user PRIMARY KEY (organization_key, login, valid_from),
    CONSTRAINT fk_dim_user_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_dim_user_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_dim_user_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_dim_user_shown ON dim_user (organization_key, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_dim_user_valid_from ON dim_user (organization_key, valid_from)

CREATE INDEX ix_dim_user_valid_to ON dim_user (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_dim_user_open ON dim_user (organization_key, login) WHERE valid_to IS NULL

CREATE TABLE dropped_body (
    drop_id INTEGER NOT NULL,
    body_sha256 TEXT NOT NULL,
    CONSTRAINT pk_dropped_body PRIMARY KEY (drop_id, body_sha256),
    CONSTRAINT fk_dropped_body_drop_id FOREIGN KEY(drop_id) REFERENCES body_drop (drop_id),
    CONSTRAINT fk_dropped_body_body_sha256 FOREIGN KEY(body_sha256) REFERENCES raw_body (body_sha256)
)

CREATE INDEX ix_dropped_body_body_sha256 ON dropped_body (body_sha256)

CREATE TABLE fct_finding (
    organization_key TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    subject_type TEXT NOT NULL,
    subject TEXT NOT NULL,
    rule_version TEXT,
    policy_version TEXT,
    result TEXT,
    severity TEXT,
    detail TEXT,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_fct_finding PRIMARY KEY (organization_key, rule_id, subject_type, subject, valid_from),
    CONSTRAINT fk_fct_finding_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_fct_finding_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_fct_finding_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_fct_finding_shown ON fct_finding (organization_key, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_fct_finding_subject ON fct_finding (organization_key, subject)

CREATE INDEX ix_fct_finding_valid_from ON fct_finding (organization_key, valid_from)

CREATE INDEX ix_fct_finding_valid_to ON fct_finding (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_fct_finding_open ON fct_finding (organization_key, rule_id, subject_type, subject) WHERE valid_to IS NULL

CREATE TABLE fct_permission_grant (
    organization_key TEXT NOT NULL,
    principal_type TEXT NOT NULL,
    principal TEXT NOT NULL,
    scope TEXT NOT NULL,
    project_key TEXT NOT NULL,
    permission TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_fct_permission_grant PRIMARY KEY (organization_key, principal_type, principal, scope, project_key, permission, valid_from),
    CONSTRAINT fk_fct_permission_grant_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_fct_permission_grant_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_fct_permission_grant_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_fct_permission_grant_permission_project_key ON fct_permission_grant (organization_key, permission, project_key)

CREATE INDEX ix_fct_permission_grant_shown ON fct_permission_grant (organization_key, scope, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_fct_permission_grant_valid_from ON fct_permission_grant (organization_key, valid_from)

CREATE INDEX ix_fct_permission_grant_valid_to ON fct_permission_grant (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_fct_permission_grant_open ON fct_permission_grant (organization_key, principal_type, principal, scope, project_key, permission) WHERE valid_to IS NULL

CREATE TABLE fct_user_access (
    organization_key TEXT NOT NULL,
    login TEXT NOT NULL,
    access_type TEXT NOT NULL,
    resource TEXT NOT NULL,
    entitlement TEXT NOT NULL,
    granted_via TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE,
    is_current BOOLEAN GENERATED ALWAYS AS (valid_to IS NULL) STORED,
    changed_after TIMESTAMP WITH TIME ZONE,
    last_seen_at TIMESTAMP WITH TIME ZONE,
    row_hash BYTEA NOT NULL,
    CONSTRAINT pk_fct_user_access PRIMARY KEY (organization_key, login, access_type, resource, entitlement, granted_via, valid_from),
    CONSTRAINT fk_fct_user_access_valid_from FOREIGN KEY(organization_key, valid_from) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT fk_fct_user_access_valid_to FOREIGN KEY(organization_key, valid_to) REFERENCES raw_snapshot (organization_key, observed_at),
    CONSTRAINT ck_fct_user_access_interval CHECK (valid_from < valid_to)
)

CREATE INDEX ix_fct_user_access_entitlement_resource ON fct_user_access (organization_key, entitlement, resource)

CREATE INDEX ix_fct_user_access_shown ON fct_user_access (organization_key, access_type, row_hash, valid_to) WHERE valid_to IS NULL

CREATE INDEX ix_fct_user_access_valid_from ON fct_user_access (organization_key, valid_from)

CREATE INDEX ix_fct_user_access_valid_to ON fct_user_access (organization_key, valid_to) WHERE valid_to IS NOT NULL

CREATE UNIQUE INDEX uq_fct_user_access_open ON fct_user_access (organization_key, login, access_type, resource, entitlement, granted_via) WHERE valid_to IS NULL

CREATE TABLE history_observation (
    organization_key TEXT NOT NULL,
    scope TEXT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    snapshot_id INTEGER NOT NULL,
    CONSTRAINT pk_history_observation PRIMARY KEY (organization_key, scope, observed_at),
    CONSTRAINT fk_history_observation_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES raw_snapshot (snapshot_id)
)

CREATE TABLE raw_control (
    snapshot_id INTEGER NOT NULL,
    control TEXT NOT NULL,
    compares TEXT NOT NULL,
    left_count INTEGER,
    right_count INTEGER,
    passed BOOLEAN,
    detail TEXT,
    CONSTRAINT pk_raw_control PRIMARY KEY (snapshot_id, control),
    CONSTRAINT fk_raw_control_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES raw_snapshot (snapshot_id)
)

CREATE TABLE raw_list (
    snapshot_id INTEGER NOT NULL,
    list_name TEXT NOT NULL,
    subject TEXT NOT NULL,
    reported_total INTEGER,
    rows INTEGER NOT NULL,
    distinct_keys INTEGER NOT NULL,
    rereads INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT,
    CONSTRAINT pk_raw_list PRIMARY KEY (snapshot_id, list_name, subject),
    CONSTRAINT fk_raw_list_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES raw_snapshot (snapshot_id)
)

CREATE TABLE raw_response (
    snapshot_id INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    list_name TEXT NOT NULL,
    subject TEXT NOT NULL,
    reading INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    params TEXT NOT NULL,
    page INTEGER,
    status INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    duration_ms INTEGER NOT NULL,
    server_time TIMESTAMP WITH TIME ZONE,
    attempts INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    reported_total INTEGER,
    body_sha256 TEXT NOT NULL,
    CONSTRAINT pk_raw_response PRIMARY KEY (snapshot_id, sequence),
    CONSTRAINT fk_raw_response_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES raw_snapshot (snapshot_id),
    CONSTRAINT fk_raw_response_body_sha256 FOREIGN KEY(body_sha256) REFERENCES raw_body (body_sha256)
)

CREATE INDEX ix_raw_response_body_sha256 ON raw_response (body_sha256)

CREATE TABLE redacted_body (
    body_sha256 TEXT NOT NULL,
    new_sha256 TEXT NOT NULL,
    redaction_id INTEGER NOT NULL,
    CONSTRAINT pk_redacted_body PRIMARY KEY (body_sha256, redaction_id),
    CONSTRAINT fk_redacted_body_body_sha256 FOREIGN KEY(body_sha256) REFERENCES raw_body (body_sha256),
    CONSTRAINT fk_redacted_body_new_sha256 FOREIGN KEY(new_sha256) REFERENCES raw_body (body_sha256),
    CONSTRAINT fk_redacted_body_redaction_id FOREIGN KEY(redaction_id) REFERENCES redaction (redaction_id)
)

CREATE TABLE snapshot_decision (
    decision_id SERIAL NOT NULL,
    snapshot_id INTEGER NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_snapshot_decision PRIMARY KEY (decision_id),
    CONSTRAINT ck_snapshot_decision_decision CHECK (decision IN ('confirmed', 'retracted')),
    CONSTRAINT fk_snapshot_decision_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES raw_snapshot (snapshot_id)
)

CREATE INDEX ix_snapshot_decision_snapshot_id ON snapshot_decision (snapshot_id)

CREATE TABLE sync_attempt (
    attempt_id SERIAL NOT NULL,
    connection TEXT NOT NULL,
    organization_key TEXT NOT NULL,
    partition_date DATE NOT NULL,
    run_id TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    cause TEXT,
    error TEXT,
    snapshot_id INTEGER,
    due_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_sync_attempt PRIMARY KEY (attempt_id),
    CONSTRAINT fk_sync_attempt_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES raw_snapshot (snapshot_id)
)

CREATE INDEX ix_sync_attempt_organization_key_partition_date ON sync_attempt (organization_key, partition_date)

ALTER TABLE dim_organization ADD CONSTRAINT ex_dim_organization_overlap EXCLUDE USING gist (hashtextextended(organization_key, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

ALTER TABLE dim_user ADD CONSTRAINT ex_dim_user_overlap EXCLUDE USING gist (hashtextextended(organization_key || chr(31) || login, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

ALTER TABLE dim_account_detail ADD CONSTRAINT ex_dim_account_detail_overlap EXCLUDE USING gist (hashtextextended(organization_key || chr(31) || login, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

ALTER TABLE dim_group ADD CONSTRAINT ex_dim_group_overlap EXCLUDE USING gist (hashtextextended(organization_key || chr(31) || group_id, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

ALTER TABLE dim_project ADD CONSTRAINT ex_dim_project_overlap EXCLUDE USING gist (hashtextextended(organization_key || chr(31) || project_key, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

ALTER TABLE bridge_group_member ADD CONSTRAINT ex_bridge_group_member_overlap EXCLUDE USING gist (hashtextextended(organization_key || chr(31) || group_id || chr(31) || login, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

ALTER TABLE fct_permission_grant ADD CONSTRAINT ex_fct_permission_grant_overlap EXCLUDE USING gist (hashtextextended(organization_key || chr(31) || principal_type || chr(31) || principal || chr(31) || scope || chr(31) || project_key || chr(31) || permission, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

ALTER TABLE fct_user_access ADD CONSTRAINT ex_fct_user_access_overlap EXCLUDE USING gist (hashtextextended(organization_key || chr(31) || login || chr(31) || access_type || chr(31) || resource || chr(31) || entitlement || chr(31) || granted_via, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

ALTER TABLE fct_finding ADD CONSTRAINT ex_fct_finding_overlap EXCLUDE USING gist (hashtextextended(organization_key || chr(31) || rule_id || chr(31) || subject_type || chr(31) || subject, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)

CREATE TRIGGER raw_snapshot_no_update BEFORE UPDATE ON raw_snapshot FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_snapshot_no_delete BEFORE DELETE ON raw_snapshot FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_snapshot_no_truncate BEFORE TRUNCATE ON raw_snapshot FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_list_no_update BEFORE UPDATE ON raw_list FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_list_no_delete BEFORE DELETE ON raw_list FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_list_no_truncate BEFORE TRUNCATE ON raw_list FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_control_no_update BEFORE UPDATE ON raw_control FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_control_no_delete BEFORE DELETE ON raw_control FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_control_no_truncate BEFORE TRUNCATE ON raw_control FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_response_no_update BEFORE UPDATE ON raw_response FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_response_no_delete BEFORE DELETE ON raw_response FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_response_no_truncate BEFORE TRUNCATE ON raw_response FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER snapshot_decision_no_update BEFORE UPDATE ON snapshot_decision FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER snapshot_decision_no_delete BEFORE DELETE ON snapshot_decision FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER snapshot_decision_no_truncate BEFORE TRUNCATE ON snapshot_decision FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER redaction_no_update BEFORE UPDATE ON redaction FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER redaction_no_delete BEFORE DELETE ON redaction FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER redaction_no_truncate BEFORE TRUNCATE ON redaction FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER redacted_body_no_update BEFORE UPDATE ON redacted_body FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER redacted_body_no_delete BEFORE DELETE ON redacted_body FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER redacted_body_no_truncate BEFORE TRUNCATE ON redacted_body FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER body_drop_no_update BEFORE UPDATE ON body_drop FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER body_drop_no_delete BEFORE DELETE ON body_drop FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER body_drop_no_truncate BEFORE TRUNCATE ON body_drop FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER dropped_body_no_update BEFORE UPDATE ON dropped_body FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER dropped_body_no_delete BEFORE DELETE ON dropped_body FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER dropped_body_no_truncate BEFORE TRUNCATE ON dropped_body FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_packet_no_update BEFORE UPDATE ON evidence_packet FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_packet_no_delete BEFORE DELETE ON evidence_packet FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_packet_no_truncate BEFORE TRUNCATE ON evidence_packet FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER organization_end_no_update BEFORE UPDATE ON organization_end FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER organization_end_no_delete BEFORE DELETE ON organization_end FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER organization_end_no_truncate BEFORE TRUNCATE ON organization_end FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER alert_no_update BEFORE UPDATE ON alert FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER alert_no_delete BEFORE DELETE ON alert FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER alert_no_truncate BEFORE TRUNCATE ON alert FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER policy_version_no_update BEFORE UPDATE ON policy_version FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER policy_version_no_delete BEFORE DELETE ON policy_version FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER policy_version_no_truncate BEFORE TRUNCATE ON policy_version FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER rule_version_no_update BEFORE UPDATE ON rule_version FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER rule_version_no_delete BEFORE DELETE ON rule_version FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER rule_version_no_truncate BEFORE TRUNCATE ON rule_version FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER signed_head_no_update BEFORE UPDATE ON signed_head FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER signed_head_no_delete BEFORE DELETE ON signed_head FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER signed_head_no_truncate BEFORE TRUNCATE ON signed_head FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER publication_no_update BEFORE UPDATE ON publication FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER publication_no_delete BEFORE DELETE ON publication FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER publication_no_truncate BEFORE TRUNCATE ON publication FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_store_no_update BEFORE UPDATE ON evidence_store FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_store_no_delete BEFORE DELETE ON evidence_store FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_store_no_truncate BEFORE TRUNCATE ON evidence_store FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_statement_no_update BEFORE UPDATE ON evidence_statement FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_statement_no_delete BEFORE DELETE ON evidence_statement FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER evidence_statement_no_truncate BEFORE TRUNCATE ON evidence_statement FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_body_no_update BEFORE UPDATE ON raw_body FOR EACH ROW WHEN (NOT (OLD.dropped_at IS NULL AND NEW.dropped_at IS NOT NULL AND length(NEW.zlib_body) = 0 AND NEW.body_sha256 = OLD.body_sha256 AND NEW.size_bytes = OLD.size_bytes OR OLD.dropped_at IS NOT NULL AND NEW.dropped_at IS NULL AND length(NEW.zlib_body) > 0 AND NEW.body_sha256 = OLD.body_sha256 AND NEW.size_bytes = OLD.size_bytes)) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_body_no_delete BEFORE DELETE ON raw_body FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER raw_body_no_truncate BEFORE TRUNCATE ON raw_body FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE FUNCTION sonar_access.refuse_other_bytes() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored bytea := NEW.zlib_body; whole bytea := '';
    place int := 2; size int; is_last int; is_whole boolean := substring(NEW.zlib_body FOR 2) = decode('7801', 'hex');
    sum_a bigint; sum_b bigint;
BEGIN
    LOOP
        is_last := get_byte(stored, place);
        size := get_byte(stored, place + 1) + 256 * get_byte(stored, place + 2);
        is_whole := is_whole AND is_last IN (0, 1)
            AND get_byte(stored, place + 3) + 256 * get_byte(stored, place + 4) = 65535 - size;
        whole := whole || substring(stored FROM place + 6 FOR size);
        place := place + 5 + size;
        EXIT WHEN is_last <> 0;
    END LOOP;
    SELECT 1 + coalesce(sum(get_byte(whole, number)), 0),
        length(whole) + coalesce(sum((length(whole) - number)::bigint * get_byte(whole, number)), 0)
        INTO sum_a, sum_b FROM generate_series(0, length(whole) - 1) AS number;
    IF NOT is_whole OR encode(sha256(whole), 'hex') <> OLD.body_sha256 OR substring(stored FROM place + 1)
        <> decode(lpad(to_hex(sum_b % 65521 * 65536 + sum_a % 65521), 8, '0'), 'hex') THEN
        RAISE EXCEPTION 'these are not the bytes of this body' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$

CREATE TRIGGER raw_body_its_own_bytes BEFORE UPDATE ON raw_body FOR EACH ROW WHEN (OLD.dropped_at IS NOT NULL AND NEW.dropped_at IS NULL) EXECUTE FUNCTION sonar_access.refuse_other_bytes()

CREATE VIEW observation AS
SELECT s.*
FROM raw_snapshot s
WHERE (s.verdict = 'complete'
       OR (s.verdict = 'held'
           AND EXISTS (SELECT 1 FROM snapshot_decision d WHERE d.snapshot_id = s.snapshot_id AND d.decision = 'confirmed')))
  AND NOT EXISTS (SELECT 1 FROM snapshot_decision d WHERE d.snapshot_id = s.snapshot_id AND d.decision = 'retracted')

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
    SELECT x.organization_key, x.first_day, GREATEST(COALESCE(b.last_day, x.first_day), COALESCE(
        (SELECT MAX(e.last_day) FROM organization_end e
         WHERE e.organization_key = x.organization_key
         HAVING MAX(e.last_day) >= COALESCE(b.last_day, x.first_day)), (now() AT TIME ZONE 'UTC')::date))
    FROM expected x
    LEFT JOIN believed b ON b.organization_key = x.organization_key
    UNION ALL
    SELECT organization_key, partition_date + 1, last_day FROM day WHERE partition_date < last_day
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
       CASE WHEN CAST(ROUND(EXTRACT(EPOCH FROM seen.first_observed_at - tried.due_at)) AS INTEGER) > 0 THEN CAST(ROUND(EXTRACT(EPOCH FROM seen.first_observed_at - tried.due_at)) AS INTEGER) WHEN CAST(ROUND(EXTRACT(EPOCH FROM seen.first_observed_at - tried.due_at)) AS INTEGER) <= 0 THEN 0 END AS lateness_seconds,
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

CREATE VIEW user_project_access AS
SELECT organization_key, login, resource AS project_key, entitlement AS permission, granted_via,
       valid_from, valid_to, changed_after, last_seen_at
FROM fct_user_access
WHERE access_type = 'project_permission'
UNION ALL
SELECT r.organization_key, r.login, r.project_key, r.permission, r.granted_via, r.valid_from, r.valid_to,
       (SELECT s.started_at FROM history_observation s
            WHERE s.organization_key = r.organization_key AND s.scope = 'project_permissions' AND s.observed_at < r.valid_from
            ORDER BY s.observed_at DESC LIMIT 1) AS changed_after,
       CASE WHEN r.valid_to IS NOT NULL THEN (SELECT s.started_at FROM history_observation s
            WHERE s.organization_key = r.organization_key AND s.scope = 'project_permissions' AND s.observed_at < r.valid_to
            ORDER BY s.observed_at DESC LIMIT 1) END AS last_seen_at
FROM (
    SELECT g.organization_key, m.login, g.project_key, g.permission, 'group:' || g.principal AS granted_via,
           (SELECT MIN(s.observed_at) FROM history_observation s
            WHERE s.organization_key = g.organization_key AND s.scope = 'project_permissions' AND s.observed_at >= CASE WHEN g.valid_from >= m.valid_from THEN g.valid_from ELSE m.valid_from END) AS valid_from,
           CASE WHEN CASE WHEN m.valid_to IS NULL OR g.valid_to <= m.valid_to THEN g.valid_to ELSE m.valid_to END IS NOT NULL THEN COALESCE((SELECT MIN(s.observed_at) FROM history_observation s
            WHERE s.organization_key = g.organization_key AND s.scope = 'project_permissions' AND s.observed_at >= CASE WHEN m.valid_to IS NULL OR g.valid_to <= m.valid_to THEN g.valid_to ELSE m.valid_to END), CASE WHEN m.valid_to IS NULL OR g.valid_to <= m.valid_to THEN g.valid_to ELSE m.valid_to END) END AS valid_to
    FROM fct_permission_grant g
    JOIN bridge_group_member m
      ON m.organization_key = g.organization_key AND m.group_id = g.principal
     AND (g.valid_to IS NULL OR m.valid_from < g.valid_to)
     AND (m.valid_to IS NULL OR g.valid_from < m.valid_to)
    WHERE g.scope = 'project' AND g.principal_type = 'group'
) r
WHERE r.valid_from IS NOT NULL AND (r.valid_to IS NULL OR r.valid_from < r.valid_to)

CREATE VIEW finding_period AS
WITH marked AS (
    SELECT organization_key, rule_id, subject_type, subject, result, valid_from, valid_to, changed_after, last_seen_at,
           CASE WHEN LAG(valid_to) OVER (PARTITION BY organization_key, rule_id, subject_type, subject ORDER BY valid_from) = valid_from
                 AND LAG(result) OVER (PARTITION BY organization_key, rule_id, subject_type, subject ORDER BY valid_from) = result
                THEN 0 ELSE 1 END AS begins
    FROM fct_finding
),
numbered AS (
    SELECT m.*, SUM(begins) OVER (PARTITION BY organization_key, rule_id, subject_type, subject ORDER BY valid_from) AS period FROM marked m
)
SELECT organization_key, rule_id, subject_type, subject, result,
       MIN(valid_from) AS valid_from,
       CASE WHEN COUNT(valid_to) = COUNT(*) THEN MAX(valid_to) END AS valid_to,
       MIN(CASE WHEN begins = 1 THEN changed_after END) AS changed_after,
       CASE WHEN COUNT(valid_to) = COUNT(*) THEN MAX(last_seen_at) END AS last_seen_at
FROM numbered
GROUP BY organization_key, rule_id, subject_type, subject, result, period
