"""A million access rows as Parquet, against COPY of the same rows by PostgreSQL; and the documented
questions asked in DuckDB over the files against the same in PostgreSQL.

    python -m benchmarks.published [rows]
"""

from __future__ import annotations

import io
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import text

from benchmarks.history import database, postgresql
from sonar_access_pipeline.published.parquet import publish, write
from sonar_access_pipeline.warehouse.ask import streams
from sonar_access_pipeline.warehouse.bulk import insert_rows
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.schema import history_tables
from sonar_access_pipeline_tests.support.builders import EPOCH
from sonar_access_pipeline_tests.support.reviewing import Reviewed

ROWS, DAYS, TIMES = 1_000_000, 60, 3
DOCS = Path(__file__).parents[1] / "docs" / "queries.md"


def rows(count: int, observed: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of a year of an organization: a tenth of them has ended."""
    for number in range(count):
        day = number % (len(observed) - 1)
        ends = observed[-1] if number % 10 == 0 else None
        yield (
            "acme",
            f"person-{number // 20}@github",
            "organization_permission" if number % 2 else "group",
            f"resource-{number % 20}",
            f"right-{number % 7}",
            "direct" if number % 3 else f"group:{number % 50}",
            observed[day],
            ends,
            observed[day] - timedelta(hours=1),
            None if ends is None else ends - timedelta(hours=1),
            number.to_bytes(8, "big"),
        )


COLUMNS = (
    "organization_key",
    "login",
    "access_type",
    "resource",
    "entitlement",
    "granted_via",
    "valid_from",
    "valid_to",
    "changed_after",
    "last_seen_at",
    "row_hash",
)


def timed(action: Callable[[], Any]) -> float:
    """Give the median seconds of some goes."""
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    """Measure one after the other."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    print("| measure | measured |\n|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch, postgresql(Path(scratch)) as server:
        warehouse = Warehouse(database(server, "published"))
        upgrade(warehouse)
        here = Reviewed(warehouse, Path(scratch))
        observed = [here.live(day).observed_at for day in range(DAYS)]
        table = history_tables["fct_user_access"]
        with warehouse.write("benchmark") as transaction:
            insert_rows(transaction, table, COLUMNS, rows(count, observed))
        with warehouse.write("benchmark") as transaction:
            transaction.execute(text("ANALYZE"))
        _export(warehouse, Path(scratch), count)
        _questions(warehouse, Path(scratch))
        warehouse.close()


def _export(warehouse: Warehouse, scratch: Path, count: int) -> None:
    table = history_tables["fct_user_access"]
    columns = streams.columns_of(table)
    names = ", ".join(column.name for column in columns)
    order = "organization_key, valid_from, login, access_type, resource, entitlement, granted_via"

    def copied() -> None:
        with warehouse.read() as transaction:
            raw = transaction.connection.driver_connection
            assert raw is not None, "an open connection has the driver's"
            with (scratch / "copy.csv").open("wb") as file, raw.cursor() as cursor:
                query = f"SELECT {names} FROM sonar_access.fct_user_access ORDER BY {order}"
                cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH CSV", io.BufferedWriter(file))

    def written() -> None:
        with warehouse.read() as transaction:
            write(
                scratch / "fct_user_access.parquet",
                columns,
                streams.stream(transaction, table, None),
            )

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall = timed(written)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    copy = timed(copied)
    size = (scratch / "fct_user_access.parquet").stat().st_size / 2**20
    with warehouse.read() as transaction:
        stored, whole = transaction.execute(
            text(
                "SELECT pg_table_size('fct_user_access') / 1048576.0,"
                " pg_total_relation_size('fct_user_access') / 1048576.0"
            )
        ).one()
    print(f"| {count:,} access rows as Parquet: wall | {wall:.1f} s |")
    print(f"| the same / COPY of the same rows, sorted alike | {wall / copy:.1f} ({copy:.1f} s) |")
    print(f"| memory beside what was there, at most | {after - before:.0f} MB |")
    print(
        f"| size | {size:.1f} MB; the table in PostgreSQL {stored:.0f} MB, with indexes"
        f" {whole:.0f} MB |"
    )


def _questions(warehouse: Warehouse, scratch: Path) -> None:
    place = scratch / "tables"
    began = time.perf_counter()
    publish(warehouse, str(place))
    print(f"| everything there is, by `export` | {time.perf_counter() - began:.0f} s |", flush=True)
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'; SET threads = 2")
    for file in place.glob("*.parquet"):
        engine.execute(f"CREATE VIEW {file.stem} AS SELECT * FROM '{file}'")
    day = (EPOCH + timedelta(days=DAYS // 2)).date()
    found = re.findall(r"## (.*?)\n.*?```sql\n(.*?)```", DOCS.read_text(), re.S)
    for title, sql in found:
        asked = re.sub(r"'2026-0\d-\d\d'", f"'{day}'", sql)

        def in_postgresql(asked: str = asked) -> None:
            with warehouse.read() as transaction:
                transaction.execute(text(asked.replace(":", r"\:"))).fetchall()

        def in_duckdb(asked: str = asked) -> None:
            engine.sql(asked).fetchall()

        slow, fast = timed(in_postgresql), timed(in_duckdb)
        print(f"| {title} PostgreSQL; DuckDB | {slow:.2f} s; {fast:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
