"""History derived again from the snapshots, in one pass over time, and compared with the tables, or
put in their place.

The pass writes into temporary tables. Replacing is one transaction: whoever reads meanwhile sees
the old history whole, then the new one. Rows are replaced rather than tables, so that views,
privileges and other organizations stay as they are. Where answers were dropped by age, history up
to that horizon is what it is: neither derived again nor touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
)

from sonar_access_pipeline.access.history import Begun, Interval, ObservationTime, Timeline
from sonar_access_pipeline.access.rows import HISTORY_TABLES, HistoryTable, Part, Row, parts_of
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.warehouse.bulk import AT_ONCE, insert_rows
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import (
    TIMES,
    alive_at,
    derive_in,
    lock_of,
    mark,
    neighbours_of,
    ours,
)
from sonar_access_pipeline.warehouse.history.observations import Contents, Observation, observations
from sonar_access_pipeline.warehouse.raw.snapshots import StandIns
from sonar_access_pipeline.warehouse.schema import (
    history_observation,
    history_tables,
    raw_body,
    raw_response,
    raw_snapshot,
)
from sonar_access_pipeline.warehouse.views import observation


@dataclass(frozen=True)
class Rebuilt:
    """History as the snapshots have it: one temporary table per history table, for what lies beyond
    the horizon.
    """

    tables: dict[str, Table]
    observations: Sequence[Observation]
    horizon: datetime | None

    def beyond(self, table: Table, organization_key: str) -> ColumnElement[bool]:
        """Return the condition for the rows of a live table that the temporary one stands for."""
        condition = table.c.organization_key == organization_key
        if self.horizon is None:
            return condition
        return and_(condition, or_(table.c.valid_to.is_(None), table.c.valid_to > self.horizon))


def rebuild(warehouse: Warehouse, organization_key: str) -> int:
    """Derive the history of an organization again and put it in the place of what is there; from
    how many observations.
    """
    with (
        warehouse.write(lock_of(organization_key)) as transaction,
        rebuilt(transaction, organization_key) as again,
    ):
        _put_in_place(transaction, again, organization_key)
        marks = history_observation.c
        is_replaced = marks.organization_key == organization_key
        if again.horizon is not None:
            is_replaced = and_(is_replaced, marks.observed_at > again.horizon)
        transaction.execute(delete(history_observation).where(is_replaced))
        for one in again.observations:
            mark(transaction, organization_key, one.scopes, one.time, one.snapshot_id)
        derive_in(transaction, organization_key)
    return len(again.observations)


def rebuild_table(
    transaction: Connection, organization_key: str, description: HistoryTable
) -> None:
    """Derive one history table again, of what the others show, and put it in the place of what is
    there. The caller holds `lock_of` and commits.
    """
    with rebuilt(transaction, organization_key, only_merged=True, tables=(description,)) as again:
        _put_in_place(transaction, again, organization_key)


def _put_in_place(transaction: Connection, again: Rebuilt, organization_key: str) -> None:
    for name, new in again.tables.items():
        table = history_tables[name]
        columns = _columns(table)
        transaction.execute(delete(table).where(again.beyond(table, organization_key)))
        transaction.execute(
            insert(table).from_select(columns, select(*(new.c[column] for column in columns)))
        )


def horizon_of(transaction: Connection, organization_key: str) -> datetime | None:
    """Return the time of the last observation whose answers are not all there any more; None when
    all of them are.
    """
    stand_ins = StandIns(transaction)
    answers_of = (
        select(raw_response.c.snapshot_id, raw_response.c.body_sha256)
        .join(raw_snapshot, raw_snapshot.c.snapshot_id == raw_response.c.snapshot_id)
        .where(raw_snapshot.c.organization_key == organization_key)
    )
    dropped = select(raw_body.c.body_sha256).where(raw_body.c.dropped_at.is_not(None))
    gone = answers_of.with_only_columns(raw_response.c.snapshot_id).where(
        raw_response.c.body_sha256.in_(dropped),
        raw_response.c.body_sha256.not_in(stand_ins.replaced),
    )
    replaced = transaction.execute(
        answers_of.where(raw_response.c.body_sha256.in_(stand_ins.replaced))
    ).all()
    dropped_now = set(transaction.execute(dropped).scalars()) if replaced else set()
    gone_too = {
        row.snapshot_id
        for row in replaced
        if stand_ins.of(row.snapshot_id, row.body_sha256) in dropped_now
    }
    query = select(func.max(observation.c.observed_at)).where(
        observation.c.organization_key == organization_key,
        or_(observation.c.snapshot_id.in_(gone), observation.c.snapshot_id.in_(gone_too)),
    )
    return transaction.execute(query).scalar()


@contextmanager
def rebuilt(
    transaction: Connection,
    organization_key: str,
    *,
    only_merged: bool = False,
    tables: Sequence[HistoryTable] = HISTORY_TABLES,
) -> Iterator[Rebuilt]:
    """Derive history again into temporary tables, which are gone afterwards; `only_merged`: from
    what the live ones show.

    Raises `BodyDroppedError`.
    """
    horizon = horizon_of(transaction, organization_key)
    derived = observations(transaction, organization_key, after=horizon)
    if only_merged:
        marks = history_observation.c
        shown = select(marks.snapshot_id).where(marks.organization_key == organization_key)
        merged = set(transaction.execute(shown).scalars())
        derived = [one for one in derived if one.snapshot_id in merged]
    metadata = MetaData()
    made = {one.name: _like(history_tables[one.name], metadata) for one in tables}
    metadata.drop_all(transaction)
    metadata.create_all(transaction)
    writers = {
        one.name: _Writer(transaction, made[one.name], organization_key, one.hash_of)
        for one in tables
    }
    for name, interval in _intervals(transaction, organization_key, derived, horizon, tables):
        writers[name].add(interval)
    for writer in writers.values():
        writer.flush()
    yield Rebuilt(made, derived, horizon)
    metadata.drop_all(transaction)


def _columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.computed is None]


def _like(table: Table, metadata: MetaData) -> Table:
    columns = (Column(name, table.c[name].type) for name in _columns(table))
    return Table(f"rebuilt_{table.name}", metadata, *columns, prefixes=["TEMPORARY"])


def _intervals(
    transaction: Connection,
    organization_key: str,
    derived: Sequence[Observation],
    horizon: datetime | None,
    tables: Sequence[HistoryTable],
) -> Iterator[tuple[str, Interval[Row]]]:
    """Yield every interval of history tables, with the table's name, when it has ended; those that
    have not ended come last.
    """
    timelines = [
        (description, part, _timeline(transaction, description, part, organization_key, horizon))
        for description, part in parts_of(frozenset(Scope), tables)
    ]
    for one, content in Contents(transaction, organization_key).each(derived):
        for description, part, timeline in timelines:
            if part.scope not in one.scopes:
                continue
            if content is None:
                timeline.repeat(one.time)
            else:
                for interval in timeline.observe(one.time, part.rows(content)):
                    yield description.name, interval
    for description, _, timeline in timelines:
        for interval in timeline.rest():
            yield description.name, interval


def _timeline(
    transaction: Connection,
    description: HistoryTable,
    part: Part,
    organization_key: str,
    horizon: datetime | None,
) -> Timeline[Row]:
    """Build a timeline that begins where answers do: with what the table shows at the horizon,
    which cannot be derived any more.
    """
    if horizon is None:
        return Timeline()
    just_after = horizon + timedelta(microseconds=1)
    last = neighbours_of(
        transaction, organization_key, part.scope, ObservationTime(just_after, just_after)
    ).before
    if last is None:
        return Timeline()
    table = history_tables[description.name]
    shown = transaction.execute(
        select(table).where(ours(table, part, organization_key), alive_at(table, last.observed_at))
    )
    names = [column.name for column in description.columns]
    begun = {
        tuple(row[name] for name in names): Begun(row["valid_from"], row["changed_after"])
        for row in shown.mappings()
    }
    return Timeline() if description.is_never_empty and not begun else Timeline(begun, last)


class _Writer:
    """Intervals on their way into one temporary table, many at once."""

    def __init__(
        self,
        transaction: Connection,
        table: Table,
        organization_key: str,
        hash_of: Callable[[Row], bytes],
    ) -> None:
        self._hash_of = hash_of
        self._transaction = transaction
        self._table = table
        self._organization_key = organization_key
        self._names = ["row_hash", *TIMES]
        self._rest = [
            column.name
            for column in table.columns
            if column.name not in ("organization_key", *self._names)
        ]
        self._waiting: list[tuple[Any, ...]] = []

    def add(self, interval: Interval[Row]) -> None:
        """Add one more interval."""
        times = (
            interval.valid_from,
            interval.valid_to,
            interval.changed_after,
            interval.last_seen_at,
        )
        self._waiting.append(
            (self._organization_key, *interval.row, self._hash_of(interval.row), *times)
        )
        if len(self._waiting) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write those that wait."""
        names = ["organization_key", *self._rest, *self._names]
        insert_rows(self._transaction, self._table, names, self._waiting)
        self._waiting = []
