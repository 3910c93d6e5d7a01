"""Whom the reviewers' page let in, and what they saw and did there.

A link or a session is shown by a secret that is kept as its digest. A link is good once: whoever
comes second with it is not let in.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, select

from sonar_access_pipeline.access.review.facts import Strength
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.schema_page import page_end, page_entry, page_event

SECRET_BYTES = 32


@dataclass(frozen=True)
class Entry:
    """Somebody who is let in, how it is known who that is, and until when."""

    person: str
    strength: Strength
    ends_at: datetime


def let_in(
    warehouse: Warehouse,
    kind: str,
    entry: Entry,
    clock: Callable[[], datetime],
    *,
    at_most: int | None = None,
) -> str | None:
    """Give out a secret by which somebody is let in, a `link` or a `session`; it is kept by digest
    alone. None where they were given `at_most` of this kind in the last hour.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    now = clock()
    with warehouse.write("page") as transaction:
        if at_most is not None and _given(transaction, kind, entry.person, now) >= at_most:
            return None
        transaction.execute(
            insert(page_entry).values(
                token_sha256=_digest(secret),
                kind=kind,
                person=entry.person,
                strength=entry.strength.value,
                made_at=now,
                ends_at=entry.ends_at,
            )
        )
    return secret


def _given(transaction: Connection, kind: str, person: str, now: datetime) -> int:
    of = page_entry.c
    theirs = func.lower(func.trim(of.person)) == person.strip().lower()
    query = select(func.count()).where(
        of.kind == kind, theirs, of.made_at >= now - timedelta(hours=1)
    )
    return int(transaction.execute(query).scalar_one())


def found(transaction: Connection, kind: str, secret: str, now: datetime) -> Entry | None:
    """Find who is let in by a secret; None where it is none, was used or left, or is over."""
    of = page_entry.c
    over = select(page_end.c.token_sha256).where(page_end.c.token_sha256 == of.token_sha256)
    query = select(of.person, of.strength, of.ends_at).where(
        of.token_sha256 == _digest(secret), of.kind == kind, of.ends_at > now, ~over.exists()
    )
    row = transaction.execute(query).one_or_none()
    return Entry(row.person, Strength(row.strength), row.ends_at) if row else None


def used(
    warehouse: Warehouse, kind: str, secret: str, clock: Callable[[], datetime]
) -> Entry | None:
    """Use up a secret: who is let in by it, the first time; None for whoever comes later."""
    now = clock()
    with warehouse.write("page") as transaction:
        entry = found(transaction, kind, secret, now)
        if entry is None:
            return None
        transaction.execute(insert(page_end).values(token_sha256=_digest(secret), ended_at=now))
    return entry


@dataclass(frozen=True)
class Visit:
    """What somebody saw or did, of which review and item, and how it was answered."""

    entry: Entry
    what: str
    at: datetime
    status: int
    review_id: int | None = None
    item_no: int | None = None


def note(transaction: Connection, visits: Sequence[Visit]) -> None:
    """Note what people saw and did."""
    transaction.execute(
        insert(page_event),
        [
            {
                "at": one.at,
                "person": one.entry.person,
                "strength": one.entry.strength.value,
                "what": one.what,
                "review_id": one.review_id,
                "item_no": one.item_no,
                "status": one.status,
            }
            for one in visits
        ],
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
