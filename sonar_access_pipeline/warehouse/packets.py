"""The register of sealed packets: append-only, each naming the one before it."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import insert, select

from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.schema import evidence_packet


def predecessor(warehouse: Warehouse, organization_key: str, digest: str) -> str | None:
    """The digest of the packet sealed before `digest`, or of the last one when `digest` is new; None for the first."""
    table = evidence_packet.c
    with warehouse.read() as transaction:
        digests = list(
            transaction.execute(
                select(table.digest).where(table.organization_key == organization_key).order_by(table.packet_id)
            ).scalars()
        )
    before = digests[: digests.index(digest)] if digest in digests else digests
    return before[-1] if before else None


def register(
    warehouse: Warehouse,
    *,
    organization_key: str,
    first_day: date,
    last_day: date,
    digest: str,
    previous_digest: str | None,
    source_kind: SourceKind,
    location: str,
    sealed_at: datetime,
    run_id: str,
    pipeline_version: str,
) -> bool:
    """Enter a packet once; whether it was new."""
    with warehouse.write("packets") as transaction:
        known = transaction.execute(select(evidence_packet.c.packet_id).where(evidence_packet.c.digest == digest)).scalar()
        if known is not None:
            return False
        transaction.execute(
            insert(evidence_packet).values(
                organization_key=organization_key,
                first_day=first_day,
                last_day=last_day,
                digest=digest,
                previous_digest=previous_digest,
                source_kind=source_kind.value,
                location=location,
                sealed_at=sealed_at,
                run_id=run_id,
                pipeline_version=pipeline_version,
            )
        )
    return True
