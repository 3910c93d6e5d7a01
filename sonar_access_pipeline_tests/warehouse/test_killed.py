"""Killed at any instant, the tables are as before or as after: real processes, real signals, on
each database.

Short here; `make proofs` kills hundreds of times.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.verify import State, verify
from sonar_access_pipeline.warehouse.schema import history_observation
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.killed import DAYS, snapshots
from sonar_access_pipeline_tests.support.model import Interval
from sonar_access_pipeline_tests.warehouse.test_history import expected, stored

KILLS = 300 if THOROUGH else 3
LONGEST = 0.5
"""Seconds until a kill, at most: some tens of transactions."""

Kill = Callable[[Warehouse, int], None]


class Zygote:
    """A process that forks workers."""

    def __init__(self) -> None:
        folder = Path(__file__).parents[2]
        command = [sys.executable, "-m", "sonar_access_pipeline_tests.support.killed"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=folder
        )

    def start(self, url: str, key: str) -> int:
        """A worker's process number."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{url} {key}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def said(self) -> str:
        """All that workers said in the end."""
        return self._process.communicate()[1]


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.said()


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def finish(pid: int, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < ends, "a worker never ends"
        time.sleep(0.02)


def marks(warehouse: Warehouse, key: str) -> set[Any]:
    with warehouse.read() as transaction:
        mark = history_observation.c
        return set(
            transaction.execute(
                select(mark.observed_at).where(mark.organization_key == key)
            ).scalars()
        )


class Truth:
    """What history is after so many days, computed once."""

    def __init__(self, key: str) -> None:
        self._snapshots = snapshots(key)
        self._known: dict[int, dict[str, set[Interval]]] = {}

    def after(self, times: set[Any]) -> dict[str, set[Interval]]:
        merged = [snapshot for snapshot in self._snapshots if snapshot.observed_at in times]
        assert merged == self._snapshots[: len(merged)], "an earlier day is never left out"
        if len(merged) not in self._known:
            self._known[len(merged)] = expected(merged)
        return self._known[len(merged)]


def sigkill(warehouse: Warehouse, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def terminate_connections(warehouse: Warehouse, pid: int) -> None:
    """Drop a connection in the middle of a statement: on a machine that does much else, a moment
    that is chosen blindly may come before the first one or between two.
    """
    others = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'sonar-access' AND pid <>"
        " pg_backend_pid() AND state = 'active'"
    )
    drop = text(f"SELECT pg_terminate_backend(pid) FROM ({others}) other")
    until = time.monotonic() + 10 * LONGEST
    with warehouse.engine.connect() as connection:
        while not connection.execute(drop).all() and time.monotonic() < until:
            connection.rollback()


def crash_the_server(warehouse: Warehouse, pid: int) -> None:
    """A backend that dies takes the whole server with it, which then recovers from its log, as
    after a power cut.
    """
    query = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'sonar-access' AND pid <>"
        " pg_backend_pid()"
    )
    with warehouse.engine.connect() as connection:
        backends = list(connection.execute(text(query)).scalars())
    for backend in backends:
        with suppress(ProcessLookupError):
            os.kill(backend, signal.SIGKILL)


def wait_for_server(warehouse: Warehouse) -> None:
    # It reads its log again, on a machine that does much else.
    until = time.monotonic() + 180
    while time.monotonic() < until:
        warehouse.engine.dispose()
        try:
            with warehouse.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server never came back")


def killed_again_and_again(
    warehouse: Warehouse, url: str, zygote: Zygote, kill: Kill, kills: int
) -> None:
    key, rng = "acme", random.Random(kills)
    truth = Truth(key)
    for _ in range(kills):
        pid = zygote.start(url, key)
        time.sleep(rng.random() * LONGEST)
        kill(warehouse, pid)
        finish(pid)
        wait_for_server(warehouse)
        assert stored(warehouse, key) == truth.after(marks(warehouse, key))
    finish(zygote.start(url, key))
    times = marks(warehouse, key)
    assert len(times) == DAYS
    assert stored(warehouse, key) == truth.after(times)
    assert derive(warehouse, key) == []
    assert verify(warehouse, key).state is State.FINE


@pytest.mark.proofs("sqlite")
def test_a_process_that_is_killed_leaves_history_as_before_or_as_after(
    warehouse: Warehouse, warehouse_url: str, zygote: Zygote
) -> None:
    killed_again_and_again(warehouse, warehouse_url, zygote, sigkill, KILLS)


@pytest.mark.waits
def test_a_connection_that_is_dropped_leaves_history_as_before_or_as_after(
    postgresql_url: str, zygote: Zygote
) -> None:
    from sonar_access_pipeline.warehouse.migrations import upgrade

    warehouse = Warehouse(postgresql_url)
    upgrade(warehouse)
    killed_again_and_again(warehouse, postgresql_url, zygote, terminate_connections, KILLS)
    warehouse.close()
    said = zygote.said()
    assert "Traceback" not in said
    assert "said: The warehouse" in said, "a dropped connection is one sentence"


@pytest.mark.waits
def test_a_server_that_crashes_leaves_history_as_before_or_as_after(
    postgresql_url: str, zygote: Zygote
) -> None:
    from sonar_access_pipeline.warehouse.migrations import upgrade

    warehouse = Warehouse(postgresql_url)
    upgrade(warehouse)
    killed_again_and_again(warehouse, postgresql_url, zygote, crash_the_server, max(3, KILLS // 8))
    warehouse.close()
    assert "Traceback" not in zygote.said()
