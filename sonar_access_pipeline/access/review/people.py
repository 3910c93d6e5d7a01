"""Who decides an item: by the order of the policy, and never on themselves. Pure.

People are known by what names them: a login, an e-mail address, a durable id. An account belongs to
a person of the roster where one of its own names is one of theirs; where two people could be meant,
nobody is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain

from sonar_access_pipeline.access.policy import Policy, identity
from sonar_access_pipeline.access.review.facts import Basis
from sonar_access_pipeline.access.review.items import Item, Kind, Record

SELF = "review-self"
"""The exception by which somebody decides on themselves, as a lone administrator has to."""


@dataclass(frozen=True)
class Person:
    """A row of a roster: what names the person, and the name of whoever they report to."""

    names: frozenset[str]
    """Each as `identity` makes it."""
    manager: str = ""
    """As it stands in the roster; empty where it names none."""
    is_active: bool = True


class Accounts:
    """The names of every account of a packet, and which of them are one person's: those that share
    an address, those that have one durable id (`same_id`: by login, the others), and those that
    somebody linked by hand.
    """

    def __init__(
        self,
        population: Iterable[Record],
        linked: Mapping[str, Collection[str]] | None = None,
        same_id: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._of: dict[str, set[str]] = {}
        for row in population:
            self._unite(text for text in (row["login"], row["email"]) if text)
        for one, others in chain((linked or {}).items(), (same_id or {}).items()):
            self._unite((one, *others))

    def _unite(self, texts: Iterable[str]) -> None:
        together: set[str] = set()
        for name in map(identity, texts):
            together |= {name} | self._of.get(name, set())
        self._of.update(dict.fromkeys(together, together))

    def names_of(self, login: str) -> Collection[str]:
        """Give everything that names whoever has an account, each as `identity` makes it."""
        name = identity(login)
        return self._of.get(name, {name})

    def is_of(self, person: str, login: str) -> bool:
        """Tell whether an account is a person's, as far as anybody knows."""
        return identity(person) in self.names_of(login)


class Roster:
    """Who works here and reports to whom, as a roster says that was read when the review was
    opened.
    """

    def __init__(self, people: Iterable[Person] = ()) -> None:
        self._by_name: dict[str, list[Person]] = defaultdict(list)
        for person in people:
            for name in person.names:
                self._by_name[name].append(person)

    def person(self, names: Collection[str]) -> Person | None:
        """Find the one person that an account belongs to; None where there is none, or more."""
        found = self.candidates(names)
        return found[0] if len(found) == 1 else None

    def candidates(self, names: Collection[str]) -> list[Person]:
        """Find everybody whom one of the names means."""
        found: list[Person] = []
        for name in sorted(names):
            found += [one for one in self._by_name.get(name, ()) if one not in found]
        return found

    def manager(self, names: Collection[str]) -> str | None:
        """Find the nearest manager who still works here; None where the roster names none. A loop
        of managers ends where it began.
        """
        person = self.person(names)
        met: list[Person] = []
        while person is not None and person.manager and person not in met:
            met.append(person)
            manager = person.manager
            above = self.person({identity(manager)})
            if above is None or above.is_active:
                return manager
            person = above
        return None


@dataclass(frozen=True)
class Deciders:
    """Whom the settings name: who answers for the organization, and who decides what nobody else
    could.
    """

    fallback: str
    owner: str | None = None


@dataclass(frozen=True)
class Assigned:
    """Who is to decide an item, and why they. `reviewer` is None where nobody may; `is_unclear`
    says that the roster has several people who could be meant.
    """

    item: Item
    reviewer: str | None
    basis: Basis
    passed_over: tuple[str, ...] = ()
    """Who came before in the order, and is the one whom the item is about."""
    is_unclear: bool = False


def assigned(
    items: Sequence[Item],
    population: Iterable[Record],
    accounts: Accounts,
    deciders: Deciders,
    roster: Roster,
    policy: Policy,
    day: date,
) -> list[Assigned]:
    """Say who decides each item: the owner of the service account, else the owner of the
    organization (privileges, grants), else the manager (accounts), else the fallback reviewer;
    never whom it is about, unless an exception of that day says so.
    """
    owners = {row["login"]: row["owner"] for row in population if row["owner"]}
    found = []
    for item in items:
        order = list(_order(item, owners, accounts, deciders, roster))
        names = accounts.names_of(item.subject)
        is_unclear = item.kind is Kind.ACCOUNT and len(roster.candidates(names)) > 1
        one = _assigned(item, order, accounts, policy, day)
        found.append(replace(one, is_unclear=is_unclear))
    return found


def _order(
    item: Item,
    owners: Mapping[str, str],
    accounts: Accounts,
    deciders: Deciders,
    roster: Roster,
) -> Iterator[tuple[str, Basis]]:
    if item.kind is not Kind.GRANT and item.subject in owners:
        yield owners[item.subject], Basis.SERVICE_OWNER
    if item.kind is not Kind.ACCOUNT and deciders.owner:
        yield deciders.owner, Basis.ORGANIZATION_OWNER
    if item.kind is Kind.ACCOUNT:
        manager = roster.manager(accounts.names_of(item.subject))
        if manager is not None:
            yield manager, Basis.MANAGER
    yield deciders.fallback, Basis.FALLBACK


def _assigned(
    item: Item,
    order: Sequence[tuple[str, Basis]],
    accounts: Accounts,
    policy: Policy,
    day: date,
) -> Assigned:
    passed_over: list[str] = []
    for reviewer, basis in order:
        if not conflicts(reviewer, item, accounts):
            return Assigned(item, reviewer, basis, tuple(passed_over))
        passed_over.append(reviewer)
    alone = order[-1][0] if may_decide_self(policy, item.subject, day) else None
    return Assigned(item, alone, Basis.EXCEPTION, tuple(passed_over))


def conflicts(reviewer: str, item: Item, accounts: Accounts) -> bool:
    """Tell whether an item is about its reviewer."""
    return item.kind is not Kind.GRANT and accounts.is_of(reviewer, item.subject)


def may_decide_self(policy: Policy, login: str, day: date) -> bool:
    """Tell whether an exception of the policy lets somebody decide on themselves on a day."""
    exemption = policy.exemption(SELF, login)
    return exemption is not None and day <= exemption.until


def items_about(items: Mapping[int, Item], accounts: Accounts, person: str) -> set[int]:
    """Find the numbers of the items that are about a person."""
    return {number for number, item in items.items() if conflicts(person, item, accounts)}
