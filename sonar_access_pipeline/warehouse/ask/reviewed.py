"""Reviews as they stood at a moment; and what a new one is compared with: the last signed review of
the organization, and what history says of the time since.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from sonar_access_pipeline.access.review.classes import Before, Key, key_of
from sonar_access_pipeline.access.review.deciding import OVER, Review, ReviewState
from sonar_access_pipeline.access.review.facts import Choice
from sonar_access_pipeline.access.review.follow_up import FollowUpState
from sonar_access_pipeline.access.review.items import Held
from sonar_access_pipeline.access.review.stored import item_of, review_of
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.bulk import rows
from sonar_access_pipeline.warehouse.history.merge import alive_at
from sonar_access_pipeline.warehouse.reviews.facts import OF_A_REVIEW, rows_of, still_counts
from sonar_access_pipeline.warehouse.schema import history_tables
from sonar_access_pipeline.warehouse.schema_reviews import (
    fct_follow_up,
    review,
    review_assignment,
    review_decision,
    review_event,
    review_item,
    review_signoff,
)
from sonar_access_pipeline.warehouse.views import follow_up, review_item_status, review_status

SIGNED = (ReviewState.SIGNED, ReviewState.ACKNOWLEDGED, ReviewState.SEALED)
"""States of a review that others are compared with."""
DONE = ("done",)


def last_signed(
    transaction: Connection, organization_key: str, as_of: datetime
) -> tuple[int, Before] | None:
    """Find the last signed review of an organization that looked at an earlier observation, and
    what happened since; None where there is none.
    """
    table = review_status.c
    query = (
        select(table.review_id, table.as_of)
        .where(
            table.organization_key == organization_key,
            table.as_of < as_of,
            table.state.in_([state.value for state in SIGNED]),
        )
        .order_by(table.as_of.desc(), table.review_id.desc())
        .limit(1)
    )
    found = transaction.execute(query).first()
    if found is None:
        return None
    return found.review_id, _before(
        transaction, organization_key, found.review_id, found.as_of, as_of
    )


def carried_over(
    transaction: Connection, organization_key: str, series: str
) -> dict[tuple[Key, str], int]:
    """Find the decisions of the newest review of a series, if the observation that it is about was
    retracted since: each by its item and what was shown of it, so that it is named again only where
    that is the same.
    """
    table = review.c
    query = (
        select(table.review_id, table.as_of)
        .where(table.organization_key == organization_key, table.series == series)
        .order_by(table.review_id.desc())
        .limit(1)
    )
    newest = transaction.execute(query).first()
    if newest is None or still_counts(transaction, organization_key, newest.as_of):
        return {}
    digests = {
        row["item_no"]: (key_of(item_of(row)), row["item_digest"])
        for row in rows_of(transaction, review_item, newest.review_id)
    }
    status = review_item_status.c
    decided = select(status.item_no, status.decision_id).where(
        status.review_id == newest.review_id, status.decision_id.is_not(None)
    )
    return {digests[row.item_no]: row.decision_id for row in transaction.execute(decided)}


def _before(
    transaction: Connection,
    organization_key: str,
    review_id: int,
    then: datetime,
    now: datetime,
) -> Before:
    opened, ended = _access_since(transaction, organization_key, then, now)
    _grants_since(transaction, organization_key, then, now, opened, ended)
    answering = queries.observation_at(transaction, organization_key, then)
    return Before(
        as_of=then,
        scopes=frozenset(scope.value for scope in answering.scopes),
        asked=_keys(transaction, review_id, left_out=False),
        left_out=_keys(transaction, review_id, left_out=True),
        decisions=_decisions(transaction, review_id),
        demands=_demands(transaction, organization_key),
        opened=opened,
        ended=frozenset(ended),
        other_people=_other_people(transaction, organization_key, then, now),
    )


def _keys(transaction: Connection, review_id: int, *, left_out: bool) -> frozenset[Key]:
    """Give the items that a review asked about, or those that it left out."""
    shown = rows_of(transaction, review_item, review_id)
    return frozenset(
        key_of(item_of(row)) for row in shown if (row["left_out_why"] is not None) is left_out
    )


def _decisions(transaction: Connection, review_id: int) -> dict[Key, int]:
    """Give the decision in force of each item."""
    table = review_item_status.c
    query = select(table.kind, table.subject, table.right, table.resource, table.decision_id).where(
        table.review_id == review_id, table.decision_id.is_not(None)
    )
    return {
        (row.kind, row.subject, row.right, row.resource): row.decision_id
        for row in transaction.execute(query)
    }


def _demands(transaction: Connection, organization_key: str) -> dict[Key, str]:
    """Give the state of every demand that is not done, by its item; of several, the newest."""
    table = follow_up.c
    query = (
        select(table.kind, table.subject, table.right, table.resource, table.state)
        .where(table.organization_key == organization_key, table.state.not_in(DONE))
        .order_by(table.decision_id)
    )
    return {
        (row.kind, row.subject, row.right, row.resource): row.state
        for row in transaction.execute(query)
    }


def _access_since(
    transaction: Connection, organization_key: str, then: datetime, now: datetime
) -> tuple[dict[str, list[Held]], set[str]]:
    """Find the rights that accounts have at `now` and had not all the time since `then`, and the
    accounts of which some right has ended.
    """
    table = history_tables["fct_user_access"]
    right = (table.c.login, table.c.access_type, table.c.resource, table.c.entitlement)
    ours = table.c.organization_key == organization_key
    began = select(*right, table.c.granted_via).where(
        ours, table.c.valid_from > then, alive_at(table, now)
    )
    opened: dict[str, list[Held]] = defaultdict(list)
    for login, *held in rows(transaction, began):
        opened[login].append(Held(*held))
    gone = select(table.c.login).where(
        ours, alive_at(table, then), and_(table.c.valid_to > then, table.c.valid_to <= now)
    )
    return opened, {login for (login,) in rows(transaction, gone)}


def _grants_since(
    transaction: Connection,
    organization_key: str,
    then: datetime,
    now: datetime,
    opened: dict[str, list[Held]],
    ended: set[str],
) -> None:
    """Add the same of what groups and `Anyone` may do."""
    table = history_tables["fct_permission_grant"]
    of = (
        table.c.principal_type,
        table.c.principal,
        table.c.scope,
        table.c.project_key,
        table.c.permission,
    )
    ours = and_(
        table.c.organization_key == organization_key,
        table.c.principal_type.in_(("group", "anyone")),
    )
    began = select(*of).where(ours, table.c.valid_from > then, alive_at(table, now))
    for kind, principal, scope, project_key, permission in rows(transaction, began):
        subject = f"group:{principal}" if kind == "group" else "Anyone"
        way = subject if kind == "group" else "direct"
        resource = project_key or organization_key
        opened[subject].append(Held(f"{scope}_permission", resource, permission, way))
    gone = select(table.c.principal_type, table.c.principal).where(
        ours, alive_at(table, then), table.c.valid_to <= now
    )
    for kind, principal in rows(transaction, gone):
        ended.add(f"group:{principal}" if kind == "group" else "Anyone")


def _other_people(
    transaction: Connection, organization_key: str, then: datetime, now: datetime
) -> frozenset[str]:
    """Find the logins whose durable id is another than it was."""
    table = history_tables["dim_account_detail"]

    def ids(moment: datetime) -> dict[str, str]:
        query = select(table.c.login, table.c.account_id).where(
            table.c.organization_key == organization_key,
            table.c.account_id.is_not(None),
            alive_at(table, moment),
        )
        return dict(tuple(row) for row in rows(transaction, query))

    before = ids(then)
    return frozenset(
        login
        for login, account_id in ids(now).items()
        if before.get(login, account_id) != account_id
    )


REVIEWS = (
    "organization_key",
    "review_id",
    "series",
    "scope",
    "state",
    "opened_at",
    "due",
    "reviewed_packet",
    "reviewed_as_of",
    "items",
    "undecided",
    "to_go",
    "reviewers",
    "signed",
    "ended_at",
    "review_packet",
)
SAID_AT = {
    review_assignment.name: "assigned_at",
    review_decision.name: "decided_at",
    review_signoff.name: "signed_at",
    review_event.name: "noted_at",
}
"""When each fact was said, by its table; what was asked is as old as its review."""


def reviews_at(
    transaction: Connection, organization_key: str, since: datetime, moment: datetime
) -> queries.Rows:
    """List the reviews of an organization as they stood at a moment, by number: those that were not
    over `since`, and the last of each series before. What was said later changes nothing of it.

    Columns: `REVIEWS`.
    """
    opened = select(review).where(
        review.c.organization_key == organization_key, review.c.opened_at <= moment
    )
    headings = transaction.execute(opened.order_by(review.c.review_id)).mappings().all()
    over = _over_before(transaction, since)
    last = {one["series"]: one["review_id"] for one in headings}
    return [
        _standing(transaction, heading, moment)
        for heading in headings
        if heading["review_id"] not in over or heading["review_id"] == last[heading["series"]]
    ]


def _over_before(transaction: Connection, moment: datetime) -> set[int]:
    event = review_event.c
    query = select(event.review_id).where(
        event.event.in_([state.value for state in OVER]), event.noted_at < moment
    )
    return set(transaction.execute(query).scalars())


def _standing(
    transaction: Connection, heading: Mapping[Any, Any], moment: datetime
) -> dict[str, Any]:
    said = {
        table.name: [
            row
            for row in rows_of(transaction, table, heading["review_id"])
            if table is review_item or row[SAID_AT[table.name]] <= moment
        ]
        for table in OF_A_REVIEW
    }
    found = review_of(heading, *(said[table.name] for table in OF_A_REVIEW))
    ended = _ended(said[review_event.name])
    to_go = sum(one.choice is not Choice.KEEP for one in found.decided.values())
    return {
        **{name: heading[name] for name in ("organization_key", "review_id", "series", "scope")},
        "state": found.state.value,
        "opened_at": heading["opened_at"],
        "due": heading["due"],
        "reviewed_packet": heading["packet_digest"],
        "reviewed_as_of": heading["as_of"],
        "items": len(found.asked),
        "undecided": len(found.undecided),
        "to_go": to_go,
        "reviewers": len(found.items_of),
        "signed": len(found.items_of) - len(found.unsigned),
        "ended_at": ended and ended["noted_at"],
        "review_packet": _sealed_as(found, ended),
    }


def _ended(events: queries.Rows) -> dict[str, Any] | None:
    over = {state.value for state in OVER}
    return next((row for row in events if row["event"] in over), None)


def _sealed_as(found: Review, ended: Mapping[str, Any] | None) -> str | None:
    """Give the digest of the review's packet, which the event of sealing keeps."""
    is_sealed = found.state is ReviewState.SEALED and ended is not None
    return str(ended["reason"]) if is_sealed and ended else None


FOLLOW_UPS = (
    "organization_key",
    "review_id",
    "item_no",
    "item_kind",
    "subject",
    "entitlement",
    "resource",
    "decision",
    "removed",
    "decided_by",
    "decided_at",
    "due_at",
    "state",
    "state_since",
    "last_shown",
    "first_not_shown",
)


def follow_ups_at(
    transaction: Connection, organization_key: str, since: datetime, moment: datetime
) -> queries.Rows:
    """List what reviews decided to remove, as the observation that ended at a moment shows it, by
    review and item; what was done before `since` is left out.

    Columns: `FOLLOW_UPS`.
    """
    known, item, decision = fct_follow_up.c, review_item.c, review_decision.c
    query = (
        select(
            known.organization_key,
            known.review_id,
            known.item_no,
            item.kind.label("item_kind"),
            known.subject,
            item.right.label("entitlement"),
            item.resource,
            decision.decision,
            decision.remove.label("removed"),
            decision.decided_by,
            decision.decided_at,
            known.due_at,
            known.state,
            known.valid_from.label("state_since"),
            known.last_shown,
            known.first_not_shown,
        )
        .select_from(fct_follow_up)
        .join(review_item, and_(item.review_id == known.review_id, item.item_no == known.item_no))
        .join(review_decision, decision.decision_id == known.decision_id)
        .where(
            known.organization_key == organization_key,
            alive_at(fct_follow_up, moment),
            or_(known.state != FollowUpState.DONE.value, known.valid_from >= since),
        )
        .order_by(known.review_id, known.item_no, known.decision_id)
    )
    return [
        {**row, "removed": "; ".join(json.loads(row["removed"]))}
        for row in transaction.execute(query).mappings()
    ]
