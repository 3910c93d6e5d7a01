"""An organization that evolves by day from a seed, and what is true about access on each day.

Nothing here knows HTTP. The same seed gives the same organization on every machine and every
Python.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

FIRST_NAMES = """
Ada Alan Amina Anders Barbara Bjarne Carla Chen Dana Dennis Edsger Elif Emeka Fatima Frances
Grace Guido Hana Hedy Ines Ivan Jamal Jean Joan Katherine Kofi Lars Leslie Lin Mae Margaret
Mehmet Mira Nadia Niklaus Noor Olga Omar Paulo Priya Radia Rosa Sana Shafi Silvio Tomas Ursula
Vera Wei Yukihiro Zofia Åsa Łukasz
""".split()
LAST_NAMES = """
Almeida Allen Backus Bauer Berg Borg Carvalho Cerf Chowdhury Conway Dijkstra Diaz Engelbart
Eriksson Farah Fischer Goldberg Gupta Hamilton Hopper Ito Jansen Johnson Kahn Kay Keller Knuth
Lamport Liskov Lovelace Marino Matsumoto McCarthy Naur Nakamura Novak Okafor Olsen Perlman
Petrov Ritchie Rossi Santos Sato Schmidt Silva Stroustrup Torvalds Turing Ueda Vogel Wing Wirth
Yilmaz Zhang
""".split()
TEAMS = """
payments identity search mobile platform data-science security checkout billing growth support
frontend backend infrastructure release compliance localization partners hardware research
""".split()
GLOBAL_PERMISSIONS = ("admin", "gateadmin", "profileadmin", "provisioning", "scan")

PROJECT_PERMISSIONS = (
    "user",
    "codeviewer",
    "issueadmin",
    "securityhotspotadmin",
    "architectureadmin",
    "scan",
    "admin",
)
UNKNOWN_PROJECT_PERMISSION = "deploymentadmin"
"""A key that no reference lists: SonarCloud adds such from time to time."""

PROVIDERS = ("github", "github", "bitbucket", "azure", "gitlab", "saml")
SERVICES = "api web worker gateway console library jobs terraform".split()

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
class Project:
    """One project and the direct grants on it, by login and by group id.

    Group grants are not expanded.
    """

    key: str
    name: str
    visibility: str = "private"
    users: dict[str, set[str]] = field(default_factory=dict)
    groups: dict[int, set[str]] = field(default_factory=dict)
    anyone: set[str] = field(default_factory=set)
    last_analysis: str | None = None


@dataclass(frozen=True)
class Details:
    """What only the newer API tells of an account: its durable id, its e-mail, and where it signs
    in.
    """

    account_id: str
    email: str | None
    provider: str


@dataclass(frozen=True)
class Template:
    """A permission template.

    `permissions` maps a key to the counts of users and groups, and whether creators get it.
    """

    template_id: str
    name: str
    description: str | None
    key_pattern: str | None
    created_at: str
    updated_at: str
    permissions: dict[str, tuple[int, int, bool]]
    default: bool = False


def _default_template() -> list[Template]:
    counts = {key: (0, 1, key == "admin") for key in sorted(PROJECT_PERMISSIONS)}
    described = (
        "This permission template is used as default when no other permission configuration is"
        " available"
    )
    dates = ("2023-03-14T09:26:53+0100", "2024-11-05T16:20:00+0100")
    return [
        Template(
            "AYbP1x0default0template",
            "Default template",
            described,
            None,
            *dates,
            counts,
            default=True,
        )
    ]


@dataclass
class Organization:
    """The state of one organization on one day.

    `names` maps the login of every member to a display name.

    `details` may be replaced for a login, as when another person gets it; `details_of` knows every
    login.
    """

    key: str
    name: str
    names: dict[str, str] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    direct: dict[str, set[str]] = field(default_factory=dict)
    anyone: set[str] = field(default_factory=set)
    departed: list[str] = field(default_factory=list)
    projects: dict[str, Project] = field(default_factory=dict)
    templates: list[Template] = field(default_factory=_default_template)
    details: dict[str, Details] = field(default_factory=dict)
    seed: int = 0

    def join(self, login: str, name: str) -> None:
        """Make an account a member; every member is in the default group."""
        self.names[login] = name
        self.details[login] = self.details_of(login)
        self.default_group.members.add(login)

    def leave(self, login: str) -> None:
        """Remove a member: memberships and direct grants, on projects too, go along, as SonarCloud
        does.
        """
        del self.names[login]
        self.details.pop(login, None)
        self.direct.pop(login, None)
        for group in self.groups.values():
            group.members.discard(login)
        for project in self.projects.values():
            project.users.pop(login, None)
        self.departed.append(login)

    def details_of(self, login: str) -> Details:
        """Return the account's details: the same for a login on every day, unless `details` was
        changed.
        """
        known = self.details.get(login)
        if known is not None:
            return known
        drawn = hashlib.sha256(f"{self.seed}:account:{login}".encode()).digest()
        plain, _, platform = login.partition("@")
        provider = platform or PROVIDERS[drawn[16] % len(PROVIDERS)]
        return Details(_uuid(drawn), f"{plain.replace('-', '.')}@{self.key}.example", provider)

    @property
    def uuid(self) -> str:
        """The durable id of the organization."""
        return _uuid(hashlib.sha256(f"{self.seed}:organization:{self.key}".encode()).digest())

    def copied(self) -> Organization:
        """Copy the organization; the copy shares nothing that changes."""
        return replace(
            self,
            names=dict(self.names),
            groups={
                number: replace(
                    group, members=set(group.members), permissions=set(group.permissions)
                )
                for number, group in self.groups.items()
            },
            direct={login: set(permissions) for login, permissions in self.direct.items()},
            anyone=set(self.anyone),
            departed=list(self.departed),
            projects={key: _copied_project(project) for key, project in self.projects.items()},
            templates=list(self.templates),
            details=dict(self.details),
        )

    @property
    def default_group(self) -> Group:
        """The built-in group of members."""
        return next(group for group in self.groups.values() if group.default)

    @property
    def owners(self) -> Group:
        """The group created with full control; SonarCloud lets it be renamed, so it is found by
        id.
        """
        return self.groups[min(self.groups) + 1]

    def permissions_of(self, login: str) -> set[str]:
        """Effective organization permissions: direct, and through every group."""
        through = (group.permissions for group in self.groups.values() if login in group.members)
        return set().union(self.direct.get(login, set()), *through)

    def truth(self) -> set[Access]:
        """Compute every way in which an account has a right, as this module itself works it out."""
        rows: set[Access] = {
            (login, "membership", self.key, "member", "direct") for login in self.names
        }
        for login, permissions in self.direct.items():
            rows |= {
                (login, "organization_permission", self.key, permission, "direct")
                for permission in permissions
            }
        for group in self.groups.values():
            for login in group.members:
                rows.add((login, "group", str(group.group_id), "member", "direct"))
                for permission in group.permissions:
                    rows.add(
                        (
                            login,
                            "organization_permission",
                            self.key,
                            permission,
                            f"group:{group.group_id}",
                        )
                    )
        return rows

    def project_truth(self) -> set[Access]:
        """Return every permission on a project that an account holds itself."""
        rows: set[Access] = set()
        for project in self.projects.values():
            for login, permissions in project.users.items():
                for permission in permissions:
                    rows.add((login, "project_permission", project.key, permission, "direct"))
        return rows

    def admins(self) -> set[str]:
        """Find every login that administers the organization."""
        through = (group.members for group in self.groups.values() if "admin" in group.permissions)
        direct = {login for login, permissions in self.direct.items() if "admin" in permissions}
        return direct.union(*through) & self.names.keys()


def _uuid(drawn: bytes) -> str:
    return str(uuid.UUID(bytes=drawn[:16], version=4))


def _copied_project(project: Project) -> Project:
    return replace(
        project,
        users={login: set(permissions) for login, permissions in project.users.items()},
        groups={number: set(permissions) for number, permissions in project.groups.items()},
        anyone=set(project.anyone),
    )


class Evolution:
    """An organization over days: `on(day)` is its state, the same for one seed whatever was asked
    before.

    Projects draw from their own streams, so that their number changes nothing about people and
    groups.
    """

    def __init__(
        self,
        seed: int,
        first_day: date,
        *,
        key: str = "acme",
        accounts: int = 320,
        groups: int = 14,
        projects: int = 0,
    ) -> None:
        self.first_day = first_day
        self._seed = seed
        founded = _founded(
            random.Random(f"{seed}:founding"),
            Organization(key, key.capitalize(), seed=seed),
            accounts,
            groups,
        )
        _found_projects(random.Random(f"{seed}:projects"), founded, projects, first_day)
        self._days = [founded]

    def on(self, day: date) -> Organization:
        """Compute the state on `day`; for a day before the first, return the state at the
        founding.
        """
        index = max(0, (day - self.first_day).days)
        while len(self._days) <= index:
            today = self._days[-1].copied()
            date_of = self.first_day + timedelta(days=len(self._days))
            _live_a_day(random.Random(f"{self._seed}:{date_of}"), today, date_of)
            if today.projects:
                _live_a_day_of_projects(
                    random.Random(f"{self._seed}:projects:{date_of}"), today, date_of
                )
            self._days.append(today)
        return self._days[index]


def _founded(
    rng: random.Random, organization: Organization, accounts: int, groups: int
) -> Organization:
    first_id = rng.randrange(300_000, 500_000)
    everybody = Group(
        first_id,
        "Members",
        "All members of the organization",
        default=True,
        permissions={"provisioning"},
    )
    owners = Group(
        first_id + 1, "Owners", "Owners of organization", permissions=set(GLOBAL_PERMISSIONS)
    )
    organization.groups = {group.group_id: group for group in (everybody, owners)}
    for number in range(max(0, groups - 2)):
        team = TEAMS[number % len(TEAMS)] + (
            "" if number < len(TEAMS) else f"-{number // len(TEAMS) + 1}"
        )
        permissions = {"scan"} if number % 3 == 0 else set()
        organization.groups[first_id + 10 + number] = Group(
            first_id + 10 + number, team, None, permissions=permissions
        )
    organization.join(READER, "Access reader (service)")
    owners.members.add(READER)
    people = _people(rng)
    teams = _teams(organization)
    while len(organization.names) < accounts:
        login, name = next(people)
        if login not in organization.names:
            _hire(rng, organization, teams, login, name)
    for login in sorted(organization.names)[:: max(1, accounts // 4)]:
        owners.members.add(login)
    for login in rng.sample(sorted(organization.names), k=min(accounts, 3)):
        organization.direct[login] = {"scan"}
    return organization


def _people(rng: random.Random) -> Iterator[tuple[str, str]]:
    while True:
        first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        plain = f"{first}-{last}".lower()
        # Old accounts carry their platform, new ones a random suffix; two people may share a
        # display name.
        login = f"{plain}@github" if rng.random() < 0.3 else f"{plain}-{rng.randrange(36**5):05x}"
        yield login, f"{first} {last}"


def _teams(organization: Organization) -> list[Group]:
    owners = organization.owners
    return [
        group for group in organization.groups.values() if not group.default and group is not owners
    ]


def _hire(
    rng: random.Random, organization: Organization, teams: list[Group], login: str, name: str
) -> None:
    organization.join(login, name)
    for group in rng.sample(teams, k=min(len(teams), rng.choice((1, 1, 2)))):
        group.members.add(login)


def _live_a_day(rng: random.Random, organization: Organization, day: date) -> None:
    """Joiners, leavers, promotions and moves of one day. Nothing happens on a weekend."""
    if day.weekday() >= 5:
        return
    people = _people(rng)
    teams = _teams(organization)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        login, name = next(people)
        if login not in organization.names:
            _hire(rng, organization, teams, login, name)
    staff = sorted(set(organization.names) - {READER})
    for login in rng.sample(staff, k=min(len(staff), rng.choice((0, 0, 1, 1, 2)))):
        organization.leave(login)
    if organization.departed and rng.random() < 0.15:
        back = organization.departed.pop(0)
        _hire(rng, organization, teams, back, back.split("@")[0].replace("-", " ").title())
    staff = sorted(set(organization.names) - {READER})
    if staff and rng.random() < 0.25:
        organization.owners.members ^= {rng.choice(staff)}
    if staff and rng.random() < 0.3:
        organization.direct.setdefault(rng.choice(staff), set()).add(
            rng.choice(GLOBAL_PERMISSIONS[1:])
        )
    if teams and staff:
        for _ in range(rng.choice((0, 1, 2, 3))):
            rng.choice(teams).members ^= {rng.choice(staff)}
        if rng.random() < 0.05:
            rng.choice(teams).permissions ^= {"scan"}


def _found_projects(
    rng: random.Random, organization: Organization, projects: int, day: date
) -> None:
    staff = sorted(set(organization.names) - {READER})
    for number in range(projects):
        _found_project(rng, organization, staff, number, day, f"{number + 1:04d}")


def _found_project(
    rng: random.Random,
    organization: Organization,
    staff: list[str],
    number: int,
    day: date,
    suffix: str,
) -> Project:
    """Add one more project.

    What is rare depends on the project's number rather than on chance, so that ten projects show
    all of it.
    """
    name = f"{rng.choice(TEAMS)}-{rng.choice(SERVICES)}"
    visibility = "public" if number % 5 == 1 else "private"
    project = Project(f"{organization.key}_{name}-{suffix}", f"{name}-{suffix}", visibility)
    project.groups[organization.owners.group_id] = set(PROJECT_PERMISSIONS)
    for group in rng.sample(
        sorted(organization.groups), k=min(len(organization.groups), rng.choice((1, 1, 2, 3)))
    ):
        project.groups.setdefault(group, set()).update(
            rng.choice((("user",), ("user", "codeviewer"), PROJECT_PERMISSIONS))
        )
    if number % 4 == 0:
        for login in rng.sample(staff, k=min(len(staff), rng.choice((1, 1, 2)))):
            project.users[login] = {"user", rng.choice(PROJECT_PERMISSIONS)}
    if staff and number % 10 == 3:
        project.users.setdefault(rng.choice(staff), set()).add(UNKNOWN_PROJECT_PERMISSION)
    if number % 10 == 6:
        project.anyone = {"issueadmin"}
    if number % 3:
        project.last_analysis = (
            f"{day - timedelta(days=rng.randrange(400))}T{rng.randrange(24):02d}:04:55+0200"
        )
    organization.projects[project.key] = project
    return project


def _live_a_day_of_projects(rng: random.Random, organization: Organization, day: date) -> None:
    """Grants given and revoked on a day, and now and then a project created or deleted.

    Nothing happens on a weekend.
    """
    if day.weekday() >= 5:
        return
    staff = sorted(set(organization.names) - {READER})
    keys = sorted(organization.projects)
    if staff and rng.random() < 0.5:
        users = organization.projects[rng.choice(keys)].users
        users.setdefault(rng.choice(staff), set()).add(rng.choice(PROJECT_PERMISSIONS))
    granted: list[tuple[str, str]] = []
    for key in keys:
        granted += [(key, login) for login in sorted(organization.projects[key].users)]
    if granted and rng.random() < 0.4:
        key, login = rng.choice(granted)
        del organization.projects[key].users[login]
    if rng.random() < 0.2:
        granted_group = organization.projects[rng.choice(keys)].groups.setdefault(
            rng.choice(sorted(organization.groups)), set()
        )
        granted_group ^= {rng.choice(PROJECT_PERMISSIONS)}
    if len(keys) > 1 and rng.random() < 0.05:
        del organization.projects[rng.choice(keys)]
    if rng.random() < 0.1:
        _found_project(rng, organization, staff, rng.randrange(20), day, f"{day:%y%m%d}")
