"""A packet is tied to what it rests on: tables that say anything else than the stored answers are
refused, row by row.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from sonar_access_pipeline.access.rows import HISTORY_TABLES
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import UntiedError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.raw.redaction import redact
from sonar_access_pipeline.warehouse.raw.retention import drop_bodies
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of, unguard

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short, PostgreSQL alone."""

BASE = World(
    members={"ada": "Ada", "bob": "Bob", "cleo": "Cleo"},
    groups={"1": "Members", "2": "Owners"},
    group_members={"1": ["ada", "bob", "cleo"], "2": ["ada"]},
    user_permissions={"ada": [], "bob": ["scan"], "cleo": []},
    group_permissions={"2": ["admin"]},
)
GROWN = replace(
    BASE,
    members={**BASE.members, "dora": "Dora"},
    user_permissions={**BASE.user_permissions, "dora": ["scan"]},
)
DAY = EPOCH.date()
ONE, ALL = (
    Window(DAY + timedelta(days=2), DAY + timedelta(days=2)),
    Window(DAY, DAY + timedelta(days=2)),
)


@pytest.fixture
def lived(warehouse: Warehouse) -> Warehouse:
    for day, world in enumerate((BASE, BASE, GROWN, GROWN)):
        record(warehouse, snapshot_of(world, EPOCH + timedelta(days=day)), lambda: EPOCH)
    derive(warehouse, "acme")
    return warehouse


OPENED = "(SELECT observed_at FROM raw_snapshot WHERE snapshot_id = {})"
TAMPERED = {
    "every admin row deleted": (
        "DELETE FROM fct_user_access WHERE entitlement = 'admin'",
        "fct_user_access does not say what SonarCloud answered.*lacks 1 rows",
    ),
    "grants taken out": (
        "DELETE FROM fct_permission_grant",
        "fct_permission_grant does not say.*lacks . rows",
    ),
    "an admin invented": (
        (
            "INSERT INTO fct_user_access (organization_key, login, access_type, resource,"
            " entitlement, granted_via, valid_from, row_hash) SELECT 'acme', 'bob',"
            f" 'organization_permission', 'acme', 'admin', 'direct', {OPENED.format(3)}, row_hash"
            " FROM fct_user_access WHERE login = 'bob' AND access_type = 'membership'"
        ),
        "fct_user_access does not say.*has 1 rows that they do not give",
    ),
    "a name changed, and its hash left as it was": (
        "UPDATE dim_user SET name = 'Nobody' WHERE login = 'ada'",
        "dim_user does not say",
    ),
    "somebody who came today shown as there before": (
        f"UPDATE dim_user SET valid_from = {OPENED.format(2)} WHERE login = 'dora'",
        "dim_user",
    ),
    "a finding taken out": (
        "DELETE FROM fct_finding WHERE rule_id = 'one-admin'",
        "fct_finding does not say",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_table_that_says_anything_else_than_the_answers_is_refused(
    lived: Warehouse, name: str
) -> None:
    statement, said = TAMPERED[name]
    build(lived, "acme", ONE)
    with lived.write("test") as transaction:
        assert transaction.execute(text(statement)).rowcount
    for window in (ONE, ALL):
        with pytest.raises(UntiedError, match=said):
            build(lived, "acme", window)
    rebuild(lived, "acme")
    build(lived, "acme", ALL)


def test_a_since_that_was_moved_long_before_is_refused_in_every_window_of_more_than_a_day(
    lived: Warehouse,
) -> None:
    with lived.write("test") as transaction:
        moved = f"UPDATE dim_user SET valid_from = {OPENED.format(2)} WHERE login = 'ada'"
        assert transaction.execute(text(moved)).rowcount
    with pytest.raises(UntiedError, match="History is not what the stored answers give"):
        build(lived, "acme", Window(DAY + timedelta(days=2), DAY + timedelta(days=3)))


def test_answers_that_were_changed_with_their_tables_are_refused_by_their_digests(
    lived: Warehouse,
) -> None:
    with lived.write("test") as transaction:
        unguard(transaction, "raw_body")
        longest = "(SELECT body_sha256 FROM raw_body ORDER BY size_bytes DESC LIMIT 1)"
        other = "(SELECT zlib_body FROM raw_body ORDER BY size_bytes LIMIT 1)"
        transaction.execute(
            text(f"UPDATE raw_body SET zlib_body = {other} WHERE body_sha256 = {longest}")
        )
    with pytest.raises(UntiedError, match="is not what was recorded"):
        build(lived, "acme", ONE)


def test_reconciliation_ties_rights_and_not_only_people(lived: Warehouse) -> None:
    tied = {
        row["what"].split(":")[0]: row
        for row in build(lived, "acme", ONE).facts.reconciliation
        if row["check"] == "answers against tables"
    }
    core = {
        table.name
        for table in HISTORY_TABLES
        if table.name not in ("dim_project", "dim_account_detail")
    }
    assert set(tied) == core
    assert all(row["passed"] for row in tied.values())
    # scan of bob and dora, admin of Owners
    assert (tied["fct_permission_grant"]["extracted"], tied["fct_permission_grant"]["stored"]) == (
        3,
        3,
    )


def test_answers_that_were_dropped_by_age_are_compared_with_nothing_and_that_is_said(
    lived: Warehouse,
) -> None:
    drop_bodies(lived, "acme", EPOCH + timedelta(days=9), lambda: EPOCH, keep_days=1)
    rows = [
        row
        for row in build(lived, "acme", ONE).facts.reconciliation
        if row["check"] == "answers against tables"
    ]
    assert {row["passed"] for row in rows} == {None}
    assert all("were dropped when they were old enough" in row["detail"] for row in rows)


def test_answers_of_an_earlier_observation_that_were_dropped_hide_nothing_of_the_last_one(
    lived: Warehouse,
) -> None:
    drop_bodies(lived, "acme", EPOCH + timedelta(days=1, hours=1), lambda: EPOCH, keep_days=1)
    two = Window(DAY + timedelta(days=2), DAY + timedelta(days=3))
    rows = [
        row
        for row in build(lived, "acme", two).facts.reconciliation
        if row["check"] == "answers against tables"
    ]
    assert all(row["passed"] for row in rows)
    with lived.write("test") as transaction:
        transaction.execute(text("UPDATE dim_user SET name = 'Mallory' WHERE login = 'ada'"))
    for window in (two, Window(DAY + timedelta(days=3), DAY + timedelta(days=3))):
        with pytest.raises(UntiedError):
            build(lived, "acme", window)


def test_an_answer_that_stands_in_for_a_redacted_one_has_a_digest_too(lived: Warehouse) -> None:
    without = replace(
        BASE,
        members={"ada": "Ada", "bob": "Bob"},
        group_members={"1": ["ada", "bob"], "2": ["ada"]},
        user_permissions={"ada": [], "bob": ["scan"]},
    )
    record(lived, snapshot_of(without, EPOCH + timedelta(days=4)), lambda: EPOCH)
    derive(lived, "acme")
    redact(lived, "acme", "cleo", basis="law", by="ada", clock=lambda: EPOCH + timedelta(days=5))
    build(lived, "acme", ONE)
    with lived.write("test") as transaction:
        unguard(transaction, "raw_body")
        stand_ins = (
            transaction.execute(text("SELECT new_sha256 FROM redacted_body")).scalars().all()
        )
        for sha256 in stand_ins:
            changed = {"body": zlib.compress(b"{}"), "sha256": sha256}
            transaction.execute(
                text("UPDATE raw_body SET zlib_body = :body WHERE body_sha256 = :sha256"), changed
            )
    with pytest.raises(UntiedError, match="is not what was recorded"):
        build(lived, "acme", ONE)
