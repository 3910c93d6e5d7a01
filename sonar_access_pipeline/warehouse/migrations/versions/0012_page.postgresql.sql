CREATE TABLE page_entry (
    token_sha256 TEXT NOT NULL,
    kind TEXT NOT NULL,
    person TEXT NOT NULL,
    strength TEXT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_page_entry PRIMARY KEY (token_sha256),
    CONSTRAINT ck_page_entry_kind CHECK (kind IN ('link', 'session'))
)

CREATE TABLE page_end (
    token_sha256 TEXT NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_page_end PRIMARY KEY (token_sha256),
    CONSTRAINT fk_page_end_token_sha256 FOREIGN KEY(token_sha256) REFERENCES page_entry (token_sha256)
)

CREATE TABLE page_event (
    event_id SERIAL NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    person TEXT NOT NULL,
    strength TEXT NOT NULL,
    what TEXT NOT NULL,
    review_id INTEGER,
    item_no INTEGER,
    status INTEGER NOT NULL,
    CONSTRAINT pk_page_event PRIMARY KEY (event_id)
)

CREATE TRIGGER page_entry_no_update BEFORE UPDATE ON page_entry FOR EACH ROW WHEN (NOT (NEW."token_sha256" IS NOT DISTINCT FROM OLD."token_sha256" AND NEW."kind" IS NOT DISTINCT FROM OLD."kind" AND NEW."strength" IS NOT DISTINCT FROM OLD."strength" AND NEW."made_at" IS NOT DISTINCT FROM OLD."made_at" AND NEW."ends_at" IS NOT DISTINCT FROM OLD."ends_at" AND (NEW."person" IS NOT DISTINCT FROM OLD."person" OR NEW."person" LIKE 'redacted-%'))) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER page_entry_no_delete BEFORE DELETE ON page_entry FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER page_entry_no_truncate BEFORE TRUNCATE ON page_entry FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER page_end_no_update BEFORE UPDATE ON page_end FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER page_end_no_delete BEFORE DELETE ON page_end FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER page_end_no_truncate BEFORE TRUNCATE ON page_end FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER page_event_no_update BEFORE UPDATE ON page_event FOR EACH ROW WHEN (NOT (NEW."event_id" IS NOT DISTINCT FROM OLD."event_id" AND NEW."at" IS NOT DISTINCT FROM OLD."at" AND NEW."strength" IS NOT DISTINCT FROM OLD."strength" AND NEW."what" IS NOT DISTINCT FROM OLD."what" AND NEW."review_id" IS NOT DISTINCT FROM OLD."review_id" AND NEW."item_no" IS NOT DISTINCT FROM OLD."item_no" AND NEW."status" IS NOT DISTINCT FROM OLD."status" AND (NEW."person" IS NOT DISTINCT FROM OLD."person" OR NEW."person" LIKE 'redacted-%'))) EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER page_event_no_delete BEFORE DELETE ON page_event FOR EACH ROW EXECUTE FUNCTION sonar_access.refuse_change()

CREATE TRIGGER page_event_no_truncate BEFORE TRUNCATE ON page_event FOR EACH STATEMENT EXECUTE FUNCTION sonar_access.refuse_change()
