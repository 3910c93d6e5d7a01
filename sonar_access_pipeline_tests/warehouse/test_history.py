"""The promises of history, on both databases, against a model written for reading."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, text

from sonar_access_pipeline.access import history as access
from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.content import content_of, lists_of
from sonar_access_pipeline.access.history import ObservationTime, Timeline, compare
from sonar_access_pipeline.access.rows import HISTORY_TABLES, HistoryTable, Part, row_hash
from sonar_access_pipeline.access.snapshot import Scope, Snapshot, Verdict
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import (
    Pending,
    derive,
    lock_of,
    merge,
    pending,
    take_out,
)
from sonar_access_pipeline.warehouse.history.observations import Observation
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.raw.decisions import decide
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import history_tables, snapshot_decision
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.model import Interval, Row, history

LOGINS = ("ada", "Ada", "ada ", "åsa", "a\u030asa", "o'br\\ien\t\x1f")
GROUPS = ("1", "2")
NEVER_HELD = Brake(share=1.0, rows=10**9)

logins = st.sampled_from(LOGINS)
companies = itertools.count()


@st.composite
def worlds(draw: st.DrawFn) -> World:
    members = draw(st.dictionaries(logins, st.sampled_from(["x", "y", None])))
    groups = draw(st.dictionaries(st.sampled_from(GROUPS), st.sampled_from(["g", "h"])))
    permissions = st.lists(st.sampled_from(["admin", "scan"]), unique=True)
    some = st.lists(logins, unique=True, max_size=3)
    projects = draw(st.dictionaries(st.sampled_from(["p", "q"]), st.sampled_from(["P", "Q"])))
    return World(
        members=members,
        groups=groups,
        group_members={group: draw(some) for group in groups},
        user_permissions={login: draw(permissions) for login in members},
        group_permissions={group: draw(permissions) for group in groups},
        anyone=draw(permissions),
        projects=projects,
        project_users={key: draw(some) for key in projects},
        project_groups={
            key: draw(st.lists(st.sampled_from(sorted(groups)), unique=True)) if groups else []
            for key in projects
        },
        emails=draw(st.dictionaries(logins, st.sampled_from(["a@x", "b@x"]))),
    )


@dataclass
class Day:
    """One read, and what people said of it."""

    world: World
    verdict: Verdict = Verdict.COMPLETE
    decision: str | None = None
    scopes: tuple[Scope, ...] = (Scope.CORE,)
    repeats: int = field(default=0)

    @property
    def counts(self) -> bool:
        """Whether it is an observation."""
        is_confirmed = self.verdict is Verdict.HELD and self.decision == "confirmed"
        return self.decision != "retracted" and (self.verdict is Verdict.COMPLETE or is_confirmed)


verdicts = st.sampled_from([Verdict.COMPLETE] * 4 + [Verdict.INCOMPLETE, Verdict.HELD])
decisions = st.sampled_from([None, None, None, "confirmed", "retracted"])
scopes = st.sampled_from(
    [
        (Scope.CORE,),
        (Scope.CORE,),
        (Scope.CORE, Scope.PROJECT_PERMISSIONS),
        (Scope.CORE, Scope.ACCOUNT_DETAILS),
        tuple(Scope),
    ]
)
days = st.builds(Day, world=worlds(), verdict=verdicts, decision=decisions, scopes=scopes)
complete_days = st.builds(Day, world=worlds(), scopes=scopes)


@dataclass
class Company:
    """A company of its own in a warehouse that many share, and its snapshots in the order in which
    they were read.
    """

    warehouse: Warehouse
    drawn: Sequence[Day]
    key: str = field(default_factory=lambda: f"acme-{next(companies)}")
    ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.snapshots = [
            snapshot_of(
                day.world,
                EPOCH + timedelta(days=number),
                key=self.key,
                verdict=day.verdict,
                scopes=day.scopes,
            )
            for number, day in enumerate(self.drawn)
        ]

    def record(self, number: int, *, with_decision: bool = True) -> None:
        """Keep one, and what was said of it."""
        stored = record(self.warehouse, self.snapshots[number], lambda: EPOCH)
        self.ids.append(stored.snapshot_id)
        if with_decision and (decision := self.drawn[number].decision):
            with self.warehouse.write("test") as transaction:
                values = {
                    "snapshot_id": stored.snapshot_id,
                    "decision": decision,
                    "reason": "r",
                    "decided_by": "d",
                }
                transaction.execute(insert(snapshot_decision).values(**values, decided_at=EPOCH))

    def record_all(self) -> Company:
        """Keep all of them."""
        for number in range(len(self.drawn)):
            self.record(number)
        return self

    def counting(self) -> list[int]:
        """The numbers of those that are observations."""
        return [number for number, day in enumerate(self.drawn) if day.counts]

    def expected(self, numbers: Sequence[int]) -> dict[str, set[Interval]]:
        """What the model says that history is, of these observations."""
        return expected([self.snapshots[number] for number in numbers])

    def stored(self) -> dict[str, set[Interval]]:
        """What history is."""
        return stored(self.warehouse, self.key)

    def merge(self, number: int) -> None:
        """Put one among those that are merged."""
        snapshot = self.snapshots[number]
        time = ObservationTime(snapshot.started_at, snapshot.observed_at)
        with self.warehouse.write(lock_of(self.key)) as transaction:
            merge(
                transaction,
                self.key,
                Pending(
                    Observation(self.ids[number], time, snapshot.scopes), frozenset(snapshot.scopes)
                ),
            )


def expected(snapshots: Sequence[Snapshot]) -> dict[str, set[Interval]]:
    found: dict[str, set[Interval]] = {description.name: set() for description in HISTORY_TABLES}
    for description in HISTORY_TABLES:
        for part in description.parts:
            shown: dict[tuple[datetime, datetime], set[Row]] = {
                (s.started_at, s.observed_at): set(
                    part.rows(content_of(lists_of(s.responses), s.scopes))
                )
                for s in snapshots
                if part.scope in s.scopes
            }
            found[description.name] |= history(shown)
    return found


def stored(warehouse: Warehouse, key: str) -> dict[str, set[Interval]]:
    found: dict[str, set[Interval]] = {}
    with warehouse.read() as transaction:
        for description in HISTORY_TABLES:
            table = history_tables[description.name]
            rows = (
                transaction.execute(select(table).where(table.c.organization_key == key))
                .mappings()
                .all()
            )
            assert all(row["is_current"] == (row["valid_to"] is None) for row in rows)
            hash_of = row_hash([column.name for column in description.columns])
            intervals = []
            for row in rows:
                values = tuple(row[column.name] for column in description.columns)
                assert bytes(row["row_hash"]) == hash_of(values)
                times = (
                    row["valid_from"],
                    row["valid_to"],
                    row["changed_after"],
                    row["last_seen_at"],
                )
                intervals.append(Interval(values, *times))
            assert len(intervals) == len(set(intervals))
            found[description.name] = set(intervals)
    return found


@given(drawn=st.lists(days, min_size=1, max_size=6))
def test_history_shows_at_every_observation_exactly_what_was_observed(
    warehouse: Warehouse, drawn: list[Day]
) -> None:
    here = Company(warehouse, drawn).record_all()
    assert derive(warehouse, here.key) == [here.ids[number] for number in here.counting()]
    assert here.stored() == here.expected(here.counting())


@given(drawn=st.lists(complete_days, min_size=2, max_size=6), data=st.data())
@pytest.mark.proofs("sqlite")
def test_the_order_of_merging_does_not_matter(
    warehouse: Warehouse, drawn: list[Day], data: st.DataObject
) -> None:
    here = Company(warehouse, drawn).record_all()
    order = data.draw(st.permutations(range(len(drawn))))
    for step, number in enumerate(order, start=1):
        here.merge(number)
        # Right after every single merge, not only at the end.
        assert here.stored() == here.expected(sorted(order[:step]))


@given(drawn=st.lists(complete_days, min_size=1, max_size=6), data=st.data())
@pytest.mark.proofs("sqlite")
def test_a_retracted_snapshot_leaves_the_history_that_never_saw_it(
    warehouse: Warehouse, drawn: list[Day], data: st.DataObject
) -> None:
    here = Company(warehouse, drawn).record_all()
    derive(warehouse, here.key)
    left = list(range(len(drawn)))
    for number in data.draw(st.permutations(range(len(drawn)))):
        with warehouse.write(lock_of(here.key)) as transaction:
            take_out(transaction, here.key, here.ids[number])
        left.remove(number)
        assert here.stored() == here.expected(left)


@given(drawn=st.lists(days, min_size=1, max_size=6))
def test_repeating_changes_nothing_and_a_rebuild_gives_the_same_rows(
    warehouse: Warehouse, drawn: list[Day]
) -> None:
    here = Company(warehouse, drawn)
    for number in range(len(drawn)):
        here.record(number)
        derive(warehouse, here.key)
    incremental = here.stored()
    assert derive(warehouse, here.key) == []
    assert here.stored() == incremental
    assert rebuild(warehouse, here.key) == len(here.counting())
    assert here.stored() == incremental
    with warehouse.read() as transaction:
        assert pending(transaction, here.key) == []


@given(drawn=st.lists(days, min_size=2, max_size=5), data=st.data())
@pytest.mark.proofs("postgresql")
def test_decisions_taken_later_give_the_history_of_decisions_taken_at_once(
    warehouse: Warehouse, drawn: list[Day], data: st.DataObject
) -> None:
    """A confirmed snapshot takes its place in time, a retracted one leaves it, whenever somebody
    says so.
    """
    here = Company(warehouse, drawn)
    for number in range(len(drawn)):
        here.record(number, with_decision=False)
        derive(warehouse, here.key)
    released: set[int] = set()
    for number in data.draw(st.permutations(range(len(drawn)))):
        day = drawn[number]
        if day.decision is None or day.verdict is Verdict.INCOMPLETE:
            continue
        if day.decision == "confirmed" and (
            day.verdict is not Verdict.HELD or here.ids[number] in released
        ):
            # Of an organization in which there is nothing, nothing disappears, whatever the brake.
            continue
        # A brake that always holds: what else is held stays so, whatever is decided.
        options = {
            "by": "ada",
            "reason": "r",
            "brake": Brake(share=-1.0, rows=0),
            "clock": lambda: EPOCH,
        }
        released |= set(decide(warehouse, here.ids[number], day.decision, **options).released)  # type: ignore[arg-type]
    with warehouse.read() as transaction:
        query = text("SELECT snapshot_id FROM observation WHERE organization_key = :key")
        observed = set(transaction.execute(query, {"key": here.key}).scalars())
    numbers = [number for number, snapshot_id in enumerate(here.ids) if snapshot_id in observed]
    assert here.stored() == here.expected(numbers)


@given(world=worlds(), later=worlds(), repeats=st.integers(1, 3))
@pytest.mark.proofs("postgresql")
def test_a_day_on_which_every_answer_is_the_one_of_yesterday_is_an_observation_like_any_other(
    warehouse: Warehouse, world: World, later: World, repeats: int
) -> None:
    here = Company(warehouse, [Day(world)] * (repeats + 1) + [Day(later)])
    for number in range(len(here.drawn)):
        here.record(number)
        assert len(derive(warehouse, here.key)) == 1
    assert here.stored() == here.expected(range(len(here.drawn)))
    rebuild(warehouse, here.key)
    assert here.stored() == here.expected(range(len(here.drawn)))


def test_leaving_and_returning_is_two_intervals_with_the_gap_between_them(
    warehouse: Warehouse,
) -> None:
    present, gone = World(members={"ada": "Ada"}), World()
    here = Company(warehouse, [Day(world) for world in (present, gone, gone, present)]).record_all()
    derive(warehouse, here.key)
    day = [EPOCH + timedelta(days=number) for number in range(4)]
    seen = [started + timedelta(seconds=10) for started in day]
    assert here.stored()["dim_user"] == {
        Interval(("ada", "Ada", None), seen[0], seen[1], None, day[0]),
        Interval(("ada", "Ada", None), seen[3], None, day[2], None),
    }


def test_a_merge_that_fails_halfway_leaves_everything_as_it_was(warehouse: Warehouse) -> None:
    here = Company(
        warehouse, [Day(World(members={"ada": "Ada"})), Day(World(members={"bob": "Bob"}))]
    )
    here.record(0)
    derive(warehouse, here.key)
    before = here.stored()
    here.record(1)
    with pytest.raises(RuntimeError), warehouse.write(lock_of(here.key)) as transaction:
        for one in pending(transaction, here.key):
            merge(transaction, here.key, one)
        raise RuntimeError("the power fails here")
    assert here.stored() == before
    derive(warehouse, here.key)
    assert {
        interval.row[0] for interval in here.stored()["dim_user"] if interval.valid_to is None
    } == {"bob"}


def test_every_row_is_in_the_sets_that_it_is_in() -> None:
    """All memberships of one row in three sets, each given once."""
    names = {
        (True, False, False): "before_only",
        (True, True, False): "before_and_new",
        (True, False, True): "before_and_after",
        (False, True, False): "new_only",
        (False, True, True): "new_and_after",
        (False, False, True): "after_only",
    }
    for before, new, after in product([False, True], repeat=3):
        found = compare(
            {b"r"} if before else set(), ["r"] * new * 2, str.encode, {b"r"} if after else set()
        )
        named = [name for name in names.values() if list(getattr(found, name)) == [b"r"]]
        place = names.get((before, new, after))
        assert named == ([place] if place else [])
    assert compare(set(), ["r"], str.encode).new_only == {b"r": "r"}


@given(shown=st.lists(st.sets(st.sampled_from("abcd")), min_size=1, max_size=7))
def test_one_pass_over_time_gives_the_intervals_of_the_model(shown: list[set[str]]) -> None:
    times = [
        ObservationTime(EPOCH + timedelta(days=d), EPOCH + timedelta(days=d, hours=1))
        for d in range(len(shown))
    ]
    timeline: Timeline[str] = Timeline()
    found: list[access.Interval[str]] = []
    for time, rows in zip(times, shown, strict=True):
        found += timeline.observe(time, rows)
    found += timeline.rest()
    intervals = {
        Interval((i.row,), i.valid_from, i.valid_to, i.changed_after, i.last_seen_at) for i in found
    }
    seen = {
        (time.started_at, time.observed_at): {(row,) for row in rows}
        for time, rows in zip(times, shown, strict=True)
    }
    assert intervals == history(seen)  # type: ignore[arg-type]  # a set of tuples of text is one of hashables
    assert len(found) == len(intervals)


values = st.one_of(st.none(), st.booleans(), st.text(alphabet="a1\x1f,tb ", max_size=3))


@given(one=st.lists(values, min_size=3, max_size=3), other=st.lists(values, min_size=3, max_size=3))
def test_two_rows_have_one_hash_exactly_when_they_are_one_row(
    one: list[str], other: list[str]
) -> None:
    hash_of = row_hash(["a", "b", "c"])
    same = [type(v) for v in one] == [type(v) for v in other] and one == other
    assert (hash_of(tuple(one)) == hash_of(tuple(other))) == same


def test_an_added_column_that_is_all_null_changes_no_hash() -> None:
    assert row_hash(["login", "name"])(("ada", "Ada")) == row_hash(["login", "name", "new"])(
        ("ada", "Ada", None)
    )
    assert row_hash(["login", "admin"])(("ada", True)) == row_hash(["login", "admin", "new"])(
        ("ada", True, None)
    )
    assert row_hash(["a", "b"])(("ab", "c")) != row_hash(["a", "b"])(("a", "bc"))


def test_the_keys_of_a_part_are_told_by_the_descriptions_alone() -> None:
    """Every row that a scope feeds is in its part, and no other: a part's history has that scope's
    observations.
    """
    world = World(
        members={"ada": "Ada"},
        groups={"1": "g"},
        group_members={"1": ["ada"]},
        user_permissions={"ada": ["admin"]},
        anyone=["scan"],
        projects={"p": "P"},
        project_users={"p": ["ada"]},
        project_groups={"p": ["1"]},
        emails={"ada": "a@x"},
    )
    snapshot = snapshot_of(world, EPOCH, scopes=tuple(Scope))
    content = content_of(lists_of(snapshot.responses), snapshot.scopes)
    for description in HISTORY_TABLES:
        for part in description.parts:
            rows = list(part.rows(content))
            assert rows
            if part.column is not None:
                place = [column.name for column in description.columns].index(part.column)
                assert {row[place] for row in rows} <= (part.values or set())
    assert isinstance(HISTORY_TABLES[0], HistoryTable)
    assert isinstance(HISTORY_TABLES[0].parts[0], Part)


def test_a_view_says_between_which_two_observations_a_change_happened(warehouse: Warehouse) -> None:
    seen = [
        World(members={"ada": "Ada"}),
        World(members={"ada": "Ada", "bob": "Bob"}),
        World(members={"bob": "Bob"}),
    ]
    here = Company(warehouse, [Day(world) for world in seen]).record_all()
    derive(warehouse, here.key)
    with warehouse.read() as transaction:
        rows = transaction.execute(
            text("SELECT * FROM fct_access_change ORDER BY changed_by, kind")
        ).all()
    assert [(row.login, row.kind) for row in rows] == [
        ("ada", "first_observed"),
        ("bob", "joined"),
        ("ada", "left"),
    ]
    assert rows[0].changed_after is None
    assert _utc(rows[2].changed_after) == EPOCH + timedelta(days=1)


def _utc(value: datetime | str) -> datetime:
    return (
        datetime.fromisoformat(value).replace(tzinfo=EPOCH.tzinfo)
        if isinstance(value, str)
        else value
    )
