"""An organization that evolves by day from a seed, and what is true about access on each day.

Nothing here knows HTTP. The same seed gives the same organization on every machine and every Python.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

FIRST_NAMES = """
Ada Alan Amina Anders Barbara Bjarne Carla Chen Dana Dennis Edsger Elif Emeka Fatima Frances Grace Guido Hana Hedy Ines
Ivan Jamal Jean Joan Katherine Kofi Lars Leslie Lin Mae Margaret Mehmet Mira Nadia Niklaus Noor Olga Omar Paulo Priya
Radia Rosa Sana Shafi Silvio Tomas Ursula Vera Wei Yukihiro Zofia Åsa Łukasz
""".split()
LAST_NAMES = """
Almeida Allen Backus Bauer Berg Borg Carvalho Cerf Chowdhury Conway Dijkstra Diaz Engelbart Eriksson Farah Fischer
Goldberg Gupta Hamilton Hopper Ito Jansen Johnson Kahn Kay Keller Knuth Lamport Liskov Lovelace Marino Matsumoto
McCarthy Naur Nakamura Novak Okafor Olsen Perlman Petrov Ritchie Rossi Santos Sato Schmidt Silva Stroustrup Torvalds
Turing Ueda Vogel Wing Wirth Yilmaz Zhang
""".split()
TEAMS = """
payments identity search mobile platform data-science security checkout billing growth support frontend backend
infrastructure release compliance localization partners hardware research
""".split()
GLOBAL_PERMISSIONS = ("admin", "gateadmin", "profileadmin", "provisioning", "scan")

READER = "sonar-access-reader"
"""The dedicated account whose token reads: a member, and an owner."""

Access = tuple[str, str, str, str, str]
"""login, access type, resource, entitlement, granted via."""


@dataclass
class Group:
    """One group and the logins in it."""

    group_id: int
    name: str
    description: str | None
    default: bool = False
    members: set[str] = field(default_factory=set)
    permissions: set[str] = field(default_factory=set)


@dataclass
class Organization:
    """The state of one organization on one day. `names` maps the login of every member to a display name."""

    key: str
    name: str
    names: dict[str, str] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    direct: dict[str, set[str]] = field(default_factory=dict)
    anyone: set[str] = field(default_factory=set)
    departed: list[str] = field(default_factory=list)

    def join(self, login: str, name: str) -> None:
        """Make an account a member; every member is in the default group."""
        self.names[login] = name
        self.default_group.members.add(login)

    def leave(self, login: str) -> None:
        """Remove a member: memberships and direct grants go along, as SonarCloud does."""
        del self.names[login]
        self.direct.pop(login, None)
        for group in self.groups.values():
            group.members.discard(login)
        self.departed.append(login)

    @property
    def default_group(self) -> Group:
        """The built-in group of members."""
        return next(group for group in self.groups.values() if group.default)

    @property
    def owners(self) -> Group:
        """The group created with full control; SonarCloud lets it be renamed, so it is found by id."""
        return self.groups[min(self.groups) + 1]

    def permissions_of(self, login: str) -> set[str]:
        """Effective organization permissions: direct, and through every group."""
        through = (group.permissions for group in self.groups.values() if login in group.members)
        return set().union(self.direct.get(login, set()), *through)

    def truth(self) -> set[Access]:
        """Every way in which an account has a right, by this module's own reckoning."""
        rows: set[Access] = {(login, "membership", self.key, "member", "direct") for login in self.names}
        for login, permissions in self.direct.items():
            rows |= {(login, "organization_permission", self.key, permission, "direct") for permission in permissions}
        for group in self.groups.values():
            for login in group.members:
                rows.add((login, "group", str(group.group_id), "member", "direct"))
                for permission in group.permissions:
                    rows.add((login, "organization_permission", self.key, permission, f"group:{group.group_id}"))
        return rows

    def admins(self) -> set[str]:
        """Every login that administers the organization."""
        return {login for login in self.names if "admin" in self.permissions_of(login)}


class Evolution:
    """An organization over days: `on(day)` is its state, the same for one seed whatever was asked before."""

    def __init__(self, seed: int, first_day: date, *, key: str = "acme", accounts: int = 320, groups: int = 14) -> None:
        self.first_day = first_day
        self._seed = seed
        self._days = [_founded(random.Random(f"{seed}:founding"), key, accounts, groups)]

    def on(self, day: date) -> Organization:
        """The state on `day`; a day before the first shows the founding."""
        index = max(0, (day - self.first_day).days)
        while len(self._days) <= index:
            today = copy.deepcopy(self._days[-1])
            date_of = self.first_day + timedelta(days=len(self._days))
            _live_a_day(random.Random(f"{self._seed}:{date_of}"), today, date_of)
            self._days.append(today)
        return self._days[index]


def _founded(rng: random.Random, key: str, accounts: int, groups: int) -> Organization:
    organization = Organization(key, key.capitalize())
    first_id = rng.randrange(300_000, 500_000)
    everybody = Group(first_id, "Members", "All members of the organization", default=True, permissions={"provisioning"})
    owners = Group(first_id + 1, "Owners", "Owners of organization", permissions=set(GLOBAL_PERMISSIONS))
    organization.groups = {group.group_id: group for group in (everybody, owners)}
    for number in range(max(0, groups - 2)):
        team = TEAMS[number % len(TEAMS)] + ("" if number < len(TEAMS) else f"-{number // len(TEAMS) + 1}")
        permissions = {"scan"} if number % 3 == 0 else set()
        organization.groups[first_id + 10 + number] = Group(first_id + 10 + number, team, None, permissions=permissions)
    organization.join(READER, "Access reader (service)")
    owners.members.add(READER)
    people = _people(rng)
    while len(organization.names) < accounts:
        login, name = next(people)
        if login not in organization.names:
            _hire(rng, organization, login, name)
    for login in sorted(organization.names)[:: max(1, accounts // 4)]:
        owners.members.add(login)
    for login in rng.sample(sorted(organization.names), k=min(accounts, 3)):
        organization.direct[login] = {"scan"}
    return organization


def _people(rng: random.Random) -> Iterator[tuple[str, str]]:
    while True:
        first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        plain = f"{first}-{last}".lower()
        # Old accounts carry their platform, new ones a random suffix; two people may share a display name.
        login = f"{plain}@github" if rng.random() < 0.3 else f"{plain}-{rng.randrange(36**5):05x}"
        yield login, f"{first} {last}"


def _hire(rng: random.Random, organization: Organization, login: str, name: str) -> None:
    organization.join(login, name)
    teams = [group for group in organization.groups.values() if not group.default and group is not organization.owners]
    for group in rng.sample(teams, k=min(len(teams), rng.choice((1, 1, 2)))):
        group.members.add(login)


def _live_a_day(rng: random.Random, organization: Organization, day: date) -> None:
    """Joiners, leavers, promotions and moves of one day. Nothing happens on a weekend."""
    if day.weekday() >= 5:
        return
    people = _people(rng)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        login, name = next(people)
        if login not in organization.names:
            _hire(rng, organization, login, name)
    staff = sorted(set(organization.names) - {READER})
    for login in rng.sample(staff, k=min(len(staff), rng.choice((0, 0, 1, 1, 2)))):
        organization.leave(login)
    if organization.departed and rng.random() < 0.15:
        back = organization.departed.pop(0)
        _hire(rng, organization, back, back.split("@")[0].replace("-", " ").title())
    staff = sorted(set(organization.names) - {READER})
    if staff and rng.random() < 0.25:
        organization.owners.members ^= {rng.choice(staff)}
    if staff and rng.random() < 0.3:
        organization.direct.setdefault(rng.choice(staff), set()).add(rng.choice(GLOBAL_PERMISSIONS[1:]))
    teams = [group for group in organization.groups.values() if not group.default and group is not organization.owners]
    if teams and staff:
        for _ in range(rng.choice((0, 1, 2, 3))):
            rng.choice(teams).members ^= {rng.choice(staff)}
        if rng.random() < 0.05:
            rng.choice(teams).permissions ^= {"scan"}
