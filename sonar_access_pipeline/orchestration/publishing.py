"""The asset of a connection's tables as Parquet, where a place for them is set: written anew after
each sync, for engines that are not the warehouse.

Annotations are not postponed in this file: Dagster reads that of `context` itself.
"""

from typing import Any

import dagster as dg

from sonar_access_pipeline.orchestration.failures import working
from sonar_access_pipeline.orchestration.metadata import table_of
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.published.parquet import publish
from sonar_access_pipeline.settings import Connection


def published_asset(connection: Connection, resources: Resources, to: str) -> dg.AssetsDefinition:
    """Build the asset of a connection, key `[connection, published]`."""
    place = f"{to.rstrip('/')}/{connection.name}"

    @dg.asset(
        key=dg.AssetKey([connection.name, "published"]),
        group_name="published",
        description=(
            "The history tables and views of the organization, but for e-mail addresses, as Parquet"
            " files with a manifest of rows and digests: where there is none, what lies there is"
            " not whole."
        ),
        owners=list(resources.settings.owners),
        kinds={"parquet"},
        deps=[dg.AssetKey([connection.name, "evidence_packet"])],
    )
    def published(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        with working(context), resources.warehouse() as warehouse:
            files = publish(warehouse, place, connection.organization_key())
        rows = [{"table": one.name, "rows": one.rows, "bytes": one.bytes} for one in files]
        return dg.MaterializeResult(
            metadata={
                "rows": sum(one.rows for one in files),
                "bytes": sum(one.bytes for one in files),
                "tables": table_of(rows, ("table", "rows", "bytes")),
            }
        )

    return published
