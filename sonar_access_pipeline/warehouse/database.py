"""Opening a warehouse: one URL, two databases, transactions with the right lock, and errors as
sentences.

Knows no table. A `Warehouse` is cheap to make and connects when first used.
"""

from __future__ import annotations

import os
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError

from sonar_access_pipeline.addresses import is_clear
from sonar_access_pipeline.private import expanded
from sonar_access_pipeline.warehouse.errors import WarehouseError, WarehouseUrlError
from sonar_access_pipeline.warehouse.schema import SCHEMA
from sonar_access_pipeline.warehouse.timeouts import WORKING, TimeLimits, Timeouts

Transaction = Connection
"""What `read` and `write` give: for rooms that pass one on, and write no SQL."""
GRACE = 5.0
"""Seconds after which a server that has not ended a statement by its own limit is taken to be
silent.
"""
POSTGRESQL = ("postgresql", "postgres")
LOCK_CLASS = 7_766_276
"""First half of our advisory lock keys on PostgreSQL, so that they meet nobody else's."""
BUSY_SECONDS = 60
SQLITE = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    # A day's merge touches pages all over its indexes: 64 MB keeps them until the commit, and the
    # log is folded in now and then.
    "cache_size=-65536",
    "wal_autocheckpoint=16384",
)
"""How an embedded warehouse is opened: safe against a power cut at any moment, and readable while
it is written.
"""


class Warehouse:
    """One warehouse. `write` serializes writers with one `lock` name; `read` waits for nobody."""

    def __init__(self, url: str, limits: TimeLimits = WORKING) -> None:
        self.url = _url(url)
        self.is_postgresql = self.url.get_backend_name() == "postgresql"
        self._silence = Timeouts()
        self.engine: Engine = (
            _postgresql(self.url, limits, self._silence)
            if self.is_postgresql
            else _sqlite(self.url)
        )

    @property
    def sqlite_file(self) -> Path | None:
        """The file of an embedded warehouse; None for PostgreSQL."""
        return None if self.is_postgresql or not self.url.database else Path(self.url.database)

    @property
    def name(self) -> str:
        """The address for people: without user, password and options."""
        if not self.is_postgresql:
            return f"sqlite:///{self.url.database}"
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{self.url.host or ''}{port}/{self.url.database or ''}"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run a block in a transaction that sees one state and changes nothing.

        Raises `WarehouseError` for what the database refuses.
        """
        with self._translated(), self.engine.connect() as connection:
            if self.is_postgresql:
                # There each statement would see a state of its own; SQLite's transactions see one.
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self, lock: str) -> Iterator[Connection]:
        """Run a block in a transaction that other writers of `lock` wait for: all of it happens, or
        nothing. Raises `WarehouseError`.
        """
        with self._translated(), self.engine.connect() as connection:
            connection = connection.execution_options(sonar_access_writes=True)
            if self.is_postgresql:
                # Whatever the database's default: what is read after the wait for the lock must be
                # what the last writer left.
                connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                self.lock(connection, lock)
                yield connection

    def lock(self, transaction: Connection, lock: str) -> None:
        """Take one more lock in a `write`, until its end.

        SQLite has one lock for all, which a write has already.
        """
        if self.is_postgresql:
            key = zlib.crc32(lock.encode()) - 2**31
            transaction.execute(
                text("SELECT pg_advisory_xact_lock(:class, :key)"),
                {"class": LOCK_CLASS, "key": key},
            )

    @contextmanager
    def exclusive(self, lock: str) -> Iterator[bool]:
        """Hold a lock over work that is done elsewhere; False where somebody else holds it.

        On PostgreSQL it is one of a transaction that does nothing, on SQLite a file beside the
        warehouse, so that others write meanwhile.
        """
        if self.is_postgresql:
            key = zlib.crc32(lock.encode()) - 2**31
            with self._translated(), self.engine.connect() as connection, connection.begin():
                query = text("SELECT pg_try_advisory_xact_lock(:class, :key)")
                held = connection.execute(query, {"class": LOCK_CLASS, "key": key}).scalar()
                yield bool(held)
            return
        file = FileLock(f"{self.url.database}.{zlib.crc32(lock.encode()):08x}.lock")
        try:
            file.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            file.release()

    def fold_log(self) -> None:
        """Have SQLite fold its log into the file and empty it, so that nothing of what was replaced
        is left there.
        """
        with self._translated(), self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None, "an open connection has the driver's"
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        driver = self.engine.dialect.loaded_dbapi
        try:
            yield
        except (DBAPIError, driver.Error) as error:
            # The statement and its parameters hold personal data: only the database's first line is
            # passed on.
            if waited := self._silence.was_late():
                raise WarehouseError(
                    f"The warehouse {self.name} does not answer: it took the question and was"
                    f" silent for {waited:.0f} s. Look whether the server runs and the network lets"
                    " answers through; nothing was half-written."
                ) from None
            cause = error.orig if isinstance(error, DBAPIError) else error
            reason = (
                str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            )
            raise WarehouseError(
                f"The warehouse {self.name} refuses: {reason}{_advice(reason)}"
            ) from None


def _advice(said: str) -> str:
    advice = {
        "FATAL:  database": (
            "; there is no such database: make it, or check SONAR_ACCESS_WAREHOUSE_URL."
        ),
        "FATAL:  role": "; there is no such role: make it, or check SONAR_ACCESS_WAREHOUSE_URL.",
        "FATAL:  password": "; the password is not the role's: check SONAR_ACCESS_WAREHOUSE_URL.",
        "permission denied to create temporary tables": (
            "; its owner must run GRANT TEMPORARY ON DATABASE for the role."
        ),
        "permission denied": (
            "; the role has no right to this; a decision needs SONAR_ACCESS_WAREHOUSE_URL of an"
            " operator."
        ),
        "read-only transaction": (
            "; the role or the database may only read: check default_transaction_read_only."
        ),
        "timeout expired": (
            "; it takes connections and does not answer: look whether the server runs, then try"
            " again."
        ),
        "lock timeout": (
            "; something else holds what this needs for too long: look what runs, then try again."
        ),
        "statement timeout": "; it took too long: look what else the server does, then try again.",
        "disk is full": "; free some space, then run again: nothing was half-written.",
        "unable to open": "; check that the folder exists and can be written.",
        "readonly database": "; check that the file and its folder can be written.",
        "no such table": (
            "; it has no tables yet: run `sonar-access sync` or `sonar-access warehouse upgrade`."
        ),
        "does not exist": "; run `sonar-access warehouse upgrade`, and check the URL.",
        "not a database": "; the file is something else: check SONAR_ACCESS_WAREHOUSE_URL.",
        "connection to server": "; check SONAR_ACCESS_WAREHOUSE_URL and that the server runs.",
        "locked": "; another process holds it: wait for it to end.",
    }
    return next((text for words, text in advice.items() if words in said), ".")


def _url(url: str) -> URL:
    """Read the URL.

    Raises `WarehouseUrlError` for one that cannot be read in exactly one way; nothing of it is
    repeated then.
    """
    scheme, _, rest = url.partition("://")
    kind, _, driver = scheme.partition("+")
    port = re.search(r":(\w+)(?=[/?]|$)", rest.rpartition("@")[2])
    if kind in POSTGRESQL and port and not (port[1].isdigit() and int(port[1]) < 65536):
        raise WarehouseUrlError(
            "SONAR_ACCESS_WAREHOUSE_URL has a port that is none; write"
            " postgresql://user:password@host:5432/name."
        )
    if kind in POSTGRESQL and not is_clear(url):
        raise WarehouseUrlError(
            "SONAR_ACCESS_WAREHOUSE_URL can be read in more than one way; write `@`, `/`, `:`, `?`"
            " and `#` in its user and password as %40, %2F, %3A, %3F and %23."
        )
    if kind not in (*POSTGRESQL, "sqlite") or not rest:
        what = f"not {kind}" if kind.isalpha() and rest else "and this is no address of one"
        raise WarehouseUrlError(
            f"The warehouse can be SQLite or PostgreSQL, {what}; write SONAR_ACCESS_WAREHOUSE_URL"
            " as sqlite:////path/to/file or postgresql://user:password@host/name."
        )
    if kind == "sqlite" and "?" in rest:
        raise WarehouseUrlError(
            "SONAR_ACCESS_WAREHOUSE_URL has a `?` in it, which no path of an embedded warehouse may"
            " have."
        )
    if driver not in ("", "psycopg2", "pysqlite"):
        raise WarehouseUrlError(
            f"SONAR_ACCESS_WAREHOUSE_URL names the driver {driver}; write {kind}:// alone."
        )
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise WarehouseUrlError(
            "SONAR_ACCESS_WAREHOUSE_URL is no database URL; write sqlite:////path/to/file or"
            " postgresql://user:password@host/name."
        ) from None
    if kind == "sqlite":
        if parsed.host or not parsed.database or parsed.database == ":memory:":
            raise WarehouseUrlError(
                "SONAR_ACCESS_WAREHOUSE_URL names no file; write sqlite:////path/to/file, with four"
                " slashes for a whole path."
            )
        return parsed.set(database=str(expanded(Path(parsed.database))))
    # SQLAlchemy 2.1 would take psycopg 3, which Dagster's own storage cannot use: one driver for
    # both.
    return parsed.set(drivername="postgresql+psycopg2")


def _postgresql(url: URL, limits: TimeLimits, silence: Timeouts) -> Engine:
    asked = {
        "application_name": "sonar-access",
        "connect_timeout": limits.connect,
        # A host that is gone without a word is noticed by the system after a minute.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    }
    engine = create_engine(url, hide_parameters=True, connect_args=asked)
    patience = limits.statement + GRACE

    # For each transaction, not for the connection: behind a pooler the next one may be another
    # connection, or somebody else's.
    settings = "; ".join(
        f"SET LOCAL {name} TO {value}"
        for name, value in {
            "search_path": SCHEMA,
            "timezone": "'UTC'",
            "statement_timeout": round(limits.statement * 1000),
            "lock_timeout": round(limits.lock * 1000),
        }.items()
    )

    @event.listens_for(engine, "begin")
    def prepare(connection: Connection) -> None:
        connection.exec_driver_sql(settings)

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, _: Any, __: Any) -> None:
        # As `pool_pre_ping` does, which would wait for ever.
        silence.begin(connection, limits.connect)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.rollback()
        except _driver_error(engine):
            raise DisconnectionError from None
        finally:
            silence.done(connection)

    @event.listens_for(engine, "before_cursor_execute")
    def asks(connection: Connection, *_: Any) -> None:
        silence.begin(connection.connection.driver_connection, patience)

    @event.listens_for(engine, "after_cursor_execute")
    def answered(connection: Connection, *_: Any) -> None:
        silence.done(connection.connection.driver_connection)

    @event.listens_for(engine, "commit")
    @event.listens_for(engine, "rollback")
    def ends(connection: Connection) -> None:
        if not connection.invalidated:
            silence.begin(connection.connection.driver_connection, patience)

    @event.listens_for(engine, "checkin")
    @event.listens_for(engine, "close")
    @event.listens_for(engine, "invalidate")
    def given_back(connection: Any, *_: Any) -> None:
        silence.done(connection)

    return engine


def _driver_error(engine: Engine) -> type[Exception]:
    driver = engine.dialect.loaded_dbapi
    assert driver is not None, "an engine has loaded its driver"
    error_type: type[Exception] = driver.Error
    return error_type


def _sqlite(url: URL) -> Engine:
    file = Path(url.database or "")
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    if file.exists() and not (_may_write(file) and _may_write(file.parent)):
        _require_whole(file)
        # Nobody writes there now, or it would have a log beside it: what is asked is the file as it
        # is.
        place = f"file:{quote(str(file.absolute()))}?mode=ro&immutable=1"
        engine = create_engine(
            url, hide_parameters=True, creator=lambda: sqlite3.connect(place, uri=True)
        )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver must not begin transactions of its own: ours begin with the lock they need (see
        # below).
        connection.isolation_level = None
        for pragma in SQLITE if _may_write(file.parent) or not file.exists() else SQLITE[2:4]:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("sonar_access_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _may_write(place: Path) -> bool:
    return os.access(place, os.W_OK)


def _require_whole(file: Path) -> None:
    """Raise `WarehouseError` where a part of an embedded warehouse lies in its log, not in its
    file.
    """
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size:
        raise WarehouseError(
            f"The warehouse {file} can only be read here, and a part of it still lies in"
            f" {log.name}; let whoever may write there ask it once, or copy both files to a place"
            " where you may write."
        )


def sqlite_url(path: Path) -> str:
    """Build the URL of an embedded warehouse in a file."""
    return f"sqlite:///{path.absolute()}"
