"""One observation, without Dagster: read the source, keep the snapshot, and note the try, however it ends."""

from __future__ import annotations

from dataclasses import dataclass

from sonar_access_pipeline.access.snapshot import Snapshot
from sonar_access_pipeline.orchestration.parts import Parts
from sonar_access_pipeline.settings import Connection, SettingsError
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.errors import SourceError
from sonar_access_pipeline.sonarcloud.reader import Preflight, Progress, Reader
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.snapshots import Recorded, begin_attempt, claim, end_attempt, of_run, record


@dataclass(frozen=True)
class Checked:
    """What a check of a connection found: whose token it is, and the endpoints that answer."""

    preflight: Preflight
    endpoints: list[str]


def check(connection: Connection, parts: Parts) -> Checked:
    """Whether a connection can be read: the token, the organization, the right, every list. Raises `SourceError`."""
    organization_key = connection.organization_key()
    with Client(connection.host_url, connection.token(), patience=parts.patience, clock=parts.clock) as client:
        reader = Reader(client, organization_key)
        return Checked(reader.preflight(), reader.probe())


def observe(
    connection: Connection, parts: Parts, warehouse: Warehouse, run_id: str, progress: Progress
) -> tuple[Recorded, Snapshot | None]:
    """Read the organization now and keep what was read, complete or not. A run that has a complete snapshot keeps that one.

    The try is noted before the first request and after the last, whatever happens in between; a try without an end was killed.
    Raises `SettingsError`, `SourceError` and `WarehouseError`.
    """
    organization_key = connection.organization_key()
    if kept := of_run(warehouse, organization_key, run_id):
        return kept, None
    started_at = parts.clock()
    attempt_id = begin_attempt(
        warehouse,
        connection=connection.name,
        organization_key=organization_key,
        partition_date=started_at.date(),
        run_id=run_id,
        started_at=started_at,
    )
    outcome, error, snapshot_id = "failed", "stopped by an unexpected error", None
    try:
        snapshot = _read(connection, parts, warehouse, run_id, progress)
        recorded = record(warehouse, snapshot, parts.clock)
        outcome, error, snapshot_id = recorded.verdict.value, recorded.reason or "", recorded.snapshot_id
    except (SettingsError, SourceError, WarehouseError) as fault:
        # Only our own sentences: the words of an unexpected error may hold a person's data, and this row goes into packets.
        error = str(fault)
        raise
    finally:
        end_attempt(warehouse, attempt_id, ended_at=parts.clock(), outcome=outcome, error=error or None, snapshot_id=snapshot_id)
    return recorded, snapshot


def _read(connection: Connection, parts: Parts, warehouse: Warehouse, run_id: str, progress: Progress) -> Snapshot:
    with Client(connection.host_url, connection.token(), patience=parts.patience, clock=parts.clock) as client:
        reader = Reader(client, connection.organization_key(), progress=progress)
        started_at = parts.clock()
        preflight = reader.preflight()
        claim(warehouse, connection.organization_key(), connection.name, client.host_url, client.source_kind)
        return reader.read(preflight, connection=connection.name, run_id=run_id, started_at=started_at)
