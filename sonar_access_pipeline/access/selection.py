"""Which access rows are about one account, group or project.

Rows are those of `queries.ACCESS` or `access.csv`: what an account has on the organization stands
with its login; what groups and `Anyone` may do on projects stands once, without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


def of_account(access: Iterable[Row], login: str) -> list[Row]:
    """Choose what an account may do: its own rights, on projects those of its groups, and whatever
    `Anyone` may do. Empty where no row names the account.
    """
    rows = list(access)
    own = [row for row in rows if row["login"] == login]
    if not own:
        return []
    groups = {f"group:{row['resource']}" for row in own if row["access_type"] == "group"}
    shared = (
        row
        for row in rows
        if not row["login"] and (row["granted_via"] in groups or row["principal_type"] == "anyone")
    )
    return [*own, *shared]


def of_group(access: Iterable[Row], group: str) -> list[Row]:
    """Choose who is in a group, by name or id, and what is held through it."""
    return [
        row
        for row in access
        if row["granted_via"] == f"group:{group}"
        or (row["granted_via"] != "direct" and row["granted_via_name"] == group)
        or (row["access_type"] == "group" and group in (row["resource"], row["resource_name"]))
    ]


def of_project(access: Iterable[Row], project: str) -> list[Row]:
    """Choose the rights on a project, by key or name."""
    return [
        row
        for row in access
        if row["access_type"] == "project_permission"
        and project in (row["resource"], row["resource_name"])
    ]


def of_no_account(row: Row) -> Row | None:
    """Return a row that says what `Anyone` or a group may do, None for any other: what a group may
    do on the organization stands with each of its members.
    """
    if row["principal_type"] in ("anyone", "group"):
        return row
    is_of_group = row["granted_via"].startswith("group:")
    if not is_of_group or row["access_type"] != "organization_permission":
        return None
    return {**row, "principal_type": "group", "login": ""}
