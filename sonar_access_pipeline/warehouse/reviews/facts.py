"""The facts of reviews: written once, in lines without forks, and read back whole.

Whether a fact is accepted is decided by `access/review/deciding.py`, in the transaction that writes
it; whoever comes second with a decision is shown the first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, func, insert, or_, select

from sonar_access_pipeline.access.policy import ReviewPolicy, identity
from sonar_access_pipeline.access.review.deciding import (
    OVER,
    RUNNING,
    Asked,
    Proposed,
    Review,
    ReviewState,
    refusal,
)
from sonar_access_pipeline.access.review.facts import (
    Basis,
    Channel,
    Choice,
    EventKind,
    Part,
    Strength,
)
from sonar_access_pipeline.access.review.items import Item, Kind, LeftOut
from sonar_access_pipeline.access.review.people import Assigned
from sonar_access_pipeline.access.review.statements import statement_sha256
from sonar_access_pipeline.access.review.stored import review_of
from sonar_access_pipeline.warehouse.bulk import insert_rows
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.ledger.packets import Bundle, put
from sonar_access_pipeline.warehouse.schema_reviews import (
    fct_follow_up,
    review,
    review_assignment,
    review_decision,
    review_event,
    review_item,
    review_signoff,
)
from sonar_access_pipeline.warehouse.views import (
    follow_up,
    observation,
    review_item_status,
    review_status,
)

Rows = list[dict[str, Any]]

BY_RULE = "sonar-access"
"""Who assigns and opens where a rule does."""


class ReviewError(WarehouseError):
    """Something that a review does not accept; the sentence says why, and what to do."""


@dataclass(frozen=True)
class Opening:
    """A review that is to be opened, with everything that was worked out for it."""

    organization_key: str
    series: str
    scope: str
    packet_digest: str
    packet_location: str
    source_kind: str
    as_of: datetime
    due: date
    asked: Sequence[Asked]
    left_out: Sequence[LeftOut]
    assigned: Sequence[Assigned]
    policy: ReviewPolicy
    policy_version: int
    previous_review_id: int | None
    by: str


def open_review(warehouse: Warehouse, opening: Opening, clock: Callable[[], datetime]) -> int:
    """Enter a review with its items and who is to decide each, all of it or nothing; its number.

    Raises `ReviewError` where another of its series is running.
    """
    at = clock()
    with warehouse.write(f"reviews:{opening.organization_key}") as transaction:
        _require_none_running(transaction, opening)
        review_id = int(
            transaction.execute(
                insert(review).values(**_heading(opening, at)).returning(review.c.review_id)
            ).scalar_one()
        )
        _insert_items(transaction, review_id, opening)
        insert_rows(
            transaction,
            review_assignment,
            ASSIGNMENT,
            (
                (review_id, asked.item_no, one.reviewer, one.basis.value, BY_RULE, "", at)
                for asked, one in zip(opening.asked, opening.assigned, strict=True)
            ),
        )
        _note(transaction, review_id, EventKind.OPENED, opening.by, "", at)
    return review_id


ASSIGNMENT = (
    "review_id",
    "item_no",
    "reviewer",
    "basis",
    "assigned_by",
    "reason",
    "assigned_at",
)
ITEM = (
    "review_id",
    "item_no",
    "kind",
    "subject",
    "right",
    "resource",
    "name",
    "held",
    "shown",
    "findings",
    "unchanged_since",
    "item_digest",
    "change_class",
    "left_out_why",
    "previous_decision_id",
)


def _heading(opening: Opening, at: datetime) -> dict[str, Any]:
    return {
        "organization_key": opening.organization_key,
        "series": opening.series,
        "scope": opening.scope,
        "packet_digest": opening.packet_digest,
        "packet_location": opening.packet_location,
        "source_kind": opening.source_kind,
        "as_of": opening.as_of,
        "due": opening.due,
        "items": len(opening.asked),
        "left_out": len(opening.left_out),
        "owner": opening.policy.owner,
        "fallback": opening.policy.fallback,
        "policy_version": opening.policy_version,
        "previous_review_id": opening.previous_review_id,
        "opened_by": opening.by,
        "opened_at": at,
    }


def _insert_items(transaction: Connection, review_id: int, opening: Opening) -> None:
    asked = (
        (
            review_id,
            one.item_no,
            *_item(one.item),
            one.name or None,
            _held(one.item),
            one.shown,
            json.dumps(one.findings),
            one.since or None,
            one.digest,
            one.change_class.value,
            None,
            one.previous_decision_id,
        )
        for one in opening.asked
    )
    insert_rows(transaction, review_item, ITEM, asked)
    first = len(opening.asked) + 1
    left_out = (
        (
            review_id,
            number,
            *_item(one.item),
            None,
            _held(one.item),
            "",
            "[]",
            None,
            one.item.digest,
            "",
            one.why,
            None,
        )
        for number, one in enumerate(opening.left_out, start=first)
    )
    insert_rows(transaction, review_item, ITEM, left_out)


def _item(item: Item) -> tuple[str, str, str, str]:
    return (item.kind.value, item.subject, item.right, item.resource)


def _held(item: Item) -> str:
    return json.dumps(item.held, ensure_ascii=False, separators=(",", ":"))


def _require_none_running(transaction: Connection, opening: Opening) -> None:
    table = review_status.c
    running = select(table.review_id, table.state).where(
        table.organization_key == opening.organization_key,
        table.series == opening.series,
        table.state.in_([state.value for state in RUNNING]),
    )
    found = transaction.execute(running.order_by(table.review_id)).first()
    if found is not None:
        raise ReviewError(
            f"Review {found.review_id} of series '{opening.series}' is {found.state}: finish it, or"
            f" end it with `review close {found.review_id}`, before the next is opened."
        )


@dataclass(frozen=True)
class Stored:
    """A review as it is stored: its line, the rows of each of its tables, and what they mean."""

    heading: Mapping[str, Any]
    rows: Mapping[str, Rows]
    review: Review


def load(transaction: Connection, review_id: int) -> Review:
    """Read a review with all its facts. Raises `ReviewError` where there is none."""
    return stored(transaction, review_id).review


def load_for(transaction: Connection, review_id: int, numbers: Collection[int]) -> Review:
    """Read of a review what deciding some of its items needs: these alone, unless whoever is to
    decide one of them has signed, or the owner has: a sign-off is over more than those.

    Raises `ReviewError` where there is no such review.
    """
    found = stored(transaction, review_id, numbers).review
    reviewers = {identity(one.reviewer) for one in found.reviewers.values()}
    is_signed = any(
        one.part is Part.OWNER or identity(one.signer) in reviewers for one in found.signoffs
    )
    return load(transaction, review_id) if is_signed else found


def stored(
    transaction: Connection, review_id: int, numbers: Collection[int] | None = None
) -> Stored:
    """Read a review with all its rows, or with those of some items. Raises `ReviewError` where
    there is none.
    """
    heading = heading_of(transaction, review_id)
    rows = {
        table.name: rows_of(transaction, table, review_id, numbers if table in OF_AN_ITEM else None)
        for table in OF_A_REVIEW
    }
    found = review_of(
        heading,
        *(rows[table.name] for table in OF_A_REVIEW),
        is_restated=not still_counts(transaction, heading["organization_key"], heading["as_of"]),
    )
    return Stored(heading, rows, found)


OF_AN_ITEM = (review_item, review_assignment, review_decision)
OF_A_REVIEW = (*OF_AN_ITEM, review_signoff, review_event)


def heading_of(transaction: Connection, review_id: int) -> dict[str, Any]:
    """Read the line of a review. Raises `ReviewError` where there is none."""
    row = (
        transaction.execute(select(review).where(review.c.review_id == review_id))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise ReviewError(
            f"There is no review {review_id}; `sonar-access review list` shows those there are."
        )
    return dict(row)


def rows_of(
    transaction: Connection,
    table: Table,
    review_id: int,
    numbers: Collection[int] | None = None,
) -> Rows:
    """Read the rows of a review in one of its tables, or those of some items, in the order of their
    numbers.
    """
    query = select(table).where(table.c.review_id == review_id)
    if numbers is not None:
        query = query.where(table.c.item_no.in_(numbers))
    return _dicts(transaction, query.order_by(*table.primary_key.columns))


def still_counts(transaction: Connection, organization_key: str, observed_at: datetime) -> bool:
    """Tell whether an observation counts: it is not held, and was not retracted."""
    ours = observation.c
    query = select(ours.snapshot_id).where(
        ours.organization_key == organization_key, ours.observed_at == observed_at
    )
    return transaction.execute(query).first() is not None


@dataclass(frozen=True)
class Way:
    """How decisions come: by what way, how strongly it is known who decides, in which sheet or
    batch, and for how many seconds the item was looked at; None where nobody measured.
    """

    channel: Channel = Channel.COMMAND
    strength: Strength = Strength.DECLARED
    file_sha256: str | None = None
    batch: str | None = None
    seconds: float | None = None


DECLARED = Way()


def decide(
    warehouse: Warehouse,
    review_id: int,
    proposals: Sequence[Proposed],
    seen: Mapping[int, int],
    policy: ReviewPolicy,
    clock: Callable[[], datetime],
    way: Way = DECLARED,
) -> None:
    """Enter decisions, all of them or none. `seen` is the decision of each item that whoever
    decides had before them.

    Raises `ReviewError` for the first that is not accepted, and where somebody else decided
    meanwhile, with what they decided.
    """
    with _line(warehouse, review_id) as transaction:
        now = load_for(transaction, review_id, {one.item_no for one in proposals})
        for proposed in proposals:
            why_not = refusal(now, proposed) or _overtaken(now, proposed.item_no, seen)
            if why_not:
                raise ReviewError(why_not)
        at = clock()
        insert_rows(
            transaction,
            review_decision,
            DECISION,
            (_row_of(now, one, at, policy, way) for one in proposals),
        )


DECISION = (
    "review_id",
    "item_no",
    "decision",
    "remove",
    "reason",
    "decided_by",
    "strength",
    "channel",
    "file_sha256",
    "batch",
    "seconds",
    "item_digest",
    "decided_at",
    "due_at",
    "supersedes",
)


def _row_of(
    now: Review, proposed: Proposed, at: datetime, policy: ReviewPolicy, way: Way
) -> tuple[Any, ...]:
    asked = now.asked[proposed.item_no]
    before = now.decided.get(proposed.item_no)
    days = policy.privilege_days if asked.item.kind is Kind.PRIVILEGE else policy.days
    due_at = None if proposed.choice is Choice.KEEP else at + timedelta(days=days)
    return (
        now.about.review_id,
        proposed.item_no,
        proposed.choice.value,
        json.dumps(proposed.remove, ensure_ascii=False),
        proposed.reason.strip(),
        proposed.by,
        way.strength.value,
        way.channel.value,
        way.file_sha256,
        way.batch,
        way.seconds,
        asked.digest,
        at,
        due_at,
        before.decision_id if before else None,
    )


def _overtaken(now: Review, item_no: int, seen: Mapping[int, int]) -> str | None:
    current = now.decided.get(item_no)
    if current is None or current.decision_id == seen.get(item_no):
        return None
    reason = f" ({current.reason})" if current.reason else ""
    return (
        f"Item {item_no} was decided meanwhile: {current.choice.value} by {current.decided_by} on"
        f" {current.decided_at:%Y-%m-%d %H:%M} UTC{reason}. Look at it, then decide again."
    )


def reassign(
    warehouse: Warehouse,
    review_id: int,
    numbers: Sequence[int],
    to: str,
    *,
    by: str,
    reason: str,
    why_not: Callable[[Review], str | None],
    clock: Callable[[], datetime],
) -> None:
    """Give items to another reviewer. `why_not` says why that is not accepted, of the review as it
    is then. Raises `ReviewError`.
    """
    with _line(warehouse, review_id) as transaction:
        now = load(transaction, review_id)
        _require(why_not(now))
        at = clock()
        rows = (
            (
                review_id,
                number,
                to,
                Basis.REASSIGNED.value,
                by,
                reason,
                at,
                now.reviewers[number].assignment_id,
            )
            for number in numbers
        )
        insert_rows(transaction, review_assignment, (*ASSIGNMENT, "supersedes"), rows)


@dataclass(frozen=True)
class Signature:
    """What a signer gave for a statement: the SSH signature file, and the key's fingerprint."""

    file: bytes
    key_fingerprint: str


def sign(
    warehouse: Warehouse,
    review_id: int,
    part: Part,
    signer: str,
    text_version: int,
    statement: bytes,
    signature: Signature | None,
    why_not: Callable[[Review], str | None],
    clock: Callable[[], datetime],
    strength: Strength = Strength.DECLARED,
) -> None:
    """Enter a sign-off over a statement that was shown; refused where the review would give another
    statement by now. `strength` is how it is known who signs, where no key does.

    Raises `ReviewError`.
    """
    with _line(warehouse, review_id) as transaction:
        now = load(transaction, review_id)
        _require(why_not(now))
        current = now.acknowledgement if part is Part.OWNER else now.statement_of(signer)
        if current != statement:
            raise ReviewError(
                f"Review {review_id} has changed since the read-back was shown; read it again, then"
                " sign."
            )
        count = len(now.asked) if part is Part.OWNER else len(now.reviewed_by(signer))
        transaction.execute(
            insert(review_signoff).values(
                review_id=review_id,
                part=part.value,
                signer=signer,
                text_version=text_version,
                statement=statement.decode(),
                statement_sha256=statement_sha256(statement),
                items=count,
                strength=(Strength.SIGNED if signature else strength).value,
                signature=signature.file.decode() if signature else None,
                key_fingerprint=signature.key_fingerprint if signature else None,
                signed_at=clock(),
            )
        )


def note(
    warehouse: Warehouse,
    review_id: int,
    kind: EventKind,
    *,
    by: str,
    reason: str,
    clock: Callable[[], datetime],
    item_no: int | None = None,
) -> None:
    """Note something that happens to a review, or about an item of it. What ends a review is
    refused where it has ended.

    Raises `ReviewError`.
    """
    with _line(warehouse, review_id) as transaction:
        if kind in ENDING:
            state = load(transaction, review_id).state
            if state in {*OVER, ReviewState.ACKNOWLEDGED}:
                raise ReviewError(f"Review {review_id} is {state.value} already.")
        if item_no is not None:
            _require_item(transaction, review_id, item_no)
        _note(transaction, review_id, kind, by, reason, clock(), item_no)


def _require_item(transaction: Connection, review_id: int, item_no: int) -> None:
    item = review_item.c
    query = select(item.item_no).where(item.review_id == review_id, item.item_no == item_no)
    if transaction.execute(query).first() is None:
        heading_of(transaction, review_id)
        raise ReviewError(f"Review {review_id} has no item {item_no}; `review show` lists them.")


def seal(
    warehouse: Warehouse, review_id: int, digest: str, *, by: str, bundle: Bundle, at: datetime
) -> None:
    """Note that a review is sealed, and have its finished packet wait to be published, at once.

    Raises `ReviewError` where it is not acknowledged any more, or sealed already.
    """
    with _line(warehouse, review_id) as transaction:
        of = select(review_status.c.state).where(review_status.c.review_id == review_id)
        state = transaction.execute(of).scalar()
        if state != ReviewState.ACKNOWLEDGED.value:
            raise ReviewError(f"Review {review_id} is {state}; nothing is sealed of it.")
        _note(transaction, review_id, EventKind.SEALED, by, digest, at)
        put(transaction, bundle)


def sealed(transaction: Connection, organization_key: str) -> list[tuple[int, str, datetime, str]]:
    """List the reviews of an organization that were sealed: number, digest of the packet, when, and
    the kind of source.
    """
    event = review_event.c
    query = (
        select(event.review_id, event.reason, event.noted_at, review.c.source_kind)
        .join(review, review.c.review_id == event.review_id)
        .where(
            review.c.organization_key == organization_key,
            event.event == EventKind.SEALED.value,
        )
    )
    return [tuple(row) for row in transaction.execute(query.order_by(event.review_id))]


ENDING = frozenset({EventKind.CLOSED_INCOMPLETE, EventKind.CANCELLED, EventKind.SEALED})


def _note(
    transaction: Connection,
    review_id: int,
    kind: EventKind,
    by: str,
    reason: str,
    at: datetime,
    item_no: int | None = None,
) -> None:
    transaction.execute(
        insert(review_event).values(
            review_id=review_id,
            event=kind.value,
            item_no=item_no,
            noted_by=by,
            reason=reason,
            noted_at=at,
        )
    )


def _require(why_not: str | None) -> None:
    if why_not:
        raise ReviewError(why_not)


@contextmanager
def _line(warehouse: Warehouse, review_id: int) -> Iterator[Connection]:
    """Write facts of a review, one writer after the other."""
    with warehouse.write(f"review:{review_id}") as transaction:
        yield transaction


def reviews(transaction: Connection, organization_key: str | None = None) -> Rows:
    """List reviews, oldest first. Columns of the view `review_status`."""
    return _rows(transaction, review_status, organization_key)


def running(transaction: Connection, organization_keys: Collection[str]) -> Rows:
    """List the reviews that wait for somebody, by number: neither ended nor acknowledged.

    Columns: review_id, organization_key, series, due.
    """
    ended = select(review_event.c.review_id).where(
        review_event.c.event.in_([state.value for state in OVER])
    )
    acknowledged = select(review_signoff.c.review_id).where(
        review_signoff.c.part == Part.OWNER.value
    )
    of = review.c
    query = select(of.review_id, of.organization_key, of.series, of.due).where(
        of.organization_key.in_(organization_keys),
        of.review_id.not_in(ended),
        of.review_id.not_in(acknowledged),
    )
    return _dicts(transaction, query.order_by(of.review_id))


def notes(transaction: Connection, review_id: int, item_no: int | None = None) -> Rows:
    """List the notes about items of a review, or about one, oldest first. Columns of
    `review_event`.
    """
    query = select(review_event).where(
        review_event.c.review_id == review_id, review_event.c.event == EventKind.NOTED.value
    )
    if item_no is not None:
        query = query.where(review_event.c.item_no == item_no)
    return _dicts(transaction, query.order_by(review_event.c.event_id))


def sheets_read(transaction: Connection) -> set[str]:
    """Give the digests of the sheets that were read and read back."""
    query = select(review_event.c.reason).where(review_event.c.event == EventKind.SHEET_READ.value)
    return set(transaction.execute(query).scalars())


def items(transaction: Connection, review_id: int) -> Rows:
    """List the items of a review with what is in force, by number. Columns of the view
    `review_item_status`.
    """
    heading_of(transaction, review_id)
    query = select(review_item_status).where(review_item_status.c.review_id == review_id)
    return _dicts(transaction, query.order_by(review_item_status.c.item_no))


def follow_ups(
    transaction: Connection, organization_key: str | None = None, review_id: int | None = None
) -> Rows:
    """List what reviews decided to remove, and what observations say of it. Columns of the view
    `follow_up`.
    """
    rows = _rows(transaction, follow_up, organization_key)
    return [row for row in rows if review_id in (None, row["review_id"])]


def demanded(transaction: Connection, review_id: int, moment: datetime) -> Rows:
    """List what a review decided to remove, as it stood at a moment. Columns of the view
    `follow_up`.
    """
    item, decision, known = review_item.c, review_decision.c, fct_follow_up.c
    later = select(decision.supersedes).where(decision.supersedes.is_not(None))
    is_of_decision = and_(
        known.review_id == decision.review_id,
        known.decision_id == decision.decision_id,
        known.valid_from <= moment,
        or_(known.valid_to.is_(None), known.valid_to > moment),
    )
    shown = (item.kind, item.subject, item.right, item.resource)
    decided = (decision.decision_id, decision.decision, decision.remove, decision.decided_by)
    query = (
        select(
            review.c.organization_key,
            decision.review_id,
            decision.item_no,
            *shown,
            *decided,
            decision.decided_at,
            func.coalesce(known.state, "open").label("state"),
            decision.due_at,
            known.last_shown,
            known.first_not_shown,
            known.valid_from.label("observed_from"),
        )
        .select_from(review_decision)
        .join(review, review.c.review_id == decision.review_id)
        .join(
            review_item,
            and_(item.review_id == decision.review_id, item.item_no == decision.item_no),
        )
        .join(fct_follow_up, is_of_decision, isouter=True)
        .where(
            decision.review_id == review_id,
            decision.decision != Choice.KEEP.value,
            decision.decision_id.not_in(later),
        )
    )
    return _dicts(transaction, query.order_by(decision.item_no))


def _rows(transaction: Connection, view: Table, organization_key: str | None) -> Rows:
    query = select(view)
    if organization_key is not None:
        query = query.where(view.c.organization_key == organization_key)
    order = [view.c[name] for name in ("review_id", "item_no") if name in view.c]
    return _dicts(transaction, query.order_by(*order))


def _dicts(transaction: Connection, query: Select[Any]) -> Rows:
    return [dict(row) for row in transaction.execute(query).mappings()]
