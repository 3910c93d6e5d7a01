"""Many organizations in one warehouse on PostgreSQL: what a day of one costs beside ten and beside
all of them, what they take on disk, how long questions about one and about all take, and the export
of everything.

    python -m benchmarks.scale [organizations]
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from benchmarks.history import database, postgresql
from sonar_access_pipeline.published.parquet import publish
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of

ORGANIZATIONS, MEMBERS, GROUPS, FEW = 1000, 1000, 20, 20
"""Of each organization: a membership, a default group and three rights through it for each member,
and one group of a team: about six access rows a member.
"""


def world(organization: int, day: int = 0) -> World:
    """Build an organization; each day ten people come and ten go."""
    people = [f"o{organization}-p{number}" for number in range(day * 10, MEMBERS + day * 10)]
    teams = {
        str(group): [one for one in people if int(one.rpartition("p")[2]) % GROUPS == group - 1]
        for group in range(1, GROUPS + 1)
    }
    return World(
        members={login: f"Person of {login}" for login in people},
        groups={"0": "Members", **{str(group): f"team {group}" for group in range(1, GROUPS + 1)}},
        group_members={"0": people, **teams},
        group_permissions={"0": ["scan", "provisioning"], "1": ["admin", "gateadmin"]},
        default_group="0",
    )


def live(warehouse: Warehouse, organization: int, day: int) -> float:
    """Record and derive a day of an organization; seconds."""
    at = EPOCH + timedelta(days=day, seconds=organization)
    snapshot = snapshot_of(world(organization, day), at, key=f"org-{organization:04}")
    # Nobody's organization is in another's list.
    snapshot = replace(snapshot, run_id=f"run-{organization}-{day}")
    began = time.perf_counter()
    record(warehouse, snapshot, lambda: at)
    derive(warehouse, f"org-{organization:04}")
    return time.perf_counter() - began


def line(measure: str, measured: str) -> None:
    """Print a line of the table."""
    print(f"| {measure} | {measured} |", flush=True)


def main() -> None:
    """Measure one after the other."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ORGANIZATIONS
    line("measure", "measured")
    line("---", "---")
    with tempfile.TemporaryDirectory() as scratch, postgresql(Path(scratch)) as server:
        warehouse = Warehouse(database(server, "scale"))
        upgrade(warehouse)
        first = [live(warehouse, one, 0) for one in range(FEW)]
        beside_few = statistics.median(live(warehouse, one, 1) for one in range(FEW))
        began = time.perf_counter()
        for one in range(FEW, count):
            live(warehouse, one, 0)
        took = time.perf_counter() - began
        with warehouse.write("benchmark") as transaction:
            transaction.execute(text("ANALYZE"))
        beside_all = statistics.median(live(warehouse, one, 2) for one in range(FEW))
        line(
            f"the first day of {count - FEW} organizations of {MEMBERS} members, one after the"
            " other",
            f"{took:.0f} s ({statistics.median(first):.2f} s each at the beginning,"
            f" {took / max(count - FEW, 1):.2f} s on average)",
        )
        line(f"a later day of one: beside {FEW} organizations", f"{beside_few:.2f} s")
        line(f"a later day of one: beside {count}", f"{beside_all:.2f} s")
        line(f"the same / beside {FEW}", f"{beside_all / beside_few:.2f}")
        _disk(warehouse, count)
        _questions(warehouse)
        _export(warehouse, Path(scratch))
        warehouse.close()


SIZES = """
SELECT COUNT(*) FROM fct_user_access;
SELECT pg_total_relation_size('fct_user_access') / 1048576.0;
SELECT SUM(pg_total_relation_size(c.oid)) / 1048576.0
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'sonar_access' AND c.relkind = 'r';
SELECT pg_total_relation_size('raw_body') / 1048576.0
"""


def _disk(warehouse: Warehouse, count: int) -> None:
    with warehouse.read() as transaction:
        rows, access, whole, bodies = (
            transaction.execute(text(query)).scalar_one() for query in SIZES.split(";")
        )
    line("access rows, all of history", f"{rows:,}")
    line(
        "disk: the whole warehouse; the access table with its indexes; raw answers",
        f"{whole:,.0f}; {access:,.0f}; {bodies:,.0f} MB ({whole / count:.1f} MB an organization)",
    )


def _questions(warehouse: Warehouse) -> None:
    """Ask about one organization, and about all."""
    day = (EPOCH + timedelta(days=1)).date()
    asked = {
        "who has access now": "SELECT COUNT(*) FROM current_access WHERE {of}",
        "one line an account": "SELECT COUNT(*) FROM current_account WHERE {of}",
        "counts day by day": "SELECT COUNT(*) FROM daily_count WHERE {of}",
        f"access as of {day}": f"SELECT COUNT(*) FROM access_as_of('{day} 12:00:00+00')"
        " WHERE {of}",
        "who administers": "SELECT COUNT(DISTINCT login) FROM current_access WHERE {of} AND"
        " access_type = 'organization_permission' AND entitlement = 'admin'",
    }
    for what, query in asked.items():
        one = _timed(warehouse, query.format(of="organization_key = 'org-0001'"))
        every = _timed(warehouse, query.format(of="TRUE"))
        line(f"{what}: of one organization; of all", f"{one:.2f} s; {every:.1f} s")


def _timed(warehouse: Warehouse, query: str) -> float:
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        with warehouse.read() as transaction:
            transaction.execute(text(query.replace(":", r"\:"))).all()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _export(warehouse: Warehouse, scratch: Path) -> None:
    before = _memory()
    began = time.perf_counter()
    files = publish(warehouse, str(scratch / "tables"))
    took = time.perf_counter() - began
    rows, size = sum(one.rows for one in files), sum(one.bytes for one in files) / 2**20
    line(
        "export of everything as Parquet",
        f"{took:.0f} s, {rows:,} rows, {size:,.0f} MB, at most {_memory() - before:.0f} MB of"
        " memory beside what was there",
    )


def _memory() -> float:
    """Give the most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
