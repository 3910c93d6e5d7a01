"""Every table, for both databases. Migrations bring a warehouse here; a test compares the two.

History tables are made from their one description in `access/rows.py`. Times are UTC: `timestamptz`
on PostgreSQL, ISO text with microseconds on SQLite, so that both sort and compare.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

from sonar_access_pipeline.access.rows import HISTORY_TABLES, SIZE, HistoryTable
from sonar_access_pipeline.access.rows import Column as HistoryColumn

SCHEMA = "sonar_access"
"""The warehouse's own schema on PostgreSQL. SQLite has none: there the file is the schema."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. A naive one is refused: it would mean something else on every
    machine.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read it from the database: aware, UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _column(name: str, meaning: str, kind: Any = Text, **options: Any) -> Column[Any]:
    return Column(name, kind, comment=meaning, **options)


def _required(name: str, meaning: str, kind: Any = Text, **options: Any) -> Column[Any]:
    return _column(name, meaning, kind, nullable=False, **options)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


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
    _column(
        "snapshot_id", "number in recording order", Integer, primary_key=True, autoincrement=False
    ),
    _required("connection", "name of the connection that read it"),
    _required("organization_key", "key of the organization"),
    _required("source_url", "address it was read from"),
    _required("source_kind", "sonarcloud (a known host over verified TLS), simulated, or other"),
    _required("partition_date", "UTC date of started_at", Date),
    _required("started_at", "when reading began", UtcDateTime),
    _required("observed_at", "when reading ended; increases within an organization", UtcDateTime),
    _required("recorded_at", "when it was stored", UtcDateTime),
    _column("server_started_at", "SonarCloud's own clock in the first answer", UtcDateTime),
    _column("server_observed_at", "SonarCloud's own clock in the last answer", UtcDateTime),
    _required("scopes", "the sets of lists that were read, joined by commas"),
    _required("verdict", "complete, incomplete or held; written once"),
    _column("reason", "why it is not complete, in one sentence"),
    _required("run_id", "Dagster run that read it"),
    _required("token_login", "login of the account whose token read it; never the token"),
    _column(
        "tls_bundle_sha256",
        "digest of the authorities that verified TLS, where the environment named some",
    ),
    _required("pipeline_version", "version of this software"),
    _required("counts", "what it holds, as JSON: a number per kind of thing"),
    _required("content_sha256", "digest of everything that it says, bodies by their digest"),
    _required("previous_sha256", "digest of all snapshots recorded before: the chain"),
    _column(
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
    _column("list_name", "which list", Text, primary_key=True),
    _column(
        "subject",
        "group id or project key of a list that there are many of, else empty",
        Text,
        primary_key=True,
    ),
    _column("reported_total", "rows that SonarCloud says there are", Integer),
    _required("rows", "rows that came", Integer),
    _required("distinct_keys", "different things among them", Integer),
    _required("rereads", "how often it was read again", Integer),
    _required("verdict", "complete or incomplete"),
    _column("reason", "why it is incomplete, or how it is complete without all its rows"),
    comment="One list of a snapshot, and whether it is all there is; append-only",
)

raw_control = Table(
    "raw_control",
    metadata,
    _snapshot_key(),
    _column("control", "name of the comparison", Text, primary_key=True),
    _required("compares", "what with what, in words"),
    _column("left_count", "what the first says", Integer),
    _column("right_count", "what the second says", Integer),
    _column("passed", "whether they agree; NULL where that could not be evaluated", Boolean),
    _column("detail", "what differs, or why it could not be evaluated"),
    comment="One comparison of two independent statements of a snapshot; append-only",
)

raw_body = Table(
    "raw_body",
    metadata,
    _column("body_sha256", "digest of the body as it came", Text, primary_key=True),
    _required("size_bytes", "its length", Integer),
    _required("zlib_body", "the body, compressed; empty once it was dropped", LargeBinary),
    _column(
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
    _column("sequence", "number of the response in its snapshot", Integer, primary_key=True),
    _required("list_name", "list that it is a page of"),
    _required("subject", "group id or project key of a list that there are many of, else empty"),
    _required(
        "reading", "which reading of the list; those that count are told by their totals", Integer
    ),
    _required("endpoint", "what was asked"),
    _required("params", "with which parameters, as JSON"),
    _column("page", "number of the page", Integer),
    _required("status", "HTTP status", Integer),
    _required("started_at", "when it was asked", UtcDateTime),
    _required("duration_ms", "how long the answer took", Integer),
    _column("server_time", "SonarCloud's own clock in the answer", UtcDateTime),
    _required("attempts", "tries that it took", Integer),
    _required("rows", "rows of the page", Integer),
    _column("reported_total", "rows that SonarCloud says there are in the list", Integer),
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
    _column("decision_id", "number in the order of deciding", Integer, primary_key=True),
    Column(
        "snapshot_id",
        ForeignKey("raw_snapshot.snapshot_id"),
        nullable=False,
        index=True,
        comment="the snapshot decided upon",
    ),
    _required("decision", "confirmed (a held one) or retracted"),
    _required("reason", "why, in the words of who decided"),
    _required("decided_by", "who"),
    _required("decided_at", "when", UtcDateTime),
    CheckConstraint("decision IN ('confirmed', 'retracted')", name="decision"),
    comment="What a person said of a snapshot afterwards; append-only",
)

history_observation = Table(
    "history_observation",
    metadata,
    _column("organization_key", "key of the organization", Text, primary_key=True),
    _column("scope", "set of lists that was read", Text, primary_key=True),
    _column("observed_at", "when the observation ended", UtcDateTime, primary_key=True),
    _required("started_at", "when it began", UtcDateTime),
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
    _column("drop_id", "number in the order of dropping", Integer, primary_key=True),
    _required("organization_key", "key of the organization whose bodies were dropped"),
    _column(
        "older_than", "bodies that only snapshots observed before this moment have", UtcDateTime
    ),
    _column("keep_days", "days that the settings say bodies are kept", Integer),
    _required("reason", "why, in words"),
    _required("dropped_at", "when", UtcDateTime),
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
    _column("redaction_id", "number in the order of redacting", Integer, primary_key=True),
    _required("organization_key", "key of the organization"),
    _required("pseudonym", "what stands in the person's place from now on"),
    _required(
        "salt",
        "with the login it gives the pseudonym, so that the same person gets the same one again",
    ),
    _required("basis", "on what basis, in the words of who decided"),
    _required("decided_by", "who"),
    _required("redacted_at", "when", UtcDateTime),
    _required(
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
    _column("attempt_id", "number in the order of trying", Integer, primary_key=True),
    _required("connection", "name of the connection"),
    _required("organization_key", "key of the organization"),
    _required("partition_date", "UTC date of started_at", Date),
    _required("run_id", "Dagster run that tried"),
    _required("started_at", "when it began", UtcDateTime),
    _column("ended_at", "when it ended, or was found to have; NULL while it runs", UtcDateTime),
    _column("outcome", "verdict of its snapshot, or failed; NULL while it runs"),
    _column("cause", "kind of what went wrong, as in alert.cause; NULL where nothing did"),
    _column("error", "what went wrong, in one sentence"),
    Column(
        "snapshot_id",
        ForeignKey("raw_snapshot.snapshot_id"),
        comment="the snapshot that it made, if any",
    ),
    _column("due_at", "the hour of the day at which its day was to be observed", UtcDateTime),
    Index("ix_sync_attempt_organization_key_partition_date", "organization_key", "partition_date"),
    comment="Every try to sync, successful or not",
)

organization_end = Table(
    "organization_end",
    metadata,
    _column("ending_id", "number in the order of deciding", Integer, primary_key=True),
    _required("organization_key", "key of the organization"),
    _required("last_day", "the last day on which it is expected to be observed", Date),
    _required("reason", "why it ends, in the words of who decided"),
    _required("decided_by", "who"),
    _required("decided_at", "when", UtcDateTime),
    comment=(
        "An organization that is not observed any more, so that later days are no gaps; append-only"
    ),
)

alert = Table(
    "alert",
    metadata,
    _column("alert_id", "number in the order of noting", Integer, primary_key=True),
    _required("problem", "key of the problem: connection, colon, what is wrong"),
    _required("event", "raised, repeated, recovered, or closed (nobody watches it any more)"),
    _required("cause", "kind of what is wrong; the runbook has a section for each"),
    _required(
        "shared_with",
        "what other connections may have in common with it: problems with the same are told"
        " together",
    ),
    _column("connection", "name of the connection; NULL where it is the whole deployment"),
    _column("organization_key", "key of the organization, where it is known"),
    _column("partition_date", "the day that it is about, if any", Date),
    _column("run_id", "Dagster run that showed it, if any"),
    _required(
        "told_once", "whether it is not repeated: a gap, or what somebody ran by hand", Boolean
    ),
    _required("sentence", "what is wrong, in one sentence"),
    _required("noted_at", "when", UtcDateTime),
    _column("message_id", "message that tells of it; NULL where none does", Integer),
    Index("ix_alert_problem", "problem"),
    Index("ix_alert_message_id", "message_id"),
    CheckConstraint("event IN ('raised', 'repeated', 'recovered', 'closed')", name="event"),
    comment="Every problem raised, repeated and recovered; append-only",
)

alert_delivery = Table(
    "alert_delivery",
    metadata,
    _column("message_id", "number of the message", Integer, primary_key=True, autoincrement=False),
    _column("channel", "kind and digest of the notification URL; never the URL", primary_key=True),
    _required("title", "its title"),
    _required("body", "its text"),
    _required("made_at", "when it was made", UtcDateTime),
    _required("tries", "how often it was sent", Integer),
    _required("next_try_at", "when it is due to be sent", UtcDateTime),
    _column("delivered_at", "when the channel took it; NULL until then", UtcDateTime),
    _column("error", "why the channel did not take it the last time"),
    Index("ix_alert_delivery_next_try_at", "next_try_at", **_where("delivered_at IS NULL")),
    comment="One message on its way to one channel: tried again until it is taken",
)

watch_look = Table(
    "watch_look",
    metadata,
    _column(
        "home", "first connection of the deployment whose watch looked", Text, primary_key=True
    ),
    _required("looked_at", "when it looked last", UtcDateTime),
    comment=(
        "The last look of each deployment's watch: where there is none, nobody would have raised an"
        " alert"
    ),
)

policy_version = Table(
    "policy_version",
    metadata,
    _column("version", "number in the order of recording", Integer, primary_key=True),
    _required("policy_sha256", "digest of the document"),
    _required(
        "document",
        "thresholds, exceptions, roster and service accounts, as canonical JSON; accounts as"
        " digests",
    ),
    _required(
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
    _column("introduction", "number in the order of recording", Integer, primary_key=True),
    _required("rule_id", "the rule; docs/findings.md has them all"),
    _required("rule_version", "which version of it", Integer),
    _required("in_force_from", "since when it judges, in place of the version before", UtcDateTime),
    UniqueConstraint("rule_id", "rule_version"),
    comment=(
        "Every rule, and version of one, that came after the first release, from when this"
        " warehouse met it; append-only"
    ),
)

signed_head = Table(
    "signed_head",
    metadata,
    _column(
        "snapshot_id",
        "the last snapshot that the head commits to",
        Integer,
        primary_key=True,
        autoincrement=False,
    ),
    _required("head_sha256", "digest of the chain of snapshots up to that one"),
    _required("location", "where in the evidence store the signed head lies"),
    _required("key_fingerprint", "fingerprint of the key that signed it"),
    _required("signed_at", "when", UtcDateTime),
    comment=(
        "Every head of the chain of snapshots that was signed and put into the evidence store;"
        " append-only"
    ),
)

evidence_packet = Table(
    "evidence_packet",
    metadata,
    _column("packet_id", "number in the order of sealing", Integer, primary_key=True),
    _required("organization_key", "key of the organization"),
    _required("first_day", "first day of its window", Date),
    _required("last_day", "last day of its window", Date),
    _required("digest", "digest of its manifest", unique=True),
    _column("previous_digest", "digest of the packet sealed before it"),
    _required("source_kind", "sonarcloud, simulated or other"),
    _required("location", "where it lies"),
    _required("sealed_at", "when", UtcDateTime),
    _required("run_id", "Dagster run that sealed it"),
    _required("pipeline_version", "version of this software"),
    _required("format_version", "version of the packet's format", Integer),
    _required("key_fingerprint", "fingerprint of the key that signed it"),
    _required("time_stamp", "whether an authority stamped it", Boolean),
    comment="Every packet ever sealed; append-only",
)

evidence_outbox = Table(
    "evidence_outbox",
    metadata,
    _column(
        "bundle_id",
        "number in the order of entering, in which bundles are published",
        Integer,
        primary_key=True,
    ),
    _required("path", "where in the evidence store it belongs", unique=True),
    _required("location", "the same as folder or URL, when it was entered"),
    _required("completed_by", "the file without which the bundle is none"),
    _required("files", "the finished files, byte for byte, as a zip file", LargeBinary),
    _required("entered_at", "when it was entered", UtcDateTime),
    comment=(
        "A finished bundle of evidence on its way to the store; gone once it lies there and was"
        " read back"
    ),
)

publication = Table(
    "publication",
    metadata,
    _column("publication_id", "number in the order of publishing", Integer, primary_key=True),
    _required("path", "where in the evidence store it lies", index=True),
    _required("location", "the same as folder or URL"),
    _required("entered_at", "when the bundle was entered", UtcDateTime),
    _required("published_at", "when it lay there and was read back", UtcDateTime),
    _column(
        "locked_until",
        "when the first lock of its objects ends, as the store said; NULL where none was asked for",
        UtcDateTime,
    ),
    comment="A bundle of evidence that came to lie in the store; append-only",
)

evidence_store = Table(
    "evidence_store",
    metadata,
    _column("note_id", "number in the order of noting", Integer, primary_key=True),
    _required("location", "folder or URL of the store", index=True),
    _required(
        "name", "the name that the store says of itself; a store of another name there is refused"
    ),
    _required("noted_at", "when", UtcDateTime),
    comment=(
        "Which evidence store lies at which place; the last note of a place counts; append-only"
    ),
)

evidence_statement = Table(
    "evidence_statement",
    metadata,
    _column("statement_id", "number in the order of stating", Integer, primary_key=True),
    _required("organization_key", "key of the organization", index=True),
    _required(
        "about",
        "the faults in the line of packets that it is about, by their keys, with a space between",
    ),
    _required("stated_by", "who"),
    _required("reason", "what it says of them"),
    _required("location", "folder or URL of the signed statement"),
    _required("key_fingerprint", "fingerprint of the key that signed it"),
    _required("stated_at", "when", UtcDateTime),
    comment=(
        "What a person stated of a fault in the line of packets, such as a packet that is lost for"
        " good; append-only"
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
        Index(f"uq_{description.name}_open", *keys, unique=True, **_where("valid_to IS NULL")),
        # With valid_to, which is NULL in all of them: SQLite would not believe that it has all it
        # needs.
        Index(
            f"ix_{description.name}_shown",
            "organization_key",
            *parting,
            "row_hash",
            "valid_to",
            **_where("valid_to IS NULL"),
        ),
        Index(
            f"ix_{description.name}_valid_to",
            "organization_key",
            "valid_to",
            **_where("valid_to IS NOT NULL"),
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
