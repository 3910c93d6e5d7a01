"""The history merge: observations into history tables, in any order, each in one transaction with its own mark.

What changes is decided by the algebra of `access/history.py`; here it becomes a few statements. `history_observation` says
which observations the tables show; an observation that stands in `observation` and not there is merged by the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, or_, select, update

from sonar_access_pipeline.access.brake import Measure, measured_parts, measures
from sonar_access_pipeline.access.content import content_of, lists_of
from sonar_access_pipeline.access.history import Edits, ObservationTime, edits
from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.rows import HISTORY_TABLES, HistoryTable, Part, Row
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.schema import history_observation, history_tables
from sonar_access_pipeline.warehouse.snapshots import IN_LIST, responses_of, scopes_of
from sonar_access_pipeline.warehouse.views import observation

INSERTED_AT_ONCE = 5_000
"""Rows of one insert: a first observation of a large organization must not be in memory twice."""


@dataclass(frozen=True)
class Merged:
    """What one observation changed in one table: intervals opened and closed by it, and the rows it shows."""

    table: str
    snapshot_id: int
    rows: int
    opened: int
    closed: int


@dataclass(frozen=True)
class Neighbours:
    """The merged observations just before and just after a new one."""

    before: ObservationTime | None
    after: ObservationTime | None


def derive(warehouse: Warehouse, organization_key: str) -> list[Merged]:
    """Merge every observation of an organization that history does not show yet, oldest first, each in a transaction; what each
    changed.
    """
    merged: list[Merged] = []
    while result := _derive_next(warehouse, organization_key):
        merged += result
    return merged


def _derive_next(warehouse: Warehouse, organization_key: str) -> list[Merged]:
    with warehouse.write(lock_of(organization_key)) as transaction:
        return derive_in(transaction, organization_key, most=1)


def lock_of(organization_key: str) -> str:
    """The lock under which the history of an organization is changed."""
    return f"history:{organization_key}"


def derive_in(transaction: Connection, organization_key: str, *, most: int | None = None) -> list[Merged]:
    """Merge the observations not merged yet, `most` of them at the most. The caller holds `lock_of` and commits."""
    merged: list[Merged] = []
    for pending in _pending(transaction, organization_key)[:most]:
        merged += merge(transaction, organization_key, pending)
    return merged


def rebuild(warehouse: Warehouse, organization_key: str) -> list[Merged]:
    """Derive all history of an organization again from its snapshots, in one transaction."""
    with warehouse.write(lock_of(organization_key)) as transaction:
        return rebuild_in(transaction, organization_key)


def rebuild_in(transaction: Connection, organization_key: str) -> list[Merged]:
    """`rebuild`, in a transaction of the caller, who holds `lock_of` and commits."""
    for table in (*history_tables.values(), history_observation):
        transaction.execute(delete(table).where(table.c.organization_key == organization_key))
    return derive_in(transaction, organization_key)


@dataclass(frozen=True)
class Pending:
    """An observation that history does not show yet, and the scopes of which it does not."""

    snapshot_id: int
    time: ObservationTime
    read: tuple[Scope, ...]
    scopes: frozenset[Scope]


def _pending(transaction: Connection, organization_key: str) -> list[Pending]:
    """The observations that are not merged, oldest first."""
    marks = select(history_observation.c.observed_at, history_observation.c.scope)
    shown = {tuple(mark) for mark in transaction.execute(marks.where(history_observation.c.organization_key == organization_key))}
    rows = transaction.execute(
        select(observation.c.snapshot_id, observation.c.started_at, observation.c.observed_at, observation.c.scopes)
        .where(observation.c.organization_key == organization_key)
        .order_by(observation.c.observed_at)
    )
    found = []
    for row in rows:
        read = scopes_of(row.scopes)
        if missing := frozenset(scope for scope in read if (row.observed_at, scope.value) not in shown):
            found.append(Pending(row.snapshot_id, ObservationTime(row.started_at, row.observed_at), read, missing))
    return found


def merge(transaction: Connection, organization_key: str, pending: Pending) -> list[Merged]:
    """Put one observation into every history table that it read, and its marks beside it. The caller locks and commits."""
    content = content_of(lists_of(responses_of(transaction, pending.snapshot_id)), pending.read)
    neighbours = {scope: _neighbours(transaction, organization_key, scope, pending.time) for scope in pending.scopes}
    merged = [
        _merge_part(transaction, description, part, organization_key, content, pending, neighbours[part.scope])
        for description in HISTORY_TABLES
        for part in description.parts
        if part.scope in pending.scopes
    ]
    for scope in sorted(pending.scopes):
        transaction.execute(
            insert(history_observation).values(
                organization_key=organization_key,
                scope=scope.value,
                observed_at=pending.time.observed_at,
                started_at=pending.time.started_at,
                snapshot_id=pending.snapshot_id,
            )
        )
    return merged


def _neighbours(transaction: Connection, organization_key: str, scope: Scope, time: ObservationTime) -> Neighbours:
    mark = history_observation.c
    ours = select(mark.started_at, mark.observed_at).where(mark.organization_key == organization_key, mark.scope == scope.value)
    before = transaction.execute(
        ours.where(mark.observed_at < time.observed_at).order_by(mark.observed_at.desc()).limit(1)
    ).one_or_none()
    after = transaction.execute(ours.where(mark.observed_at > time.observed_at).order_by(mark.observed_at).limit(1)).one_or_none()
    return Neighbours(ObservationTime(*before) if before else None, ObservationTime(*after) if after else None)


def _merge_part(
    transaction: Connection,
    description: HistoryTable,
    part: Part,
    organization_key: str,
    content: SnapshotContent,
    pending: Pending,
    neighbours: Neighbours,
) -> Merged:
    table = history_tables[description.name]
    rows = description.rows_by_hash(content, part)
    splice = _Splice(transaction, table, ours(table, part, organization_key), organization_key, pending.time, neighbours)
    changes = edits(splice.shown_before(), rows.keys(), splice.shown_after())
    splice.apply(changes, [column.name for column in description.columns], rows)
    return Merged(description.name, pending.snapshot_id, len(rows), changes.opened, changes.closed)


def ours(table: Table, part: Part, organization_key: str) -> ColumnElement[bool]:
    """The rows of an organization that a part of a history table is made of."""
    condition = table.c.organization_key == organization_key
    return condition if part.column is None else and_(condition, table.c[part.column].in_(sorted(part.values or ())))


def alive_at(table: Table, moment: datetime) -> ColumnElement[bool]:
    """The rows of a history table that show at `moment`."""
    return and_(table.c.valid_from <= moment, or_(table.c.valid_to.is_(None), table.c.valid_to > moment))


def measured_before(transaction: Connection, organization_key: str, scopes: Set[Scope], moment: datetime) -> Iterator[Measure]:
    """What the merged observation before `moment` shows of each thing that the removal brake measures, per scope."""
    for description, part in measured_parts(scopes):
        before = _neighbours(transaction, organization_key, part.scope, ObservationTime(moment, moment)).before
        if before is not None:
            table = history_tables[description.name]
            keys = select(*(table.c[column.name] for column in description.key))
            shown = keys.where(ours(table, part, organization_key), alive_at(table, before.observed_at))
            yield from measures(description, map(tuple, transaction.execute(shown)))


class _Splice:
    """The edits of one table around one observation, as statements. Every edit is named in `access/history.py`."""

    def __init__(
        self,
        transaction: Connection,
        table: Table,
        ours: ColumnElement[bool],
        organization_key: str,
        time: ObservationTime,
        neighbours: Neighbours,
    ) -> None:
        self._transaction = transaction
        self._table = table
        self._ours = ours
        self._organization_key = organization_key
        self._time = time
        self._before, self._after = neighbours.before, neighbours.after

    def shown_before(self) -> set[bytes]:
        if self._before is None:
            return set()
        # The newest observation, the usual case, is followed by nothing: open rows are what its predecessor showed.
        alive = self._table.c.valid_to.is_(None) if self._after is None else self._alive_at(self._before)
        return self._hashes(alive)

    def shown_after(self) -> set[bytes] | None:
        return None if self._after is None else self._hashes(self._alive_at(self._after))

    def apply(self, changes: Edits, names: Sequence[str], rows: Mapping[bytes, Row]) -> None:
        table, time, before, after = self._table.c, self._time, self._before, self._after
        started_before = before.started_at if before else None
        if before is not None:
            ends = {"valid_to": time.observed_at, "last_seen_at": before.started_at}
            self._update(changes.close, self._alive_at(before), ends)
            tails = self._rows(changes.cut, self._alive_at(before))
            self._update(changes.cut, self._alive_at(before), ends)
            if after is not None:
                begins = {"valid_from": after.observed_at, "changed_after": time.started_at}
                self._insert([{**tail, **begins} for tail in tails])
        if after is not None:
            self._update(changes.seen_longer, table.valid_to == after.observed_at, {"last_seen_at": time.started_at})
            self._update(
                changes.open_earlier,
                table.valid_from == after.observed_at,
                {"valid_from": time.observed_at, "changed_after": started_before},
            )
            self._update(changes.unseen_longer, table.valid_from == after.observed_at, {"changed_after": time.started_at})
        interval = {
            "organization_key": self._organization_key,
            "valid_from": time.observed_at,
            "changed_after": started_before,
            "valid_to": after.observed_at if after else None,
            "last_seen_at": time.started_at if after else None,
        }
        for start in range(0, len(changes.insert), INSERTED_AT_ONCE):
            part = changes.insert[start : start + INSERTED_AT_ONCE]
            self._insert([{**interval, "row_hash": key, **dict(zip(names, rows[key], strict=True))} for key in part])

    def _alive_at(self, observation: ObservationTime) -> ColumnElement[bool]:
        return alive_at(self._table, observation.observed_at)

    def _hashes(self, condition: ColumnElement[bool]) -> set[bytes]:
        query = select(self._table.c.row_hash).where(self._ours, condition)
        return {bytes(value) for value in self._transaction.execute(query).scalars()}

    def _selected(self, hashes: Sequence[bytes], condition: ColumnElement[bool]) -> Iterator[ColumnElement[bool]]:
        """The condition for each part of `hashes` that fits one statement."""
        for start in range(0, len(hashes), IN_LIST):
            part = hashes[start : start + IN_LIST]
            yield and_(self._ours, self._table.c.row_hash.in_(part), condition)

    def _update(self, hashes: Sequence[bytes], condition: ColumnElement[bool], values: Mapping[str, Any]) -> None:
        for selected in self._selected(hashes, condition):
            self._transaction.execute(update(self._table).where(selected).values(**values))

    def _rows(self, hashes: Sequence[bytes], condition: ColumnElement[bool]) -> list[dict[str, Any]]:
        columns = [column for column in self._table.c if column.computed is None]
        return [
            dict(row)
            for selected in self._selected(hashes, condition)
            for row in self._transaction.execute(select(*columns).where(selected)).mappings()
        ]

    def _insert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._transaction.execute(insert(self._table), list(rows))
