"""`export`: the tables as Parquet, for engines that are not the warehouse."""

from __future__ import annotations

import click

from sonar_access_pipeline.cli.base import end, load, opened_warehouse, say
from sonar_access_pipeline.errors import FAILED
from sonar_access_pipeline.warehouse.timeouts import WORKING


@click.command()
@click.option("--to", "place", required=True, help="A folder, or the URL of an object store.")
@click.option("--connection", help="Of the organization of this connection alone.")
def export(place: str, connection: str | None) -> None:
    """Write the history tables and views as Parquet files, each as `<table>.parquet`, with a
    manifest.json of rows, bytes and digests. It is taken away first and comes last: where there is
    none, the files beside it are not whole.

    E-mail addresses (dim_account_detail) are left out, as from what an analyst sees. It needs
    pyarrow: pip install 'sonar-access-pipeline[parquet]'.

    \b
    Example:  sonar-access export --to s3://warehouse/sonar-access
    """
    from sonar_access_pipeline.published.parquet import publish

    organization = None
    if connection is not None:
        known = {one.name: one.organization for one in load().connections}
        if connection not in known or known[connection] is None:
            end(f"The settings have no connection '{connection}' with an organization.", FAILED)
        organization = known[connection]
    with opened_warehouse(WORKING) as warehouse:
        files = publish(warehouse, place, organization)
    rows = sum(one.rows for one in files)
    size = sum(one.bytes for one in files) / 2**20
    say(
        f"{len(files)} tables, {rows:,} rows, {size:.1f} MB, in {place}.",
        label="Published:",
        style="bold green",
    )
