"""Verifying, keeping and forgetting, on both databases: what is noticed, what stays, and what is
gone for good.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text, update

from sonar_access_pipeline.access.redaction import identifiers, pseudonym, redacted
from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import BodyDroppedError, WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive, lock_of, take_out
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.history.verify import State, verify
from sonar_access_pipeline.warehouse.raw.archive import export
from sonar_access_pipeline.warehouse.raw.redaction import redact
from sonar_access_pipeline.warehouse.raw.retention import drop_bodies
from sonar_access_pipeline.warehouse.raw.snapshots import load, record
from sonar_access_pipeline.warehouse.schema import (
    body_drop,
    dropped_body,
    raw_body,
    raw_list,
    raw_response,
    raw_snapshot,
    snapshot_decision,
)
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of, unguard
from sonar_access_pipeline_tests.warehouse.test_history import Company, Day, complete_days

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short, PostgreSQL alone."""

NOW = EPOCH + timedelta(days=400)
MAIL = "bob@example.org"


def world(*members: str, name: str = "Bob Bobson") -> World:
    """An organization of some people, in which Bob, if he is there, has everything."""
    names = {login: name if login == "bob" else login.title() for login in members}
    return World(
        members=names,
        groups={"1": "Members", "2": "bob"},
        group_members={"1": list(members), "2": [login for login in members if login == "bob"]},
        user_permissions={login: ["admin"] if login == "bob" else [] for login in members},
        group_permissions={"2": ["scan"]},
        projects={"bob": "Bob's project"},
        project_users={"bob": [login for login in members if login == "bob"]},
        emails={"bob": MAIL} if "bob" in members else {},
    )


def lived(warehouse: Warehouse, *seen: World) -> Company:
    """A company that lived through some days."""
    here = Company(warehouse, [Day(world, scopes=tuple(Scope)) for world in seen]).record_all()
    derive(warehouse, here.key)
    return here


def sentences(warehouse: Warehouse, here: Company) -> list[str]:
    return [finding.sentence for finding in verify(warehouse, here.key).findings]


def test_a_warehouse_that_nobody_touched_is_fine(warehouse: Warehouse) -> None:
    here = lived(warehouse, world("ada", "bob"), world("ada"), world("ada", "bob"))
    found = verify(warehouse, here.key)
    assert (found.state, found.findings) == (State.FINE, ())
    assert (found.snapshots, found.observations, found.dropped, found.horizon) == (3, 3, 0, None)
    assert here.stored() == here.expected(range(3)), "verifying changes nothing"


def altered(table: Any, column: str, value: Any) -> Any:
    return update(table).values({column: value})


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            update(raw_body)
            .where(raw_body.c.size_bytes > 20)
            .values(zlib_body=zlib.compress(b'{"users": []}')),
            "another digest",
        ),
        (update(raw_body).values(zlib_body=b"no zlib"), "another digest"),
        (altered(raw_snapshot, "token_login", "somebody-else"), "its facts have another digest"),
        (altered(raw_snapshot, "reason", "a better reason"), "its facts have another digest"),
        (altered(raw_snapshot, "content_sha256", "0" * 64), "the chain is broken before snapshot"),
        (altered(raw_snapshot, "previous_sha256", "1" * 64), "the chain is broken before snapshot"),
        (altered(raw_response, "params", "{}"), "its facts have another digest"),
        (altered(raw_response, "params", "no JSON"), "its facts have another digest"),
        (altered(raw_snapshot, "scopes", "everything"), "its facts have another digest"),
        (altered(raw_snapshot, "counts", "[1]"), "its facts have another digest"),
        (altered(raw_body, "zlib_body", zlib.compress(b'{"organizations": []}')), "another digest"),
        (delete(raw_response).where(raw_response.c.sequence == 2), "its facts have another digest"),
        (
            insert(raw_list).values(
                snapshot_id=1,
                list_name="members",
                subject="",
                rows=1,
                distinct_keys=1,
                rereads=0,
                verdict="complete",
            ),
            "its facts have another digest",
        ),
    ],
    ids=[
        *(
            "a body",
            "no body",
            "a fact",
            "a reason",
            "a digest",
            "a link",
            "a parameter",
            "no parameter",
        ),
        *("a scope", "a count", "an empty list", "a response", "a list more"),
    ],
)
def test_a_snapshot_that_was_tampered_with_is_named(
    warehouse: Warehouse, statement: Any, said: str
) -> None:
    here = lived(warehouse, world("ada", "bob"), world("ada"))
    with warehouse.write("tampering") as transaction:
        for table in ("raw_body", "raw_snapshot", "raw_response", "raw_list"):
            unguard(transaction, table)
        transaction.execute(statement)
    found = verify(warehouse, here.key)
    assert found.state is State.DIFFERENT
    assert any(said in finding.sentence for finding in found.findings), found.findings


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "DELETE FROM fct_user_access WHERE login = 'bob' AND access_type = 'membership'",
            "is in the snapshots and not in",
        ),
        (
            "UPDATE dim_user SET name = 'Somebody' WHERE login = 'ada'",
            "('ada') from 2026-03-01 05:00:10 still open is in",
        ),
        (
            "UPDATE fct_user_access SET changed_after = valid_from WHERE login = 'ada'",
            "fct_user_access: ",
        ),
        ("UPDATE dim_group SET row_hash = 'x' WHERE group_id = '1'", "dim_group: ('1')"),
        ("DELETE FROM history_observation WHERE scope = 'core'", "only in part: not its core"),
    ],
)
def test_a_history_that_was_tampered_with_is_named_row_by_row(
    warehouse: Warehouse, statement: str, said: str
) -> None:
    here = lived(warehouse, world("ada", "bob"), world("ada"))
    with warehouse.write("tampering") as transaction:
        transaction.execute(text(statement))
    assert any(said in sentence for sentence in sentences(warehouse, here)), sentences(
        warehouse, here
    )
    rebuild(warehouse, here.key)
    assert verify(warehouse, here.key).state is State.FINE


def test_a_snapshot_that_was_removed_breaks_the_chain(warehouse: Warehouse) -> None:
    here = lived(warehouse, world("ada"), world("ada"), world("ada"))
    with warehouse.write("tampering") as transaction:
        for table in ("raw_response", "raw_snapshot"):
            unguard(transaction, table)
        transaction.execute(delete(raw_response).where(raw_response.c.snapshot_id == here.ids[1]))
        transaction.execute(
            text("DELETE FROM history_observation WHERE snapshot_id = :id"), {"id": here.ids[1]}
        )
        transaction.execute(delete(raw_snapshot).where(raw_snapshot.c.snapshot_id == here.ids[1]))
    assert (
        f"the chain is broken before snapshot {here.ids[2]}: one was changed, removed or put in"
        " between" in sentences(warehouse, here)
    )


def test_a_retraction_that_history_does_not_know_of_is_named(warehouse: Warehouse) -> None:
    here = lived(warehouse, world("ada"), world("ada", "bob"))
    with warehouse.write("tampering") as transaction:
        said = {
            "snapshot_id": here.ids[1],
            "decision": "retracted",
            "reason": "r",
            "decided_by": "d",
            "decided_at": EPOCH,
        }
        transaction.execute(insert(snapshot_decision).values(**said))
    assert any("which does not count" in sentence for sentence in sentences(warehouse, here))


@given(
    drawn=st.lists(complete_days, min_size=1, max_size=6), horizon=st.integers(0, 6), data=st.data()
)
@pytest.mark.proofs("sqlite")
def test_history_up_to_the_horizon_stays_as_it_is_and_beyond_it_is_derived_again(
    warehouse: Warehouse, drawn: list[Day], horizon: int, data: st.DataObject
) -> None:
    here = Company(warehouse, drawn).record_all()
    derive(warehouse, here.key)
    drop_bodies(warehouse, here.key, EPOCH + timedelta(days=horizon), lambda: NOW, keep_days=1)
    assert here.stored() == here.expected(range(len(drawn)))
    rebuild(warehouse, here.key)
    assert here.stored() == here.expected(range(len(drawn)))
    assert verify(warehouse, here.key).state is State.FINE
    # A retraction needs no answers: history knows enough.
    gone = data.draw(st.integers(0, len(drawn) - 1))
    with warehouse.write(lock_of(here.key)) as transaction:
        take_out(transaction, here.key, here.ids[gone])
    assert here.stored() == here.expected(
        [number for number in range(len(drawn)) if number != gone]
    )


def test_bodies_are_dropped_by_age_and_facts_and_digests_stay(warehouse: Warehouse) -> None:
    here = lived(warehouse, world("ada", "bob"), world("ada"), world("ada"))
    assert drop_bodies(warehouse, here.key, EPOCH + timedelta(days=1), lambda: NOW, keep_days=1) > 0
    assert (
        drop_bodies(warehouse, here.key, EPOCH + timedelta(days=1), lambda: NOW, keep_days=1) == 0
    )
    with warehouse.read() as transaction:
        rows = transaction.execute(select(raw_body)).all()
        assert {len(row.zlib_body) == 0 for row in rows} == {True, False}
        assert all((row.dropped_at == NOW) == (len(row.zlib_body) == 0) for row in rows)
        stored = load(transaction, here.ids[0], bodies=False)
        with pytest.raises(BodyDroppedError, match="were dropped when they were old enough"):
            load(transaction, here.ids[0])
        load(transaction, here.ids[1])
    assert stored.content_sha256 == here.snapshots[0].content_sha256
    found = verify(warehouse, here.key)
    assert (found.state, found.observations) == (State.FINE, 2)
    assert found.horizon == here.snapshots[0].observed_at


def test_what_waits_for_a_decision_and_what_another_organization_has_keeps_its_bodies(
    warehouse: Warehouse,
) -> None:
    days = [Day(world("ada", "bob")), Day(world("cleo"), verdict=Verdict.HELD), Day(world("ada"))]
    here = Company(warehouse, days).record_all()
    derive(warehouse, here.key)
    drop_bodies(warehouse, here.key, NOW, lambda: NOW, keep_days=1)
    with warehouse.read() as transaction:
        load(transaction, here.ids[1])
        with pytest.raises(BodyDroppedError):
            load(transaction, here.ids[0])


def test_a_person_is_replaced_everywhere_and_the_record_says_who_decided(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    here = lived(
        warehouse,
        world("ada", "bob"),
        world("ada", "bob", name="Robert"),
        world("ada"),
        world("ada", "bob"),
        world("ada"),
    )
    before = here.stored()
    done = redact(warehouse, here.key, "bob", by="dpo", basis="request 4711", clock=lambda: NOW)
    assert done.pseudonym.startswith("redacted-")
    assert (done.bodies > 0, done.rows > 0, done.read_by) == (True, True, 0)
    found = verify(warehouse, here.key)
    assert (found.state, found.findings) == (State.REDACTED, ())
    (record,) = found.redactions
    assert (record.pseudonym, record.decided_by, record.basis, record.redacted_at) == (
        done.pseudonym,
        "dpo",
        "request 4711",
        NOW,
    )
    assert len(record.bodies) == done.bodies
    after = here.stored()
    mine = {i.row[0] for i in after["fct_user_access"]}
    assert mine == {"ada", done.pseudonym}
    assert {i.row[1:] for i in after["dim_account_detail"]} == {(done.pseudonym, None, None)}
    assert len(after["dim_user"]) == len(before["dim_user"]) - 1, (
        "two names are one pseudonym, and one interval"
    )
    assert {i.row[:2] for i in after["dim_group"]} == {
        ("1", "Members"),
        ("2", "bob"),
    }, "a group of that name is nobody"
    rebuild(warehouse, here.key)
    assert here.stored() == after


def test_nothing_of_the_person_is_left_in_the_file(tmp_path: Path) -> None:
    from sonar_access_pipeline.warehouse.database import sqlite_url
    from sonar_access_pipeline.warehouse.migrations import upgrade

    warehouse = Warehouse(sqlite_url(tmp_path / "warehouse.sqlite"))
    upgrade(warehouse)
    strange = World(
        members={"zaphod-b": "Zaphod B", "ada": "Ada"}, emails={"zaphod-b": "z@heart.gold"}
    )
    here = lived(warehouse, strange, World(members={"ada": "Ada"}))
    redact(warehouse, here.key, "zaphod-b", by="dpo", basis="b", clock=lambda: NOW)
    warehouse.close()
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert not any(trace in content for trace in (b"zaphod", b"Zaphod", b"heart.gold"))
    with warehouse.read() as transaction:
        bodies = [
            zlib.decompress(body)
            for body in transaction.execute(select(raw_body.c.zlib_body)).scalars()
            if body
        ]
    assert not any(b"aphod" in body or b"heart.gold" in body for body in bodies)


def test_the_same_person_gets_the_same_pseudonym_again_and_others_another(
    warehouse: Warehouse,
) -> None:
    here = lived(warehouse, world("ada", "bob", "cleo"), world("ada"))
    first = redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    other = redact(warehouse, here.key, "cleo", by="dpo", basis="b", clock=lambda: NOW)
    assert first.pseudonym != other.pseudonym
    assert verify(warehouse, here.key).state is State.REDACTED
    with pytest.raises(WarehouseError, match="Nobody of login 'bob'"):
        redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    again = Company(
        warehouse,
        [Day(world("ada"))] * 2 + [Day(world("ada", "bob")), Day(world("ada"))],
        key=here.key,
    )
    for number in (2, 3):
        again.record(number)
    derive(warehouse, here.key)
    assert (
        redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW).pseudonym
        == first.pseudonym
    )
    assert verify(warehouse, here.key).state is State.REDACTED


def test_an_answer_that_was_dropped_and_comes_again_is_there_again(warehouse: Warehouse) -> None:
    here = lived(warehouse, world("ada"), world("ada", "bob"))
    drop_bodies(warehouse, here.key, EPOCH + timedelta(days=1), lambda: NOW, keep_days=1)
    again = Company(warehouse, [Day(world("ada"), scopes=tuple(Scope))] * 3, key=here.key)
    again.record(2)
    derive(warehouse, here.key)
    assert verify(warehouse, here.key).state is State.FINE


def test_who_returns_is_there_again_by_name_and_before_the_redaction_a_pseudonym(
    warehouse: Warehouse,
) -> None:
    """Answer for answer the same as before: what was redacted stays so, what is read now is not."""
    here = lived(warehouse, world("ada", "bob"), world("ada"))
    done = redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    again = Company(
        warehouse,
        [Day(world("ada", "bob"), scopes=tuple(Scope))] * 3 + [Day(world("ada"))],
        key=here.key,
    )
    again.record(2)
    derive(warehouse, here.key)
    users = {
        interval.row[0]: interval
        for interval in here.stored()["dim_user"]
        if interval.row[0] != "ada"
    }
    assert users["bob"].valid_from == again.snapshots[2].observed_at
    assert users[done.pseudonym].valid_to == here.snapshots[1].observed_at
    assert verify(warehouse, here.key).state is State.REDACTED
    again.record(3)
    derive(warehouse, here.key)
    redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    assert "bob" not in {interval.row[0] for interval in here.stored()["dim_user"]}
    assert verify(warehouse, here.key).state is State.REDACTED


def test_the_same_answers_after_a_redaction_are_not_taken_for_the_redacted_ones(
    warehouse: Warehouse,
) -> None:
    """The observation between them was retracted: what was redacted and what is read now stand side
    by side.
    """
    here = lived(warehouse, world("ada", "bob"), world("ada"))
    done = redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    with warehouse.write(lock_of(here.key)) as transaction:
        said = {
            "snapshot_id": here.ids[1],
            "decision": "retracted",
            "reason": "r",
            "decided_by": "d",
            "decided_at": EPOCH,
        }
        transaction.execute(insert(snapshot_decision).values(**said))
        take_out(transaction, here.key, here.ids[1])
    again = Company(warehouse, [Day(world("ada", "bob"), scopes=tuple(Scope))] * 3, key=here.key)
    again.record(2)
    derive(warehouse, here.key)
    now = {interval.row[0] for interval in here.stored()["dim_user"] if interval.valid_to is None}
    assert now == {"ada", "bob"}
    assert done.pseudonym in {interval.row[0] for interval in here.stored()["dim_user"]}
    rebuild(warehouse, here.key)
    assert verify(warehouse, here.key).state is State.REDACTED
    assert {
        interval.row[0] for interval in here.stored()["dim_user"] if interval.valid_to is None
    } == {"ada", "bob"}


def test_a_person_is_taken_out_of_one_organization_and_stays_in_another_that_has_the_same_answers(
    warehouse: Warehouse,
) -> None:
    here = lived(warehouse, world("ada", "bob"), world("ada"))
    there = lived(warehouse, world("ada", "bob"), world("ada"))
    before = there.stored()
    redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    assert "bob" not in {interval.row[0] for interval in here.stored()["dim_user"]}
    assert verify(warehouse, here.key).state is State.REDACTED
    others = verify(warehouse, there.key)
    assert (others.state, others.horizon, others.observations) == (
        State.FINE,
        None,
        2,
    ), "nothing of it was dropped"
    rebuild(warehouse, there.key)
    assert there.stored() == before
    with pytest.raises(WarehouseError, match="Nobody of login 'bob'"):
        redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    redact(warehouse, there.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    assert verify(warehouse, there.key).state is State.REDACTED
    with warehouse.read() as transaction:
        bodies = [
            zlib.decompress(body)
            for body in transaction.execute(select(raw_body.c.zlib_body)).scalars()
            if body
        ]
    assert not any(MAIL.encode() in body for body in bodies), "nobody needs it any more"


def test_a_member_is_not_redacted_because_the_next_day_would_bring_the_person_back(
    warehouse: Warehouse,
) -> None:
    here = lived(warehouse, world("ada", "bob"))
    with pytest.raises(WarehouseError, match=r"has access to .* remove the account there"):
        redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    assert verify(warehouse, here.key).state is State.FINE


def test_bodies_that_were_redacted_can_be_dropped_and_are_not_carried_elsewhere(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    here = lived(warehouse, world("ada", "bob"), world("ada"), world("ada", "cleo"), world("ada"))
    redact(warehouse, here.key, "bob", by="dpo", basis="b", clock=lambda: NOW)
    redact(warehouse, here.key, "cleo", by="dpo", basis="b", clock=lambda: NOW)
    with pytest.raises(WarehouseError, match="redacted"):
        export(warehouse, here.key, tmp_path / "acme.zip")
    after = here.stored()
    drop_bodies(warehouse, here.key, EPOCH + timedelta(days=1), lambda: NOW, keep_days=1)
    found = verify(warehouse, here.key)
    assert (found.state, found.horizon) == (State.REDACTED, here.snapshots[0].observed_at)
    rebuild(warehouse, here.key)
    assert here.stored() == after


def test_a_body_without_the_person_is_not_touched() -> None:
    body = b'{"users":[{"login":"ada","name":"x"}],"groups":[{"name":"bob"}]}'
    assert redacted(body, "bob", "redacted-1") is None
    assert redacted(b"bob is not JSON", "bob", "redacted-1") is None
    assert (
        redacted(rb'{"login":"\u0062ob","name":"B","email":"e","admin":true}', "bob", "r")
        == b'{"login":"r","name":"r","email":null,"admin":true}'
    )
    assert pseudonym("salt", "bob") == pseudonym("salt", "bob") != pseudonym("other", "bob")


REAL: dict[str, tuple[str, str]] = {
    "a caller of newer servers": (
        """{"isLoggedIn":true,"id":"AYx-0bob-uuid","login":"bob","name":"Bob","email":"bob@example.org","local":false,
        "externalIdentity":"bob-gh-4711","externalProvider":"github","avatar":"9e8d7c6b5a",
        "scmAccounts":["bob@home.example","Bob B."],
        "groups":["Owners"],"permissions":{"global":["admin"]},"homepage":{"type":"PROJECT","component":"bobs-secret"}}""",
        """{"isLoggedIn":true,"id":"r","login":"r","name":"r","email":null,"local":false,"externalIdentity":null,
        "externalProvider":"github","avatar":null,"scmAccounts":[],"groups":["Owners"],"permissions":{"global":["admin"]},
        "homepage":{"type":"PROJECT","component":null}}""",
    ),
    "the caller's tokens": (
        """{"login":"bob","userTokens":[{"name":"Bob's laptop","createdAt":"2026-01-05T10:00:00+0100","type":"USER_TOKEN"}]}""",  # noqa: E501
        """{"login":"r","userTokens":[{"name":"r","createdAt":"2026-01-05T10:00:00+0100","type":"USER_TOKEN"}]}""",
    ),
    "a user of the newer interface": (
        """{"users":[{"id":"AYx-0bob-uuid","login":"bob","name":"Bob","email":"bob@example.org","externalLogin":"bob-gh-4711",
        "externalProvider":"github","scmAccounts":["bob@home.example"],"sonarLintLastConnectionDate":null,"active":true}],
        "page":{"pageIndex":1,"pageSize":500,"total":1}}""",
        """{"users":[{"id":"r","login":"r","name":"r","email":null,"externalLogin":null,"externalProvider":"github",
        "scmAccounts":[],"sonarLintLastConnectionDate":null,"active":true}],"page":{"pageIndex":1,"pageSize":500,"total":1}}""",
    ),
    "a row of permissions": (
        """{"users":[{"login":"bob","name":"Bob","email":"bob@example.org","avatar":"9e8d7c6b5a","permissions":["admin","scan"]}]}""",
        """{"users":[{"login":"r","name":"r","email":null,"avatar":null,"permissions":["admin","scan"]}]}""",
    ),
    "an object without a login, and somebody else's": (
        """{"owner":{"email":"bob@example.org","contact":"AYx-0bob-uuid"},"notes":["bob@home.example","Bob"],
        "users":[{"login":"bob2","email":"bob@example.org"}]}""",
        """{"owner":{"email":"r","contact":"r"},"notes":["r","Bob"],"users":[{"login":"bob2","email":"bob@example.org"}]}""",
    ),
}
"""Bodies as real servers send them (newer ones among them), and what stays of them without Bob."""


@pytest.mark.parametrize("name", REAL)
def test_every_text_about_a_person_goes_whatever_its_field_and_rights_stay(name: str) -> None:
    own = frozenset().union(*(identifiers(before.encode(), "bob") for before, _ in REAL.values()))
    before, after = REAL[name]
    found = redacted(before.encode(), "bob", "r", own)
    assert found is not None
    assert json.loads(found) == json.loads(after)


def test_a_body_that_is_emptied_without_a_record_is_a_fault(warehouse: Warehouse) -> None:
    """The guards let a body be emptied, for ageing; whoever empties one by hand would hide what is
    done to history then.
    """
    here = lived(warehouse, world("ada", "bob"), world("ada"))
    with warehouse.write("tampering") as transaction:
        emptied = (
            "UPDATE raw_body SET zlib_body = {}, dropped_at = '2026-03-04 05:00:00+00:00' WHERE"
            " dropped_at IS NULL"
        )
        transaction.execute(text(emptied.format("''" if warehouse.is_postgresql else "x''")))
    found = verify(warehouse, here.key)
    assert found.state is State.DIFFERENT
    assert any(
        "was emptied, and no record says that it was dropped by age" in one.sentence
        for one in found.findings
    )


def test_what_was_dropped_is_on_record_with_its_setting(warehouse: Warehouse) -> None:
    here = lived(warehouse, world("ada", "bob"), world("ada"), world("ada"))
    dropped = drop_bodies(
        warehouse, here.key, EPOCH + timedelta(days=1), lambda: NOW, keep_days=399
    )
    with warehouse.read() as transaction:
        (noted,) = transaction.execute(select(body_drop)).all()
        assert len(transaction.execute(select(dropped_body)).all()) == dropped > 0
    assert (noted.organization_key, noted.keep_days, noted.dropped_at) == (here.key, 399, NOW)
    assert verify(warehouse, here.key).state is State.FINE


@pytest.mark.parametrize(
    ("on_sqlite", "on_postgresql", "said"),
    [
        (
            "DROP TRIGGER raw_snapshot_no_update",
            "DROP TRIGGER raw_snapshot_no_update ON raw_snapshot",
            "trigger raw_snapshot_no_update",
        ),
        (
            "DROP TRIGGER dim_user_no_overlap_insert",
            "ALTER TABLE dim_user DROP CONSTRAINT ex_dim_user_overlap",
            "dim_user",
        ),
        ("DROP INDEX uq_dim_user_open", "DROP INDEX uq_dim_user_open", "index uq_dim_user_open"),
        (
            "DROP VIEW user_project_access",
            "DROP VIEW user_project_access",
            "view user_project_access",
        ),
        (
            None,
            "ALTER TABLE raw_body DISABLE TRIGGER raw_body_no_delete",
            "trigger raw_body_no_delete",
        ),
        (
            None,
            "ALTER TABLE raw_snapshot DROP CONSTRAINT uq_raw_snapshot_organization_key_observed_at",
            "constraint uq_raw_snapshot",
        ),
    ],
)
def test_a_guard_that_is_gone_or_switched_off_is_named(
    warehouse: Warehouse, on_sqlite: str | None, on_postgresql: str, said: str
) -> None:
    here = lived(warehouse, world("ada", "bob"))
    statement = on_postgresql if warehouse.is_postgresql else on_sqlite
    if statement is None:
        pytest.skip("SQLite cannot take this away")
    with warehouse.write("tampering") as transaction:
        transaction.execute(
            text(statement + (" CASCADE" if "DROP CONSTRAINT" in statement else ""))
        )
    found = [one.sentence for one in verify(warehouse, here.key).findings if one.table == "schema"]
    assert [sentence for sentence in found if said in sentence], found


def test_a_snapshot_that_is_not_complete_by_its_own_answers_is_named(warehouse: Warehouse) -> None:
    whole = snapshot_of(world("ada", "bob"), EPOCH)
    cut = tuple(answer for answer in whole.responses if answer.list_name != "group_permissions")
    record(warehouse, replace(whole, responses=cut), lambda: EPOCH)
    derive(warehouse, "acme")
    found = verify(warehouse, "acme")
    assert (
        "snapshot 1 is not complete by its own answers: the list group_permissions was not read"
        in [one.sentence for one in found.findings]
    )


def test_a_project_or_group_that_is_called_like_a_persons_account_elsewhere_stays() -> None:
    user = b'{"login":"bob","externalIdentity":"bob-bobson","groups":[{"id":"AYgroup123"}]}'
    assert identifiers(user, "bob") == {"bob-bobson"}, "the id is of the group"
    own = identifiers(user, "bob")
    for body in (
        b'{"components":[{"key":"bob-bobson","name":"bob-bobson"}]}',
        b'{"groups":[{"id":"AYgroup123","name":"bob-bobson","permissions":["scan"]}]}',
        b'{"projectKey":"bob-bobson"}',
    ):
        assert redacted(body, "bob", "redacted-x", own) is None, body
    assert (
        redacted(b'{"author":"bob-bobson"}', "bob", "redacted-x", own) == b'{"author":"redacted-x"}'
    )
