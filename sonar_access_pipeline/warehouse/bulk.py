"""Many rows at once, as fast as each database takes them: the only place that goes past SQLAlchemy
to the driver.

PostgreSQL takes COPY, SQLite `executemany`; SQLAlchemy's own inserts are six and two times slower.
Types are few and known: text, bool, int, float, bytes, datetime, and None.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, literal, select

from sonar_access_pipeline.access.rows import SIZE
from sonar_access_pipeline.warehouse.schema import UtcDateTime

AT_ONCE = 10_000
"""Rows in memory in the database's own spelling."""


def insert_rows(
    transaction: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows whose values stand in the order of `names`.

    They are read once, and never all in memory.
    """
    left = iter(rows)
    write = _copy if transaction.dialect.name == "postgresql" else _execute_many
    while part := list(islice(left, AT_ONCE)):
        write(transaction, table, names, part)


def hashes_where(
    transaction: Connection, table: Table, condition: ColumnElement[bool]
) -> set[bytes]:
    """Return the `row_hash` of every row for which a condition holds."""
    if transaction.dialect.name == "postgresql":
        # One value instead of as many rows: the driver would take longer than the database.
        together = select(func.string_agg(table.c.row_hash, literal(b""))).where(condition)
        whole = bytes(transaction.execute(together).scalar() or b"")
        return {whole[place : place + SIZE] for place in range(0, len(whole), SIZE)}
    return {row[0] for row in tuples(transaction, select(table.c.row_hash).where(condition))}


def rows(transaction: Connection, query: Select[Any]) -> list[tuple[Any, ...]]:
    """Read the rows of a query, with times as everywhere: aware, UTC.

    Bytes may be a `memoryview` on PostgreSQL.
    """
    raw_rows = tuples(transaction, query)
    times = [isinstance(column.type, UtcDateTime) for column in query.selected_columns]
    if transaction.dialect.name == "postgresql" or not any(times):
        return list(raw_rows)
    known: dict[str | None, datetime | None] = {None: None}
    spelled = [place for place, is_time in enumerate(times) if is_time]
    turned = []
    for row in raw_rows:
        values = list(row)
        for place in spelled:
            text = values[place]
            if text not in known:
                known[text] = datetime.fromisoformat(text).replace(tzinfo=UTC)
            values[place] = known[text]
        turned.append(tuple(values))
    return turned


def tuples(transaction: Connection, query: Select[Any]) -> Iterator[tuple[Any, ...]]:
    """Read the rows of a query as the driver gives them: times are text on SQLite, bytes may be a
    `memoryview` on PostgreSQL.
    """
    cursor = transaction.execute(query).cursor
    assert cursor is not None, "a query has a cursor"
    return iter(cursor.fetchall())


def _execute_many(
    transaction: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    places = ", ".join("?" * len(names))
    spelled = [
        tuple(_utc(value) if isinstance(value, datetime) else value for value in row)
        for row in rows
    ]
    transaction.exec_driver_sql(
        f"INSERT INTO {table.name} ({_quoted(transaction, names)}) VALUES ({places})", spelled
    )


def _quoted(transaction: Connection, names: Sequence[str]) -> str:
    """Name columns as the database needs it: some names are words of SQL."""
    return ", ".join(map(transaction.dialect.identifier_preparer.quote, names))


def _copy(
    transaction: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    raw = transaction.connection.driver_connection
    assert raw is not None, "an open connection has the driver's"
    lines = io.StringIO(
        "".join("\t".join([SPELLED[type(value)](value) for value in row]) + "\n" for row in rows)
    )
    with raw.cursor() as cursor:
        cursor.copy_expert(f"COPY {table.name} ({_quoted(transaction, names)}) FROM STDIN", lines)


@lru_cache(maxsize=1024)
def _utc(moment: datetime) -> str:
    """Spell a time as SQLAlchemy does on SQLite, so that all times compare as text."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


@lru_cache(maxsize=1024)
def _iso(moment: datetime) -> str:
    return moment.isoformat()


ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
SPELLED: dict[type, Callable[[Any], str]] = {
    str: lambda value: value if value.isalnum() else value.translate(ESCAPED),
    type(None): lambda value: r"\N",
    bool: lambda value: "t" if value else "f",
    bytes: lambda value: rf"\\x{value.hex()}",
    datetime: _iso,
    int: str,
    float: repr,
}
"""How COPY's text form writes a value of each type."""
