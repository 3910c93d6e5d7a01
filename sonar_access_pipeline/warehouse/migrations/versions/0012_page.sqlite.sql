CREATE TABLE page_entry (
    token_sha256 TEXT NOT NULL,
    kind TEXT NOT NULL,
    person TEXT NOT NULL,
    strength TEXT NOT NULL,
    made_at DATETIME NOT NULL,
    ends_at DATETIME NOT NULL,
    CONSTRAINT pk_page_entry PRIMARY KEY (token_sha256),
    CONSTRAINT ck_page_entry_kind CHECK (kind IN ('link', 'session'))
)

CREATE TABLE page_end (
    token_sha256 TEXT NOT NULL,
    ended_at DATETIME NOT NULL,
    CONSTRAINT pk_page_end PRIMARY KEY (token_sha256),
    CONSTRAINT fk_page_end_token_sha256 FOREIGN KEY(token_sha256) REFERENCES page_entry (token_sha256)
)

CREATE TABLE page_event (
    event_id INTEGER NOT NULL,
    at DATETIME NOT NULL,
    person TEXT NOT NULL,
    strength TEXT NOT NULL,
    what TEXT NOT NULL,
    review_id INTEGER,
    item_no INTEGER,
    status INTEGER NOT NULL,
    CONSTRAINT pk_page_event PRIMARY KEY (event_id)
)

CREATE TRIGGER page_entry_no_update BEFORE UPDATE ON page_entry WHEN (NOT (NEW."token_sha256" IS OLD."token_sha256" AND NEW."kind" IS OLD."kind" AND NEW."strength" IS OLD."strength" AND NEW."made_at" IS OLD."made_at" AND NEW."ends_at" IS OLD."ends_at" AND (NEW."person" IS OLD."person" OR NEW."person" LIKE 'redacted-%'))) BEGIN SELECT RAISE(ABORT, 'page_entry is append-only'); END

CREATE TRIGGER page_entry_no_delete BEFORE DELETE ON page_entry BEGIN SELECT RAISE(ABORT, 'page_entry is append-only'); END

CREATE TRIGGER page_end_no_update BEFORE UPDATE ON page_end BEGIN SELECT RAISE(ABORT, 'page_end is append-only'); END

CREATE TRIGGER page_end_no_delete BEFORE DELETE ON page_end BEGIN SELECT RAISE(ABORT, 'page_end is append-only'); END

CREATE TRIGGER page_event_no_update BEFORE UPDATE ON page_event WHEN (NOT (NEW."event_id" IS OLD."event_id" AND NEW."at" IS OLD."at" AND NEW."strength" IS OLD."strength" AND NEW."what" IS OLD."what" AND NEW."review_id" IS OLD."review_id" AND NEW."item_no" IS OLD."item_no" AND NEW."status" IS OLD."status" AND (NEW."person" IS OLD."person" OR NEW."person" LIKE 'redacted-%'))) BEGIN SELECT RAISE(ABORT, 'page_event is append-only'); END

CREATE TRIGGER page_event_no_delete BEFORE DELETE ON page_event BEGIN SELECT RAISE(ABORT, 'page_event is append-only'); END
