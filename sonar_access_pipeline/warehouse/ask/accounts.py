"""What names the people behind the accounts that a review is about, as history has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, and_, select

from sonar_access_pipeline.access.review.people import Accounts
from sonar_access_pipeline.warehouse.history.merge import alive_at
from sonar_access_pipeline.warehouse.schema import history_tables


def accounts_at(
    transaction: Connection,
    organization_key: str,
    moment: datetime,
    linked: Mapping[str, Collection[str]],
) -> Accounts:
    """Give the accounts of an organization at a moment, with their addresses and durable ids where
    those are read, and those that somebody linked by hand.
    """
    users = history_tables["dim_user"]
    details = history_tables["dim_account_detail"]
    query = (
        select(users.c.login, details.c.email)
        .join(
            details,
            and_(
                details.c.organization_key == users.c.organization_key,
                details.c.login == users.c.login,
                alive_at(details, moment),
            ),
            isouter=True,
        )
        .where(users.c.organization_key == organization_key, alive_at(users, moment))
    )
    known = ({"login": row.login, "email": row.email or ""} for row in transaction.execute(query))
    return Accounts(known, linked, same_id(transaction, organization_key, moment))


def same_id(
    transaction: Connection, organization_key: str, moment: datetime
) -> Mapping[str, Collection[str]]:
    """Give, by login of a moment, the logins that its durable id had before: SonarCloud renames. A
    login that somebody else has by then is none of these.
    """
    details = history_tables["dim_account_detail"]
    query = select(details.c.login, details.c.account_id).where(
        details.c.organization_key == organization_key, details.c.account_id.is_not(None)
    )
    now = {
        row.login: row.account_id
        for row in transaction.execute(query.where(alive_at(details, moment)))
    }
    logins: dict[str, set[str]] = defaultdict(set)
    for row in transaction.execute(query):
        if now.get(row.login, row.account_id) == row.account_id:
            logins[row.account_id].add(row.login)
    return {
        login: others
        for login, account_id in now.items()
        if (others := logins[account_id] - {login})
    }
