"""The register of what was sealed and signed: packets, each naming the one before it, and heads of
the chain of snapshots; and the outbox, in which the bytes of all that wait until they lie in the
evidence store.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, union

from sonar_access_pipeline.access.snapshot import chain_head
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.schema import (
    evidence_outbox,
    evidence_packet,
    evidence_statement,
    evidence_store,
    publication,
    raw_snapshot,
    signed_head,
)


@dataclass(frozen=True)
class RegisterEntry:
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
    format_version: int
    key_fingerprint: str
    time_stamp: bool


ENTRY = [evidence_packet.c[name] for name in RegisterEntry.__dataclass_fields__]


@dataclass(frozen=True)
class Header:
    """The place of a bundle of evidence, and when it was entered.

    `completed_by` is the file without which it is none.
    """

    path: str
    location: str
    completed_by: str
    entered_at: datetime
    bundle_id: int | None = None


@dataclass(frozen=True)
class Bundle:
    """A finished bundle of evidence, with the bytes of its files."""

    header: Header
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def path(self) -> str:
        """Its place under the root of the store."""
        return self.header.path

    @property
    def location(self) -> str:
        """Its place as folder or URL."""
        return self.header.location

    @property
    def completed_by(self) -> str:
        """The file that is written last."""
        return self.header.completed_by


def enter(
    warehouse: Warehouse, organization_key: str, entry: RegisterEntry, bundle: Bundle
) -> bool:
    """Enter a finished packet behind the last one, with its bytes; False where another was entered
    behind that meanwhile.

    What is entered can be published by whoever comes next: nothing need be built, signed or stamped
    for it again.
    """
    with warehouse.write(f"packets:{organization_key}") as transaction:
        before = entries(transaction, organization_key)
        if entry.previous_digest != (before[-1].digest if before else None):
            return False
        transaction.execute(
            insert(evidence_packet).values(organization_key=organization_key, **vars(entry))
        )
        put(transaction, bundle)
    return True


def take_in(warehouse: Warehouse, organization_key: str, entry: RegisterEntry) -> None:
    """Enter a packet that lies in the store already, as its seal has it, once.

    Its predecessor is the one of its seal.
    """
    with warehouse.write(f"packets:{organization_key}") as transaction:
        if entry.digest not in {one.digest for one in entries(transaction, organization_key)}:
            transaction.execute(
                insert(evidence_packet).values(organization_key=organization_key, **vars(entry))
            )


def wait(warehouse: Warehouse, bundle: Bundle) -> None:
    """Have a bundle wait to be published, whose line is in the register already; once."""
    with warehouse.write("outbox") as transaction:
        if not was_published(transaction, bundle.path):
            put(transaction, bundle)


def put(transaction: Connection, bundle: Bundle) -> None:
    """Have a finished bundle wait in the outbox, in a transaction of the caller."""
    header = bundle.header
    transaction.execute(
        insert(evidence_outbox).values(
            path=header.path,
            location=header.location,
            completed_by=header.completed_by,
            files=_packed(bundle.files),
            entered_at=header.entered_at,
        )
    )


def _packed(files: Mapping[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return whole.getvalue()


def _unpacked(packed: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def waiting(transaction: Connection) -> list[Header]:
    """List the bundles that wait to be published, in the order in which they were entered."""
    table = evidence_outbox.c
    query = select(
        table.path, table.location, table.completed_by, table.entered_at, table.bundle_id
    )
    return [Header(*row) for row in transaction.execute(query.order_by(table.bundle_id))]


def bundle_of(transaction: Connection, header: Header) -> Bundle | None:
    """Read a bundle that waits, with its bytes; return None when it does not wait any more."""
    packed = transaction.execute(select(evidence_outbox.c.files).where(_is(header))).scalar()
    return None if packed is None else Bundle(header, _unpacked(packed))


def _is(header: Header) -> ColumnElement[bool]:
    """Return the condition for the row of a bundle that waits.

    SQLite gives a number again once the outbox was empty, so the path says which bundle it is.
    """
    return and_(
        evidence_outbox.c.bundle_id == header.bundle_id, evidence_outbox.c.path == header.path
    )


def was_published(transaction: Connection, path: str) -> bool:
    """Tell whether a bundle at this path came to lie in the store, or waits to."""
    is_noted = select(publication.c.path).where(publication.c.path == path)
    return transaction.execute(is_noted).first() is not None or path in {
        one.path for one in waiting(transaction)
    }


def note_there(warehouse: Warehouse, header: Header) -> None:
    """Note that a bundle lies in the store which nobody noted: it was brought there before
    publishing was on record.
    """
    with warehouse.write("outbox") as transaction:
        if not was_published(transaction, header.path):
            values = {
                "path": header.path,
                "location": header.location,
                "entered_at": header.entered_at,
            }
            transaction.execute(
                insert(publication).values(**values, published_at=header.entered_at)
            )


def note_published(
    warehouse: Warehouse, header: Header, published_at: datetime, locked_until: datetime | None
) -> None:
    """Note that a bundle lies in the store and was read back, and when its lock ends; its bytes may
    go.
    """
    with warehouse.write("outbox") as transaction:
        gone = delete(evidence_outbox).where(_is(header))
        if transaction.execute(gone).rowcount:
            values = {
                "path": header.path,
                "location": header.location,
                "entered_at": header.entered_at,
            }
            transaction.execute(
                insert(publication).values(
                    **values, published_at=published_at, locked_until=locked_until
                )
            )


def locks(transaction: Connection) -> dict[str, datetime]:
    """Give the end of each lock, by the place of the published bundle; only of those that were
    locked.
    """
    table = publication.c
    rows = transaction.execute(
        select(table.location, table.locked_until).where(table.locked_until.is_not(None))
    )
    return {row.location: row.locked_until for row in rows}


def published_below(transaction: Connection, place: str, most: int = 3) -> list[str]:
    """List the paths under the root of the newest packets that were sealed into the store at a
    place, newest first.
    """
    table = evidence_packet.c
    query = select(table.location).where(table.location.startswith(place, autoescape=True))
    locations = transaction.execute(query.order_by(table.packet_id.desc()).limit(most)).scalars()
    return [location.removeprefix(place) for location in locations]


def store_name(transaction: Connection, location: str) -> str | None:
    """Give the name of the store at a place, as it was noted last; None where none was."""
    table = evidence_store.c
    query = (
        select(table.name).where(table.location == location).order_by(table.note_id.desc()).limit(1)
    )
    return transaction.execute(query).scalar()


def note_store(warehouse: Warehouse, location: str, name: str, noted_at: datetime) -> None:
    """Note the name of the store at a place, once."""
    with warehouse.write("outbox") as transaction:
        if store_name(transaction, location) != name:
            transaction.execute(
                insert(evidence_store).values(location=location, name=name, noted_at=noted_at)
            )


def enter_statement(
    warehouse: Warehouse,
    organization_key: str,
    about: Sequence[str],
    *,
    by: str,
    why: str,
    key_fingerprint: str,
    bundle: Bundle,
) -> None:
    """Enter what a person stated of faults in the line of packets, with its bytes."""
    with warehouse.write(f"packets:{organization_key}") as transaction:
        transaction.execute(
            insert(evidence_statement).values(
                organization_key=organization_key,
                about=" ".join(about),
                stated_by=by,
                reason=why,
                location=bundle.location,
                key_fingerprint=key_fingerprint,
                stated_at=bundle.header.entered_at,
            )
        )
        put(transaction, bundle)


def entries(transaction: Connection, organization_key: str) -> list[RegisterEntry]:
    """Read the register of an organization, in the order of entering."""
    table = evidence_packet.c
    query = (
        select(*ENTRY).where(table.organization_key == organization_key).order_by(table.packet_id)
    )
    return [RegisterEntry(*row) for row in transaction.execute(query)]


def keys(transaction: Connection) -> set[str]:
    """Give the fingerprints of all keys that signed packets or heads, as the register has them."""
    signed = union(select(evidence_packet.c.key_fingerprint), select(signed_head.c.key_fingerprint))
    return set(transaction.execute(signed).scalars())


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
    """Return the head after every snapshot of the warehouse, as its rows have it, by snapshot and
    in recording order.
    """
    ordered_heads = map(
        _head, transaction.execute(select(*HEAD_COLUMNS).order_by(raw_snapshot.c.snapshot_id))
    )
    return {head.snapshot_id: head for head in ordered_heads}


def last_head(transaction: Connection) -> Head | None:
    """Return the end of the chain; None where there is no snapshot."""
    query = select(*HEAD_COLUMNS).order_by(raw_snapshot.c.snapshot_id.desc()).limit(1)
    row = transaction.execute(query).one_or_none()
    return _head(row) if row else None


def unsigned_head(warehouse: Warehouse) -> Head | None:
    """Return the end of the chain if it was not signed yet; None where it was signed, and where
    there is no snapshot.
    """
    with warehouse.read() as transaction:
        head = last_head(transaction)
        return None if head is None or _is_signed(transaction, head) else head


def _is_signed(transaction: Connection, head: Head) -> bool:
    query = select(signed_head.c.snapshot_id).where(signed_head.c.snapshot_id == head.snapshot_id)
    return transaction.execute(query).first() is not None


def signed_heads(transaction: Connection) -> list[dict[str, Any]]:
    """Return every head that was signed. Columns of `signed_head`; ordered by snapshot."""
    return [
        dict(row)
        for row in transaction.execute(
            select(signed_head).order_by(signed_head.c.snapshot_id)
        ).mappings()
    ]


def enter_head(
    warehouse: Warehouse,
    head: Head,
    header: Header,
    key_fingerprint: str,
    files: Mapping[str, bytes] | None,
) -> None:
    """Enter a signed head of the chain, once: with its bytes, or without where it lies in the store
    already.
    """
    with warehouse.write("heads") as transaction:
        if _is_signed(transaction, head):
            return
        transaction.execute(
            insert(signed_head).values(
                snapshot_id=head.snapshot_id,
                head_sha256=head.head_sha256,
                location=header.location,
                key_fingerprint=key_fingerprint,
                signed_at=header.entered_at,
            )
        )
        if files is not None:
            put(transaction, Bundle(header, files))
