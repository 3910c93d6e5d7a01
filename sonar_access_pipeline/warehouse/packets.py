"""The register of what was sealed and signed: packets, each naming the one before it, and heads of the chain of snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from sonar_access_pipeline.access.snapshot import chain_head
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.schema import evidence_packet, raw_snapshot, signed_head


@dataclass(frozen=True)
class Entry:
    """A line of the register: a packet, and what its seal says."""

    first_day: date
    last_day: date
    digest: str
    previous_digest: str | None
    source_kind: str
    location: str
    sealed_at: datetime
    run_id: str
    pipeline_version: str
    format_version: int | None
    key_fingerprint: str | None


ENTRY = [evidence_packet.c[name] for name in Entry.__dataclass_fields__]


def enter(warehouse: Warehouse, organization_key: str, digest: str, **values: Any) -> Entry:
    """Enter a packet behind the last one, or find it where it was entered before.

    It is entered before it is written: a run that is killed in between leaves a line whose packet can be made up for, and never a
    packet that no line knows.
    """
    with warehouse.write(f"packets:{organization_key}") as transaction:
        before = entries(transaction, organization_key)
        known = next((entry for entry in before if entry.digest == digest), None)
        if known is not None:
            return known
        previous = before[-1].digest if before else None
        entry = Entry(digest=digest, previous_digest=previous, **values)
        transaction.execute(insert(evidence_packet).values(organization_key=organization_key, **vars(entry)))
        return entry


def entries(transaction: Connection, organization_key: str) -> list[Entry]:
    """The register of an organization, in the order of entering."""
    table = evidence_packet.c
    query = select(*ENTRY).where(table.organization_key == organization_key).order_by(table.packet_id)
    return [Entry(*row) for row in transaction.execute(query)]


@dataclass(frozen=True)
class Head:
    """The end of the chain of snapshots, and the snapshot there."""

    snapshot_id: int
    organization_key: str
    observed_at: datetime
    content_sha256: str
    head_sha256: str


HEAD_COLUMNS = (
    raw_snapshot.c.snapshot_id,
    raw_snapshot.c.organization_key,
    raw_snapshot.c.observed_at,
    raw_snapshot.c.content_sha256,
    raw_snapshot.c.previous_sha256,
)


def _head(row: Row[int, str, datetime, str, str]) -> Head:
    head = chain_head(row.previous_sha256, row.content_sha256)
    return Head(row.snapshot_id, row.organization_key, row.observed_at, row.content_sha256, head)


def heads(transaction: Connection) -> dict[int, Head]:
    """The head after every snapshot of the warehouse, as its rows have it, by snapshot and in recording order."""
    found = map(_head, transaction.execute(select(*HEAD_COLUMNS).order_by(raw_snapshot.c.snapshot_id)))
    return {head.snapshot_id: head for head in found}


def last_head(transaction: Connection) -> Head | None:
    """The end of the chain; None where there is no snapshot."""
    query = select(*HEAD_COLUMNS).order_by(raw_snapshot.c.snapshot_id.desc()).limit(1)
    row = transaction.execute(query).one_or_none()
    return _head(row) if row else None


def unsigned_head(warehouse: Warehouse) -> Head | None:
    """The end of the chain, if it was not signed yet; None where it was, and where there is no snapshot."""
    with warehouse.read() as transaction:
        head = last_head(transaction)
        return None if head is None or _is_signed(transaction, head) else head


def _is_signed(transaction: Connection, head: Head) -> bool:
    query = select(signed_head.c.snapshot_id).where(signed_head.c.snapshot_id == head.snapshot_id)
    return transaction.execute(query).first() is not None


def signed_heads(transaction: Connection) -> list[dict[str, Any]]:
    """Every head that was signed. Columns of `signed_head`; ordered by snapshot."""
    return [dict(row) for row in transaction.execute(select(signed_head).order_by(signed_head.c.snapshot_id)).mappings()]


def note_signed(warehouse: Warehouse, head: Head, location: str, key_fingerprint: str, signed_at: datetime) -> None:
    """Note that a head was signed and where it lies, once."""
    with warehouse.write("heads") as transaction:
        if not _is_signed(transaction, head):
            transaction.execute(
                insert(signed_head).values(
                    snapshot_id=head.snapshot_id,
                    head_sha256=head.head_sha256,
                    location=location,
                    key_fingerprint=key_fingerprint,
                    signed_at=signed_at,
                )
            )
