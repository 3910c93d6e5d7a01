"""Every table, for both databases. Migrations bring a warehouse here; a test compares the two.

History tables are made from their one description in `access/rows.py`. Times are UTC: `timestamptz`
on PostgreSQL, ISO text with microseconds on SQLite, so that both sort and compare.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from sonar_access_pipeline.access.rows import HISTORY_TABLES, SIZE, HistoryTable
from sonar_access_pipeline.access.rows import Column as HistoryColumn
from sonar_access_pipeline.warehouse.schema_base import (
    SCHEMA,
    UtcDateTime,
    column,
    metadata,
    required,
    where,
)
from sonar_access_pipeline.warehouse.schema_page import PAGE_TABLES
from sonar_access_pipeline.warehouse.schema_reviews import REVIEW_TABLES

__all__ = ("SCHEMA", "UtcDateTime", "metadata")
"""What others may take from here beside the tables: with these, all tables are there."""


def _snapshot_key() -> Column[int]:
    return Column(
        "snapshot_id",
        ForeignKey("raw_snapshot.snapshot_id"),
        primary_key=True,
        comment="the snapshot it is of",
    )


raw_snapshot = Table(
    "raw_snapshot",
    metadata,
    column(
        "snapshot_id", "number in recording order", Integer, primary_key=True, autoincrement=False
    ),
    required("connection", "name of the connection that read it"),
    required("organization_key", "key of the organization"),
    required("source_url", "address it was read from"),
    required("source_kind", "sonarcloud (a known host over verified TLS), simulated, or other"),
    required("partition_date", "UTC date of started_at", Date),
    required("started_at", "when reading began", UtcDateTime),
    required("observed_at", "when reading ended; increases within an organization", UtcDateTime),
    required("recorded_at", "when it was stored", UtcDateTime),
    column("server_started_at", "SonarCloud's own clock in the first answer", UtcDateTime),
    column("server_observed_at", "SonarCloud's own clock in the last answer", UtcDateTime),
    required("scopes", "the sets of lists that were read, joined by commas"),
    required("verdict", "complete, incomplete or held; written once"),
    column("reason", "why it is not complete, in one sentence"),
    required("run_id", "Dagster run that read it"),
    required("token_login", "login of the account whose token read it; never the token"),
    column(
        "tls_bundle_sha256",
        "digest of the authorities that verified TLS, where the environment named some",
    ),
    required("pipeline_version", "version of this software"),
    required("counts", "what it holds, as JSON: a number per kind of thing"),
    required("content_sha256", "digest of everything that it says, bodies by their digest"),
    required("previous_sha256", "digest of all snapshots recorded before: the chain"),
    column(
        "imported_from",
        "digest of the archive that it came in; NULL where this warehouse read it itself",
    ),
    UniqueConstraint("organization_key", "observed_at"),
    Index("ix_raw_snapshot_run_id", "run_id"),
    Index("ix_raw_snapshot_organization_key_partition_date", "organization_key", "partition_date"),
    CheckConstraint("verdict IN ('complete', 'incomplete', 'held')", name="verdict"),
    CheckConstraint("started_at <= observed_at", name="times"),
    comment="One read of one organization; append-only",
)

raw_list = Table(
    "raw_list",
    metadata,
    _snapshot_key(),
    column("list_name", "which list", Text, primary_key=True),
    column(
        "subject",
        "group id or project key of a list that there are many of, else empty",
        Text,
        primary_key=True,
    ),
    column("reported_total", "rows that SonarCloud says there are", Integer),
    required("rows", "rows that came", Integer),
    required("distinct_keys", "different things among them", Integer),
    required("rereads", "how often it was read again", Integer),
    required("verdict", "complete or incomplete"),
    column("reason", "why it is incomplete, or how it is complete without all its rows"),
    comment="One list of a snapshot, and whether it is all there is; append-only",
)

raw_control = Table(
    "raw_control",
    metadata,
    _snapshot_key(),
    column("control", "name of the comparison", Text, primary_key=True),
    required("compares", "what with what, in words"),
    column("left_count", "what the first says", Integer),
    column("right_count", "what the second says", Integer),
    column("passed", "whether they agree; NULL where that could not be evaluated", Boolean),
    column("detail", "what differs, or why it could not be evaluated"),
    comment="One comparison of two independent statements of a snapshot; append-only",
)

raw_body = Table(
    "raw_body",
    metadata,
    column("body_sha256", "digest of the body as it came", Text, primary_key=True),
    required("size_bytes", "its length", Integer),
    required("zlib_body", "the body, compressed; empty once it was dropped", LargeBinary),
    column(
        "dropped_at",
        "when its bytes were dropped, by age or by redaction; NULL while they are here",
        UtcDateTime,
    ),
    comment=(
        "One distinct response body; unchanged pages are stored once. Append-only, but that a body"
        " may be dropped"
    ),
)

raw_response = Table(
    "raw_response",
    metadata,
    _snapshot_key(),
    column("sequence", "number of the response in its snapshot", Integer, primary_key=True),
    required("list_name", "list that it is a page of"),
    required("subject", "group id or project key of a list that there are many of, else empty"),
    required(
        "reading", "which reading of the list; those that count are told by their totals", Integer
    ),
    required("endpoint", "what was asked"),
    required("params", "with which parameters, as JSON"),
    column("page", "number of the page", Integer),
    required("status", "HTTP status", Integer),
    required("started_at", "when it was asked", UtcDateTime),
    required("duration_ms", "how long the answer took", Integer),
    column("server_time", "SonarCloud's own clock in the answer", UtcDateTime),
    required("attempts", "tries that it took", Integer),
    required("rows", "rows of the page", Integer),
    column("reported_total", "rows that SonarCloud says there are in the list", Integer),
    Column(
        "body_sha256",
        ForeignKey("raw_body.body_sha256"),
        nullable=False,
        index=True,
        comment="the body that came",
    ),
    comment="One HTTP response; append-only",
)

snapshot_decision = Table(
    "snapshot_decision",
    metadata,
    column("decision_id", "number in the order of deciding", Integer, primary_key=True),
    Column(
        "snapshot_id",
        ForeignKey("raw_snapshot.snapshot_id"),
        nullable=False,
        index=True,
        comment="the snapshot decided upon",
    ),
    required("decision", "confirmed (a held one) or retracted"),
    required("reason", "why, in the words of who decided"),
    required("decided_by", "who"),
    required("decided_at", "when", UtcDateTime),
    CheckConstraint("decision IN ('confirmed', 'retracted')", name="decision"),
    comment="What a person said of a snapshot afterwards; append-only",
)

history_observation = Table(
    "history_observation",
    metadata,
    column("organization_key", "key of the organization", Text, primary_key=True),
    column("scope", "set of lists that was read", Text, primary_key=True),
    column("observed_at", "when the observation ended", UtcDateTime, primary_key=True),
    required("started_at", "when it began", UtcDateTime),
    Column(
        "snapshot_id",
        ForeignKey("raw_snapshot.snapshot_id"),
        nullable=False,
        comment="the snapshot that it is",
    ),
    comment=(
        "The observations that the history tables show; written in the transaction that merges them"
    ),
)

body_drop = Table(
    "body_drop",
    metadata,
    column("drop_id", "number in the order of dropping", Integer, primary_key=True),
    required("organization_key", "key of the organization whose bodies were dropped"),
    column(
        "older_than", "bodies that only snapshots observed before this moment have", UtcDateTime
    ),
    column("keep_days", "days that the settings say bodies are kept", Integer),
    required("reason", "why, in words"),
    required("dropped_at", "when", UtcDateTime),
    comment=(
        "One time that bodies were dropped by age; append-only. A body dropped without one is a"
        " fault"
    ),
)

dropped_body = Table(
    "dropped_body",
    metadata,
    Column(
        "drop_id",
        ForeignKey("body_drop.drop_id"),
        primary_key=True,
        comment="the time that it was dropped",
    ),
    Column(
        "body_sha256",
        ForeignKey("raw_body.body_sha256"),
        primary_key=True,
        index=True,
        comment="the body",
    ),
    comment="A body that was dropped by age; append-only",
)

redaction = Table(
    "redaction",
    metadata,
    column("redaction_id", "number in the order of redacting", Integer, primary_key=True),
    required("organization_key", "key of the organization"),
    required("pseudonym", "what stands in the person's place from now on"),
    required(
        "salt",
        "with the login it gives the pseudonym, so that the same person gets the same one again",
    ),
    required("basis", "on what basis, in the words of who decided"),
    required("decided_by", "who"),
    required("redacted_at", "when", UtcDateTime),
    required(
        "last_snapshot_id",
        "the last snapshot that was there: what is read later is not redacted by it",
        Integer,
    ),
    comment="One person who was replaced by a pseudonym; append-only. It does not say who it was",
)

redacted_body = Table(
    "redacted_body",
    metadata,
    Column(
        "body_sha256",
        ForeignKey("raw_body.body_sha256"),
        primary_key=True,
        comment="the body as it came",
    ),
    Column(
        "new_sha256",
        ForeignKey("raw_body.body_sha256"),
        nullable=False,
        comment="the body that stands in its place",
    ),
    Column(
        "redaction_id",
        ForeignKey("redaction.redaction_id"),
        primary_key=True,
        comment="the redaction that replaced it",
    ),
    comment="A body that was replaced by one without a person; append-only",
)

sync_attempt = Table(
    "sync_attempt",
    metadata,
    column("attempt_id", "number in the order of trying", Integer, primary_key=True),
    required("connection", "name of the connection"),
    required("organization_key", "key of the organization"),
    required("partition_date", "UTC date of started_at", Date),
    required("run_id", "Dagster run that tried"),
    required("started_at", "when it began", UtcDateTime),
    column("ended_at", "when it ended, or was found to have; NULL while it runs", UtcDateTime),
    column("outcome", "verdict of its snapshot, or failed; NULL while it runs"),
    column("cause", "kind of what went wrong, as in alert.cause; NULL where nothing did"),
    column("error", "what went wrong, in one sentence"),
    Column(
        "snapshot_id",
        ForeignKey("raw_snapshot.snapshot_id"),
        comment="the snapshot that it made, if any",
    ),
    column("due_at", "the hour of the day at which its day was to be observed", UtcDateTime),
    Index("ix_sync_attempt_organization_key_partition_date", "organization_key", "partition_date"),
    comment="Every try to sync, successful or not",
)

organization_end = Table(
    "organization_end",
    metadata,
    column("ending_id", "number in the order of deciding", Integer, primary_key=True),
    required("organization_key", "key of the organization"),
    required("last_day", "the last day on which it is expected to be observed", Date),
    required("reason", "why it ends, in the words of who decided"),
    required("decided_by", "who"),
    required("decided_at", "when", UtcDateTime),
    comment=(
        "An organization that is not observed any more, so that later days are no gaps; append-only"
    ),
)

alert = Table(
    "alert",
    metadata,
    column("alert_id", "number in the order of noting", Integer, primary_key=True),
    required("problem", "key of the problem: connection, colon, what is wrong"),
    required("event", "raised, repeated, recovered, or closed (nobody watches it any more)"),
    required("cause", "kind of what is wrong; the runbook has a section for each"),
    required(
        "shared_with",
        "what other connections may have in common with it: problems with the same are told"
        " together",
    ),
    column("connection", "name of the connection; NULL where it is the whole deployment"),
    column("organization_key", "key of the organization, where it is known"),
    column("partition_date", "the day that it is about, if any", Date),
    column("run_id", "Dagster run that showed it, if any"),
    required(
        "told_once", "whether it is not repeated: a gap, or what somebody ran by hand", Boolean
    ),
    required("sentence", "what is wrong, in one sentence"),
    required("noted_at", "when", UtcDateTime),
    column("message_id", "message that tells of it; NULL where none does", Integer),
    Index("ix_alert_problem", "problem"),
    Index("ix_alert_message_id", "message_id"),
    CheckConstraint("event IN ('raised', 'repeated', 'recovered', 'closed')", name="event"),
    comment="Every problem raised, repeated and recovered; append-only",
)

alert_delivery = Table(
    "alert_delivery",
    metadata,
    column("message_id", "number of the message", Integer, primary_key=True, autoincrement=False),
    column("channel", "kind and digest of the notification URL; never the URL", primary_key=True),
    required("title", "its title"),
    required("body", "its text"),
    required("made_at", "when it was made", UtcDateTime),
    required("tries", "how often it was sent", Integer),
    required("next_try_at", "when it is due to be sent", UtcDateTime),
    column("delivered_at", "when the channel took it; NULL until then", UtcDateTime),
    column("error", "why the channel did not take it the last time"),
    Index("ix_alert_delivery_next_try_at", "next_try_at", **where("delivered_at IS NULL")),
    comment="One message on its way to one channel: tried again until it is taken",
)

watch_look = Table(
    "watch_look",
    metadata,
    column("home", "first connection of the deployment whose watch looked", Text, primary_key=True),
    required("looked_at", "when it looked last", UtcDateTime),
    comment=(
        "The last look of each deployment's watch: where there is none, nobody would have raised an"
        " alert"
    ),
)

policy_version = Table(
    "policy_version",
    metadata,
    column("version", "number in the order of recording", Integer, primary_key=True),
    required("policy_sha256", "digest of the document"),
    required(
        "document",
        "thresholds, exceptions, roster and service accounts, as canonical JSON; accounts as"
        " digests",
    ),
    required(
        "in_force_from",
        "since when it holds: observations from then on are judged by it",
        UtcDateTime,
        index=True,
    ),
    comment="Every policy, as it was from a time on; append-only",
)

rule_version = Table(
    "rule_version",
    metadata,
    column("introduction", "number in the order of recording", Integer, primary_key=True),
    required("rule_id", "the rule; docs/findings.md has them all"),
    required("rule_version", "which version of it", Integer),
    required("in_force_from", "since when it judges, in place of the version before", UtcDateTime),
    UniqueConstraint("rule_id", "rule_version"),
    comment=(
        "Every rule, and version of one, that came after the first release, from when this"
        " warehouse met it; append-only"
    ),
)

dim_rule = Table(
    "dim_rule",
    metadata,
    column("rule_id", "the rule; docs/findings.md has them all", primary_key=True),
    column("rule_version", "which version of it", primary_key=True),
    required("title", "what it finds, as a sentence without its subject"),
    comment=(
        "Every version of every rule that this version of the pipeline knows, in words; written by"
        " a sync, from the rules themselves"
    ),
)

signed_head = Table(
    "signed_head",
    metadata,
    column(
        "snapshot_id",
        "the last snapshot that the head commits to",
        Integer,
        primary_key=True,
        autoincrement=False,
    ),
    required("head_sha256", "digest of the chain of snapshots up to that one"),
    required("location", "where in the evidence store the signed head lies"),
    required("key_fingerprint", "fingerprint of the key that signed it"),
    required("signed_at", "when", UtcDateTime),
    comment=(
        "Every head of the chain of snapshots that was signed and put into the evidence store;"
        " append-only"
    ),
)

evidence_packet = Table(
    "evidence_packet",
    metadata,
    column("packet_id", "number in the order of sealing", Integer, primary_key=True),
    required("organization_key", "key of the organization"),
    required("first_day", "first day of its window", Date),
    required("last_day", "last day of its window", Date),
    required("digest", "digest of its manifest", unique=True),
    column("previous_digest", "digest of the packet sealed before it"),
    required("source_kind", "sonarcloud, simulated or other"),
    required("location", "where it lies"),
    required("sealed_at", "when", UtcDateTime),
    required("run_id", "Dagster run that sealed it"),
    required("pipeline_version", "version of this software"),
    required("format_version", "version of the packet's format", Integer),
    required("key_fingerprint", "fingerprint of the key that signed it"),
    required("time_stamp", "whether an authority stamped it", Boolean),
    comment="Every packet ever sealed; append-only",
)

evidence_outbox = Table(
    "evidence_outbox",
    metadata,
    column(
        "bundle_id",
        "number in the order of entering, in which bundles are published",
        Integer,
        primary_key=True,
    ),
    required("path", "where in the evidence store it belongs", unique=True),
    required("location", "the same as folder or URL, when it was entered"),
    required("completed_by", "the file without which the bundle is none"),
    required("files", "the finished files, byte for byte, as a zip file", LargeBinary),
    required("entered_at", "when it was entered", UtcDateTime),
    comment=(
        "A finished bundle of evidence on its way to the store; gone once it lies there and was"
        " read back"
    ),
)

publication = Table(
    "publication",
    metadata,
    column("publication_id", "number in the order of publishing", Integer, primary_key=True),
    required("path", "where in the evidence store it lies", index=True),
    required("location", "the same as folder or URL"),
    required("entered_at", "when the bundle was entered", UtcDateTime),
    required("published_at", "when it lay there and was read back", UtcDateTime),
    column(
        "locked_until",
        "when the first lock of its objects ends, as the store said; NULL where none was asked for",
        UtcDateTime,
    ),
    comment="A bundle of evidence that came to lie in the store; append-only",
)

evidence_store = Table(
    "evidence_store",
    metadata,
    column("note_id", "number in the order of noting", Integer, primary_key=True),
    required("location", "folder or URL of the store", index=True),
    required(
        "name", "the name that the store says of itself; a store of another name there is refused"
    ),
    required("noted_at", "when", UtcDateTime),
    comment=(
        "Which evidence store lies at which place; the last note of a place counts; append-only"
    ),
)

evidence_statement = Table(
    "evidence_statement",
    metadata,
    column("statement_id", "number in the order of stating", Integer, primary_key=True),
    required("organization_key", "key of the organization", index=True),
    required(
        "about",
        "the faults in the line of packets that it is about, by their keys, with a space between",
    ),
    required("stated_by", "who"),
    required("reason", "what it says of them"),
    required("location", "folder or URL of the signed statement"),
    required("key_fingerprint", "fingerprint of the key that signed it"),
    required("stated_at", "when", UtcDateTime),
    comment=(
        "What a person stated of a fault in the line of packets, such as a packet that is lost for"
        " good; append-only"
    ),
)

delivery = Table(
    "delivery",
    metadata,
    column("delivery_id", "number in the order of delivering", Integer, primary_key=True),
    required("name", "name of the delivery in the settings"),
    required("kind", "kind of target"),
    required("target", "where it went, without a secret"),
    required("organization_key", "key of the organization"),
    required("packet_digest", "digest of the packet that was delivered"),
    required("as_of", "observation that the packet shows", UtcDateTime),
    required("delivery_key", "what makes it the same delivery when it is sent again"),
    required("accounts", "accounts of the packet", Integer),
    required("parts", "JSON: name, rows, bytes and digest of each part"),
    required("found", "whether all of it was there already", Boolean),
    required("remote", "JSON: the ids that the target gave"),
    required("delivered_at", "when", UtcDateTime),
    required("pipeline_version", "version that delivered it"),
    Index("ix_delivery_of_name", "organization_key", "name"),
    comment=(
        "Receipts: evidence that was put where somebody else keeps it, and of which what is there"
        " was compared with what was sent; append-only"
    ),
)

APPEND_ONLY = (
    raw_snapshot,
    raw_list,
    raw_control,
    raw_response,
    snapshot_decision,
    redaction,
    redacted_body,
    body_drop,
    dropped_body,
    evidence_packet,
    organization_end,
    alert,
    policy_version,
    rule_version,
    signed_head,
    publication,
    evidence_store,
    evidence_statement,
    delivery,
    *REVIEW_TABLES,
    *PAGE_TABLES,
)
"""The tables whose rows the database lets nobody change or delete; `raw_body` is guarded too, and
may lose its bytes.
"""


def _history_column(column: HistoryColumn, *, key: bool) -> Column[Any]:
    kind = Boolean() if column.kind == "boolean" else Text()
    return Column(column.name, kind, primary_key=key, comment=column.meaning)


def history_table(description: HistoryTable, of: MetaData = metadata) -> Table:
    """Build the table of a description.

    Its rows belong to the snapshots that opened and closed them. Two partial indexes serve the
    merge: no key is open twice, and the hashes of what is open, by part, are read and found without
    touching the table. What has ended has an index of its own, so that no planner is led to look
    there for what is open.
    """
    keys = ["organization_key", *(column.name for column in description.key)]
    parting = sorted({part.column for part in description.parts if part.column is not None})
    opened, closed = (
        ForeignKeyConstraint(
            ["organization_key", time],
            ["raw_snapshot.organization_key", "raw_snapshot.observed_at"],
            name=f"fk_{description.name}_{time}",
        )
        for time in ("valid_from", "valid_to")
    )
    return Table(
        description.name,
        of,
        Column("organization_key", Text, primary_key=True, comment="key of the organization"),
        *(_history_column(column, key=True) for column in description.key),
        *(_history_column(column, key=False) for column in description.values),
        Column(
            "valid_from",
            UtcDateTime,
            primary_key=True,
            comment="first observation that shows this version of the row",
        ),
        Column(
            "valid_to",
            UtcDateTime,
            comment="first observation that no longer shows it; NULL while open",
        ),
        Column(
            "is_current",
            Boolean,
            Computed("valid_to IS NULL", persisted=True),
            comment="valid_to IS NULL",
        ),
        Column(
            "changed_after",
            UtcDateTime,
            comment="start of the observation before valid_from; NULL at the baseline",
        ),
        Column(
            "last_seen_at",
            UtcDateTime,
            comment="start of the observation before valid_to; NULL while open",
        ),
        Column(
            "row_hash",
            LargeBinary(SIZE),
            nullable=False,
            comment="hash of the row's values, without its times",
        ),
        opened,
        closed,
        CheckConstraint("valid_from < valid_to", name="interval"),
        Index(f"uq_{description.name}_open", *keys, unique=True, **where("valid_to IS NULL")),
        # With valid_to, which is NULL in all of them: SQLite would not believe that it has all it
        # needs.
        Index(
            f"ix_{description.name}_shown",
            "organization_key",
            *parting,
            "row_hash",
            "valid_to",
            **where("valid_to IS NULL"),
        ),
        Index(
            f"ix_{description.name}_valid_to",
            "organization_key",
            "valid_to",
            **where("valid_to IS NOT NULL"),
        ),
        Index(f"ix_{description.name}_valid_from", "organization_key", "valid_from"),
        *(
            Index(f"ix_{description.name}_{'_'.join(columns)}", "organization_key", *columns)
            for columns in description.asked_by
        ),
        comment=f"History of {description.meaning}",
    )


history_tables: dict[str, Table] = {
    description.name: history_table(description) for description in HISTORY_TABLES
}
