"""How fast and how large reading is, against the wire and against peers: `python -m
benchmarks.extraction`.

One simulated SonarCloud in a process of its own answers 50 ms after each request arrives. Every
measurement is a process of its own, and those that are compared take turns. See `peers/`.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import peers

ROUNDS = 5
LATENCY_MS = 50
CONNECTIONS = 8
MEMBERS, GROUPS = 10_000, 200
LIMIT = 1_200
"""Requests a minute where the limiter is measured: fast enough to be short, far below what eight
connections could do.
"""
LARGE = {"accounts": 50_000, "groups": 500, "projects": 2_000}


@contextmanager
def simulator(**options: int) -> Iterator[str]:
    """The address of a simulated SonarCloud."""
    command = [sys.executable, "-m", "sonar_access_pipeline.simulator"]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def child(kind: str, url: str, *arguments: str) -> dict[str, float]:
    """Run one measurement of this file in a process of its own."""
    return _measured([sys.executable, "-m", "benchmarks.extraction", kind, url, *arguments])


def peer(name: str, url: str) -> dict[str, float]:
    """Run one peer in its own environment."""
    return _measured([*peers.command(name), url])


def _measured(command: list[str]) -> dict[str, float]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SONAR")
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def read(url: str, *, per_minute: int = 10**9, scopes: Any = ()) -> tuple[Any, float]:
    """One read of the whole organization, and the seconds it took."""
    from sonar_access_pipeline.sonarcloud.client import Client
    from sonar_access_pipeline.sonarcloud.rate_limit import RateLimit
    from sonar_access_pipeline.sonarcloud.reader import Reader

    began = time.perf_counter()
    with Client(url, "simulated-token", rate_limit=RateLimit(per_minute)) as client:
        reader = Reader(client, "acme", scopes=scopes)
        observed = reader.read(
            reader.preflight(), connection="c", run_id="r", started_at=datetime.now(UTC)
        )
    assert observed.content is not None, observed.snapshot.reason
    return observed, time.perf_counter() - began


def run_read(url: str, per_minute: str = str(10**9)) -> dict[str, float]:
    """Wall time and requests of one read."""
    observed, seconds = read(url, per_minute=int(per_minute))
    return {
        "wall": seconds,
        "requests": len(observed.snapshot.responses),
        "rows": _rows(observed.snapshot),
    }


def run_cpu(url: str) -> dict[str, float]:
    """CPU of this process for pages of 500 rows: fetched, verified, decoded, stored in a warehouse
    of its own.
    """
    from sonar_access_pipeline.access.lists import GROUP_MEMBERS, GROUPS, MEMBERS
    from sonar_access_pipeline.access.snapshot import Snapshot, SourceKind, Verdict
    from sonar_access_pipeline.sonarcloud.client import Client
    from sonar_access_pipeline.sonarcloud.pagination import Gathering, ListPlan
    from sonar_access_pipeline.sonarcloud.rate_limit import RateLimit
    from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
    from sonar_access_pipeline.warehouse.migrations import upgrade
    from sonar_access_pipeline.warehouse.raw.snapshots import record

    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(sqlite_url(Path(folder) / "warehouse.sqlite"))
        upgrade(warehouse)
        began, started_at = time.process_time(), datetime.now(UTC)
        with Client(url, "simulated-token", rate_limit=RateLimit(10**9)) as client:
            gathering = Gathering(client, lambda _: None)
            asked = {"organization": "acme"}
            gathering.read([ListPlan(GROUPS, asked)])
            groups = gathering.gathered.of(GROUPS)
            everybody = max(groups, key=lambda group: group.members_count or 0).group_id
            gathering.read(
                [
                    ListPlan(MEMBERS, asked),
                    ListPlan(GROUP_MEMBERS, {"id": everybody}, everybody),
                ]
            )
        snapshot = Snapshot(
            connection="c",
            organization_key="acme",
            source_url=url,
            source_kind=SourceKind.SIMULATED,
            started_at=started_at,
            observed_at=datetime.now(UTC),
            server_started_at=None,
            server_observed_at=None,
            scopes=(),
            verdict=Verdict.INCOMPLETE,
            reason="a part of one",
            token_login="reader",
            tls_bundle_sha256=None,
            run_id="r",
            pipeline_version="benchmark",
            counts={},
            lists=tuple(gathering.reads.values()),
            controls=(),
            responses=gathering.responses,
        )
        record(warehouse, snapshot, lambda: datetime.now(UTC))
        seconds = time.process_time() - began
        warehouse.close()
    assert all(read.verdict is Verdict.COMPLETE for read in snapshot.lists)
    return {"cpu_ms": 1000 * seconds / len(snapshot.responses), "pages": len(snapshot.responses)}


def run_memory(url: str, *scopes: str) -> dict[str, float]:
    """Peak memory of one observation as the asset makes it, and how long it took."""
    from sonar_access_pipeline.access.snapshot import Scope
    from sonar_access_pipeline.orchestration.observe import observe
    from sonar_access_pipeline.orchestration.resources import Resources
    from sonar_access_pipeline.settings import Connection, Settings

    os.environ["BENCHMARK_TOKEN"] = "simulated-token"
    connection = Connection(
        name="c",
        organization="acme",
        token_env="BENCHMARK_TOKEN",
        host_url=url,
        scopes=tuple(map(Scope, scopes)),
    )
    with tempfile.TemporaryDirectory() as folder:
        resources = Resources(
            Settings(
                connections=(connection,), data_dir=Path(folder) / "data", requests_per_minute=10**9
            )
        )
        began = time.perf_counter()
        with resources.warehouse() as warehouse:
            recorded, snapshot = observe(connection, resources, warehouse, "run", lambda _: None)
        seconds = time.perf_counter() - began
    assert snapshot is not None
    assert recorded.verdict == "complete", recorded.reason
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "peak_mb": peak,
        "wall": seconds,
        "requests": len(snapshot.responses),
        "rows": _rows(snapshot),
    }


def _rows(snapshot: Any) -> int:
    return sum(response.rows for response in snapshot.responses)


def median(measured: list[dict[str, float]], figure: str) -> float:
    """The median of one figure."""
    return statistics.median(row[figure] for row in measured)


def forced(members: int, groups: int, sizes: list[int], projects: int = 0) -> int:
    """The requests that page sizes force: everybody twice, every group twice, the members of each,
    and each project twice.

    The member list is not asked beyond the 10,000 that it shows, a project's lists not beyond their
    first row without grants.
    """

    def pages(rows: int, size: int) -> int:
        return max(1, -(-rows // size))

    everybody = (
        pages(min(members, 10_000), 500)
        + pages(members, 100)
        + pages(groups, 500)
        + pages(groups, 100)
    )
    of_projects = pages(projects, 500) + projects * 2 if projects else 0
    return everybody + sum(pages(size, 500) for size in sizes) + of_projects


def group_sizes(accounts: int, groups: int, projects: int = 0) -> list[int]:
    """The sizes of the groups that the simulator has today."""
    from sonar_access_pipeline.simulator.organization import Evolution

    today = datetime.now(UTC).date()
    found = Evolution(1, today, accounts=accounts, groups=groups, projects=projects).on(today)
    return [len(group.members) for group in found.groups.values()]


def main() -> None:
    """Measure in turn, and print the table of docs/performance.md."""
    rows: list[tuple[str, str, str]] = []
    with simulator(accounts=MEMBERS, groups=GROUPS, latency_ms=LATENCY_MS) as url:
        child("read", url)  # the simulator keeps its answers from now on
        ours, limited, sonarqube, dlt = [], [], [], []
        for _ in range(ROUNDS):
            ours.append(child("read", url))
            sonarqube.append(peer("sonarqube_api", url))
            dlt.append(peer("dlt_rest", url))
            limited.append(child("read", url, str(LIMIT)))
    requests, wall = ours[0]["requests"], median(ours, "wall")
    wire = requests * LATENCY_MS / 1000 / CONNECTIONS
    for other in (sonarqube, dlt):
        assert other[0]["requests"] >= requests - 5, "the same lists"
    rows += [
        (
            "wall / (pages x latency / connections)",
            "at most 1.06",
            f"{wall / wire:.2f} ({requests:.0f} pages, {wall:.2f} s)",
        ),
        (
            "python-sonarqube-api, a page at a time / ours",
            "at least 7",
            f"{median(sonarqube, 'wall') / wall:.1f}",
        ),
        ("dlt's REST client / ours", "at least 7", f"{median(dlt, 'wall') / wall:.1f}"),
        (
            f"with the limiter at {LIMIT} a minute: wall / (requests / rate)",
            "at most 1.05",
            f"{median(limited, 'wall') / (requests / LIMIT * 60):.2f}",
        ),
    ]
    above = requests - forced(MEMBERS, GROUPS, group_sizes(MEMBERS, GROUPS))
    rows.append(
        (
            f"requests above what the page sizes force, {MEMBERS:,} members, {GROUPS} groups",
            "at most 5",
            f"{above:.0f}",
        )
    )
    with simulator(accounts=LARGE["accounts"], groups=2) as url:
        child("cpu", url)
        cpu = [child("cpu", url) for _ in range(ROUNDS)]
    rows.append(
        (
            "CPU per 500-row page: fetch, verify, decode, store",
            "at most 3 ms",
            f"{median(cpu, 'cpu_ms'):.1f} ms ({cpu[0]['pages']:.0f} pages)",
        )
    )
    with simulator(accounts=1, groups=2) as url:
        empty = [child("memory", url, "core") for _ in range(3)]
    with simulator(**LARGE) as url:
        large = [child("memory", url, "project_permissions") for _ in range(3)]
    above = large[0]["requests"] - forced(
        LARGE["accounts"], LARGE["groups"], group_sizes(**LARGE), LARGE["projects"]
    )
    named = (
        f"{LARGE['accounts']:,} members, {LARGE['groups']} groups, {LARGE['projects']:,} projects"
    )
    rows += [
        (
            f"requests above what the page sizes force, {named}",
            "at most 5",
            f"{above:.0f} of {large[0]['requests']:.0f}",
        ),
        (
            f"peak memory of one observation above an empty one, {named}",
            "at most 300 MB",
            (
                f"{median(large, 'peak_mb') - median(empty, 'peak_mb'):.0f} MB"
                f" ({median(large, 'wall'):.0f} s without latency)"
            ),
        ),
    ]
    print(
        f"medians of {ROUNDS} rounds, in turn; {MEMBERS:,} members, {GROUPS} groups, {LATENCY_MS}"
        f" ms, {CONNECTIONS} connections"
    )
    print("\n| measure | reach | measured |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kinds = {"read": run_read, "cpu": run_cpu, "memory": run_memory}
        print(json.dumps(kinds[sys.argv[1]](*sys.argv[2:])))
    else:
        main()
