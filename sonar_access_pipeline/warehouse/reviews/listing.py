"""What the reviewers' page shows, a page at a time: the database sorts, filters and counts.

Add here: a question that the page asks. Decisions are `facts.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, or_, select, true
from sqlalchemy.orm import aliased

from sonar_access_pipeline.access.review.deciding import OVER, RUNNING, Asked
from sonar_access_pipeline.access.review.facts import Part
from sonar_access_pipeline.access.review.items import Kind
from sonar_access_pipeline.access.review.stored import asked_of
from sonar_access_pipeline.warehouse.reviews.facts import Rows
from sonar_access_pipeline.warehouse.schema import history_tables
from sonar_access_pipeline.warehouse.schema_reviews import (
    review,
    review_assignment,
    review_decision,
    review_event,
    review_item,
    review_signoff,
)
from sonar_access_pipeline.warehouse.views import review_status

ROWS = 50
"""Items of one page."""
NEAR = 100
"""Items after one, among which the next mostly is: the database looks at these first."""


@dataclass(frozen=True)
class Wanted:
    """Which items somebody wants to see: whose, undecided or decided, of which class of change, and
    what their subject, name or resource holds; of which page.
    """

    reviewer: str | None = None
    state: str = ""
    change_class: str = ""
    search: str = ""
    page: int = 1


_later_assignment, _later_decision = aliased(review_assignment), aliased(review_decision)
_given, _decided, _item = review_assignment.c, review_decision.c, review_item.c
_any_decision = aliased(review_decision)
_DECISION_IN_FORCE = (
    select(_any_decision.c.decision_id)
    .where(
        _any_decision.c.review_id == _item.review_id,
        _any_decision.c.item_no == _item.item_no,
        ~select(_later_decision.c.decision_id)
        .where(_later_decision.c.supersedes == _any_decision.c.decision_id)
        .exists(),
    )
    .correlate(review_item)
    .scalar_subquery()
)
"""The decision in force on an item, looked up for each item. As a condition of the outer join
PostgreSQL, which has no statistics of a young review, reads all decisions for each item.
"""
_IN_FORCE = review_item.join(
    review_assignment,
    and_(
        _given.review_id == _item.review_id,
        _given.item_no == _item.item_no,
        ~select(_later_assignment.c.assignment_id)
        .where(_later_assignment.c.supersedes == _given.assignment_id)
        .exists(),
    ),
).join(
    review_decision,
    _decided.decision_id == _DECISION_IN_FORCE,
    isouter=True,
)
"""Items with who is to decide them and what is in force."""
SHOWN = (
    _item.item_no,
    _item.kind,
    _item.subject,
    _item.name,
    _item.right,
    _item.resource,
    _item.shown,
    _item.findings,
    _item.unchanged_since,
    _item.change_class,
    _item.previous_decision_id,
    _given.reviewer,
    _given.basis,
    _decided.decision_id,
    _decided.decision,
    _decided.remove,
    _decided.reason,
    _decided.decided_by,
    _decided.decided_at,
    _decided.strength,
)


def items(transaction: Connection, review_id: int, wanted: Wanted) -> tuple[Rows, int]:
    """List a page of the items of a review, by number, and how many there are."""
    conditions = _conditions(review_id, wanted)
    count = select(func.count()).select_from(_IN_FORCE).where(*conditions)
    query = (
        select(*SHOWN)
        .select_from(_IN_FORCE)
        .where(*conditions)
        .order_by(_item.item_no)
        .limit(ROWS)
        .offset(ROWS * (max(wanted.page, 1) - 1))
    )
    return _dicts(transaction, query), int(transaction.execute(count).scalar_one())


def item(transaction: Connection, review_id: int, item_no: int) -> dict[str, Any] | None:
    """Give one item of a review; None where it has none of that number."""
    query = (
        select(*SHOWN)
        .select_from(_IN_FORCE)
        .where(_item.review_id == review_id, _item.item_no == item_no)
    )
    return next(iter(_dicts(transaction, query)), None)


def asked(transaction: Connection, review_id: int, item_no: int) -> Asked:
    """Give an item of a review as it was shown."""
    query = select(review_item).where(_item.review_id == review_id, _item.item_no == item_no)
    return asked_of(dict(transaction.execute(query).mappings().one()))


def next_open(transaction: Connection, review_id: int, reviewer: str, after: int) -> int | None:
    """Give the next item of a reviewer that has no decision, from the first again after the last;
    None where there is none.
    """
    near = _item.item_no.between(after + 1, after + NEAR)
    for condition in (near, _item.item_no > after + NEAR, _item.item_no <= after):
        query = (
            select(_item.item_no)
            .select_from(_IN_FORCE)
            .where(*_conditions(review_id, Wanted(reviewer, "open")), condition)
            .order_by(_item.item_no)
            .limit(1)
        )
        if (found := transaction.execute(query).scalar()) is not None:
            return int(found)
    return None


def previous(transaction: Connection, review_id: int, reviewer: str, before: int) -> int | None:
    """Give the item of a reviewer before one; None where there is none."""
    query = (
        select(_item.item_no)
        .select_from(_IN_FORCE)
        .where(*_conditions(review_id, Wanted(reviewer)), _item.item_no < before)
        .order_by(_item.item_no.desc())
        .limit(1)
    )
    found = transaction.execute(query).scalar()
    return None if found is None else int(found)


def ended(transaction: Connection, review_id: int) -> str | None:
    """Tell how a review ended, or that its owner acknowledged it; None while it runs."""
    event, signoff = review_event.c, review_signoff.c
    over = select(event.event).where(
        event.review_id == review_id, event.event.in_([state.value for state in OVER])
    )
    found = transaction.execute(over).scalar()
    if found is not None:
        return str(found)
    owner = select(signoff.signoff_id).where(
        signoff.review_id == review_id, signoff.part == Part.OWNER.value
    )
    return "acknowledged" if transaction.execute(owner).first() else None


def counts(transaction: Connection, review_id: int, reviewer: str | None) -> Rows:
    """Count the items of a review, or of a reviewer, by class of change: how many, and how many are
    decided.
    """
    query = (
        select(
            _item.change_class,
            func.count().label("items"),
            func.count(_decided.decision_id).label("decided"),
            func.min(_item.item_no).label("first"),
        )
        .select_from(_IN_FORCE)
        .where(*_conditions(review_id, Wanted(reviewer)))
        .group_by(_item.change_class)
        .order_by(func.min(_item.item_no))
    )
    return _dicts(transaction, query)


def of_people(transaction: Connection, review_ids: Collection[int]) -> Rows:
    """Count the items of each reviewer of some reviews, and how many are decided."""
    query = (
        select(
            _item.review_id,
            func.lower(func.trim(_given.reviewer)).label("reviewer"),
            func.count().label("items"),
            func.count(_decided.decision_id).label("decided"),
        )
        .select_from(_IN_FORCE)
        .where(_item.review_id.in_(review_ids), _item.left_out_why.is_(None))
        .group_by(_item.review_id, func.lower(func.trim(_given.reviewer)))
        .order_by(_item.review_id, func.lower(func.trim(_given.reviewer)))
    )
    return _dicts(transaction, query)


def given_to(transaction: Connection, person: str) -> set[tuple[int, int]]:
    """List what somebody is to decide, or was: each as the number of the review and of the item."""
    theirs = func.lower(func.trim(_given.reviewer)) == person.strip().lower()
    query = select(_item.review_id, _item.item_no).select_from(_IN_FORCE).where(theirs)
    return {(row.review_id, row.item_no) for row in transaction.execute(query)}


def is_reviewer(transaction: Connection, person: str) -> bool:
    """Tell whether somebody was ever given an item."""
    theirs = func.lower(func.trim(_given.reviewer)) == person.strip().lower()
    query = select(_given.assignment_id).where(theirs).limit(1)
    return transaction.execute(query).first() is not None


def waited_for(transaction: Connection) -> list[str]:
    """List whom reviews that are running wait for: reviewers with an item, and owners."""
    running = review_status.c.state.in_([state.value for state in RUNNING])
    given = (
        select(_given.reviewer)
        .join(review_status, review_status.c.review_id == _given.review_id)
        .where(running)
    )
    owners = select(review_status.c.owner).where(running, review_status.c.owner.is_not(None))
    return sorted({*transaction.execute(given).scalars(), *transaction.execute(owners).scalars()})


def headings(transaction: Connection, organizations: Collection[str] | None) -> Rows:
    """List the reviews of some organizations, or of all, the newest first."""
    query = select(review).order_by(review.c.review_id.desc())
    if organizations is not None:
        query = query.where(review.c.organization_key.in_(organizations))
    return _dicts(transaction, query)


def decision(transaction: Connection, decision_id: int) -> dict[str, Any] | None:
    """Give one decision, of whatever review."""
    query = select(review_decision).where(review_decision.c.decision_id == decision_id)
    return next(iter(_dicts(transaction, query)), None)


def changed_since(
    transaction: Connection, organization_key: str, item: Mapping[str, Any], moment: datetime
) -> Rows:
    """List what observations after a moment show of whom an item is about: each right that came or
    went, by which observation.
    """
    if item["kind"] == Kind.GRANT.value:
        return _grants_since(transaction, organization_key, str(item["subject"]), moment)
    table = history_tables["fct_user_access"].c
    query = select(
        table.access_type,
        table.resource,
        table.entitlement,
        table.granted_via,
        table.valid_from,
        table.valid_to,
    ).where(
        table.organization_key == organization_key,
        table.login == item["subject"],
        or_(table.valid_from > moment, table.valid_to > moment),
    )
    return _dicts(transaction, query.order_by(table.valid_from, table.resource, table.entitlement))


def _grants_since(
    transaction: Connection, organization_key: str, subject: str, moment: datetime
) -> Rows:
    table = history_tables["fct_permission_grant"].c
    kind = "group" if subject.startswith("group:") else "anyone"
    query = select(
        table.scope.label("access_type"),
        func.coalesce(table.project_key, table.organization_key).label("resource"),
        table.permission.label("entitlement"),
        literal("direct").label("granted_via"),
        table.valid_from,
        table.valid_to,
    ).where(
        table.organization_key == organization_key,
        table.principal_type == kind,
        table.principal == subject.removeprefix("group:") if kind == "group" else true(),
        or_(table.valid_from > moment, table.valid_to > moment),
    )
    return _dicts(transaction, query.order_by(table.valid_from, table.permission))


def _conditions(review_id: int, wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        _item.review_id == review_id,
        _item.left_out_why.is_(None),
    ]
    if wanted.reviewer is not None:
        theirs = func.lower(func.trim(_given.reviewer)) == wanted.reviewer.strip().lower()
        conditions.append(theirs)
    if wanted.state:
        is_open = _decided.decision_id.is_(None)
        conditions.append(is_open if wanted.state == "open" else ~is_open)
    if wanted.change_class:
        conditions.append(_item.change_class == wanted.change_class)
    if wanted.search.strip():
        text = wanted.search.strip().lower()
        searched = (_item.subject, _item.name, _item.resource, _item.right)
        holds = (func.lower(column).contains(text, autoescape=True) for column in searched)
        conditions.append(or_(*holds))
    return conditions


def _dicts(transaction: Connection, query: Select[Any]) -> Rows:
    return [dict(row) for row in transaction.execute(query).mappings()]
