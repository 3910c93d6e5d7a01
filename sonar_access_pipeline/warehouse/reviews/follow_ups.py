"""What reviews demand, derived from the history of access and put in the place of what was there:
the same whenever it is done, so a rebuild and a day's merge give the same rows.

Called by whatever changes history. What a demand is, and when it is done, is
`access/review/follow_up.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, select

from sonar_access_pipeline.access.history import Interval, ObservationTime
from sonar_access_pipeline.access.review.classes import Key, key_of
from sonar_access_pipeline.access.review.facts import Choice
from sonar_access_pipeline.access.review.follow_up import (
    Demand,
    FollowUpRow,
    Need,
    Read,
    Span,
    follow_ups,
    needs_of,
)
from sonar_access_pipeline.access.review.stored import item_of
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.warehouse.bulk import insert_rows, rows
from sonar_access_pipeline.warehouse.schema import history_observation, history_tables
from sonar_access_pipeline.warehouse.schema_reviews import (
    fct_follow_up,
    review,
    review_decision,
    review_event,
    review_item,
)

COLUMNS = [column.name for column in fct_follow_up.columns if column.computed is None]


def derive_follow_ups(transaction: Connection, organization_key: str) -> None:
    """Derive what reviews of an organization demand, and put it in the place of what is there. The
    caller holds the lock of history and commits.
    """
    derived = derived_follow_ups(transaction, organization_key)
    ours = fct_follow_up.c.organization_key == organization_key
    transaction.execute(delete(fct_follow_up).where(ours))
    insert_rows(transaction, fct_follow_up, COLUMNS, derived)


def differing_follow_ups(transaction: Connection, organization_key: str) -> list[tuple[Any, ...]]:
    """Find the rows that are not what history gives, on one side or the other."""
    query = select(*(fct_follow_up.c[name] for name in COLUMNS)).where(
        fct_follow_up.c.organization_key == organization_key
    )
    live = set(rows(transaction, query))
    return sorted(live ^ set(derived_follow_ups(transaction, organization_key)), key=str)


def derived_follow_ups(transaction: Connection, organization_key: str) -> list[tuple[Any, ...]]:
    """Derive the rows of `fct_follow_up`, in the order of `COLUMNS`."""
    demands = list(_demands(transaction, organization_key))
    if not demands:
        return []
    history = _History(transaction, organization_key, demands)
    found = follow_ups(
        demands, _observations(transaction, organization_key), history.spans, history.same_person
    )
    return [_row(organization_key, one) for one in found]


def _row(organization_key: str, one: Interval[FollowUpRow]) -> tuple[Any, ...]:
    state = one.row
    return (
        organization_key,
        state.review_id,
        state.item_no,
        state.decision_id,
        state.subject,
        state.state.value,
        state.due_at,
        state.last_shown,
        state.first_not_shown,
        one.valid_from,
        one.valid_to,
        one.changed_after,
        one.last_seen_at,
    )


def _demands(transaction: Connection, organization_key: str) -> Iterable[Demand]:
    """Yield what every decision demands or demanded, until another took its place: of the same
    item, or of the same thing in a later review.
    """
    cancelled = _cancelled(transaction)
    query = (
        select(review_decision, review_item, review.c.as_of)
        .join(
            review_item,
            and_(
                review_item.c.review_id == review_decision.c.review_id,
                review_item.c.item_no == review_decision.c.item_no,
            ),
        )
        .join(review, review.c.review_id == review_decision.c.review_id)
        .where(review.c.organization_key == organization_key)
        .order_by(review_decision.c.decision_id)
    )
    decided: list[dict[str, Any]] = [dict(row) for row in transaction.execute(query).mappings()]
    superseded = {row["supersedes"]: row["decided_at"] for row in decided}
    later = _decided_in(row for row in decided if row["review_id"] not in cancelled)
    for row in decided:
        choice = Choice(row["decision"])
        if choice is Choice.KEEP:
            continue
        item = item_of(row)
        ends = [
            moment
            for moment in (
                superseded.get(row["decision_id"]),
                cancelled.get(row["review_id"]),
                *(at for number, at in later[key_of(item)] if number > row["review_id"]),
            )
            if moment is not None
        ]
        yield Demand(
            review_id=row["review_id"],
            item_no=row["item_no"],
            decision_id=row["decision_id"],
            kind=item.kind,
            subject=item.subject,
            needs=needs_of(item, choice, json.loads(row["remove"])),
            as_of=row["as_of"],
            decided_at=row["decided_at"],
            due_at=row["due_at"],
            ended_at=min(ends, default=None),
        )


def _decided_in(decided: Iterable[Mapping[str, Any]]) -> Mapping[Key, list[tuple[int, datetime]]]:
    """Give, for each thing that was decided on, in which reviews and when."""
    found: dict[Key, list[tuple[int, datetime]]] = defaultdict(list)
    for row in decided:
        found[key_of(item_of(row))].append((row["review_id"], row["decided_at"]))
    return found


def _cancelled(transaction: Connection) -> Mapping[int, datetime]:
    event = review_event.c
    query = select(event.review_id, event.noted_at).where(event.event == "cancelled")
    return {row.review_id: row.noted_at for row in transaction.execute(query)}


def _observations(transaction: Connection, organization_key: str) -> list[Read]:
    """List the observations that history shows, oldest first, with what each read."""
    mark = history_observation.c
    query = select(mark.started_at, mark.observed_at, mark.scope).where(
        mark.organization_key == organization_key
    )
    scopes: dict[ObservationTime, set[Scope]] = defaultdict(set)
    for row in transaction.execute(query.order_by(mark.observed_at)):
        scopes[ObservationTime(row.started_at, row.observed_at)].add(Scope(row.scope))
    return [Read(time, frozenset(read)) for time, read in scopes.items() if Scope.CORE in read]


class _History:
    """When the subjects of some demands, and the other accounts of the same people, had what
    rights.
    """

    def __init__(
        self, transaction: Connection, organization_key: str, demands: Collection[Demand]
    ) -> None:
        self._logins = _logins_of_people(transaction, organization_key)
        subjects = {demand.subject for demand in demands}
        logins = subjects.union(*(self.same_person(subject) for subject in subjects))
        self._spans: dict[tuple[str, Need], list[Span]] = defaultdict(list)
        self._read_access(transaction, organization_key, logins)
        self._read_grants(transaction, organization_key)

    def spans(self, subject: str, need: Need) -> Collection[Span]:
        """Give the times in which a subject has a right, by any way."""
        return self._spans.get((subject, need), ())

    def same_person(self, login: str) -> Collection[str]:
        """Give the other logins of whoever has one, by durable id and address."""
        return self._logins.get(login, frozenset()) - {login}

    def _read_access(
        self, transaction: Connection, organization_key: str, logins: Collection[str]
    ) -> None:
        table = history_tables["fct_user_access"].c
        query = select(
            table.login,
            table.access_type,
            table.resource,
            table.entitlement,
            table.valid_from,
            table.valid_to,
        ).where(table.organization_key == organization_key)
        for login, *need, valid_from, valid_to in rows(transaction, query):
            if login in logins:
                self._spans[login, Need(*need)].append(Span(valid_from, valid_to))

    def _read_grants(self, transaction: Connection, organization_key: str) -> None:
        table = history_tables["fct_permission_grant"].c
        query = select(
            table.principal_type,
            table.principal,
            table.scope,
            table.project_key,
            table.permission,
            table.valid_from,
            table.valid_to,
        ).where(
            table.organization_key == organization_key,
            table.principal_type.in_(("group", "anyone")),
        )
        for kind, principal, scope, project_key, permission, *times in rows(transaction, query):
            subject = f"group:{principal}" if kind == "group" else "Anyone"
            need = Need(f"{scope}_permission", project_key or organization_key, permission)
            self._spans[subject, need].append(Span(*times))


def _logins_of_people(
    transaction: Connection, organization_key: str
) -> Mapping[str, frozenset[str]]:
    """Give, by login, every login that ever had the same durable id or address."""
    table = history_tables["dim_account_detail"].c
    query = select(table.login, table.account_id, table.email).where(
        table.organization_key == organization_key
    )
    by_name: dict[str, set[str]] = defaultdict(set)
    details = list(transaction.execute(query))
    for row in details:
        for name in filter(None, (row.account_id, row.email and row.email.casefold())):
            by_name[name].add(row.login)
    logins: dict[str, frozenset[str]] = {}
    for row in details:
        for name in filter(None, (row.account_id, row.email and row.email.casefold())):
            logins[row.login] = logins.get(row.login, frozenset()) | by_name[name]
    return logins
