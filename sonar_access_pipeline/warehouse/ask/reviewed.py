"""What a review is compared with: the last signed review of the organization, and what history says
of the time since.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import Connection, and_, select

from sonar_access_pipeline.access.review.classes import Before, Key, key_of
from sonar_access_pipeline.access.review.deciding import ReviewState
from sonar_access_pipeline.access.review.items import Held
from sonar_access_pipeline.access.review.stored import item_of
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.bulk import rows
from sonar_access_pipeline.warehouse.history.merge import alive_at
from sonar_access_pipeline.warehouse.reviews.facts import rows_of
from sonar_access_pipeline.warehouse.schema import history_tables
from sonar_access_pipeline.warehouse.schema_reviews import review_item
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
