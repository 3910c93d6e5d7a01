"""The weekly check of a connection: is the warehouse what was recorded, history what the snapshots
give, and evidence what was sealed?

It stands apart from the checks that come with a run: it reads everything, and is no part of the
day.

Annotations are not postponed in this file: Dagster reads that of `context` itself.
"""

import time
from collections import Counter

import dagster as dg

from sonar_access_pipeline.evidence.verify import verify_all
from sonar_access_pipeline.orchestration.failures import working
from sonar_access_pipeline.orchestration.metadata import table_of
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection
from sonar_access_pipeline.warehouse.history.verify import State, verify

MOST = 100
"""Faults of evidence that the check shows."""


def recorded_key(connection: Connection) -> dg.AssetCheckKey:
    """Return the key of the check."""
    return dg.AssetCheckKey(dg.AssetKey([connection.name, "fct_user_access"]), "as_recorded")


def recorded_check(connection: Connection, resources: Resources) -> dg.AssetChecksDefinition:
    """Build the check of a connection. Its numbers name tables, never a person."""
    key = recorded_key(connection)

    @dg.asset_check(
        asset=key.asset_key,
        name=key.name,
        description=(
            "Bodies, snapshots and their chain have the digests recorded, every table is what a"
            " rebuild gives, and every packet is as it was sealed."
        ),
    )
    def as_recorded(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with working(context), resources.warehouse() as warehouse:
            began = time.monotonic()
            verification = verify(warehouse, connection.organization_key())
            sealed = verify_all(
                resources.store(), connection.organization_key(), warehouse=warehouse
            )
            seconds = round(time.monotonic() - began, 3)
        by_table = Counter(finding.table for finding in verification.findings)
        return dg.AssetCheckResult(
            passed=verification.state is not State.DIFFERENT and not sealed.faults,
            description=(
                f"{verification.state.value}, {len(sealed.faults)} faults of evidence;"
                " `sonar-access warehouse verify` and `sonar-access evidence verify --all` name"
                " each"
            ),
            metadata={
                "state": verification.state.value,
                "findings": table_of(
                    [
                        {"table": name, "differences": number}
                        for name, number in sorted(by_table.items())
                    ],
                    ("table", "differences"),
                ),
                "packets": len(sealed.reports),
                "evidence": table_of(
                    [{"fault": fault} for fault in sealed.faults[:MOST]], ("fault",)
                ),
                "snapshots": verification.snapshots,
                "observations": verification.observations,
                "bodies": verification.bodies,
                "bodies_dropped": verification.dropped,
                "redactions": len(verification.redactions),
                "seconds": seconds,
            },
        )

    return as_recorded
