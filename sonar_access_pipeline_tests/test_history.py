"""The promises of history, on both databases, against a model written for reading."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text

from sonar_access_pipeline.access.content import content_of, lists_of
from sonar_access_pipeline.access.history import ObservationTime, edits
from sonar_access_pipeline.access.rows import HISTORY_TABLES, row_hash
from sonar_access_pipeline.access.snapshot import Snapshot, Verdict
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history import Pending, derive, merge, rebuild
from sonar_access_pipeline.warehouse.schema import history_tables, metadata, snapshot_decision
from sonar_access_pipeline.warehouse.snapshots import record
from sonar_access_pipeline_tests.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.model import Interval, history

LOGINS = ("ada", "Ada", "ada ", "åsa", "a\u030asa")
GROUPS = ("1", "2")

logins = st.sampled_from(LOGINS)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    members = draw(st.dictionaries(logins, st.sampled_from(["x", "y", None])))
    groups = draw(st.dictionaries(st.sampled_from(GROUPS), st.sampled_from(["g", "h"])))
    permissions = st.lists(st.sampled_from(["admin", "scan"]), unique=True)
    return World(
        members=members,
        groups=groups,
        group_members={group: draw(st.lists(logins, unique=True, max_size=3)) for group in groups},
        user_permissions={login: draw(permissions) for login in members},
        group_permissions={group: draw(permissions) for group in groups},
        anyone=draw(permissions),
    )


verdicts = st.sampled_from([Verdict.COMPLETE] * 4 + [Verdict.INCOMPLETE, Verdict.HELD])
decisions = st.sampled_from([None, None, None, "confirmed", "retracted"])
days = st.lists(st.tuples(worlds(), verdicts, decisions), min_size=1, max_size=6)


def empty(warehouse: Warehouse) -> None:
    with warehouse.write("test") as transaction:
        for table in reversed(metadata.sorted_tables):
            transaction.execute(delete(table))


def recorded(warehouse: Warehouse, snapshots: list[tuple[Snapshot, str | None]]) -> None:
    for snapshot, decision in snapshots:
        stored = record(warehouse, snapshot, lambda: EPOCH)
        if decision:
            with warehouse.write("test") as transaction:
                transaction.execute(
                    insert(snapshot_decision).values(
                        snapshot_id=stored.snapshot_id, decision=decision, reason="r", decided_by="d", decided_at=EPOCH
                    )
                )


def pending(snapshot_id: int, snapshot: Snapshot) -> Pending:
    time = ObservationTime(snapshot.started_at, snapshot.observed_at)
    return Pending(snapshot_id, time, snapshot.scopes, frozenset(snapshot.scopes))


def snapshots_of(drawn: list[tuple[World, Verdict, str | None]]) -> list[tuple[Snapshot, str | None]]:
    return [
        (snapshot_of(world, EPOCH + timedelta(days=day), verdict=verdict), decision)
        for day, (world, verdict, decision) in enumerate(drawn)
    ]


def counting(snapshots: list[tuple[Snapshot, str | None]]) -> list[Snapshot]:
    return [
        snapshot
        for snapshot, decision in snapshots
        if decision != "retracted"
        and (snapshot.verdict is Verdict.COMPLETE or (snapshot.verdict is Verdict.HELD and decision == "confirmed"))
    ]


def expected(snapshots: list[Snapshot]) -> dict[str, set[Interval]]:
    contents = {(s.started_at, s.observed_at): content_of(lists_of(s.responses)) for s in snapshots}
    return {
        table.name: history({time: set(table.rows(content)) for time, content in contents.items()}) for table in HISTORY_TABLES
    }


def stored(warehouse: Warehouse) -> dict[str, set[Interval]]:
    found: dict[str, set[Interval]] = {}
    with warehouse.read() as transaction:
        for description in HISTORY_TABLES:
            table = history_tables[description.name]
            rows = transaction.execute(select(table)).mappings().all()
            assert all(row["is_current"] == (row["valid_to"] is None) for row in rows)
            intervals = [
                Interval(
                    tuple(row[column.name] for column in description.columns),
                    row["valid_from"],
                    row["valid_to"],
                    row["changed_after"],
                    row["last_seen_at"],
                )
                for row in rows
            ]
            assert len(intervals) == len(set(intervals))
            found[description.name] = set(intervals)
    return found


@given(drawn=days)
def test_history_shows_at_every_observation_exactly_what_was_observed(
    warehouse: Warehouse, drawn: list[tuple[World, Verdict, str | None]]
) -> None:
    empty(warehouse)
    snapshots = snapshots_of(drawn)
    recorded(warehouse, snapshots)
    derive(warehouse, "acme")
    assert stored(warehouse) == expected(counting(snapshots))


@given(drawn=st.lists(worlds(), min_size=2, max_size=6), data=st.data())
def test_the_order_of_merging_does_not_matter(warehouse: Warehouse, drawn: list[World], data: st.DataObject) -> None:
    empty(warehouse)
    snapshots = snapshots_of([(world, Verdict.COMPLETE, None) for world in drawn])
    recorded(warehouse, snapshots)
    order = data.draw(st.permutations(range(len(snapshots))))
    for step, index in enumerate(order, start=1):
        snapshot = snapshots[index][0]
        with warehouse.write("test") as transaction:
            merge(transaction, "acme", pending(index + 1, snapshot))
        # Right after every single merge, not only at the end.
        assert stored(warehouse) == expected([snapshots[i][0] for i in order[:step]])


@given(drawn=days)
def test_repeating_changes_nothing_and_a_rebuild_gives_the_same_rows(
    warehouse: Warehouse, drawn: list[tuple[World, Verdict, str | None]]
) -> None:
    empty(warehouse)
    for snapshot in snapshots_of(drawn):
        recorded(warehouse, [snapshot])
        derive(warehouse, "acme")
    incremental = stored(warehouse)
    assert derive(warehouse, "acme") == []
    assert stored(warehouse) == incremental
    rebuild(warehouse, "acme")
    assert stored(warehouse) == incremental


def test_leaving_and_returning_is_two_intervals_with_the_gap_between_them(warehouse: Warehouse) -> None:
    here, gone = World(members={"ada": "Ada"}), World()
    recorded(warehouse, snapshots_of([(world, Verdict.COMPLETE, None) for world in (here, gone, gone, here)]))
    derive(warehouse, "acme")
    day = [EPOCH + timedelta(days=number) for number in range(4)]
    seen = [started + timedelta(seconds=10) for started in day]
    assert stored(warehouse)["dim_user"] == {
        Interval(("ada", "Ada", None), seen[0], seen[1], None, day[0]),
        Interval(("ada", "Ada", None), seen[3], None, day[2], None),
    }


def test_a_merge_that_fails_halfway_leaves_everything_as_it_was(warehouse: Warehouse) -> None:
    recorded(warehouse, snapshots_of([(World(members={"ada": "Ada"}), Verdict.COMPLETE, None)]))
    derive(warehouse, "acme")
    before = stored(warehouse)
    later = snapshot_of(World(members={"bob": "Bob"}), EPOCH + timedelta(days=1))
    record(warehouse, later, lambda: EPOCH)
    with pytest.raises(RuntimeError), warehouse.write("test") as transaction:
        merge(transaction, "acme", pending(2, later))
        raise RuntimeError("the power fails here")
    assert stored(warehouse) == before
    derive(warehouse, "acme")
    assert {interval.row[0] for interval in stored(warehouse)["dim_user"] if interval.valid_to is None} == {"bob"}


def test_the_database_refuses_a_second_open_row_for_one_key(warehouse: Warehouse) -> None:
    recorded(warehouse, snapshots_of([(World(members={"ada": "Ada"}), Verdict.COMPLETE, None)]))
    derive(warehouse, "acme")
    with pytest.raises(Exception, match=r"(?i)unique"), warehouse.write("test") as transaction:
        transaction.execute(
            insert(history_tables["dim_user"]).values(
                organization_key="acme", login="ada", name="Other", valid_from=EPOCH + timedelta(days=9), row_hash=b"x" * 16
            )
        )


def test_every_edit_is_the_one_that_its_three_sets_ask_for() -> None:
    """All eight memberships of one row, against the intervals the model gives with and without the new observation."""
    for before, new, after in product([False, True], repeat=3):
        changes = edits({b"r"} if before else set(), {b"r"} if new else set(), {b"r"} if after else set())
        named = {
            name
            for name in ("close", "insert", "seen_longer", "cut", "open_earlier", "unseen_longer")
            if getattr(changes, name) == (b"r",)
        }
        times = [(EPOCH + timedelta(days=d), EPOCH + timedelta(days=d, seconds=1)) for d in range(3)]
        shown: list[set[tuple[str]]] = [{("r",)} if flag else set() for flag in (before, new, after)]
        without = history({times[0]: shown[0], times[2]: shown[2]})  # type: ignore[dict-item]
        with_new = history(dict(zip(times, shown, strict=True)))  # type: ignore[arg-type]
        assert (without == with_new) == (not named), (before, new, after)
        assert len(named) <= 1


def test_an_added_column_that_is_all_null_changes_no_hash() -> None:
    assert row_hash(["login", "name"], ("ada", "Ada")) == row_hash(["login", "name", "new"], ("ada", "Ada", None))
    assert row_hash(["a", "b"], ("ab", "c")) != row_hash(["a", "b"], ("a", "bc"))
    assert row_hash(["a"], (True,)) != row_hash(["a"], ("1",))
    assert row_hash(["a"], (False,)) != row_hash(["a"], (None,))


def test_a_view_says_between_which_two_observations_a_change_happened(warehouse: Warehouse) -> None:
    worlds = [World(members={"ada": "Ada"}), World(members={"ada": "Ada", "bob": "Bob"}), World(members={"bob": "Bob"})]
    recorded(warehouse, snapshots_of([(world, Verdict.COMPLETE, None) for world in worlds]))
    derive(warehouse, "acme")
    with warehouse.read() as transaction:
        rows = transaction.execute(text("SELECT * FROM fct_access_change ORDER BY changed_by, kind")).all()
    assert [(row.login, row.kind) for row in rows] == [("ada", "first_observed"), ("bob", "joined"), ("ada", "left")]
    assert rows[0].changed_after is None
    assert _utc(rows[2].changed_after) == EPOCH + timedelta(days=1)


def _utc(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=EPOCH.tzinfo) if isinstance(value, str) else value
