"""Up from every released revision with data in it, on both databases, and nothing of the data is lost or changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, insert, select, text

from sonar_access_pipeline.access.rows import HISTORY_TABLES
from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.warehouse import migrations
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.forget import drop_bodies, redact
from sonar_access_pipeline.warehouse.history import derive
from sonar_access_pipeline.warehouse.schema import SCHEMA, evidence_packet, metadata
from sonar_access_pipeline.warehouse.snapshots import begin_attempt, end_attempt, record
from sonar_access_pipeline.warehouse.verify import State, verify
from sonar_access_pipeline_tests.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.test_history import Company, Day, stored

SCOPES = {
    "0001": (Scope.CORE,),
    "0002": tuple(Scope),
    "0003": tuple(Scope),
    "0004": tuple(Scope),
    "0005": tuple(Scope),
    "0006": tuple(Scope),
    "0007": tuple(Scope),
    "0008": tuple(Scope),
}
ADA = World(
    members={"ada": "Ada", "bob": None},
    groups={"1": "Members"},
    group_members={"1": ["ada", "bob"]},
    user_permissions={"ada": ["admin"]},
    group_permissions={"1": ["scan"]},
    anyone=["scan"],
    projects={"p": "P"},
    project_users={"p": ["ada"]},
    project_groups={"p": ["1"]},
    emails={"ada": "a@x"},
)
BOB = World(members={"bob": "Bob"}, groups={"1": "People"}, group_members={"1": ["bob"]}, user_permissions={"bob": []})


def test_every_released_revision_is_tried() -> None:
    assert {*SCOPES} == {*migrations.REVISIONS[:-1]}


def lived(warehouse: Warehouse, scopes: tuple[Scope, ...]) -> Company:
    """Some days of everything that a warehouse keeps."""
    verdicts = (Verdict.COMPLETE, Verdict.INCOMPLETE, Verdict.HELD, Verdict.COMPLETE, Verdict.HELD, Verdict.COMPLETE)
    decisions = (None, None, "confirmed", "retracted", None, None)
    worlds = (ADA, ADA, BOB, ADA, ADA, ADA)
    days = [Day(world, verdict, said, scopes) for world, verdict, said in zip(worlds, verdicts, decisions, strict=True)]
    here = Company(warehouse, days, key="acme").record_all()
    derive(warehouse, "acme")
    day = EPOCH.date()
    attempt = begin_attempt(
        warehouse, connection="acme", organization_key="acme", partition_date=day, run_id="r", started_at=EPOCH
    )
    end_attempt(warehouse, attempt, ended_at=EPOCH, outcome="failed", error="the network", snapshot_id=None)
    packet = {"organization_key": "acme", "first_day": day, "last_day": day, "digest": "d", "location": "somewhere"}
    sealed = {"source_kind": here.snapshots[0].source_kind.value, "sealed_at": EPOCH, "run_id": "r", "pipeline_version": "0"}
    with warehouse.write("test") as transaction:
        transaction.execute(insert(evidence_packet).values(**packet, **sealed))
    return here


def old_hash(names: list[str], values: list[Any]) -> bytes:
    """As rows were hashed before revision 0003."""
    parts = [
        f"{name}\x00b{value:d}" if isinstance(value, bool) else f"{name}\x00t{len(value)}\x00{value}"
        for name, value in zip(names, values, strict=True)
        if value is not None
    ]
    return hashlib.blake2b("".join(parts).encode(), digest_size=16).digest()


def tables_of(transaction: Connection, *, views: bool = False) -> MetaData:
    found = MetaData()
    found.reflect(transaction, views=views, only=lambda name, _: name != migrations.VERSION_TABLE)
    return found


def contents(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table and view, but for what says where the clock stands."""
    with warehouse.read() as transaction:
        tables = tables_of(transaction, views=True).tables.values()
        rows = {table.name: [dict(row) for row in transaction.execute(select(table)).mappings()] for table in tables}
    return {name: sorted(found, key=repr) for name, found in rows.items()}


@pytest.fixture
def older(warehouse_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    """Where an older warehouse is made: another database of the same kind."""
    url = sqlite_url(tmp_path / "older.sqlite")
    if not warehouse_url.startswith("sqlite"):
        server = request.getfixturevalue("postgresql")
        other = Warehouse(server)
        name = f"older_{tmp_path.name.replace('-', '_').lower()[:40]}"
        with other.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{name}"'))
            connection.execute(text(f'CREATE DATABASE "{name}"'))
        other.close()
        url = other.url.set(database=name).render_as_string(hide_password=False)
    opened = Warehouse(url)
    yield opened
    opened.close()


def make(warehouse: Warehouse, revision: str, source: Warehouse) -> None:
    """A warehouse as it was at a revision, with the rows of `source` as far as it had tables and columns for them."""
    with source.read() as transaction:
        rows = {t.name: transaction.execute(select(t)).mappings().all() for t in tables_of(transaction).tables.values()}
    if warehouse.is_postgresql:
        with warehouse.write("test") as transaction:
            transaction.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    histories = {description.name: [column.name for column in description.columns] for description in HISTORY_TABLES}
    with warehouse.write("migration") as transaction:
        config.attributes["connection"] = transaction
        command.upgrade(config, revision)
        for table in tables_of(transaction).sorted_tables:
            columns = [column.name for column in table.columns if column.computed is None]
            for row in rows[table.name]:
                values = {name: row[name] for name in columns}
                if revision < "0003" and (names := histories.get(table.name)):
                    values["row_hash"] = old_hash(names, [row[name] for name in names])
                transaction.execute(insert(table).values(**values))


@pytest.mark.parametrize("revision", sorted(SCOPES))
def test_a_warehouse_of_an_older_revision_is_brought_here_with_all_that_is_in_it(
    warehouse: Warehouse, older: Warehouse, revision: str
) -> None:
    here = lived(warehouse, SCOPES[revision])
    make(older, revision, warehouse)
    with pytest.raises(Exception, match="older than this version"):
        migrations.require_current(older)
    assert migrations.upgrade(older)
    migrations.require_current(older)
    assert contents(older) == contents(warehouse)
    assert stored(older, "acme") == here.stored()
    assert verify(older, "acme").state is State.FINE
    later = snapshot_of(BOB, EPOCH + timedelta(days=9), scopes=SCOPES[revision])
    for each in (warehouse, older):
        record(each, later, lambda: EPOCH)
        derive(each, "acme")
    assert stored(older, "acme") == here.stored()


def test_every_table_view_and_column_says_what_it_means_in_postgresql(postgresql_url: str) -> None:
    opened = Warehouse(postgresql_url)
    migrations.upgrade(opened)
    with opened.read() as transaction:
        described = transaction.execute(
            text(
                "SELECT c.relname, a.attname, col_description(c.oid, a.attnum), obj_description(c.oid) FROM pg_class c "
                "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = :schema AND c.relkind IN ('r', 'v') AND c.relname <> :version"
            ),
            {"schema": SCHEMA, "version": migrations.VERSION_TABLE},
        ).all()
    opened.close()
    assert {row[0] for row in described} >= {table.name for table in metadata.sorted_tables}
    assert [tuple(row[:2]) for row in described if not row[2] or not row[3]] == []


def test_what_was_redacted_before_drops_were_on_record_is_not_called_dropped_by_age(
    warehouse: Warehouse, older: Warehouse
) -> None:
    for day, world in enumerate((ADA, BOB, BOB)):
        record(warehouse, snapshot_of(world, EPOCH + timedelta(days=day)), lambda: EPOCH)
    derive(warehouse, "acme")
    redact(warehouse, "acme", "ada", by="x", basis="law", clock=lambda: EPOCH + timedelta(days=3))
    drop_bodies(warehouse, "acme", EPOCH + timedelta(days=1), lambda: EPOCH + timedelta(days=4), keep_days=3)
    before = verify(warehouse, "acme").state
    make(older, "0005", warehouse)
    assert migrations.upgrade(older)
    assert (before, verify(older, "acme").state) == (State.REDACTED, State.REDACTED)
    with older.read() as transaction:
        said = transaction.execute(text("SELECT body_sha256 FROM dropped_body")).scalars().all()
        redacted = transaction.execute(text("SELECT body_sha256 FROM redacted_body")).scalars().all()
    assert said
    assert not set(said) & set(redacted)
