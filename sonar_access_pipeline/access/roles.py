"""Who may do what with reviews and connections: one table, for the page, the command line where it
can know, and the documentation. Pure.

The names of roles are those of Drata, which people know. Roles add up. Add here: a role, or
something that one may do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody is here for."""

    ADMIN = "admin"
    WORKSPACE_MANAGER = "workspace_manager"
    DEVOPS_ENGINEER = "devops_engineer"
    ACCESS_REVIEWER = "access_reviewer"
    AUDITOR = "auditor"


class May(StrEnum):
    """What somebody may do."""

    SEE_CONNECTIONS = "see the connections: last good day, token's health, problems"
    SEE_COUNTS = "see how far reviews are, in counts"
    SEE_ITEMS = "see every item, decision and follow-up of a review"
    GET_PACKETS = "get packets"
    ASSIGN = "give an item of somebody else to a reviewer"
    DECIDE = "decide, and sign"
    ACKNOWLEDGE = "acknowledge, and close incomplete"
    NOTE = "see what is to be removed, and write notes and tickets on it"


class Reach(StrEnum):
    """Of what somebody may do something."""

    ALL = "all"
    ORGANIZATIONS = "its organizations"
    OWN = "own items"


MAY: Mapping[May, Mapping[Role, Reach]] = {
    May.SEE_CONNECTIONS: {
        Role.ADMIN: Reach.ALL,
        Role.WORKSPACE_MANAGER: Reach.ORGANIZATIONS,
        Role.DEVOPS_ENGINEER: Reach.ALL,
        Role.ACCESS_REVIEWER: Reach.ALL,
        Role.AUDITOR: Reach.ALL,
    },
    May.SEE_COUNTS: {
        Role.ADMIN: Reach.ALL,
        Role.WORKSPACE_MANAGER: Reach.ORGANIZATIONS,
        Role.DEVOPS_ENGINEER: Reach.ALL,
        Role.ACCESS_REVIEWER: Reach.OWN,
        Role.AUDITOR: Reach.ALL,
    },
    May.SEE_ITEMS: {
        Role.ADMIN: Reach.ALL,
        Role.WORKSPACE_MANAGER: Reach.ORGANIZATIONS,
        Role.ACCESS_REVIEWER: Reach.OWN,
        Role.AUDITOR: Reach.ALL,
    },
    May.GET_PACKETS: {
        Role.ADMIN: Reach.ALL,
        Role.WORKSPACE_MANAGER: Reach.ORGANIZATIONS,
        Role.AUDITOR: Reach.ALL,
    },
    May.ASSIGN: {
        Role.ADMIN: Reach.ALL,
        Role.WORKSPACE_MANAGER: Reach.ORGANIZATIONS,
        Role.ACCESS_REVIEWER: Reach.OWN,
    },
    May.DECIDE: {
        Role.ADMIN: Reach.OWN,
        Role.WORKSPACE_MANAGER: Reach.OWN,
        Role.ACCESS_REVIEWER: Reach.OWN,
    },
    May.ACKNOWLEDGE: {Role.ADMIN: Reach.ALL},
    May.NOTE: {
        Role.ADMIN: Reach.ALL,
        Role.WORKSPACE_MANAGER: Reach.ORGANIZATIONS,
        Role.DEVOPS_ENGINEER: Reach.ALL,
        Role.ACCESS_REVIEWER: Reach.OWN,
    },
}
"""The table: what is not named nobody may. Nobody ever decides on their own access, whatever their
role; acknowledging is the review's owner's besides.
"""


@dataclass(frozen=True)
class Granted:
    """A role that somebody has: of which organizations, where its reach is those."""

    role: Role
    organizations: frozenset[str] = frozenset()


def read(text: str) -> Granted:
    """Read a role as settings write it: `admin`, `workspace_manager:acme,other`.

    Raises `ValueError` for no role of ours, and for one whose organizations are missing.
    """
    name, _, organizations = text.partition(":")
    named = frozenset(filter(None, (one.strip() for one in organizations.split(","))))
    role = Role(name.strip())
    if (role is Role.WORKSPACE_MANAGER) is not bool(named):
        raise ValueError(
            f"'{text}' must name organizations if, and only if, it is a manager of some"
        )
    return Granted(role, named)


def may(
    granted: Iterable[Granted], what: May, *, organization: str | None = None, is_own: bool = False
) -> bool:
    """Tell whether somebody with some roles may do something: with what is of an organization, or
    of none; `is_own` where it is an item of theirs.
    """
    reaches = [(MAY[what][one.role], one.organizations) for one in granted if one.role in MAY[what]]
    return any(
        reach is Reach.ALL
        or (reach is Reach.ORGANIZATIONS and organization in organizations)
        or (reach is Reach.OWN and is_own)
        for reach, organizations in reaches
    )


def organizations_of(granted: Collection[Granted], what: May) -> frozenset[str] | None:
    """Give the organizations in which somebody may do something with all there is; None where in
    every one.
    """
    found: set[str] = set()
    for one in granted:
        reach = MAY[what].get(one.role)
        if reach is Reach.ALL:
            return None
        if reach is Reach.ORGANIZATIONS:
            found |= one.organizations
    return frozenset(found)


def table() -> list[list[str]]:
    """Write the table as text: a row per thing, a column per role, `no` where nobody may."""
    return [
        [what.value, *(reaches[role].value if role in reaches else "no" for role in Role)]
        for what, reaches in MAY.items()
    ]
