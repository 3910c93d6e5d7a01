"""One observation, without Dagster: read the source, hold what a person must see first, keep it,
and note the try.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sonar_access_pipeline.access.records import CallerToken
from sonar_access_pipeline.access.snapshot import Snapshot, Verdict
from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.errors import fact_of
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.sonarcloud.errors import SourceError
from sonar_access_pipeline.sonarcloud.faults import TOKEN
from sonar_access_pipeline.sonarcloud.pagination import Progress
from sonar_access_pipeline.sonarcloud.reader import Observed, Preflight, Reader
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.brake import why_held
from sonar_access_pipeline.warehouse.ledger.policies import record_policy, record_rules
from sonar_access_pipeline.warehouse.raw.attempts import begin_attempt, end_attempt
from sonar_access_pipeline.warehouse.raw.snapshots import Recorded, claim, of_run, record

NAMED_BUNDLE = (
    "TLS is verified against {bundle}, which the environment names, not against the authorities"
    " that come along: whoever holds one of those reads the token and can alter every answer."
    " Packets say so."
)
OTHERS_READ_IT = (
    "The token file {file} can be read by other accounts of this machine; take that right away"
    " (chmod 600)."
)


CAUSES = {Verdict.INCOMPLETE: Cause.INCOMPLETE, Verdict.HELD: Cause.HELD}


@dataclass(frozen=True)
class Checked:
    """What a check of a connection found: whose token it is, the endpoints that answer, its tokens,
    and what to be warned of.
    """

    preflight: Preflight
    endpoints: tuple[str, ...]
    tokens: tuple[CallerToken, ...]
    warnings: tuple[str, ...]


def check(connection: Connection, resources: Resources) -> Checked:
    """Check that a connection can be read: the token, the organization, the right, every list.

    Raises `SourceError`.
    """
    organization_key = connection.organization_key()
    with resources.client(connection) as client:
        reader = Reader(client, organization_key, scopes=connection.scopes or ())
        preflight = reader.preflight()
        probed = reader.probe()
        warnings = list(probed.warnings)
        if client.tls_bundle:
            warnings.append(NAMED_BUNDLE.format(bundle=client.tls_bundle))
    if connection.token_file is not None and connection.token_file.stat().st_mode & 0o077:
        warnings.append(OTHERS_READ_IT.format(file=connection.token_file))
    return Checked(preflight, probed.endpoints, probed.tokens, tuple(warnings))


def observe(
    connection: Connection,
    resources: Resources,
    warehouse: Warehouse,
    run_id: str,
    progress: Callable[[Progress], None],
) -> tuple[Recorded, Snapshot | None]:
    """Read the organization now and keep what was read, complete or not.

    A run that has a complete snapshot keeps that one.

    The try is noted before the first request and after the last, whatever happens in between; a try
    without an end was killed. Raises `SettingsError`, `SourceError` and `WarehouseError`.
    """
    organization_key = connection.organization_key()
    if kept := of_run(warehouse, organization_key, run_id):
        return kept, None
    started_at = resources.clock()
    attempt_id = begin_attempt(
        warehouse,
        connection=connection.name,
        organization_key=organization_key,
        partition_date=started_at.date(),
        run_id=run_id,
        started_at=started_at,
        due_at=resources.settings.calendar_of(organization_key).due_at(started_at.date()),
    )
    outcome = "failed"
    error = "stopped by an unexpected error"
    snapshot_id = None
    cause: Cause | None = Cause.UNEXPECTED
    try:
        policy_fault = _policy_fault(resources, warehouse)
        snapshot = _held(
            resources,
            warehouse,
            _read(connection, resources, warehouse, run_id, started_at, progress),
        )
        recorded = record(warehouse, snapshot, resources.clock)
        outcome = recorded.verdict.value
        error = recorded.reason or ""
        snapshot_id = recorded.snapshot_id
        cause = CAUSES.get(recorded.verdict)
        if cause is Cause.INCOMPLETE and TOKEN in (recorded.reason or ""):
            # Revoked or expired while its lists were read: sooner or later is the same to whoever
            # must make a new one.
            cause = Cause.TOKEN_REFUSED
        if policy_fault:
            raise policy_fault
    except (SettingsError, SourceError, WarehouseError) as fault:
        # Only our own sentences: the words of an unexpected error may hold a person's data, and
        # this row goes into packets.
        error = str(fault)
        cause = fact_of(fault).cause
        raise
    except BaseException as stop:
        if not isinstance(stop, Exception):
            error = "its process was stopped from outside"
            cause = Cause.LOST
        raise
    finally:
        end_attempt(
            warehouse,
            attempt_id,
            ended_at=resources.clock(),
            outcome=outcome,
            error=error or None,
            snapshot_id=snapshot_id,
            cause=cause,
        )
    return recorded, snapshot


def _policy_fault(resources: Resources, warehouse: Warehouse) -> SettingsError | None:
    """Have the rules of this version judge by the policy of the settings, or say why it cannot be
    in force.

    A roster can be read again tomorrow, and a day of access cannot: the one in force stays, and the
    run fails once it has read.
    """
    record_rules(warehouse, resources.clock)
    try:
        record_policy(warehouse, resources.settings.whole_policy(), resources.clock)
    except SettingsError as fault:
        return fault
    return None


def _read(
    connection: Connection,
    resources: Resources,
    warehouse: Warehouse,
    run_id: str,
    started_at: datetime,
    progress: Callable[[Progress], None],
) -> Observed:
    with resources.client(connection) as client:
        reader = Reader(
            client, connection.organization_key(), scopes=connection.scopes or (), progress=progress
        )
        preflight = reader.preflight()
        claim(warehouse, connection.organization_key(), client.host_url, client.source_kind)
        return reader.read(
            preflight, connection=connection.name, run_id=run_id, started_at=started_at
        )


def _held(resources: Resources, warehouse: Warehouse, observed: Observed) -> Snapshot:
    """Return the snapshot as it was read, or held where a person must look before something
    disappears.
    """
    snapshot = observed.snapshot
    if observed.content is None:
        return snapshot
    with warehouse.read() as transaction:
        reason = why_held(
            transaction,
            snapshot.organization_key,
            observed.content,
            snapshot.observed_at,
            resources.settings.brake,
        )
    return replace(snapshot, verdict=Verdict.HELD, reason=reason) if reason else snapshot
