"""A database that takes connections and never answers, or stops in the middle: every wait ends,
with a sentence.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from sonar_access_pipeline.warehouse import migrations
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.timeouts import TimeLimits

QUICK = TimeLimits(connect=2, lock=1.0, statement=1.0)


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that takes every connection and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"postgresql://u:secret@127.0.0.1:{server.getsockname()[1]}/db"
        server.shutdown(socket.SHUT_RDWR)
        for one in taken:
            one.close()


def test_a_server_that_takes_connections_and_says_nothing_is_given_up_with_a_sentence(
    silent: str,
) -> None:
    began = time.monotonic()
    with (
        pytest.raises(WarehouseError, match="takes connections and does not answer") as caught,
        Warehouse(silent, QUICK).read(),
    ):
        pass
    assert time.monotonic() - began < 10
    assert "secret" not in str(caught.value)


def test_a_command_ends_where_the_warehouse_is_silent(silent: str, tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "sonar-access"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SONAR_ACCESS_WAREHOUSE_URL": silent,
        "SONAR_ACCESS_DATA_DIR": str(tmp_path),
        "SONAR_ORGANIZATION": "acme",
    }
    done = subprocess.run(
        [str(script), "coverage"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_a_server_that_stops_in_the_middle_of_a_statement_is_given_up(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonar_access_pipeline.warehouse.database.GRACE", 0.5)
    migrations.upgrade(Warehouse(postgresql_url))
    warehouse = Warehouse(postgresql_url, QUICK)
    with warehouse.read() as transaction:
        process = transaction.execute(text("SELECT pg_backend_pid()")).scalar_one()
    try:
        began = time.monotonic()
        with (
            pytest.raises(WarehouseError, match="does not answer: it took the question"),
            warehouse.read() as transaction,
        ):
            os.kill(process, signal.SIGSTOP)
            transaction.execute(text("SELECT 1"))
        assert time.monotonic() - began < 10
    finally:
        os.kill(process, signal.SIGCONT)
    with warehouse.read() as transaction:
        assert transaction.execute(text("SELECT 1")).scalar_one() == 1, "the next one works again"


def test_a_statement_and_a_lock_that_take_too_long_are_two_sentences(postgresql_url: str) -> None:
    migrations.upgrade(Warehouse(postgresql_url))
    warehouse, other = Warehouse(postgresql_url, QUICK), Warehouse(postgresql_url)
    with pytest.raises(WarehouseError, match="it took too long"), warehouse.read() as transaction:
        transaction.execute(text("SELECT pg_sleep(20)"))
    with (
        other.write("history:acme"),
        pytest.raises(WarehouseError, match="something else holds what this needs"),
        Warehouse(postgresql_url, TimeLimits(lock=0.3)).write("history:acme"),
    ):
        pass
