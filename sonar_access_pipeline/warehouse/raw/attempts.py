"""The record of every try to read: noted before anything can go wrong, and ended whatever
happens.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import insert, update

from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.raw.snapshots import RECORDING
from sonar_access_pipeline.warehouse.schema import sync_attempt


def begin_attempt(
    warehouse: Warehouse,
    *,
    connection: str,
    organization_key: str,
    partition_date: date,
    run_id: str,
    started_at: datetime,
    due_at: datetime | None = None,
) -> int:
    """Note that a sync was tried, before anything can go wrong; the id to end it with."""
    with warehouse.write(RECORDING) as transaction:
        result = transaction.execute(
            insert(sync_attempt)
            .values(
                connection=connection,
                organization_key=organization_key,
                partition_date=partition_date,
                run_id=run_id,
                started_at=started_at,
                due_at=due_at,
            )
            .returning(sync_attempt.c.attempt_id)
        )
        attempt_id: int = result.scalar_one()
    return attempt_id


def end_attempt(
    warehouse: Warehouse,
    attempt_id: int,
    *,
    ended_at: datetime,
    outcome: str,
    error: str | None,
    snapshot_id: int | None,
    cause: str | None = None,
) -> None:
    """Note how a try ended: the verdict of its snapshot, or `failed`, with the kind of what went
    wrong and the sentence.
    """
    with warehouse.write(RECORDING) as transaction:
        transaction.execute(
            update(sync_attempt)
            .where(sync_attempt.c.attempt_id == attempt_id)
            .values(
                ended_at=ended_at,
                outcome=outcome,
                error=error,
                snapshot_id=snapshot_id,
                cause=cause,
            )
        )
