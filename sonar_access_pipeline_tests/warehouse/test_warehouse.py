"""The warehouse on both databases: tables as described, snapshots as they came, sources that never
mix, errors as sentences.
"""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, inspect, select, text

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.snapshot import CHAIN_START, SourceKind, Verdict, chain_head
from sonar_access_pipeline.warehouse import migrations
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.errors import (
    NothingObservedError,
    OutOfOrderError,
    SourceMismatchError,
    WarehouseError,
)
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.verify import State, verify
from sonar_access_pipeline.warehouse.ledger.alerts import end_organization
from sonar_access_pipeline.warehouse.raw.attempts import begin_attempt, end_attempt
from sonar_access_pipeline.warehouse.raw.decisions import RETRACTED, decide
from sonar_access_pipeline.warehouse.raw.snapshots import record, responses_of
from sonar_access_pipeline.warehouse.schema import (
    SCHEMA,
    metadata,
    raw_body,
    raw_snapshot,
    snapshot_decision,
)
from sonar_access_pipeline.warehouse.views import VIEWS, sync_coverage
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short, PostgreSQL alone."""

ONE = World(
    members={"ada": "Ada"},
    groups={"1": "Members"},
    group_members={"1": ["ada"]},
    group_permissions={"1": ["scan"]},
)


def test_migrations_make_exactly_the_tables_described(warehouse: Warehouse) -> None:
    with warehouse.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrations.VERSION_TABLE}
        )
        assert compare_metadata(context, metadata) == []
        assert set(VIEWS) <= set(inspect(connection).get_view_names())


def test_the_newest_revision_is_the_one_the_code_knows() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [migrations.REVISIONS[-1]]


def test_upgrading_twice_changes_nothing(warehouse: Warehouse) -> None:
    assert migrations.upgrade(warehouse) is False


def test_on_postgresql_everything_lies_in_a_schema_of_its_own(postgresql_url: str) -> None:
    warehouse = Warehouse(postgresql_url)
    migrations.upgrade(warehouse)
    with warehouse.read() as connection:
        places = connection.execute(
            text(
                "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog',"
                " 'information_schema')"
            )
        )
        assert set(places.scalars()) == {SCHEMA}
    warehouse.close()


def test_a_warehouse_of_a_newer_version_is_refused_in_one_sentence(warehouse: Warehouse) -> None:
    with warehouse.write("test") as transaction:
        transaction.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
    for attempt in (migrations.upgrade, migrations.require_current):
        with pytest.raises(WarehouseError, match="newer version"):
            attempt(warehouse)


def test_a_warehouse_that_is_not_there_is_not_made_by_asking(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="no warehouse"):
        migrations.require_current(Warehouse(sqlite_url(tmp_path / "none.sqlite")))
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_warehouse_is_private_to_its_owner(tmp_path: Path) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "data" / "warehouse.sqlite"))
    migrations.upgrade(warehouse)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "warehouse.sqlite").stat().st_mode) == 0o600


def test_a_snapshot_is_read_back_as_it_was_recorded(warehouse: Warehouse) -> None:
    snapshot = snapshot_of(ONE, EPOCH)
    stored = record(warehouse, snapshot, lambda: EPOCH)
    with warehouse.read() as transaction:
        responses = responses_of(transaction, stored.snapshot_id)
    assert responses == list(snapshot.responses)
    assert replace(snapshot, responses=responses).content_sha256 == stored.content_sha256


def test_unchanged_bodies_are_stored_once_and_every_read_is_a_link_of_one_chain(
    warehouse: Warehouse,
) -> None:
    for day in range(3):
        record(warehouse, snapshot_of(ONE, EPOCH + timedelta(days=day)), lambda: EPOCH)
    with warehouse.read() as transaction:
        bodies = transaction.execute(select(raw_body)).all()
        rows = transaction.execute(select(raw_snapshot).order_by(raw_snapshot.c.snapshot_id)).all()
    assert len(bodies) == len(snapshot_of(ONE, EPOCH).responses)
    head = CHAIN_START
    for row in rows:
        assert row.previous_sha256 == head
        head = chain_head(row.previous_sha256, row.content_sha256)


def test_a_connection_may_get_another_name(warehouse: Warehouse) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    record(
        warehouse,
        replace(snapshot_of(ONE, EPOCH + timedelta(days=1)), connection="renamed"),
        lambda: EPOCH,
    )
    assert derive(warehouse, "acme") == [1, 2]


@pytest.mark.parametrize(
    "other", [{"source_url": "https://elsewhere"}, {"source_kind": SourceKind.OTHER}]
)
def test_a_second_source_for_an_organization_is_refused(
    warehouse: Warehouse, other: dict[str, object]
) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    second = replace(snapshot_of(ONE, EPOCH + timedelta(days=1)), **other)  # type: ignore[arg-type]
    with pytest.raises(SourceMismatchError, match="two sources never mix"):
        record(warehouse, second, lambda: EPOCH)


def test_a_read_that_began_before_the_last_one_ended_is_refused(warehouse: Warehouse) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    with pytest.raises(OutOfOrderError):
        record(warehouse, snapshot_of(ONE, EPOCH + timedelta(seconds=5)), lambda: EPOCH)
    record(warehouse, snapshot_of(ONE, EPOCH + timedelta(seconds=5), key="another"), lambda: EPOCH)


def test_coverage_tells_every_fate_of_a_day(warehouse: Warehouse) -> None:
    verdicts = [
        Verdict.COMPLETE,
        Verdict.INCOMPLETE,
        Verdict.HELD,
        Verdict.HELD,
        Verdict.COMPLETE,
        None,
        None,
        Verdict.COMPLETE,
    ]
    decisions = {4: "confirmed", 5: "retracted"}
    for day, verdict in enumerate(verdicts):
        began = EPOCH + timedelta(days=day)
        if verdict is not None:
            stored = record(warehouse, snapshot_of(ONE, began, verdict=verdict), lambda: EPOCH)
            if decision := decisions.get(stored.snapshot_id):
                with warehouse.write("test") as transaction:
                    values = {
                        "snapshot_id": stored.snapshot_id,
                        "decision": decision,
                        "reason": "r",
                        "decided_by": "d",
                    }
                    transaction.execute(
                        insert(snapshot_decision).values(**values, decided_at=EPOCH)
                    )
        elif day == 5:
            attempt = begin_attempt(
                warehouse,
                connection="acme",
                organization_key="acme",
                partition_date=began.date(),
                run_id="run",
                started_at=began,
            )
            end_attempt(
                warehouse,
                attempt,
                ended_at=began,
                outcome="failed",
                error="the network",
                snapshot_id=None,
            )
    first = EPOCH.date()
    with warehouse.read() as transaction:
        rows = queries.coverage(
            transaction, "acme", first - timedelta(days=1), first + timedelta(days=7)
        )
    assert [row["status"] for row in rows] == [
        "not_expected",
        "observed",
        "incomplete",
        "held",
        "observed",
        "retracted",
        "failed",
        "missing",
        "observed",
    ]
    assert [row["error"] for row in rows if row["status"] == "failed"] == ["the network"]
    assert [row["attempts"] for row in rows if row["status"] == "failed"] == [1]


def test_coverage_says_how_late_a_day_was_observed_and_ends_where_it_is_recorded_to_end(
    warehouse: Warehouse,
) -> None:
    due = EPOCH - timedelta(minutes=90)
    stored = record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    day = EPOCH.date()
    attempt = begin_attempt(
        warehouse,
        connection="acme",
        organization_key="acme",
        partition_date=day,
        run_id="run",
        started_at=EPOCH,
        due_at=due,
    )
    end_attempt(
        warehouse,
        attempt,
        ended_at=EPOCH,
        outcome="complete",
        error=None,
        snapshot_id=stored.snapshot_id,
    )
    query = select(sync_coverage.c.partition_date, sync_coverage.c.lateness_seconds).order_by(
        sync_coverage.c.partition_date
    )
    with warehouse.read() as transaction:
        rows = transaction.execute(query).all()
    assert rows[0].lateness_seconds == round((stored.observed_at - due).total_seconds())
    assert {row.lateness_seconds for row in rows[1:]} == {None}
    assert len(rows) > 2
    with warehouse.write("test") as transaction:
        end_organization(
            transaction, "acme", last_day=day + timedelta(days=1), reason="r", by="d", now=EPOCH
        )
        assert [row.partition_date for row in transaction.execute(query)] == [
            day,
            day + timedelta(days=1),
        ]
    record(warehouse, snapshot_of(ONE, EPOCH + timedelta(days=3)), lambda: EPOCH)
    with warehouse.read() as transaction:
        assert len(transaction.execute(query).all()) == len(rows), "it is observed again"


def test_a_time_before_the_first_observation_is_refused(warehouse: Warehouse) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    derive(warehouse, "acme")
    with (
        warehouse.read() as transaction,
        pytest.raises(NothingObservedError, match="the past cannot be fetched"),
    ):
        queries.observation_at(transaction, "acme", EPOCH)


def test_current_access_shows_names_and_how_old_it_is(warehouse: Warehouse) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    derive(warehouse, "acme")
    with warehouse.read() as transaction:
        rows = (
            transaction.execute(text("SELECT * FROM current_access ORDER BY access_type"))
            .mappings()
            .all()
        )
    assert [
        (row["access_type"], row["user_name"], row["resource_name"], row["granted_via_name"])
        for row in rows
    ] == [
        ("group", "Ada", "Members", None),
        ("membership", "Ada", "Acme", None),
        ("organization_permission", "Ada", "Acme", "Members"),
    ]
    assert {str(row["last_observed_at"])[:19] for row in rows} == {"2026-03-01 05:00:10"}


def test_the_queries_of_the_readme_run_on_both_databases(warehouse: Warehouse) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    statements = [block.split("```")[0] for block in readme.split("```sql\n")[1:]]
    assert len(statements) >= 3
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    derive(warehouse, "acme")
    with warehouse.read() as transaction:
        for statement in statements:
            transaction.execute(text(statement)).all()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "mysql://host/db", "sqlserver://x", "postgresql://user:pa55word@127.0.0.1:1/none"],
)
def test_a_url_that_leads_nowhere_is_one_sentence_without_a_password(url: str) -> None:
    with pytest.raises(WarehouseError) as caught:
        migrations.upgrade(Warehouse(url))
    assert "pa55word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "warehouse.sqlite").write_text("this is a letter, not a database" * 40)
    with pytest.raises(WarehouseError, match="not a database"):
        migrations.upgrade(Warehouse(sqlite_url(tmp_path / "warehouse.sqlite")))


def test_a_full_disk_is_one_sentence_and_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """SQLite's own limit on pages answers as a full disk does."""
    warehouse = Warehouse(sqlite_url(tmp_path / "warehouse.sqlite"))
    migrations.upgrade(warehouse)
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    many = World(members={f"user-{number}": f"Name {number * 7919}" for number in range(4000)})
    snapshot = snapshot_of(many, EPOCH + timedelta(days=1))
    with (
        pytest.raises(WarehouseError, match="disk is full; free some space"),
        warehouse.write("test") as transaction,
    ):
        pages = transaction.exec_driver_sql("PRAGMA page_count").scalar_one()
        transaction.exec_driver_sql(f"PRAGMA max_page_count = {pages + 4}")
        transaction.execute(
            insert(raw_body),
            [
                {"body_sha256": str(n), "size_bytes": 1, "zlib_body": os.urandom(4096)}
                for n in range(50)
            ],
        )
    warehouse.close()
    record(warehouse, snapshot, lambda: EPOCH)
    with warehouse.read() as transaction:
        assert [row["snapshot_id"] for row in queries.snapshots(transaction, "acme")] == [1, 2]
        assert queries.snapshots(transaction, "acme")[1]["partition_date"] == date(2026, 3, 2)


def test_whoever_reads_sees_one_state_however_long_it_takes(warehouse: Warehouse) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    with warehouse.read() as transaction:
        before = transaction.execute(select(raw_snapshot)).all()
        record(warehouse, snapshot_of(ONE, EPOCH + timedelta(days=1)), lambda: EPOCH)
        assert transaction.execute(select(raw_snapshot)).all() == before
    with warehouse.read() as transaction:
        assert len(transaction.execute(select(raw_snapshot)).all()) == 2


def test_a_database_that_is_serializable_by_default_makes_writers_wait_as_everywhere(
    postgresql_url: str,
) -> None:
    first = Warehouse(postgresql_url)
    with first.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            text(
                f"ALTER DATABASE {first.url.database} SET default_transaction_isolation ="
                " 'serializable'"
            )
        )
    first.close()
    warehouse = Warehouse(postgresql_url)
    migrations.upgrade(warehouse)
    for day in range(6):
        record(
            warehouse,
            snapshot_of(ONE if day % 2 else World(), EPOCH + timedelta(days=day)),
            lambda: EPOCH,
        )
    with ThreadPoolExecutor(3) as pool:
        merged = [
            number
            for numbers in pool.map(lambda _: derive(warehouse, "acme"), range(3))
            for number in numbers
        ]
    assert sorted(merged) == [1, 2, 3, 4, 5, 6]
    warehouse.close()


def test_a_disk_that_fills_up_during_a_merge_leaves_history_as_it_was(tmp_path: Path) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "warehouse.sqlite"))
    migrations.upgrade(warehouse)
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    derive(warehouse, "acme")
    many = World(members={f"user-{number}": f"Name {number}" for number in range(5000)})
    record(warehouse, snapshot_of(many, EPOCH + timedelta(days=1)), lambda: EPOCH)
    with warehouse.read() as transaction:
        pages = transaction.exec_driver_sql("PRAGMA page_count").scalar_one()
        transaction.exec_driver_sql(f"PRAGMA max_page_count = {pages + 40}")
    with pytest.raises(WarehouseError, match="disk is full; free some space"):
        derive(warehouse, "acme")
    with warehouse.read() as transaction:
        assert len(queries.observations(transaction, "acme")) == 1
        transaction.exec_driver_sql("PRAGMA max_page_count = 1000000")
    found = verify(warehouse, "acme")
    assert (found.state, found.waiting, found.findings) == (
        State.BEHIND,
        1,
        (),
    ), "what is not derived yet is no difference"
    assert derive(warehouse, "acme") == [2]
    assert verify(warehouse, "acme").state is State.FINE


def test_a_read_by_a_clock_that_was_a_year_ahead_blocks_nothing_once_it_is_retracted(
    warehouse: Warehouse,
) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    ahead = record(warehouse, snapshot_of(ONE, EPOCH + timedelta(days=365)), lambda: EPOCH)
    derive(warehouse, "acme")
    today = snapshot_of(ONE, EPOCH + timedelta(days=1))
    with pytest.raises(OutOfOrderError):
        record(warehouse, today, lambda: EPOCH)
    decide(
        warehouse,
        ahead.snapshot_id,
        RETRACTED,
        by="ada",
        reason="the clock",
        brake=Brake(),
        clock=lambda: EPOCH,
    )
    record(warehouse, today, lambda: EPOCH)
    assert derive(warehouse, "acme") == [3]
    with warehouse.read() as transaction:
        assert [facts.snapshot_id for facts in queries.observations(transaction, "acme")] == [1, 3]
    assert verify(warehouse, "acme").state is State.FINE


def test_a_day_that_failed_before_the_first_snapshot_is_failed_and_days_before_are_not_expected(
    warehouse: Warehouse,
) -> None:
    day = EPOCH.date()
    attempt = begin_attempt(
        warehouse,
        connection="acme",
        organization_key="acme",
        partition_date=day,
        run_id="r",
        started_at=EPOCH,
    )
    end_attempt(
        warehouse, attempt, ended_at=EPOCH, outcome="failed", error="the network", snapshot_id=None
    )
    record(warehouse, snapshot_of(ONE, EPOCH + timedelta(days=2)), lambda: EPOCH)
    derive(warehouse, "acme")
    with warehouse.read() as transaction:
        rows = queries.coverage(
            transaction, "acme", day - timedelta(days=1), day + timedelta(days=2)
        )
        gaps = queries.missing_days(
            transaction, "acme", day - timedelta(days=1), day + timedelta(days=2)
        )
    assert [(row["status"], row["attempts"]) for row in rows] == [
        ("not_expected", 0),
        ("failed", 1),
        ("missing", 0),
        ("observed", 0),
    ]
    assert gaps == [day, day + timedelta(days=1)]
