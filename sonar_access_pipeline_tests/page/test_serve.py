"""`review serve` as its users start it: a process that needs no token, on this machine alone unless
people can be known.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from sqlalchemy import create_engine, make_url, text

from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.roles import Role, grant
from sonar_access_pipeline_tests.support.paged import HEADER, Asking, Proxy
from sonar_access_pipeline_tests.support.programs import free_port
from sonar_access_pipeline_tests.support.reviewing import FALLBACK, OWNER, Reviewed

COMMAND = [str(Path(sys.executable).parent / "sonar-access")]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What the process sees: no token, and nothing of Dagster's."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "SONAR_ORGANIZATION": "acme",
        "SONAR_ACCESS_DATA_DIR": str(folder),
        **more,
    }


@contextmanager
def started(folder: Path, port: int | None = None, **more: str) -> Iterator[str]:
    """Start the page, and stop it."""
    port = port or free_port()
    process = subprocess.Popen(
        [*COMMAND, "review", "serve", "--port", str(port)],
        env=environment(folder, **more),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                if requests.get(f"{address}/ready", timeout=2).ok:
                    break
            except requests.RequestException:
                assert process.poll() is None, process.communicate()
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def refused(folder: Path, *words: str, **more: str) -> str:
    done = subprocess.run(
        [*COMMAND, "review", "serve", *words],
        env=environment(folder, **more),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Reviewed]:
    with opened(sqlite_url(tmp_path / "warehouse.sqlite"), tmp_path) as found:
        yield found


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Reviewed]:
    """Open a review in an empty warehouse."""
    warehouse = Warehouse(url)
    upgrade(warehouse)
    found = Reviewed(warehouse, folder)
    found.live(0)
    found.open(found.packet(0))
    yield found
    warehouse.close()


def test_it_serves_this_machine_alone_and_believes_what_is_said(
    here: Reviewed, tmp_path: Path
) -> None:
    with started(tmp_path) as address:
        asking = Asking(address, {})
        assert FALLBACK in asking.get("/login").text
        asking.post("/login", {"person": FALLBACK})
        assert "Review 1 of acme" in asking.get("/").text
        number = here.review().reviewed_by(FALLBACK)[0]
        form = {"choice": "keep", "reason": "needed", "seen": ""}
        assert asking.post(f"/r/1/{number}", form).status_code == 303
        digest = here.review().about.packet_digest
        assert asking.get(f"/packets/{digest}").status_code == 403
    assert [one.item_no for one in here.review().decisions] == [number]


@pytest.mark.parametrize("host", ["::", "reviews.example.com"])
def test_where_nobody_could_be_known_it_does_not_start(
    here: Reviewed, tmp_path: Path, host: str
) -> None:
    said = refused(tmp_path, "--host", host)
    assert f"Nobody could be known at {host}" in said


def test_a_place_that_is_taken_is_said_before_any_address(here: Reviewed, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(tmp_path, "--port", port)
    assert said.startswith(f"Error: The page cannot be served at 127.0.0.1, port {port}: ")


def test_mail_needs_a_page_with_https(here: Reviewed, tmp_path: Path) -> None:
    mail = {"SONAR_ACCESS_MAIL_URL": "mailto://127.0.0.1?from=a@example.com"}
    assert "Nobody could be known" in refused(tmp_path, "--host", "0.0.0.0", **mail)


def test_a_page_with_an_address_does_not_believe_what_is_said(
    here: Reviewed, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[review]\npage = "https://reviews.example.com"\n')
    said = refused(tmp_path, SONAR_ACCESS_CONFIG=str(settings))
    assert "Nobody could be known at https://reviews.example.com" in said


def test_it_works_as_role_review_behind_a_proxy_and_can_change_nothing_else(
    postgresql_url: str, tmp_path: Path
) -> None:
    with opened(postgresql_url, tmp_path) as here, role_of_its_own(here.warehouse):
        url = make_url(postgresql_url).set(username="page_review")
        proxy = Proxy(tmp_path, lambda: datetime.now(UTC))
        settings = tmp_path / "settings.toml"
        port = free_port()
        settings.write_text(f"""
[review]
owner = "{OWNER}"
fallback = "{FALLBACK}"
page = "http://127.0.0.1:{port}"
[review.assertion]
header = "{HEADER}"
issuer = "https://idp.example.com"
audience = "sonar-access"
keys = "{proxy.file}"
""")
        more = {
            "SONAR_ACCESS_CONFIG": str(settings),
            "SONAR_ACCESS_WAREHOUSE_URL": url.render_as_string(hide_password=False),
        }
        with started(tmp_path, port, **more) as address:
            asking = Asking(address, {HEADER: proxy.says(FALLBACK)})
            number = here.review().reviewed_by(FALLBACK)[0]
            form = {"choice": "keep", "reason": "needed", "seen": ""}
            assert asking.post(f"/r/1/{number}", form).status_code == 303
            assert asking.get("/connections").status_code == 200
            assert Asking(address, {}).get("/").status_code == 401
        assert len(here.review().decisions) == 1


@contextmanager
def role_of_its_own(warehouse: Warehouse) -> Iterator[None]:
    """Have a user of PostgreSQL that may do what the page must, and nothing else."""
    with warehouse.write("test") as transaction:
        transaction.execute(text("CREATE ROLE page_review LOGIN"))
    grant(warehouse, "page_review", Role.REVIEW)
    try:
        yield
    finally:
        with warehouse.write("test") as transaction:
            transaction.execute(text("DROP OWNED BY page_review"))
            transaction.execute(text("DROP ROLE page_review"))


def test_a_warehouse_that_is_away_is_said_and_when_it_is_back_the_page_goes_on(
    postgresql_url: str, tmp_path: Path
) -> None:
    with (
        opened(postgresql_url, tmp_path),
        started(tmp_path, SONAR_ACCESS_WAREHOUSE_URL=postgresql_url) as address,
    ):
        asking = Asking(address, {})
        asking.post("/login", {"person": FALLBACK})
        with away(postgresql_url):
            for answer in (
                asking.get("/"),
                asking.post("/r/1/1", {"choice": "keep"}),
                asking.get("/login"),
                asking.post("/login", {"person": FALLBACK}),
                asking.post("/logout", {}),
            ):
                assert answer.status_code == 503, answer.url
                assert "The warehouse cannot be asked now" in answer.text
            assert asking.get("/ready").status_code == 503
            assert asking.get("/alive").status_code == 200
        assert "Review 1 of acme" in asking.get("/").text


@contextmanager
def away(url: str) -> Iterator[None]:
    """Take a database away from everybody, and bring it back."""
    name = make_url(url).database
    server = create_engine(
        make_url(url).set(drivername="postgresql+psycopg2", database="postgres"),
        isolation_level="AUTOCOMMIT",
    )
    leave = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    with server.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(leave, {"name": name})
        yield
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    server.dispose()
