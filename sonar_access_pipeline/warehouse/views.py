"""The views as tables to select from. Their SQL stands in the migrations; their columns' types stand here.

They have a metadata of their own, so that migrations never take them for tables to make.
"""

from __future__ import annotations

from sqlalchemy import Column, Date, Integer, MetaData, Table, Text

from sonar_access_pipeline.warehouse.schema import UtcDateTime, raw_snapshot

metadata = MetaData()

observation = Table(
    "observation", metadata, *(Column(column.name, column.type) for column in raw_snapshot.c), comment="Snapshots that count"
)

sync_coverage = Table(
    "sync_coverage",
    metadata,
    Column("organization_key", Text),
    Column("partition_date", Date),
    Column("status", Text),
    Column("snapshots", Integer),
    Column("attempts", Integer),
    Column("observed_at", UtcDateTime),
    Column("run_id", Text),
    Column("error", Text),
    Column("imported_from", Text),
)

fct_access_change = Table(
    "fct_access_change",
    metadata,
    Column("organization_key", Text),
    Column("login", Text),
    Column("access_type", Text),
    Column("resource", Text),
    Column("entitlement", Text),
    Column("granted_via", Text),
    Column("kind", Text),
    Column("changed_after", UtcDateTime),
    Column("changed_by", UtcDateTime),
)

VIEWS = ("observation", "sync_coverage", "fct_access_change", "current_access", "user_project_access")
"""Every view, in the order they build on each other."""
