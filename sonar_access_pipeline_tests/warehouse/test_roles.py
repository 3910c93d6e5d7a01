"""What each kind of role may do in a warehouse on PostgreSQL, and above all what it may not: as
that role, on a real server.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, make_url, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.warehouse import migrations
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.history.verify import State, verify
from sonar_access_pipeline.warehouse.raw.archive import export
from sonar_access_pipeline.warehouse.raw.attempts import begin_attempt, end_attempt
from sonar_access_pipeline.warehouse.raw.decisions import RETRACTED, decide
from sonar_access_pipeline.warehouse.raw.redaction import redact
from sonar_access_pipeline.warehouse.raw.retention import drop_bodies
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.roles import Role, grant
from sonar_access_pipeline.warehouse.schema import APPEND_ONLY, history_tables, metadata, raw_body
from sonar_access_pipeline.warehouse.views import VIEWS
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.reviewing import Reviewed

ONE = World(
    members={"ada": "Ada", "bob": "Bob"},
    groups={"1": "Members"},
    group_members={"1": ["ada", "bob"]},
    projects={"p": "P"},
    project_users={"p": ["ada"]},
    emails={"ada": "a@x"},
)

As = Callable[[Role], Warehouse]


@pytest.fixture
def as_role(postgresql_url: str) -> Iterator[As]:
    """The warehouse as a role of a kind sees it, with one day in it."""
    owner = Warehouse(postgresql_url)
    migrations.upgrade(owner)
    record(owner, snapshot_of(ONE, EPOCH, scopes=tuple(Scope)), lambda: EPOCH)
    derive(owner, "acme")
    opened, names = [owner], []

    def connect(role: Role) -> Warehouse:
        name = f"{role}-{uuid.uuid4().hex[:8]}"
        with owner.write("test") as transaction:
            transaction.execute(text(f'CREATE ROLE "{name}" LOGIN'))
        # Whatever it was before: nothing of that stays.
        for kind in (Role.PIPELINE, role, role):
            assert grant(owner, name, kind) > 0
        url = make_url(postgresql_url).set(username=name)
        opened.append(Warehouse(url.render_as_string(hide_password=False)))
        names.append(name)
        return opened[-1]

    yield connect
    for name in names:
        with owner.write("test") as transaction:
            transaction.execute(text(f'DROP OWNED BY "{name}"'))
            transaction.execute(text(f'DROP ROLE "{name}"'))
    for warehouse in opened:
        warehouse.close()


def may(warehouse: Warehouse, statement: str) -> bool:
    """Whether a statement is allowed, whatever else comes of it; nothing of it stays."""
    try:
        with warehouse.engine.connect() as connection:
            connection.execute(text(statement))
    except ProgrammingError as error:
        # What else goes wrong goes wrong for somebody who may.
        return not any(words in str(error) for words in ("permission denied", "must be owner"))
    except IntegrityError:
        return True
    return True


def tables() -> list[str]:
    return [table.name for table in metadata.sorted_tables]


def changes(table: str) -> list[str]:
    return [
        f"DELETE FROM {table} WHERE false",
        f"INSERT INTO {table} DEFAULT VALUES",
        f"TRUNCATE {table} CASCADE",
    ]


def ask(warehouse: Warehouse, statement: str) -> None:
    """Run a statement as the owner of the server."""
    url = warehouse.url.set(username="postgres").render_as_string(hide_password=False)
    with closing(Warehouse(url)) as owner, owner.engine.begin() as connection:
        connection.execute(text(statement))


OWNERS = (
    "CREATE TABLE sonar_access.mine (x int)",
    "DROP TABLE sonar_access.fct_user_access CASCADE",
    "DROP TRIGGER raw_snapshot_no_update ON sonar_access.raw_snapshot",
    "ALTER TABLE sonar_access.raw_body DISABLE TRIGGER ALL",
    "UPDATE sonar_access.sonar_access_version SET version_num = '9999'",
)


@pytest.mark.parametrize("role", [Role.PIPELINE, Role.OPERATOR])
def test_who_derives_can_verify_and_rebuild_where_the_public_may_nothing(
    as_role: As, role: Role
) -> None:
    other, opened = as_role(Role.ANALYST), as_role(role)
    database = opened.url.database
    ask(opened, f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
    ask(
        opened,
        f'GRANT CONNECT ON DATABASE "{database}" TO "{opened.url.username}",'
        f' "{other.url.username}"',
    )
    assert verify(opened, "acme").state is State.FINE
    rebuild(opened, "acme")
    assert verify(opened, "acme").state is State.FINE
    assert not may(other, "CREATE TEMPORARY TABLE mine (x int)")
    ask(opened, f'REVOKE TEMPORARY ON DATABASE "{database}" FROM "{opened.url.username}"')
    # A session keeps what it may until it ends.
    opened.engine.dispose()
    with pytest.raises(WarehouseError, match="owner must run GRANT TEMPORARY ON DATABASE"):
        verify(opened, "acme")


def test_an_analyst_reads_what_is_derived_and_nothing_else(as_role: As) -> None:
    analyst = as_role(Role.ANALYST)
    readable = {
        name for name in (*tables(), *VIEWS) if may(analyst, f"SELECT * FROM {name} LIMIT 1")
    }
    derived = {*history_tables, *VIEWS, "history_observation", "fct_follow_up", "dim_rule"}
    assert readable == derived - {"dim_account_detail"}
    for name in tables():
        assert [statement for statement in changes(name) if may(analyst, statement)] == []
    assert not any(may(analyst, statement) for statement in OWNERS)
    with analyst.read() as transaction:
        answering = queries.observation_at(transaction, "acme", EPOCH + timedelta(days=1))
        assert len(queries.access_at(transaction, answering)) > 2
        assert (
            queries.coverage(transaction, "acme", EPOCH.date(), EPOCH.date())[0]["status"]
            == "observed"
        )


def test_a_reviewer_reads_how_everything_came_to_be_and_no_raw_answer(as_role: As) -> None:
    reviewer = as_role(Role.REVIEWER)
    hidden = {
        name for name in (*tables(), *VIEWS) if not may(reviewer, f"SELECT * FROM {name} LIMIT 1")
    }
    assert hidden == {
        "alert_delivery",
        "page_end",
        "page_entry",
        "raw_body",
        "raw_response",
        "redaction",
        "redacted_body",
    }
    for name in tables():
        assert [statement for statement in changes(name) if may(reviewer, statement)] == []
    assert not any(may(reviewer, statement) for statement in OWNERS)


def test_the_pipeline_does_its_work_and_can_neither_rewrite_nor_delete_what_is_append_only(
    as_role: As, tmp_path: Path
) -> None:
    pipeline = as_role(Role.PIPELINE)
    assert migrations.upgrade(pipeline) is False
    day = EPOCH + timedelta(days=1)
    attempt = begin_attempt(
        pipeline,
        connection="acme",
        organization_key="acme",
        partition_date=day.date(),
        run_id="r",
        started_at=day,
    )
    gone = World(members={"ada": "Ada"}, groups={"1": "Members"}, group_members={"1": ["ada"]})
    stored = record(pipeline, snapshot_of(gone, day, scopes=tuple(Scope)), lambda: day)
    end_attempt(
        pipeline,
        attempt,
        ended_at=day,
        outcome="complete",
        error=None,
        snapshot_id=stored.snapshot_id,
    )
    assert derive(pipeline, "acme") == [2]
    assert rebuild(pipeline, "acme") == 2
    assert verify(pipeline, "acme").state is State.FINE
    export(pipeline, "acme", tmp_path / "acme.zip", Window(EPOCH.date(), day.date()))
    drop_bodies(pipeline, "acme", day, lambda: day, keep_days=1)
    for table in APPEND_ONLY:
        assert not may(
            pipeline, f"UPDATE {table.name} SET {table.columns[1].name} = NULL WHERE false"
        )
        assert not may(pipeline, f"DELETE FROM {table.name} WHERE false")
        assert not may(pipeline, f"TRUNCATE {table.name} CASCADE")
    assert not may(pipeline, "DELETE FROM raw_body WHERE false")
    assert not any(may(pipeline, statement) for statement in OWNERS)


def decides(warehouse: Warehouse) -> None:
    decide(warehouse, 1, RETRACTED, by="ceo", reason="r", brake=Brake(), clock=lambda: EPOCH)


def test_the_pipeline_decides_nothing_in_anybodys_name_and_an_operator_does(as_role: As) -> None:
    pipeline, operator = as_role(Role.PIPELINE), as_role(Role.OPERATOR)
    with pytest.raises(
        WarehouseError, match=r"permission denied for table snapshot_decision; .* of an operator"
    ):
        decides(pipeline)
    record(
        pipeline,
        snapshot_of(World(members={"ada": "Ada"}), EPOCH + timedelta(days=1)),
        lambda: EPOCH + timedelta(days=1),
    )
    derive(pipeline, "acme")
    with pytest.raises(WarehouseError, match="permission denied for table redaction"):
        redact(pipeline, "acme", "bob", by="ceo", basis="b", clock=lambda: EPOCH)
    added = {name for name in tables() if may(operator, changes(name)[1])} - {
        name for name in tables() if may(pipeline, changes(name)[1])
    }
    assert added == {
        "snapshot_decision",
        "organization_end",
        "redaction",
        "redacted_body",
        "evidence_statement",
        "review_decision",
        "review_signoff",
        "page_end",
        "page_entry",
        "page_event",
    }
    redact(operator, "acme", "bob", by="dpo", basis="b", clock=lambda: EPOCH)
    decides(operator)
    assert verify(operator, "acme").state is State.REDACTED
    assert not any(may(operator, statement) for statement in OWNERS)


def test_who_takes_decisions_of_a_review_writes_them_and_nothing_else(
    as_role: As, tmp_path: Path
) -> None:
    pipeline, taker = as_role(Role.PIPELINE), as_role(Role.REVIEW)
    opened = Reviewed(pipeline, tmp_path)
    opened.live(1)
    opened.open(opened.packet(1))
    with pytest.raises(WarehouseError, match="permission denied for table review_decision"):
        opened.keep_the_rest()
    hidden = {
        name for name in (*tables(), *VIEWS) if not may(taker, f"SELECT * FROM {name} LIMIT 1")
    }
    assert hidden == {"alert_delivery", "raw_body", "raw_response", "redaction", "redacted_body"}
    written = {name for name in tables() if any(may(taker, one) for one in changes(name))}
    stated = {"review_assignment", "review_decision", "review_signoff", "review_event"}
    assert written == {*stated, "page_end", "page_entry", "page_event"}
    opened.warehouse = taker
    opened.keep_the_rest()
    opened.sign_all()
    assert opened.states() == "signed"
    assert not any(may(taker, statement) for statement in OWNERS)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 200_000])
def test_bytes_that_were_dropped_come_back_only_with_their_digest(as_role: As, size: int) -> None:
    pipeline, body = as_role(Role.PIPELINE), bytes(number % 251 for number in range(size))
    digest = hashlib.sha256(body).hexdigest()

    def put(stored: bytes) -> None:
        again = (
            update(raw_body)
            .where(raw_body.c.body_sha256 == digest)
            .values(zlib_body=stored, dropped_at=None)
        )
        with pipeline.write("test") as transaction:
            transaction.execute(again)

    with pipeline.write("test") as transaction:
        transaction.execute(
            insert(raw_body).values(
                body_sha256=digest, size_bytes=size, zlib_body=b"", dropped_at=EPOCH
            )
        )
    stored = zlib.compress(body, 0)
    # Of another kind, of another length, with another sum, and those that cannot be unpacked though
    # their content is right.
    others = (
        zlib.compress(body + b"x", 0),
        zlib.compress(body),
        stored[:-5],
        stored + b"x",
        b"\xff\xff" + stored[2:],
        stored[:-4] + bytes(byte ^ 1 for byte in stored[-4:]),
        stored[:5] + bytes([stored[5] ^ 1]) + stored[6:],
        b"x",
    )
    for other in others:
        with pytest.raises(WarehouseError, match=r"not the bytes of this body|out of valid range"):
            put(other)
    # Functions of the same names that the role may make elsewhere are not called.
    with pipeline.engine.connect() as connection:
        name = connection.execute(text("SELECT current_user")).scalar_one()
    ask(pipeline, f'CREATE SCHEMA "{name}" AUTHORIZATION "{name}"')
    lies = (
        f"CREATE FUNCTION sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT decode('{digest}',"
        " 'hex') $$"
    )
    with (
        pipeline.engine.begin() as connection,
        pytest.raises(IntegrityError, match="not the bytes of this body"),
    ):
        connection.execute(text(f'SET search_path = "{name}", pg_catalog, sonar_access'))
        connection.execute(text(lies))
        again = update(raw_body).where(raw_body.c.body_sha256 == digest)
        connection.execute(again.values(zlib_body=zlib.compress(body + b"x", 0), dropped_at=None))
    put(stored)
    with pytest.raises(WarehouseError, match="append-only"):
        put(stored)


def test_a_role_that_is_not_there_and_a_database_without_roles_are_said_in_one_sentence(
    as_role: As, tmp_path: Path
) -> None:
    owner_like = as_role(Role.PIPELINE)
    with pytest.raises(WarehouseError, match="has no role 'nobody'; make it with CREATE ROLE"):
        grant(owner_like, "nobody", Role.ANALYST)
    with pytest.raises(WarehouseError, match=r"permission denied|must be owner"):
        grant(owner_like, "postgres", Role.ANALYST)
    with pytest.raises(WarehouseError, match="SQLite has no roles"):
        grant(Warehouse(sqlite_url(tmp_path / "w.sqlite")), "x", Role.ANALYST)


def made(owner: Warehouse, name: str, *statements: str) -> str:
    with owner.write("test") as transaction:
        transaction.execute(text(f'CREATE ROLE "{name}" LOGIN'))
        for statement in statements:
            transaction.execute(text(statement))
    return name


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (('ALTER ROLE "{name}" SUPERUSER',), "is a superuser"),
        (
            ('GRANT pg_write_all_data TO "{name}"',),
            "more than kind analyst is for: DELETE alert, INSERT alert, UPDATE alert and",
        ),
        (
            ("GRANT SELECT ON sonar_access.raw_body TO PUBLIC",),
            "more than kind analyst is for: SELECT raw_body",
        ),
        (("GRANT CREATE ON SCHEMA sonar_access TO PUBLIC",), "CREATE in the schema"),
    ],
)
def test_a_role_that_would_be_able_to_do_more_is_refused_and_gets_nothing(
    postgresql_url: str, statements: tuple[str, ...], said: str
) -> None:
    owner, name = Warehouse(postgresql_url), f"more-{uuid.uuid4().hex[:8]}"
    migrations.upgrade(owner)
    made(owner, name, *(statement.format(name=name) for statement in statements))
    with pytest.raises(WarehouseError, match=said):
        grant(owner, name, Role.ANALYST)
    with owner.write("test") as transaction:
        query = "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = :name"
        assert transaction.execute(text(query), {"name": name}).scalar() == 0
        transaction.execute(text(f'DROP OWNED BY "{name}"'))
        transaction.execute(text(f'DROP ROLE "{name}"'))
    owner.close()
