"""Retention: bodies that are old enough lose their bytes, on record.

Nothing is taken from the chain of snapshots: that is made of digests, and they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    exists,
    insert,
    not_,
    or_,
    select,
    update,
)

from sonar_access_pipeline.access.snapshot import Verdict
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.raw.snapshots import IN_LIST, RECORDING, StandIns
from sonar_access_pipeline.warehouse.schema import (
    body_drop,
    dropped_body,
    history_observation,
    raw_body,
    raw_response,
    raw_snapshot,
    snapshot_decision,
)


def drop_bodies(
    warehouse: Warehouse,
    organization_key: str,
    before: datetime,
    clock: Callable[[], datetime],
    *,
    keep_days: int,
) -> int:
    """Drop the bodies of an organization that only snapshots read before a moment have, on record;
    how many.

    `keep_days` is the setting that asks for it: a body that is dropped without a record of why is a
    fault.

    Of those snapshots, only of such that history shows or never will: what waits for a decision, or
    to be derived, keeps its own.
    """
    settled = or_(
        raw_snapshot.c.verdict == Verdict.INCOMPLETE.value,
        exists().where(history_observation.c.snapshot_id == raw_snapshot.c.snapshot_id),
        exists().where(
            snapshot_decision.c.snapshot_id == raw_snapshot.c.snapshot_id,
            snapshot_decision.c.decision == "retracted",
        ),
    )
    old = select(raw_snapshot.c.snapshot_id).where(
        raw_snapshot.c.organization_key == organization_key,
        raw_snapshot.c.observed_at < before,
        settled,
    )
    with warehouse.write(RECORDING) as transaction:
        is_old = raw_response.c.snapshot_id.in_(old)
        chosen = counting_bodies(transaction, is_old) - counting_bodies(transaction, not_(is_old))
        now = clock()
        dropped = take_bytes(transaction, chosen, now)
        if dropped:
            values = {
                "organization_key": organization_key,
                "older_than": before,
                "keep_days": keep_days,
                "dropped_at": now,
            }
            noted = insert(body_drop).values(
                **values, reason=f"older than the {keep_days} days that bodies are kept"
            )
            drop_id = transaction.execute(noted.returning(body_drop.c.drop_id)).scalar_one()
            transaction.execute(
                insert(dropped_body),
                [{"drop_id": drop_id, "body_sha256": digest} for digest in dropped],
            )
    return len(dropped)


def counting_bodies(transaction: Connection, chosen: ColumnElement[bool]) -> set[str]:
    """Find the digests of the bodies that count for chosen responses: those that came, or those
    that stand in their place.
    """
    stand_ins = StandIns(transaction)
    answer = raw_response.c
    came = (
        select(answer.body_sha256)
        .where(chosen, answer.body_sha256.not_in(stand_ins.replaced))
        .distinct()
    )
    replaced = select(answer.snapshot_id, answer.body_sha256).where(
        chosen, answer.body_sha256.in_(stand_ins.replaced)
    )
    now = {stand_ins.of(row.snapshot_id, row.body_sha256) for row in transaction.execute(replaced)}
    return now | set(transaction.execute(came).scalars())


def take_bytes(transaction: Connection, digests: Iterable[str], now: datetime) -> list[str]:
    """Take the bytes of bodies that have them; the digests of those."""
    left = sorted(digests)
    dropped = list[str]()
    for start in range(0, len(left), IN_LIST):
        chosen = and_(
            raw_body.c.body_sha256.in_(left[start : start + IN_LIST]),
            raw_body.c.dropped_at.is_(None),
        )
        there = sorted(transaction.execute(select(raw_body.c.body_sha256).where(chosen)).scalars())
        transaction.execute(update(raw_body).where(chosen).values(zlib_body=b"", dropped_at=now))
        dropped += there
    return dropped
