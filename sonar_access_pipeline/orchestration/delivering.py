"""The asset of a connection's deliveries, where the settings have any: what would be sent, and what
was, after each day's packet; in numbers that name nobody.

It has no partitions: what is delivered is the newest packet of a kind of window. Its check warns
and stops nothing.

Annotations are not postponed in this file: Dagster reads that of `context` itself.
"""

import os
from collections.abc import Iterator
from typing import Any

import dagster as dg

from sonar_access_pipeline import __version__
from sonar_access_pipeline.deliveries.sending import packet_of, ready, send, was_delivered
from sonar_access_pipeline.errors import EXPECTED
from sonar_access_pipeline.orchestration.failures import working
from sonar_access_pipeline.orchestration.metadata import column_schema, table_of
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection
from sonar_access_pipeline.settings_delivery import DeliverySettings
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.schema import delivery

SHOWN = ("delivery", "kind", "state", "accounts", "bytes", "why")
FAILED = "failed"


def deliveries_asset(connection: Connection, resources: Resources) -> dg.AssetsDefinition:
    """Build the asset of a connection, key `[connection, delivery]`."""
    key = dg.AssetKey([connection.name, delivery.name])

    @dg.multi_asset(
        name=f"{connection.name}_deliver",
        specs=[
            dg.AssetSpec(
                key,
                description=(
                    "What was put where somebody else keeps evidence. Only deliveries with"
                    " `automatic` are sent; of the others it shows what would be."
                ),
                group_name="evidence_elsewhere",
                owners=list(resources.settings.owners),
                kinds={"json"},
                deps=[dg.AssetKey([connection.name, "evidence_packet"])],
                metadata={
                    "dagster/table_name": delivery.name,
                    "dagster/column_schema": column_schema(delivery),
                },
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                "delivered",
                asset=key,
                description="Every automatic delivery has the newest packet of its windows.",
            )
        ],
    )
    def deliver(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        with working(context), resources.warehouse() as warehouse:
            rows = [
                _delivered(warehouse, resources, connection.organization_key(), one)
                for one in resources.settings.deliveries_of(connection)
            ]
        failed = [row["delivery"] for row in rows if row["state"] == FAILED]
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="delivered",
            passed=not failed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"failed": len(failed)},
        )
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={"deliveries": table_of(rows, SHOWN), "failed": len(failed)},
        )

    return deliver


def _delivered(
    warehouse: Warehouse, resources: Resources, organization_key: str, settings: DeliverySettings
) -> dict[str, Any]:
    row = {"delivery": settings.name, "kind": settings.kind.value, "accounts": 0, "bytes": 0}
    try:
        packet = packet_of(warehouse, resources.store(), organization_key, settings)
        found = ready(
            warehouse,
            packet,
            settings,
            resources.settings.brake,
            os.environ,
            resources.clock(),
        )
        row |= {"accounts": found.plan.accounts, "bytes": found.plan.bytes}
        if was_delivered(warehouse, found.plan):
            return {**row, "state": "delivered before", "why": ""}
        if not settings.automatic:
            return {**row, "state": "would be sent", "why": "automatic is not set"}
        outcome = send(warehouse, found, resources.clock, __version__)
    except EXPECTED as error:
        state = FAILED if settings.automatic else "would not be sent"
        return {**row, "state": state, "why": str(error)}
    return {**row, "state": "found there" if outcome.found else "sent", "why": ""}
