"""The reviews of an organization as an archive carries them to another warehouse, with their
numbers: what people signed names them.

What follows from them is derived there anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Date, Integer, Table, func, insert, select, text

from sonar_access_pipeline.access.review.facts import EventKind
from sonar_access_pipeline.warehouse.reviews.facts import BY_RULE
from sonar_access_pipeline.warehouse.schema_base import UtcDateTime
from sonar_access_pipeline.warehouse.schema_reviews import REVIEW_TABLES, review, review_event

Reviews = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows as JSON has them, by the name of their table."""


def carried(transaction: Connection, organization_key: str, until: datetime) -> Reviews | None:
    """Gather the reviews of an organization that look at an observation of an archive, the last of
    which ended at `until`; None where there is none.
    """
    ours = select(review.c.review_id).where(
        review.c.organization_key == organization_key, review.c.as_of <= until
    )
    numbers = list(transaction.execute(ours).scalars())
    if not numbers:
        return None
    return {table.name: _rows(transaction, table, numbers) for table in REVIEW_TABLES}


def _rows(transaction: Connection, table: Table, numbers: Sequence[int]) -> list[dict[str, Any]]:
    query = select(table).where(table.c.review_id.in_(numbers))
    found = transaction.execute(query.order_by(*table.primary_key.columns)).mappings()
    return [dict(row) for row in found]


def take_in(
    transaction: Connection,
    organization_key: str,
    said: Reviews,
    archive_sha256: str,
    now: datetime,
    clocks_differ: timedelta,
) -> tuple[int, str | None]:
    """Take in the reviews of an archive, all or none: how many, and why not.

    They keep their numbers, so a warehouse that has reviews of its own takes none that it does not
    have already. Raises `ValueError` for rows of another shape, of another organization, or of a
    time that has not come.
    """
    rows = {
        table: [_row(table, one, now + clocks_differ) for one in said[table.name]]
        for table in REVIEW_TABLES
    }
    if any(one["organization_key"] != organization_key for one in rows[review]):
        raise ValueError("reviews of another organization")
    known = set(transaction.execute(select(review.c.review_id)).scalars())
    wanted = {one["review_id"] for one in rows[review]}
    if wanted <= known and _are_the_same(transaction, rows[review]):
        return 0, None
    if known:
        return 0, (
            f"{len(wanted)} reviews of the archive were not taken, because this warehouse has"
            " reviews already, and what people signed names them by their numbers."
        )
    for table, found in rows.items():
        if found:
            transaction.execute(insert(table), found)
            _go_on_after(transaction, table)
    imported = {"event": EventKind.IMPORTED.value, "noted_by": BY_RULE, "noted_at": now}
    transaction.execute(
        insert(review_event),
        [{"review_id": one, **imported, "reason": archive_sha256} for one in sorted(wanted)],
    )
    return len(wanted), None


def _are_the_same(transaction: Connection, rows: Sequence[Mapping[str, Any]]) -> bool:
    there = {row["review_id"]: dict(row) for row in transaction.execute(select(review)).mappings()}
    return all(there[one["review_id"]] == one for one in rows)


def _row(table: Table, said: Mapping[str, Any], latest: datetime) -> dict[str, Any]:
    row = {column.name: said[column.name] for column in table.columns}
    for column in table.columns:
        value = row[column.name]
        if isinstance(column.type, UtcDateTime) and value is not None:
            row[column.name] = moment = datetime.fromisoformat(value)
            is_to_come = column.name != "due_at" and moment > latest
            if moment.tzinfo is None or is_to_come:
                raise ValueError("a time that has not come")
        elif isinstance(column.type, Date) and value is not None:
            row[column.name] = date.fromisoformat(value)
    return row


def _go_on_after(transaction: Connection, table: Table) -> None:
    """Have PostgreSQL number what comes next after what came with its numbers."""
    number, *others = table.primary_key.columns
    if transaction.dialect.name != "postgresql" or others or not isinstance(number.type, Integer):
        return
    last = transaction.execute(select(func.max(number))).scalar_one()
    query = text("SELECT setval(pg_get_serial_sequence(:name, :number), :last)")
    transaction.execute(query, {"name": table.name, "number": number.name, "last": last})
