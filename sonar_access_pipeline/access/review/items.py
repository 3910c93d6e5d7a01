"""What a review of access has to decide: its items, and what it leaves out and why.

A review is pinned to one sealed packet, so rows are the records of its `population.csv` and
`access.csv`, as texts. One item is one thing to decide: an account with all it has that is not
privileged; one privileged right of one account on one resource, with every path; what one group, or
`Anyone`, may do on one resource. Add here: a kind of item, a scope.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sonar_access_pipeline.access.selection import of_no_account
from sonar_access_pipeline.access.snapshot import canonical_digest

Record = Mapping[str, str]
"""A row of a packet's CSV file, by its columns."""
PRIVILEGED = frozenset(
    {
        ("organization_permission", "admin"),
        ("organization_permission", "gateadmin"),
        ("organization_permission", "profileadmin"),
        ("project_permission", "admin"),
    }
)
"""Rights that are decided one by one. `provisioning` is none of them: the default group often gives
it to everybody.
"""


class Kind(StrEnum):
    """What an item is about; in the order in which items are numbered."""

    ACCOUNT = "account"
    PRIVILEGE = "privilege"
    GRANT = "grant"


class ReviewScope(StrEnum):
    """What a review is about; everything else of the packet is left out, with its reason."""

    EVERYBODY = "everybody"
    ADMINS = "admins"
    SERVICES = "services"


class Held(NamedTuple):
    """One right as it is held: the columns of `access.csv` that tell it from others."""

    access_type: str
    resource: str
    entitlement: str
    granted_via: str


@dataclass(frozen=True, order=True)
class Item:
    """One thing to decide: whose, which right on what, and what was shown of it.

    The right is empty for an account and a grant, the resource for an account.
    """

    kind: Kind
    subject: str
    right: str
    resource: str
    held: tuple[Held, ...]

    @property
    def digest(self) -> str:
        """The digest of what a decision is on."""
        return canonical_digest([self.kind, self.subject, self.right, self.resource, self.held])


@dataclass(frozen=True, order=True)
class LeftOut:
    """One thing that a review does not ask about, and why."""

    item: Item
    why: str


@dataclass(frozen=True)
class Plan:
    """What a review of a packet asks, and what it leaves out; together, everything."""

    items: Sequence[Item]
    left_out: Sequence[LeftOut]


def plan(
    population: Iterable[Record],
    access: Iterable[Record],
    scope: ReviewScope = ReviewScope.EVERYBODY,
    privileged: Collection[tuple[str, str]] = PRIVILEGED,
) -> Plan:
    """Plan the review of a packet: every account, every privileged right and every grant to a group
    or to `Anyone` is exactly one item, or left out with a reason.
    """
    accounts = list(population)
    rows = list(access)
    every = sorted(
        (
            *_accounts(accounts, rows, privileged),
            *_privileges(rows, privileged),
            *_grants(rows),
        ),
        key=lambda item: (list(Kind).index(item.kind), item),
    )
    why_not = _Scope(scope, every, {row["login"] for row in accounts if row["owner"]}, privileged)
    items = [item for item in every if why_not(item) is None]
    left_out = [LeftOut(item, why) for item in every if (why := why_not(item)) is not None]
    return Plan(items, left_out)


def held_of(row: Record) -> Held:
    """Give the right that a row of `access.csv` is."""
    return Held(row["access_type"], row["resource"], row["entitlement"], row["granted_via"])


def _is_privileged(held: Held, privileged: Collection[tuple[str, str]]) -> bool:
    return (held.access_type, held.entitlement) in privileged


def _accounts(
    population: Iterable[Record], access: Iterable[Record], privileged: Collection[tuple[str, str]]
) -> list[Item]:
    """Make one item of each account, with all it has that is not privileged."""
    held: dict[str, set[Held]] = defaultdict(set)
    for row in access:
        if row["principal_type"] == "user" and not _is_privileged(held_of(row), privileged):
            held[row["login"]].add(held_of(row))
    return [
        Item(Kind.ACCOUNT, row["login"], "", "", tuple(sorted(held[row["login"]])))
        for row in population
    ]


def _privileges(access: Iterable[Record], privileged: Collection[tuple[str, str]]) -> list[Item]:
    """Make one item of each privileged right of an account on a resource, with every path to it."""
    paths: dict[tuple[str, str, str], set[Held]] = defaultdict(set)
    for row in access:
        if row["principal_type"] == "user" and _is_privileged(held_of(row), privileged):
            paths[row["login"], row["entitlement"], row["resource"]].add(held_of(row))
    return [
        Item(Kind.PRIVILEGE, login, right, resource, tuple(sorted(held)))
        for (login, right, resource), held in paths.items()
    ]


def _grants(access: Iterable[Record]) -> list[Item]:
    """Make one item of what each group, and `Anyone`, may do on each resource."""
    granted: dict[tuple[str, str], set[Held]] = defaultdict(set)
    for row in filter(None, map(of_no_account, access)):
        is_group = row["principal_type"] == "group"
        granted[row["granted_via"] if is_group else "Anyone", row["resource"]].add(held_of(row))
    return [
        Item(Kind.GRANT, subject, "", resource, tuple(sorted(held)))
        for (subject, resource), held in granted.items()
    ]


class _Scope:
    """Says why a scope leaves an item out; None where it does not."""

    def __init__(
        self,
        scope: ReviewScope,
        every: Iterable[Item],
        services: Collection[str],
        privileged: Collection[tuple[str, str]],
    ) -> None:
        self._scope = scope
        self._services = services
        self._privileged = privileged
        self._admins = {item.subject for item in every if item.kind is Kind.PRIVILEGE}

    def __call__(self, item: Item) -> str | None:
        if self._scope is ReviewScope.ADMINS:
            return self._of_admins(item)
        if self._scope is ReviewScope.SERVICES and item.kind is Kind.GRANT:
            return "what groups and Anyone may do belongs to no service account"
        if self._scope is ReviewScope.SERVICES and item.subject not in self._services:
            return "the policy names no owner of a service account of this login"
        return None

    def _of_admins(self, item: Item) -> str | None:
        if item.kind is Kind.ACCOUNT and item.subject not in self._admins:
            return "the account holds no privileged right"
        gives = any(_is_privileged(held, self._privileged) for held in item.held)
        if item.kind is Kind.GRANT and not gives:
            return "it gives no privileged right"
        return None
