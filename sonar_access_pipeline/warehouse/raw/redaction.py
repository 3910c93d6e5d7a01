"""Redaction: a person is replaced by a pseudonym, in stored answers and in tables, on record.

Nothing is taken from the chain of snapshots: that is made of digests, and they stay. What goes from
an answer is decided by `access/redaction.py`.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    insert,
    not_,
    select,
    text,
    update,
)

from sonar_access_pipeline.access.redaction import identifiers, pseudonym, redacted
from sonar_access_pipeline.access.rows import (
    BRIDGE_GROUP_MEMBER,
    DIM_ACCOUNT_DETAIL,
    DIM_USER,
    FCT_FINDING,
    FCT_PERMISSION_GRANT,
    FCT_USER_ACCESS,
    HistoryTable,
)
from sonar_access_pipeline.access.snapshot import Scope, packed
from sonar_access_pipeline.warehouse.bulk import insert_rows
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.merge import TIMES, lock_of, ours
from sonar_access_pipeline.warehouse.history.rebuild import rebuild_table
from sonar_access_pipeline.warehouse.raw.retention import counting_bodies, take_bytes
from sonar_access_pipeline.warehouse.raw.snapshots import IN_LIST, RECORDING
from sonar_access_pipeline.warehouse.reviews.follow_ups import derive_follow_ups
from sonar_access_pipeline.warehouse.schema import (
    history_tables,
    raw_body,
    raw_response,
    raw_snapshot,
    redacted_body,
    redaction,
)
from sonar_access_pipeline.warehouse.schema_page import PAGE_TABLES
from sonar_access_pipeline.warehouse.schema_reviews import PEOPLE, review, review_item

PERSONAL: Mapping[HistoryTable, tuple[str, Mapping[str, bool]]] = {
    DIM_USER: ("login", {"name": True}),
    DIM_ACCOUNT_DETAIL: ("login", {"account_id": True, "email": False}),
    BRIDGE_GROUP_MEMBER: ("login", {}),
    FCT_PERMISSION_GRANT: ("principal", {}),
    FCT_USER_ACCESS: ("login", {}),
    FCT_FINDING: ("subject", {}),
}
"""Where a login stands in a history table, and what else tells who it is: replaced by the
pseudonym, or by nothing.
"""
IS_A_PERSON = {
    FCT_PERMISSION_GRANT: (("principal_type", "user"),),
    FCT_FINDING: (("subject_type", "account"),),
}
"""Where that column may be about something else: what makes it a person."""


@dataclass(frozen=True)
class Redacted:
    """What taking a person out did.

    `read_by`: snapshots that the person's own token read, and which go on saying so.
    """

    pseudonym: str
    bodies: int
    rows: int
    read_by: int


def redact(
    warehouse: Warehouse,
    organization_key: str,
    login: str,
    *,
    by: str,
    basis: str,
    clock: Callable[[], datetime],
) -> Redacted:
    """Replace a person by a pseudonym in every body and every history table, and note who decided
    that, when and why.

    All of it in one transaction. The same person gets the same pseudonym again. Packets that were
    sealed stay as they are. Raises `WarehouseError` for somebody who is not there, or is a member
    still.
    """
    with warehouse.write(lock_of(organization_key)) as transaction:
        warehouse.lock(transaction, RECORDING)
        if not warehouse.is_postgresql:
            # So that nothing of it is left in the file's free pages.
            transaction.execute(text("PRAGMA secure_delete = ON"))
        _require_gone(transaction, organization_key, login)
        salt = _salt_of(transaction, organization_key, login) or secrets.token_hex(16)
        stands = pseudonym(salt, login)
        now = clock()
        last = transaction.execute(select(func.max(raw_snapshot.c.snapshot_id))).scalar()
        values = {
            "organization_key": organization_key,
            "pseudonym": stands,
            "salt": salt,
            "basis": basis,
            "decided_by": by,
        }
        noted = (
            insert(redaction)
            .values(**values, redacted_at=now, last_snapshot_id=last)
            .returning(redaction.c.redaction_id)
        )
        redaction_id = transaction.execute(noted).scalar_one()
        bodies, own = _replace_bodies(
            transaction, organization_key, login, stands, redaction_id, now
        )
        rows = sum(
            _replace_rows(transaction, table, organization_key, login, stands) for table in PERSONAL
        )
        rows += _replace_in_reviews(transaction, organization_key, {login, *own}, stands)
        # What the rules say of others may change with it.
        rebuild_table(transaction, organization_key, FCT_FINDING)
        derive_follow_ups(transaction, organization_key)
        if not bodies and not rows:
            raise WarehouseError(
                f"Nobody of login '{login}' is in what the warehouse has of '{organization_key}'."
            )
        read = select(raw_snapshot.c.snapshot_id).where(
            raw_snapshot.c.organization_key == organization_key, raw_snapshot.c.token_login == login
        )
        read_by = len(transaction.execute(read).all())
    if not warehouse.is_postgresql:
        warehouse.fold_log()
    return Redacted(stands, bodies, rows, read_by)


def _require_gone(transaction: Connection, organization_key: str, login: str) -> None:
    """Refuse a person of whom the last observation shows anything; what an ended scope showed last
    is no obstacle.
    """
    for description in PERSONAL:
        table = history_tables[description.name]
        for part in description.parts:
            if part.scope is Scope.CORE:
                theirs = and_(
                    _theirs(description, organization_key, login),
                    ours(table, part, organization_key),
                )
                present = (
                    select(table.c.valid_from).where(theirs, table.c.valid_to.is_(None)).limit(1)
                )
                if transaction.execute(present).first() is not None:
                    raise WarehouseError(
                        f"'{login}' has access to '{organization_key}' by the last observation, and"
                        " the next one would bring the person back; remove the account there,"
                        " sync, then redact."
                    )


def _theirs(description: HistoryTable, organization_key: str, login: str) -> ColumnElement[bool]:
    """Return the condition for the rows of a person in a history table."""
    table, (column, _) = history_tables[description.name], PERSONAL[description]
    theirs = and_(table.c.organization_key == organization_key, table.c[column] == login)
    return and_(theirs, *(table.c[name] == kind for name, kind in IS_A_PERSON.get(description, ())))


def _salt_of(transaction: Connection, organization_key: str, login: str) -> str | None:
    """Find the salt that this person's pseudonym was made with before; None where there is none."""
    known = select(redaction.c.salt, redaction.c.pseudonym).where(
        redaction.c.organization_key == organization_key
    )
    return next(
        (
            row.salt
            for row in transaction.execute(known)
            if pseudonym(row.salt, login) == row.pseudonym
        ),
        None,
    )


def _replace_bodies(
    transaction: Connection,
    organization_key: str,
    login: str,
    stands: str,
    redaction_id: int,
    now: datetime,
) -> tuple[int, frozenset[str]]:
    """Put bodies without a person in the place of those that count for an organization; how many,
    and what the person was known by there.

    What another has too stays.
    """
    of_ours = select(raw_snapshot.c.snapshot_id).where(
        raw_snapshot.c.organization_key == organization_key
    )
    is_ours = raw_response.c.snapshot_id.in_(of_ours)
    counting = sorted(counting_bodies(transaction, is_ours))
    own = frozenset().union(
        *(identifiers(body, login) for _, body in _bodies(transaction, counting))
    )
    replacements: dict[str, dict[str, Any]] = {}
    for digest, body in _bodies(transaction, counting):
        new = redacted(body, login, stands, own)
        if new is not None:
            replacements[digest] = packed(new)
    for digest, values in replacements.items():
        there = select(raw_body.c.body_sha256).where(
            raw_body.c.body_sha256 == values["body_sha256"]
        )
        if transaction.execute(there).first() is None:
            transaction.execute(insert(raw_body).values(**values))
        replaced = {
            "body_sha256": digest,
            "new_sha256": values["body_sha256"],
            "redaction_id": redaction_id,
        }
        transaction.execute(insert(redacted_body).values(**replaced))
    take_bytes(transaction, replacements.keys() - counting_bodies(transaction, not_(is_ours)), now)
    return len(replacements), own


def _replace_in_reviews(
    transaction: Connection, organization_key: str, known: Collection[str], stands: str
) -> int:
    """Put the pseudonym wherever the facts of reviews name a person, as whom an item is about or as
    who acted; in how many places. What somebody wrote as a reason stays as it was written.
    """
    names = {one.strip().casefold() for one in known}
    of_ours = select(review.c.review_id).where(review.c.organization_key == organization_key)
    places = 0
    for table, people in PEOPLE.items():
        ours = table.c.review_id.in_(of_ours)
        for column in people:
            is_theirs = and_(ours, func.lower(func.trim(table.c[column])).in_(names))
            places += transaction.execute(
                update(table).where(is_theirs).values({column: stands})
            ).rowcount
    for table in PAGE_TABLES:
        if "person" in table.c:
            is_theirs = func.lower(func.trim(table.c.person)).in_(names)
            places += transaction.execute(
                update(table).where(is_theirs).values(person=stands)
            ).rowcount
    # The name beside a login is nobody's alone: it goes with the login, not by itself.
    named = and_(review_item.c.subject == stands, review_item.c.name.is_not(None))
    transaction.execute(update(review_item).where(named).values(name=stands))
    return places


def _bodies(transaction: Connection, digests: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the bodies with these digests that were not dropped, reading a few at a time."""
    for start in range(0, len(digests), IN_LIST):
        chosen = raw_body.c.body_sha256.in_(digests[start : start + IN_LIST])
        for row in transaction.execute(
            select(raw_body).where(chosen, raw_body.c.dropped_at.is_(None))
        ):
            yield row.body_sha256, zlib.decompress(row.zlib_body)


def _replace_rows(
    transaction: Connection,
    description: HistoryTable,
    organization_key: str,
    login: str,
    stands: str,
) -> int:
    """Replace a person's intervals in one table; those that were told apart by who it is alone
    become one.
    """
    table, (column, more) = history_tables[description.name], PERSONAL[description]
    theirs = _theirs(description, organization_key, login)
    order = [table.c[name.name] for name in description.key]
    before = (
        transaction.execute(select(table).where(theirs).order_by(*order, table.c.valid_from))
        .mappings()
        .all()
    )
    transaction.execute(delete(table).where(theirs))
    names = [name.name for name in description.columns]
    new = {column: stands} | {name: stands if is_named else None for name, is_named in more.items()}
    after = _joined(_replaced(row, names, new, description) for row in before)
    columns = ["organization_key", *names, *TIMES, "row_hash"]
    insert_rows(transaction, table, columns, ([row[name] for name in columns] for row in after))
    return len(before)


def _replaced(
    row: Mapping[Any, Any],
    names: list[str],
    new: Mapping[str, str | None],
    description: HistoryTable,
) -> dict[str, Any]:
    # What was unknown stays unknown.
    changed = {**row, **{name: value for name, value in new.items() if row[name] is not None}}
    return {**changed, "row_hash": description.hash_of(tuple(changed[name] for name in names))}


def _joined(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Intervals in order of key and time, with those joined that touch and have equal values."""
    last: dict[str, Any] | None = None
    for row in rows:
        if (
            last is not None
            and last["row_hash"] == row["row_hash"]
            and last["valid_to"] == row["valid_from"]
        ):
            last |= {"valid_to": row["valid_to"], "last_seen_at": row["last_seen_at"]}
            continue
        if last is not None:
            yield last
        last = row
    if last is not None:
        yield last
