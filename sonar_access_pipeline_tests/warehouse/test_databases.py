"""Databases as they are run: other encodings and defaults, roles with few rights, poolers, files
that can only be read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import LOCK_CLASS, Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.verify import State, verify
from sonar_access_pipeline.warehouse.migrations import require_suitable, upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import SCHEMA
from sonar_access_pipeline.warehouse.timeouts import TimeLimits
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.programs import free_port
from sonar_access_pipeline_tests.support.servers import running

WORLD = World(members={"ada": "Ad\u00e4 \u0142"}, user_permissions={"ada": ["admin"]})


def ask(url: str, *statements: str) -> None:
    """Run statements, each by itself, as the owner of the server."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def named(url: str, *, database: str | None = None, username: str | None = None) -> str:
    """The URL of another database, or of another role."""
    return (
        make_url(url)
        .set(database=database, username=username)
        .render_as_string(hide_password=False)
    )


def test_a_database_that_is_not_utf8_is_refused_before_the_first_name(postgresql: str) -> None:
    name = f"ascii_{uuid.uuid4().hex}"
    ask(
        postgresql,
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE"
        " template0",
    )
    warehouse = Warehouse(named(postgresql, database=name))
    for refuse in (require_suitable, upgrade):
        with pytest.raises(
            WarehouseError, match=f"{name} is encoded in SQL_ASCII, which cannot hold every name"
        ):
            refuse(warehouse)
    warehouse.close()


def test_a_role_that_may_not_create_is_told_which_right_it_needs(postgresql_url: str) -> None:
    role, database = f"maker_{uuid.uuid4().hex[:8]}", make_url(postgresql_url).database
    ask(postgresql_url, f"CREATE ROLE {role} LOGIN")
    warehouse = Warehouse(named(postgresql_url, username=role))
    with pytest.raises(WarehouseError, match=f"GRANT CREATE ON DATABASE {database} TO {role}"):
        upgrade(warehouse)
    ask(postgresql_url, f"GRANT CREATE ON DATABASE {database} TO {role}")
    assert upgrade(warehouse), "and with it all is made"
    warehouse.close()


def test_nothing_of_ours_is_left_on_a_connection_that_others_get_next(postgresql_url: str) -> None:
    """As behind a pooler that gives a connection to somebody else after each transaction."""
    warehouse = Warehouse(postgresql_url)
    upgrade(warehouse)
    record(warehouse, snapshot_of(WORLD, EPOCH), lambda: EPOCH)
    derive(warehouse, "acme")
    plain = create_engine(make_url(postgresql_url).set(drivername="postgresql+psycopg2"))
    raw, fresh = warehouse.engine.raw_connection(), plain.raw_connection()
    for setting in (
        "search_path",
        "timezone",
        "statement_timeout",
        "lock_timeout",
        "default_transaction_isolation",
    ):
        found = []
        for connection in (raw, fresh):
            cursor = connection.cursor()
            cursor.execute(f"SHOW {setting}")
            found.append(cursor.fetchone())
        assert found[0] == found[1], setting
    for connection in (raw, fresh):
        connection.close()
    plain.dispose()
    warehouse.close()


@contextmanager
def pooled(url: str, folder: Path) -> Iterator[str]:
    """Give the address of a PgBouncer before a database, which has one connection for all, for a
    transaction each.
    """
    server, port = make_url(url), free_port()
    (folder / "users").write_text('"postgres" ""\n')
    host = str(server.query["host"])
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={host} port={server.port or 5432}\n[pgbouncer]\npool_mode ="
        " transaction\ndefault_pool_size = 1\nlisten_addr = 127.0.0.1\nlisten_port ="
        f" {port}\nauth_type = trust\nunix_socket_dir =\nauth_file = {folder / 'users'}\n"
    )
    # It refuses to be root, and the server's socket lies in a folder that only the server's account
    # may enter.
    user = ["-u", Path(host).owner()] if os.getuid() == 0 else []
    folder.chmod(0o755)
    with running(["pgbouncer", "--quiet", *user, str(folder / "pgbouncer.ini")], port):
        yield f"postgresql://postgres@127.0.0.1:{port}/{server.database}"


def test_a_pooler_that_gives_one_connection_to_all_in_turn_changes_no_answer(
    postgresql_url: str,
) -> None:
    folder = Path(tempfile.mkdtemp())
    with pooled(postgresql_url, folder) as url:
        warehouse, other = Warehouse(url), Warehouse(url)
        upgrade(warehouse)
        for number, world in enumerate((WORLD, World(members={"bob": "Bob"}))):
            moment = EPOCH + timedelta(days=number)
            record(
                (warehouse, other)[number],
                snapshot_of(world, moment),
                lambda: EPOCH + timedelta(days=2),
            )
            derive((other, warehouse)[number], "acme")
        with warehouse.read() as transaction:
            assert transaction.execute(text("SHOW search_path")).scalar() == SCHEMA
        plain = create_engine(make_url(url).set(drivername="postgresql+psycopg2"))
        with plain.connect() as connection:
            assert connection.execute(text("SHOW search_path")).scalar() == '"$user", public', (
                "for others all is as it was"
            )
        plain.dispose()
        assert verify(other, "acme").state is State.FINE
        for opened in (warehouse, other):
            opened.close()


def test_other_defaults_of_a_role_and_a_database_change_no_answer(postgresql_url: str) -> None:
    database = make_url(postgresql_url).database
    for default in (
        "timezone TO 'Asia/Tokyo'",
        "default_transaction_isolation TO 'serializable'",
        "search_path TO pg_catalog",
        "datestyle TO 'German'",
        "statement_timeout TO '1h'",
    ):
        ask(postgresql_url, f"ALTER DATABASE {database} SET {default}")
    warehouse = Warehouse(postgresql_url)
    upgrade(warehouse)
    record(warehouse, snapshot_of(WORLD, EPOCH), lambda: EPOCH)
    derive(warehouse, "acme")
    with warehouse.read() as transaction:
        (packet,) = queries.admins_at(
            transaction, queries.observation_at(transaction, "acme", EPOCH + timedelta(hours=1))
        )
        assert (packet["login"], packet["name"]) == ("ada", WORLD.members["ada"])
        assert transaction.execute(text("SHOW search_path")).scalar() == SCHEMA
    assert verify(warehouse, "acme").state is State.FINE
    warehouse.close()


def test_an_embedded_warehouse_that_can_only_be_read_is_asked_and_says_so_when_written() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        url = sqlite_url(folder / "warehouse.sqlite")
        warehouse = Warehouse(url)
        upgrade(warehouse)
        record(warehouse, snapshot_of(WORLD, EPOCH), lambda: EPOCH)
        derive(warehouse, "acme")
        warehouse.close()
        folder.chmod(0o755)
        (folder / "warehouse.sqlite").chmod(0o444)
        before = sorted(folder.iterdir())
        asked = os.fork() if os.getuid() == 0 else None
        if asked is None:
            pytest.skip("only root can become somebody else")
        if asked == 0:
            status = 1
            try:
                os.setgid(65534)
                os.setuid(65534)
                reading = Warehouse(url)
                assert verify(reading, "acme").state is State.FINE
                with pytest.raises(WarehouseError, match="readonly"):
                    record(reading, snapshot_of(WORLD, EPOCH + timedelta(days=1)), lambda: EPOCH)
                status = 0
            except BaseException as error:  # noqa: BLE001  # it is said by the status, and by these words
                print(repr(error))  # noqa: T201
            finally:
                os._exit(status)
        _, ended = os.waitpid(asked, 0)
        assert os.waitstatus_to_exitcode(ended) == 0
        assert sorted(folder.iterdir()) == before
    finally:
        shutil.rmtree(folder)


def test_an_embedded_warehouse_whose_log_holds_a_part_is_not_read_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "warehouse.sqlite"
    file.write_bytes(b"")
    file.with_name("warehouse.sqlite-wal").write_bytes(b"a part")
    monkeypatch.setattr("sonar_access_pipeline.warehouse.database._may_write", lambda _: False)
    with pytest.raises(WarehouseError, match=r"a part of it still lies in warehouse\.sqlite-wal"):
        Warehouse(sqlite_url(file))


def test_whoever_holds_our_lock_is_waited_for_only_so_long(postgresql_url: str) -> None:
    """A role that may only read can take an advisory lock of any number: it hinders, and not for
    ever.
    """
    warehouse = Warehouse(postgresql_url, TimeLimits(lock=1.0))
    upgrade(warehouse)
    key = zlib.crc32(b"packets:acme") - 2**31
    holding = create_engine(make_url(postgresql_url).set(drivername="postgresql+psycopg2"))
    with holding.connect() as other:
        other.execute(
            text("SELECT pg_advisory_lock(:class, :key)"), {"class": LOCK_CLASS, "key": key}
        )
        with (
            pytest.raises(
                WarehouseError, match="something else holds what this needs for too long"
            ),
            warehouse.write("packets:acme"),
        ):
            pass
    holding.dispose()
    with warehouse.write("packets:acme"):
        pass
    warehouse.close()
