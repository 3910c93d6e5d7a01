"""Every table, for both databases. Migrations bring a warehouse here; a test compares the two.

History tables are made from their one description in `access/rows.py`. Times are UTC: `timestamptz` on PostgreSQL, ISO text
with microseconds on SQLite, so that both sort and compare.
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

from sonar_access_pipeline.access.rows import HISTORY_TABLES, HistoryTable
from sonar_access_pipeline.access.rows import Column as HistoryColumn

SCHEMA = "sonar_access"
"""The warehouse's own schema on PostgreSQL. SQLite has none: there the file is the schema."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. A naive one is refused: it would mean something else on every machine."""

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
        """From the database: aware, UTC."""
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


def _required(name: str, kind: Any = Text, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, **options)


def _snapshot_key() -> Column[int]:
    return Column("snapshot_id", ForeignKey("raw_snapshot.snapshot_id"), primary_key=True)


raw_snapshot = Table(
    "raw_snapshot",
    metadata,
    Column("snapshot_id", Integer, primary_key=True, autoincrement=False),
    _required("connection"),
    _required("organization_key"),
    _required("source_url"),
    _required("source_kind"),
    _required("partition_date", Date),
    _required("started_at", UtcDateTime),
    _required("observed_at", UtcDateTime),
    _required("recorded_at", UtcDateTime),
    Column("server_started_at", UtcDateTime),
    Column("server_observed_at", UtcDateTime),
    _required("scopes"),
    _required("verdict"),
    Column("reason", Text),
    _required("run_id"),
    _required("token_login"),
    Column("tls_bundle_sha256", Text),
    _required("pipeline_version"),
    _required("counts"),
    _required("content_sha256"),
    _required("previous_sha256"),
    Column("imported_from", Text),
    UniqueConstraint("organization_key", "observed_at"),
    Index("ix_raw_snapshot_run_id", "run_id"),
    Index("ix_raw_snapshot_organization_key_partition_date", "organization_key", "partition_date"),
    CheckConstraint("verdict IN ('complete', 'incomplete', 'held')", name="verdict"),
    CheckConstraint("started_at <= observed_at", name="times"),
    comment="One read of one organization",
)

raw_list = Table(
    "raw_list",
    metadata,
    _snapshot_key(),
    Column("list_name", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("reported_total", Integer),
    _required("rows", Integer),
    _required("distinct_keys", Integer),
    _required("rereads", Integer),
    _required("verdict"),
    Column("reason", Text),
    comment="One list of a snapshot; subject is the group or project of a list that there are many of, else empty",
)

raw_control = Table(
    "raw_control",
    metadata,
    _snapshot_key(),
    Column("control", Text, primary_key=True),
    _required("compares"),
    Column("left_count", Integer),
    Column("right_count", Integer),
    Column("passed", Boolean),
    Column("detail", Text),
    comment="One comparison of two independent statements of a snapshot; passed is NULL where it could not be evaluated",
)

raw_body = Table(
    "raw_body",
    metadata,
    Column("body_sha256", Text, primary_key=True),
    _required("size_bytes", Integer),
    _required("zlib_body", LargeBinary),
    comment="One distinct response body, compressed; unchanged pages are stored once",
)

raw_response = Table(
    "raw_response",
    metadata,
    _snapshot_key(),
    Column("sequence", Integer, primary_key=True),
    _required("list_name"),
    _required("subject"),
    _required("reading", Integer),
    _required("endpoint"),
    _required("params"),
    Column("page", Integer),
    _required("status", Integer),
    _required("started_at", UtcDateTime),
    _required("duration_ms", Integer),
    Column("server_time", UtcDateTime),
    _required("attempts", Integer),
    _required("rows", Integer),
    Column("reported_total", Integer),
    Column("body_sha256", ForeignKey("raw_body.body_sha256"), nullable=False),
    comment="One HTTP response; the last reading of a list is the one that counts",
)

snapshot_decision = Table(
    "snapshot_decision",
    metadata,
    Column("decision_id", Integer, primary_key=True),
    Column("snapshot_id", ForeignKey("raw_snapshot.snapshot_id"), nullable=False, index=True),
    _required("decision"),
    _required("reason"),
    _required("decided_by"),
    _required("decided_at", UtcDateTime),
    CheckConstraint("decision IN ('confirmed', 'retracted')", name="decision"),
    comment="What a person said of a snapshot afterwards; append-only",
)

history_observation = Table(
    "history_observation",
    metadata,
    Column("organization_key", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("observed_at", UtcDateTime, primary_key=True),
    _required("started_at", UtcDateTime),
    Column("snapshot_id", ForeignKey("raw_snapshot.snapshot_id"), nullable=False),
    comment="The observations that the history tables show; written in the transaction that merges them",
)

sync_attempt = Table(
    "sync_attempt",
    metadata,
    Column("attempt_id", Integer, primary_key=True),
    _required("connection"),
    _required("organization_key"),
    _required("partition_date", Date),
    _required("run_id"),
    _required("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("outcome", Text),
    Column("error", Text),
    Column("snapshot_id", ForeignKey("raw_snapshot.snapshot_id")),
    Index("ix_sync_attempt_organization_key_partition_date", "organization_key", "partition_date"),
    comment="Every try to sync, successful or not; outcome is NULL while it runs or when it was killed",
)

evidence_packet = Table(
    "evidence_packet",
    metadata,
    Column("packet_id", Integer, primary_key=True),
    _required("organization_key"),
    _required("first_day", Date),
    _required("last_day", Date),
    _required("digest", unique=True),
    Column("previous_digest", Text),
    _required("source_kind"),
    _required("location"),
    _required("sealed_at", UtcDateTime),
    _required("run_id"),
    _required("pipeline_version"),
    comment="Every packet ever sealed; append-only",
)


def _history_column(column: HistoryColumn, *, key: bool) -> Column[Any]:
    kind = Boolean() if column.kind == "boolean" else Text()
    return Column(column.name, kind, primary_key=key, comment=column.meaning)


def _history_table(description: HistoryTable) -> Table:
    keys = ["organization_key", *(column.name for column in description.key)]
    return Table(
        description.name,
        metadata,
        Column("organization_key", Text, primary_key=True, comment="key of the organization"),
        *(_history_column(column, key=True) for column in description.key),
        *(_history_column(column, key=False) for column in description.values),
        Column("valid_from", UtcDateTime, primary_key=True, comment="first observation that shows this version of the row"),
        Column("valid_to", UtcDateTime, comment="first observation that no longer shows it; NULL while open"),
        Column("is_current", Boolean, Computed("valid_to IS NULL", persisted=True), comment="valid_to IS NULL"),
        Column("changed_after", UtcDateTime, comment="start of the observation before valid_from; NULL at the baseline"),
        Column("last_seen_at", UtcDateTime, comment="start of the observation before valid_to; NULL while open"),
        Column("row_hash", LargeBinary(16), nullable=False, comment="hash of the row's values, without its times"),
        CheckConstraint("valid_from < valid_to", name="interval"),
        Index(f"uq_{description.name}_open", *keys, unique=True, **_where("valid_to IS NULL")),
        Index(f"ix_{description.name}_valid_to", "organization_key", "valid_to"),
        Index(f"ix_{description.name}_valid_from", "organization_key", "valid_from"),
        comment=f"History of {description.meaning}",
    )


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


history_tables: dict[str, Table] = {description.name: _history_table(description) for description in HISTORY_TABLES}
