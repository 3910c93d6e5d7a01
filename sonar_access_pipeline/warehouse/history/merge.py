"""The history merge: observations into history tables and out again, in any order, each in one
transaction with its own mark.

What changes is decided by the algebra of `access/history.py`; here it becomes a few statements.
`history_observation` says which observations the tables show; an observation that stands in
`observation` and not there is merged by the next run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from sonar_access_pipeline.access.history import Compared, ObservationTime, compare
from sonar_access_pipeline.access.rows import HistoryTable, Part, Row, parts_of
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.warehouse.bulk import hashes_where, insert_rows, tuples
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.observations import Contents, Observation
from sonar_access_pipeline.warehouse.raw.snapshots import IN_LIST, scopes_of
from sonar_access_pipeline.warehouse.reviews.follow_ups import derive_follow_ups
from sonar_access_pipeline.warehouse.schema import history_observation, history_tables
from sonar_access_pipeline.warehouse.views import observation

TIMES = ("valid_from", "valid_to", "changed_after", "last_seen_at")
"""The columns of a history table that say when, in the order in which rows are written."""


@dataclass(frozen=True)
class Neighbours:
    """The merged observations just before and just after one, of one scope, and the snapshot of the
    first.
    """

    before: ObservationTime | None
    after: ObservationTime | None
    snapshot_before: int | None = None


class Pending(NamedTuple):
    """An observation that history does not show yet, and the scopes of which it does not."""

    observation: Observation
    scopes: frozenset[Scope]


def derive(warehouse: Warehouse, organization_key: str) -> list[int]:
    """Merge every observation of an organization that history does not show yet, oldest first, each
    in a transaction; the snapshots that were merged.
    """
    with warehouse.read() as transaction:
        waiting = pending(transaction, organization_key)
    merged = []
    for one in waiting:
        with warehouse.write(lock_of(organization_key)) as transaction:
            # Since then somebody may have merged it, or retracted it.
            for still in pending(transaction, organization_key, one.observation.snapshot_id):
                merge(transaction, organization_key, still)
                derive_follow_ups(transaction, organization_key)
                merged.append(still.observation.snapshot_id)
    return merged


def derive_in(transaction: Connection, organization_key: str) -> None:
    """`derive`, in a transaction of the caller, who holds `lock_of` and commits."""
    for one in pending(transaction, organization_key):
        merge(transaction, organization_key, one)
    derive_follow_ups(transaction, organization_key)


def lock_of(organization_key: str) -> str:
    """Name the lock under which the history of an organization is changed."""
    return f"history:{organization_key}"


def pending(
    transaction: Connection, organization_key: str, snapshot_id: int | None = None
) -> list[Pending]:
    """Find the observations that are not merged, oldest first; with `snapshot_id`, only that one of
    them.
    """
    mark = history_observation.c
    ours = observation.c
    marks = (
        select(func.count())
        .where(
            mark.organization_key == organization_key,
            mark.observed_at == ours.observed_at,
            mark.scope.in_([scope.value for scope in Scope]),
        )
        .scalar_subquery()
    )
    scopes = func.length(ours.scopes) - func.length(func.replace(ours.scopes, ",", "")) + 1
    query = select(ours.snapshot_id, ours.started_at, ours.observed_at, ours.scopes).where(
        ours.organization_key == organization_key, marks < scopes
    )
    if snapshot_id is not None:
        query = query.where(ours.snapshot_id == snapshot_id)
    unmerged = []
    for row in transaction.execute(query.order_by(ours.observed_at)).all():
        read = scopes_of(row.scopes)
        shown = _marked(transaction, row.snapshot_id)
        time = ObservationTime(row.started_at, row.observed_at)
        unmerged.append(Pending(Observation(row.snapshot_id, time, read), frozenset(read) - shown))
    return unmerged


def _marked(transaction: Connection, snapshot_id: int) -> set[Scope]:
    marks = select(history_observation.c.scope).where(
        history_observation.c.snapshot_id == snapshot_id
    )
    return {Scope(scope) for scope in transaction.execute(marks).scalars()}


def merge(transaction: Connection, organization_key: str, one: Pending) -> None:
    """Put one observation into every history table that it read, and its marks beside it.

    The caller locks and commits.
    """
    time = one.observation.time
    neighbours = {
        scope: neighbours_of(transaction, organization_key, scope, time) for scope in one.scopes
    }
    contents = Contents(transaction, organization_key)
    if not _repeats(transaction, one, list(neighbours.values()), contents):
        content = contents.of(one.observation)
        for description, part in parts_of(one.scopes):
            splice = Splice(
                transaction, description, part, organization_key, time, neighbours[part.scope]
            )
            splice.put_in(part.rows(content))
    mark(transaction, organization_key, one.scopes, time, one.observation.snapshot_id)


def _repeats(
    transaction: Connection, one: Pending, neighbours: Sequence[Neighbours], contents: Contents
) -> bool:
    """Tell whether an observation is the newest, and says what its predecessor says in every
    scope.
    """
    before = {(neighbour.snapshot_before, neighbour.before) for neighbour in neighbours}
    if len(before) != 1 or any(neighbour.after for neighbour in neighbours):
        return False
    ((predecessor, time),) = before
    if predecessor is None or time is None:
        return False
    if any(
        _is_empty(transaction, description, one.observation.snapshot_id)
        for description, _ in parts_of(one.scopes)
    ):
        return False
    return contents.are_alike(
        Observation(predecessor, time, one.observation.scopes), one.observation
    )


def _is_empty(transaction: Connection, description: HistoryTable, snapshot_id: int) -> bool:
    """Tell whether a table shows nothing although every observation shows something in it: its
    predecessor was never asked.
    """
    if not description.is_never_empty:
        return False
    table = history_tables[description.name]
    of = (
        select(observation.c.organization_key)
        .where(observation.c.snapshot_id == snapshot_id)
        .scalar_subquery()
    )
    shown = (
        select(table.c.valid_from)
        .where(table.c.organization_key == of, table.c.valid_to.is_(None))
        .limit(1)
    )
    return transaction.execute(shown).first() is None


def mark(
    transaction: Connection,
    organization_key: str,
    scopes: Iterable[Scope],
    time: ObservationTime,
    snapshot_id: int,
) -> None:
    """Note that history shows an observation of some scopes."""
    for scope in sorted(scopes):
        transaction.execute(
            insert(history_observation).values(
                organization_key=organization_key,
                scope=scope.value,
                snapshot_id=snapshot_id,
                **time._asdict(),
            )
        )


def take_out(transaction: Connection, organization_key: str, snapshot_id: int) -> None:
    """Leave the history that never saw a snapshot: from the tables alone, its answers need not be
    there any more.

    Nothing happens where history does not show it. The caller holds `lock_of` and commits.
    """
    marks = history_observation.c
    shown = transaction.execute(
        select(marks.scope, marks.started_at, marks.observed_at)
        .where(marks.snapshot_id == snapshot_id)
        .order_by(marks.scope)
    ).all()
    for scope, started_at, observed_at in shown:
        time = ObservationTime(started_at, observed_at)
        neighbours = neighbours_of(transaction, organization_key, Scope(scope), time)
        for description, part in parts_of({Scope(scope)}):
            Splice(transaction, description, part, organization_key, time, neighbours).take_out()
    transaction.execute(delete(history_observation).where(marks.snapshot_id == snapshot_id))


def neighbours_of(
    transaction: Connection, organization_key: str, scope: Scope, time: ObservationTime
) -> Neighbours:
    """Find the last merged observation before a time, and the first one after it."""
    shown = history_observation.c
    ours = select(shown.started_at, shown.observed_at, shown.snapshot_id).where(
        shown.organization_key == organization_key, shown.scope == scope.value
    )

    def first(query: Select[tuple[datetime, datetime, int]]) -> Any:
        return transaction.execute(query.limit(1)).one_or_none()

    before = first(
        ours.where(shown.observed_at < time.observed_at).order_by(shown.observed_at.desc())
    )
    after = first(ours.where(shown.observed_at > time.observed_at).order_by(shown.observed_at))
    return Neighbours(
        ObservationTime(before.started_at, before.observed_at) if before else None,
        ObservationTime(after.started_at, after.observed_at) if after else None,
        before.snapshot_id if before else None,
    )


def ours(table: Table, part: Part, organization_key: str) -> ColumnElement[bool]:
    """Return the condition for the rows of an organization that a part of a history table is made
    of.
    """
    condition = table.c.organization_key == organization_key
    return (
        condition
        if part.column is None
        else and_(condition, table.c[part.column].in_(sorted(part.values or ())))
    )


def alive_at(table: Table, moment: datetime) -> ColumnElement[bool]:
    """Return the condition for the rows of a history table that show at `moment`."""
    return and_(
        table.c.valid_from <= moment, or_(table.c.valid_to.is_(None), table.c.valid_to > moment)
    )


def rows_at(
    transaction: Connection,
    description: HistoryTable,
    part: Part,
    organization_key: str,
    moment: datetime,
    columns: Sequence[str] | None = None,
) -> Iterator[Row]:
    """Yield the rows of a part of a history table as they show at `moment`; of some of its columns
    alone, where named.
    """
    table = history_tables[description.name]
    names = columns or [column.name for column in description.columns]
    shown = and_(ours(table, part, organization_key), alive_at(table, moment))
    return tuples(transaction, select(*(table.c[name] for name in names)).where(shown))


class Splice:
    """One observation of one part of a table, put among its neighbours or taken out again; the
    cases are those of `access/history.py`.

    What ends is ended before anything begins: at no moment do two intervals of one key overlap, and
    the database need not wait for the end of the transaction to refuse it.
    """

    def __init__(
        self,
        transaction: Connection,
        description: HistoryTable,
        part: Part,
        organization_key: str,
        time: ObservationTime,
        neighbours: Neighbours,
    ) -> None:
        self._transaction = transaction
        self._description = description
        self._table = history_tables[description.name]
        self._organization_key = organization_key
        self._ours = ours(self._table, part, organization_key)
        self._time = time
        self._before, self._after = neighbours.before, neighbours.after

    def put_in(self, rows: Iterable[Row]) -> None:
        """Put the observation into the table: it shows `rows`."""
        table = self._table.c
        time = self._time
        before = self._before
        after = self._after
        shown_before = self._shown(before, is_newest=after is None)
        comparison = compare(shown_before, rows, self._description.hash_of, self._shown(after))
        # Of an observation that shows nothing where all show something, nobody knows what it would
        # have shown.
        is_baseline = before is None or (self._description.is_never_empty and not shown_before)
        started_before = None if before is None or is_baseline else before.started_at
        tails: list[dict[str, Any]] = []
        if before is not None:
            alive = self._alive(before, is_newest=after is None)
            ends = {"valid_to": time.observed_at, "last_seen_at": started_before}
            tails = self._rows(comparison.before_and_after, alive)
            self._update(comparison.before_only | comparison.before_and_after, alive, ends)
        if after is None:
            self._insert(comparison, (time.observed_at, None, started_before, None))
            return
        begins_after = table.valid_from == after.observed_at
        self._write(
            {**tail, "valid_from": after.observed_at, "changed_after": time.started_at}
            for tail in tails
        )
        self._update(
            comparison.before_and_new,
            table.valid_to == after.observed_at,
            {"last_seen_at": time.started_at},
        )
        begins = {"valid_from": time.observed_at, "changed_after": started_before}
        self._update(comparison.new_and_after, begins_after, begins)
        self._update(comparison.after_only, begins_after, {"changed_after": time.started_at})
        self._insert(
            comparison, (time.observed_at, after.observed_at, started_before, time.started_at)
        )

    def take_out(self) -> None:
        """Take the observation out of the table, as if it had never been."""
        table = self._table.c
        time = self._time
        before = self._before
        after = self._after
        comparison = compare(
            self._shown(before),
            self._shown(time, is_newest=after is None),
            bytes,
            self._shown(after),
        )
        started_before = before.started_at if before else None
        begins_here, ends_here = (
            table.valid_from == time.observed_at,
            table.valid_to == time.observed_at,
        )
        for chosen in self._chosen(comparison.new_only.keys(), begins_here):
            self._transaction.execute(delete(self._table).where(chosen))
        if after is None:
            self._update(
                comparison.before_only, ends_here, {"valid_to": None, "last_seen_at": None}
            )
            return
        begins_after = table.valid_from == after.observed_at
        begins = {"valid_from": after.observed_at, "changed_after": started_before}
        self._update(comparison.new_and_after, begins_here, begins)
        self._update(comparison.after_only, begins_after, {"changed_after": started_before})
        self._update(
            comparison.before_and_new,
            table.valid_to == after.observed_at,
            {"last_seen_at": started_before},
        )
        self._update(
            comparison.before_only,
            ends_here,
            {"valid_to": after.observed_at, "last_seen_at": started_before},
        )
        heads = {
            head["row_hash"]: head for head in self._rows(comparison.before_and_after, ends_here)
        }
        tails = self._rows(comparison.before_and_after, begins_after)
        for chosen in self._chosen(comparison.before_and_after, or_(ends_here, begins_after)):
            self._transaction.execute(delete(self._table).where(chosen))
        self._write(
            {
                **tail,
                **{name: heads[tail["row_hash"]][name] for name in ("valid_from", "changed_after")},
            }
            for tail in tails
        )

    def _shown(self, at: ObservationTime | None, *, is_newest: bool = False) -> set[bytes]:
        if at is None:
            return set()
        return hashes_where(
            self._transaction, self._table, and_(self._ours, self._alive(at, is_newest=is_newest))
        )

    def _alive(self, at: ObservationTime, *, is_newest: bool) -> ColumnElement[bool]:
        """Return the condition for what shows at an observation.

        What shows at the newest one is what is open, and there is an index of that.
        """
        return (
            self._table.c.valid_to.is_(None) if is_newest else alive_at(self._table, at.observed_at)
        )

    def _chosen(
        self, hashes: Set[bytes], condition: ColumnElement[bool]
    ) -> Iterator[ColumnElement[bool]]:
        """Yield the condition for each part of `hashes` that fits one statement, in the order in
        which an index has them.
        """
        left = sorted(hashes)
        for start in range(0, len(left), IN_LIST):
            yield and_(
                self._ours, self._table.c.row_hash.in_(left[start : start + IN_LIST]), condition
            )

    def _update(
        self, hashes: Set[bytes], condition: ColumnElement[bool], values: Mapping[str, Any]
    ) -> None:
        for chosen in self._chosen(hashes, condition):
            self._transaction.execute(update(self._table).where(chosen).values(**values))

    def _rows(self, hashes: Set[bytes], condition: ColumnElement[bool]) -> list[dict[str, Any]]:
        columns = [column for column in self._table.c if column.computed is None]
        records: list[dict[str, Any]] = []
        for chosen in self._chosen(hashes, condition):
            rows = self._transaction.execute(select(*columns).where(chosen)).mappings()
            records += [{**row, "row_hash": bytes(row["row_hash"])} for row in rows]
        return records

    def _write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        names = [column.name for column in self._table.c if column.computed is None]
        insert_rows(
            self._transaction, self._table, names, ([row[name] for name in names] for row in rows)
        )

    def _insert(self, found: Compared[bytes, Row], times: tuple[datetime | None, ...]) -> None:
        names = [
            "organization_key",
            *(column.name for column in self._description.columns),
            *TIMES,
            "row_hash",
        ]
        rows = ((self._organization_key, *row, *times, key) for key, row in found.new_only.items())
        insert_rows(self._transaction, self._table, names, rows)
