"""Whole tables and views, some rows at a time: past a few million nothing is held in memory.

Add here: what else is published. A table is read in an order that is the same on both databases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, Text, select

from sonar_access_pipeline.access.rows import DIM_ACCOUNT_DETAIL
from sonar_access_pipeline.warehouse import views
from sonar_access_pipeline.warehouse.schema import dim_rule, history_observation, history_tables
from sonar_access_pipeline.warehouse.schema_reviews import fct_follow_up

BATCH = 50_000
Batch = Sequence[Sequence[Any]]


def published() -> list[Table]:
    """List what is published, by name: every history table and view but for e-mail addresses, which
    an analyst does not see either.
    """
    found = [
        *(table for name, table in history_tables.items() if name != DIM_ACCOUNT_DETAIL.name),
        dim_rule,
        history_observation,
        fct_follow_up,
        *views.metadata.sorted_tables,
    ]
    return sorted(found, key=lambda table: table.name)


def columns_of(table: Table) -> list[Column[Any]]:
    """List the columns of a table that say something: a hash of the others does not."""
    return [column for column in table.columns if column.name != "row_hash"]


def stream(transaction: Connection, table: Table, organization_key: str | None) -> Iterator[Batch]:
    """Yield the rows of a table, of one organization or of all, in the order of `columns_of`, some
    at a time: by organization, then by when they begin, so that readers skip what is later.
    """
    columns = columns_of(table)
    query = select(*columns)
    if organization_key is not None and "organization_key" in table.c:
        query = query.where(table.c.organization_key == organization_key)
    order = _order(columns)
    is_postgresql = transaction.dialect.name == "postgresql"
    query = query.order_by(
        *(
            # Text by its bytes, and NULL first: as SQLite has it.
            (column.collate("C") if isinstance(column.type, Text) else column).nulls_first()
            if is_postgresql
            else column
            for column in order
        )
    )
    streamed = query.execution_options(stream_results=True, max_row_buffer=BATCH)
    yield from transaction.execute(streamed).partitions(BATCH)


def _order(columns: Sequence[Column[Any]]) -> list[Column[Any]]:
    first = ("organization_key", "valid_from")
    named = {column.name: column for column in columns}
    leading = [named[name] for name in first if name in named]
    return [*leading, *(column for column in columns if column.name not in first)]
