"""The removal brake, asked of a warehouse: what the last observation shows, against what was read
now.

What is too much is decided by `access/brake.py`. The last observation is the last one that counts,
whether the tables show it already or not: of one that they do not show, its own answers are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from datetime import datetime

from sqlalchemy import Connection, select

from sonar_access_pipeline.access.brake import (
    Brake,
    Measure,
    held_reason,
    left_behind_reason,
    measured,
    measured_parts,
    measures,
    removals,
)
from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.rows import DIM_USER, HistoryTable, Part, Row
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.warehouse.history.merge import rows_at
from sonar_access_pipeline.warehouse.history.observations import (
    Contents,
    Observation,
    last_observation,
)
from sonar_access_pipeline.warehouse.schema import history_observation


class LastShown:
    """What the last observation of each scope before a moment shows."""

    def __init__(self, transaction: Connection, organization_key: str, moment: datetime) -> None:
        self._transaction = transaction
        self._organization_key = organization_key
        self._last = {
            scope: last_observation(transaction, organization_key, scope, moment) for scope in Scope
        }
        marks = history_observation.c
        known = {one.snapshot_id for one in self._last.values() if one is not None}
        shown = select(marks.snapshot_id, marks.scope).where(marks.snapshot_id.in_(known))
        self._merged = {(row.snapshot_id, row.scope) for row in transaction.execute(shown)}
        self._contents: dict[int, SnapshotContent] = {}

    def rows(self, description: HistoryTable, part: Part) -> Iterable[Row] | None:
        """Return the keys of a part of a history table as its last observation shows them; None
        where there is none.
        """
        last = self.last(part.scope)
        if last is None:
            return None
        if (last.snapshot_id, part.scope.value) in self._merged:
            names = [column.name for column in description.key]
            return rows_at(
                self._transaction,
                description,
                part,
                self._organization_key,
                last.time.observed_at,
                names,
            )
        width = len(description.key)
        return {row[:width] for row in part.rows(self._content(last))}

    def last(self, scope: Scope) -> Observation | None:
        """Return the last observation that read a scope; None where there is none."""
        return self._last[scope]

    def unmerged(self) -> SnapshotContent | None:
        """Return what the last observation says where the tables do not show it; None where they
        do, or where there is none.
        """
        last = self.last(Scope.CORE)
        if last is None or (last.snapshot_id, Scope.CORE.value) in self._merged:
            return None
        return self._content(last)

    def _content(self, one: Observation) -> SnapshotContent:
        if one.snapshot_id not in self._contents:
            contents = Contents(self._transaction, self._organization_key)
            self._contents[one.snapshot_id] = contents.of(one)
        return self._contents[one.snapshot_id]

    def measures(self, scopes: Set[Scope]) -> Iterator[Measure]:
        """Yield each row that the brake measures, as far as `scopes` reach."""
        for description, part in measured_parts(scopes):
            yield from measures(description, self.rows(description, part) or ())

    def members(self) -> set[str] | None:
        """Return the logins of the members; None where there is no observation."""
        (part,) = DIM_USER.parts
        rows = self.rows(DIM_USER, part)
        return None if rows is None else {str(row[0]) for row in rows}


def why_held(
    transaction: Connection,
    organization_key: str,
    content: SnapshotContent,
    moment: datetime,
    brake: Brake,
) -> str | None:
    """Say in one sentence why a person must look before what was read until `moment` counts; None
    where nobody must.
    """
    last = LastShown(transaction, organization_key, moment)
    removed = removals(last.measures(content.scopes), measured(content, content.scopes), brake)
    reasons = [
        held_reason(removed, brake) if removed else None,
        left_behind_reason(content.non_members.keys(), last.members()),
    ]
    return "; ".join(filter(None, reasons)) or None
