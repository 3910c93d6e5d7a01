"""What people say of snapshots: a held one is confirmed, any one is retracted.

Append-only, and history follows at once.

A decision and everything that follows from it are one transaction. Snapshots held after the one
decided upon were compared with what was the last observation then; they are judged again, and one
that would no longer be held is confirmed by rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.history import ObservationTime
from sonar_access_pipeline.access.snapshot import Verdict
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.brake import why_held
from sonar_access_pipeline.warehouse.history.merge import derive_in, lock_of, take_out
from sonar_access_pipeline.warehouse.history.observations import Contents, Observation
from sonar_access_pipeline.warehouse.raw.snapshots import scopes_of
from sonar_access_pipeline.warehouse.schema import raw_snapshot, snapshot_decision

CONFIRMED, RETRACTED = "confirmed", "retracted"
BY_RULE = "sonar-access"
"""Who decides on a snapshot that is not held any more once another was decided upon."""


@dataclass(frozen=True)
class Decided:
    """What a decision did: snapshots confirmed by rule because of it, in order, and those that are
    still held.
    """

    organization_key: str
    released: tuple[int, ...]
    still_held: tuple[int, ...]


def decide(
    warehouse: Warehouse,
    snapshot_id: int,
    decision: str,
    *,
    by: str,
    reason: str,
    brake: Brake,
    clock: Callable[[], datetime],
) -> Decided:
    """Record that somebody confirms a held snapshot or retracts any, and derive history
    accordingly.

    Raises `WarehouseError` when there is no such snapshot, or nothing to decide.
    """
    with warehouse.read() as transaction:
        organization_key = _snapshot(transaction, snapshot_id)["organization_key"]
    with warehouse.write(lock_of(organization_key)) as transaction:
        snapshot = _snapshot(transaction, snapshot_id)
        _require_open(transaction, snapshot, decision)
        _record(transaction, snapshot_id, decision, by, reason, clock())
        if decision == RETRACTED:
            take_out(transaction, organization_key, snapshot_id)
        derive_in(transaction, organization_key)
        released, still_held = [], []
        for held in _held_after(transaction, snapshot):
            if _would_be_held(transaction, held, brake):
                still_held.append(held["snapshot_id"])
                continue
            why = f"not held any more since snapshot {snapshot_id} was {decision} by {by}"
            _record(transaction, held["snapshot_id"], CONFIRMED, BY_RULE, why, clock())
            derive_in(transaction, organization_key)
            released.append(held["snapshot_id"])
    return Decided(organization_key, tuple(released), tuple(still_held))


def _snapshot(transaction: Connection, snapshot_id: int) -> RowMapping:
    row = (
        transaction.execute(select(raw_snapshot).where(raw_snapshot.c.snapshot_id == snapshot_id))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise WarehouseError(
            f"There is no snapshot {snapshot_id}; `sonar-access snapshot list` shows those there"
            " are."
        )
    return row


def _decisions(transaction: Connection, snapshot_id: int) -> set[str]:
    decided = select(snapshot_decision.c.decision).where(
        snapshot_decision.c.snapshot_id == snapshot_id
    )
    return set(transaction.execute(decided).scalars())


def _require_open(transaction: Connection, snapshot: RowMapping, decision: str) -> None:
    snapshot_id = snapshot["snapshot_id"]
    verdict = snapshot["verdict"]
    before = _decisions(transaction, snapshot_id)
    if decision in before or RETRACTED in before:
        earlier_decision = RETRACTED if RETRACTED in before else decision
        raise WarehouseError(
            f"Snapshot {snapshot_id} was {earlier_decision} already; a decision is never taken"
            " back, sync again instead."
        )
    if decision == CONFIRMED and verdict != Verdict.HELD.value:
        raise WarehouseError(
            f"Snapshot {snapshot_id} is {verdict}, and only a held one can be confirmed."
        )
    if decision == RETRACTED and verdict == Verdict.INCOMPLETE.value:
        raise WarehouseError(
            f"Snapshot {snapshot_id} is incomplete: nothing was derived from it, so there is"
            " nothing to retract."
        )


def _record(
    transaction: Connection, snapshot_id: int, decision: str, by: str, reason: str, at: datetime
) -> None:
    values: dict[str, Any] = {
        "snapshot_id": snapshot_id,
        "decision": decision,
        "reason": reason,
        "decided_by": by,
    }
    transaction.execute(insert(snapshot_decision).values(**values, decided_at=at))


def _held_after(transaction: Connection, snapshot: RowMapping) -> list[RowMapping]:
    """Find the held and undecided snapshots after the given one, oldest first."""
    rows = transaction.execute(
        select(raw_snapshot)
        .where(
            raw_snapshot.c.organization_key == snapshot["organization_key"],
            raw_snapshot.c.observed_at > snapshot["observed_at"],
            raw_snapshot.c.verdict == Verdict.HELD.value,
            raw_snapshot.c.snapshot_id.not_in(select(snapshot_decision.c.snapshot_id)),
        )
        .order_by(raw_snapshot.c.observed_at)
    ).mappings()
    return list(rows)


def _would_be_held(transaction: Connection, held: RowMapping, brake: Brake) -> bool:
    time = ObservationTime(held["started_at"], held["observed_at"])
    observed = Observation(held["snapshot_id"], time, scopes_of(held["scopes"]))
    content = Contents(transaction, held["organization_key"]).of(observed)
    return (
        why_held(transaction, held["organization_key"], content, time.observed_at, brake)
        is not None
    )
