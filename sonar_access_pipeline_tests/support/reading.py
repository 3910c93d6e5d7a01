"""Reading a real server on loopback, for tests of the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any

from sonar_access_pipeline.access.content import content_of, lists_of
from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.rows import FCT_USER_ACCESS, HistoryTable, Row
from sonar_access_pipeline.access.snapshot import Scope, Snapshot
from sonar_access_pipeline.simulator.organization import Evolution, Organization
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.rate_limit import Patience, RateLimit
from sonar_access_pipeline.sonarcloud.reader import Preflight, Reader

TOKEN = "simulated-token"
FAST = 1_000_000
"""Requests a minute, where nobody has to be spared."""
QUICK = Patience(
    attempts=3,
    first_pause=0.001,
    longest_pause=0.002,
    limited_pause=0.001,
    request_seconds=0.5,
    list_seconds=3.0,
    snapshot_seconds=6.0,
)
UNHURRIED = replace(QUICK, request_seconds=10.0, list_seconds=60.0, snapshot_seconds=120.0)
"""For thousands of rows on a machine that does other work besides."""
FOUNDED = date(2026, 1, 5)
EVERYTHING = tuple(Scope)


def organization(accounts: int = 620, groups: int = 9, projects: int = 0) -> Organization:
    return Evolution(3, FOUNDED, accounts=accounts, groups=groups, projects=projects).on(FOUNDED)


@contextmanager
def serving(found: Organization, **options: Any) -> Iterator[Simulator]:
    with Simulator(lambda: found, **options) as simulator:
        yield simulator


def read(
    simulator: Simulator,
    key: str = "acme",
    token: str = TOKEN,
    patience: Patience = QUICK,
    scopes: Iterable[Scope] = (Scope.CORE,),
    rate_limit: RateLimit | None = None,
) -> Snapshot:
    with Client(
        simulator.url, token, patience=patience, rate_limit=rate_limit or RateLimit(FAST)
    ) as client:
        reader = Reader(client, key, scopes=scopes)
        return reader.read(
            reader.preflight(), connection="c", run_id="r", started_at=datetime.now(UTC)
        ).snapshot


def preflight(simulator: Simulator, key: str = "acme", token: str = TOKEN) -> Preflight:
    with Client(simulator.url, token, patience=QUICK) as client:
        return Reader(client, key).preflight()


def access_of(snapshot: Snapshot) -> set[tuple[Any, ...]]:
    """Every access row that a snapshot shows, parsed again from its bodies."""
    return set(rows_of(FCT_USER_ACCESS, content_of(lists_of(snapshot.responses), snapshot.scopes)))


def rows_of(description: HistoryTable, content: SnapshotContent) -> Iterator[Row]:
    """Every row of a history table that a content shows, of all its parts."""
    return chain.from_iterable(part.rows(content) for part in description.parts)
