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
from sonar_access_pipeline.warehouse.history.observations import Contents, last_observation
from sonar_access_pipeline.warehouse.schema import history_observation


class LastShown:
    """What the last observation of each scope before a moment shows."""

    def __init__(self, transaction: Connection, organization_key: str, moment: datetime) -> None:
        self._transaction = transaction
        self._organization_key = organization_key
        self._last = {
            scope: last_observation(transaction, organization_key, scope, moment) for scope in Scope
        }
        marks = select(history_observation.c.snapshot_id, history_observation.c.scope).where(
            history_observation.c.organization_key == organization_key
        )
        self._merged = {(row.snapshot_id, row.scope) for row in transaction.execute(marks)}
        self._contents: dict[int, SnapshotContent] = {}

    def rows(self, description: HistoryTable, part: Part) -> Iterable[Row] | None:
        """Return the keys of a part of a history table as its last observation shows them; None
        where there is none.
        """
        last = self._last[part.scope]
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
        if last.snapshot_id not in self._contents:
            self._contents[last.snapshot_id] = Contents(
                self._transaction, self._organization_key
            ).of(last)
        return part.rows(self._contents[last.snapshot_id])

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
