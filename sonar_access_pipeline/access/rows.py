"""The history tables, one description each: grain, key, values, the scope that feeds them, and the
rows a snapshot shows.

The warehouse makes its tables from these, the merge its hashes, Dagster its column schemas, the
documentation its list. What a row means is decided here and nowhere else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Literal

from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.rules import STATE_RULES, judging
from sonar_access_pipeline.access.snapshot import Scope

Value = str | bool | None
Row = tuple[Value, ...]
"""The values of one row in column order, `organization_key` left out."""


@dataclass(frozen=True)
class Column:
    """One column of a history table: its name, what it holds, and what it means."""

    name: str
    meaning: str
    kind: Literal["text", "boolean"] = "text"


@dataclass(frozen=True)
class Part:
    """The rows of a history table that one scope feeds, and only it: their history has that scope's
    observations.

    `column` and `values` tell a part from its sisters in the same table: its rows are those whose
    `column` is among `values`. Both are None where the scope feeds the whole table.
    """

    scope: Scope
    rows: Callable[[SnapshotContent], Iterable[Row]]
    column: str | None = None
    values: frozenset[str] | None = None


@dataclass(frozen=True)
class HistoryTable:
    """One kind of thing whose rows come and go.

    `key` and `values` exclude `organization_key`, which every table leads with.
    """

    name: str
    meaning: str
    key: tuple[Column, ...]
    values: tuple[Column, ...]
    parts: tuple[Part, ...]
    asked_by: tuple[tuple[str, ...], ...] = ()
    """Columns that people look rows up by, besides the key from its left: each deserves an index.
    """
    is_never_empty: bool = False
    """Whether every observation shows rows of it: one that shows none was made before there was
    this table, and the next is a baseline.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """Key columns, then value columns."""
        return (*self.key, *self.values)

    @property
    def scopes(self) -> frozenset[Scope]:
        """The scopes that feed it."""
        return frozenset(part.scope for part in self.parts)

    def rows(self, content: SnapshotContent) -> Iterator[Row]:
        """Yield the rows that an observation shows, as far as its scopes reach."""
        for part in self.parts:
            if part.scope in content.scopes:
                yield from part.rows(content)

    @cached_property
    def hash_of(self) -> Callable[[Row], bytes]:
        """What gives its rows their hash."""
        return row_hash([column.name for column in self.columns])


NUL = "\0"
"""Parts values: none has it, since parsing refuses a text that no database would take."""
SIZE = 16
"""Bytes of a row's hash."""


def row_hash(names: Sequence[str]) -> Callable[[Row], bytes]:
    """Return the function that hashes rows of columns with these names: to 16 bytes that stand for
    the names and values that are not NULL.

    So an added column that is all NULL changes no hash. Hashing takes most of the time of a merge:
    rows that are all text, as those of large tables are, take one join and one digest, and need no
    names.
    """

    def hash_of(row: Row) -> bytes:
        try:
            return blake2b(NUL.join(row).encode(), digest_size=SIZE).digest()  # type: ignore[arg-type]
        except TypeError:
            return _hash_by_name(names, row)

    return hash_of


def _hash_by_name(names: Sequence[str], row: Row) -> bytes:
    """Hash a row that has values which are NULL or not text; last columns that are NULL count as if
    they were not there.
    """
    there = [(name, value) for name, value in zip(names, row, strict=True) if value is not None]
    texts = NUL.join(
        str(int(value)) if isinstance(value, bool) else value for _, value in there
    ).encode()
    are_first = [name for name, _ in there] == list(names[: len(there)])
    if there and are_first and all(isinstance(value, str) for _, value in there):
        return blake2b(texts, digest_size=SIZE).digest()
    kinds = ",".join(f"{name} {type(value).__name__}" for name, value in there).encode()
    return blake2b(kinds + b"\0" + texts, digest_size=SIZE, person=b"by name").digest()


def _organizations(content: SnapshotContent) -> Iterator[Row]:
    organization = content.organization
    yield (organization.name, organization.subscription, organization.alm_key)


def _users(content: SnapshotContent) -> Iterator[Row]:
    return ((member.login, member.name, member.is_organization_admin) for member in content.members)


def _groups(content: SnapshotContent) -> Iterator[Row]:
    return (
        (group.group_id, group.name, group.description, group.is_default)
        for group in content.groups
    )


def _group_members(content: SnapshotContent) -> Iterator[Row]:
    return ((membership.group_id, membership.login) for membership in content.group_members)


def _grants(scope: str) -> Callable[[SnapshotContent], Iterator[Row]]:
    def rows(content: SnapshotContent) -> Iterator[Row]:
        # A key column is never NULL: a grant on the organization itself has the empty project key.
        return (
            (
                grant.principal_type,
                grant.principal,
                grant.scope,
                grant.project_key or "",
                grant.permission,
            )
            for grant in content.grants
            if grant.scope == scope
        )

    return rows


def _organization_access(content: SnapshotContent) -> Iterator[Row]:
    # Groups are written by id, so that a rename revokes nothing. `Anyone` is no account and stays
    # in the grants.
    key = content.organization.key
    logins_of: Mapping[str, list[str]] = defaultdict(list)
    for member in content.members:
        yield (member.login, "membership", key, "member", "direct")
    for membership in content.group_members:
        logins_of[membership.group_id].append(membership.login)
        yield (membership.login, "group", membership.group_id, "member", "direct")
    for grant in content.grants:
        if grant.scope != "organization":
            continue
        if grant.principal_type == "user":
            yield (grant.principal, "organization_permission", key, grant.permission, "direct")
        elif grant.principal_type == "group":
            via = f"group:{grant.principal}"
            for login in logins_of.get(grant.principal, ()):
                yield (login, "organization_permission", key, grant.permission, via)


def _project_access(content: SnapshotContent) -> Iterator[Row]:
    # Through groups it would be millions of rows: the view user_project_access says those.
    for grant in content.grants:
        if grant.scope == "project" and grant.principal_type == "user":
            yield (
                grant.principal,
                "project_permission",
                str(grant.project_key),
                grant.permission,
                "direct",
            )


def _projects(content: SnapshotContent) -> Iterator[Row]:
    return ((project.key, project.name, project.visibility) for project in content.projects)


def _account_details(content: SnapshotContent) -> Iterator[Row]:
    return (
        (detail.login, detail.account_id, detail.email, detail.provider)
        for detail in content.account_details
    )


def _findings(content: SnapshotContent) -> Iterator[Row]:
    version = content.in_force.version
    policy = content.in_force.policy
    for rule in judging(STATE_RULES, content.in_force.rules):
        for answer in rule.answers(content, policy):
            about = (rule.rule_id, answer.subject_type, answer.subject)
            yield (
                *about,
                str(rule.version),
                str(version),
                answer.result.value,
                rule.severity.value,
                answer.detail or None,
            )


LOGIN = Column(
    "login", "login of the account, as SonarCloud writes it; neither stable nor unique per person"
)
GROUP_ID = Column("group_id", "id of the group; survives a rename")
PROJECT_KEY = Column("project_key", "key of the project")

DIM_ORGANIZATION = HistoryTable(
    "dim_organization",
    "the organization itself",
    (),
    (
        Column("name", "display name"),
        Column("subscription", "plan, as SonarCloud names it"),
        Column("alm_key", "DevOps platform it is bound to"),
    ),
    (Part(Scope.CORE, _organizations),),
)
DIM_USER = HistoryTable(
    "dim_user",
    "one account in the member list",
    (LOGIN,),
    (
        Column("name", "display name"),
        Column(
            "is_organization_admin",
            "SonarCloud's own statement; NULL where it gave none",
            "boolean",
        ),
    ),
    (Part(Scope.CORE, _users),),
)
DIM_ACCOUNT_DETAIL = HistoryTable(
    "dim_account_detail",
    "what only the v2 interface says of an account; personal data, and of scope account_details"
    " alone",
    (LOGIN,),
    (
        Column("account_id", "durable id of the account, where SonarCloud gives it"),
        Column("email", "e-mail address of the account, where SonarCloud gives it"),
        Column(
            "provider", "identity provider that signs the account in, where SonarCloud gives it"
        ),
    ),
    (Part(Scope.ACCOUNT_DETAILS, _account_details),),
)
DIM_GROUP = HistoryTable(
    "dim_group",
    "one group of the organization",
    (GROUP_ID,),
    (
        Column("name", "name of the group"),
        Column("description", "description of the group"),
        Column("is_default", "whether it is the built-in group of members", "boolean"),
    ),
    (Part(Scope.CORE, _groups),),
)
DIM_PROJECT = HistoryTable(
    "dim_project",
    "one project that the token's owner can see",
    (PROJECT_KEY,),
    (
        Column("name", "name of the project"),
        Column("visibility", "public or private; a public project can be read by anyone"),
    ),
    (Part(Scope.PROJECT_PERMISSIONS, _projects),),
)
BRIDGE_GROUP_MEMBER = HistoryTable(
    "bridge_group_member",
    "one account in one group",
    (GROUP_ID, LOGIN),
    (),
    (Part(Scope.CORE, _group_members),),
    (("login",),),
)
FCT_PERMISSION_GRANT = HistoryTable(
    "fct_permission_grant",
    "one permission granted to one principal",
    (
        Column("principal_type", "user, group or anyone"),
        Column("principal", "login, group id, or Anyone"),
        Column("scope", "organization or project"),
        Column("project_key", "key of the project; empty for a grant on the organization"),
        Column("permission", "permission key"),
    ),
    (),
    (
        Part(Scope.CORE, _grants("organization"), "scope", frozenset({"organization"})),
        Part(Scope.PROJECT_PERMISSIONS, _grants("project"), "scope", frozenset({"project"})),
    ),
    (("permission", "project_key"),),
)
FCT_USER_ACCESS = HistoryTable(
    "fct_user_access",
    "one way in which one account has one right",
    (
        LOGIN,
        Column("access_type", "membership, group, organization_permission or project_permission"),
        Column("resource", "what the right is on: organization key, group id or project key"),
        Column("entitlement", "member, or the permission key"),
        Column("granted_via", "direct, or group: and the id of the group"),
    ),
    (),
    (
        Part(
            Scope.CORE,
            _organization_access,
            "access_type",
            frozenset({"membership", "group", "organization_permission"}),
        ),
        Part(
            Scope.PROJECT_PERMISSIONS,
            _project_access,
            "access_type",
            frozenset({"project_permission"}),
        ),
    ),
    (("entitlement", "resource"),),
)

FCT_FINDING = HistoryTable(
    "fct_finding",
    "what one rule answers about one subject",
    (
        Column("rule_id", "the rule; docs/findings.md has them all"),
        Column(
            "subject_type", "account, group, anyone, or organization where the rule answers for all"
        ),
        Column("subject", "login, group id, Anyone, or organization key"),
    ),
    (
        Column("rule_version", "version of the rule"),
        Column(
            "policy_version",
            "the policy in force, as in policy_version; 0 is what holds before anybody said"
            " anything",
        ),
        Column(
            "result", "fail, not_evaluable, or pass (once per rule, where it answers nothing else)"
        ),
        Column("severity", "high, medium or low"),
        Column("detail", "what was found, or why nobody can tell"),
    ),
    (Part(Scope.CORE, _findings),),
    (("subject",),),
    is_never_empty=True,
)

HISTORY_TABLES = (
    DIM_ORGANIZATION,
    DIM_USER,
    DIM_ACCOUNT_DETAIL,
    DIM_GROUP,
    DIM_PROJECT,
    BRIDGE_GROUP_MEMBER,
    FCT_PERMISSION_GRANT,
    FCT_USER_ACCESS,
    FCT_FINDING,
)
"""Every history table, dimensions first."""


def parts_of(
    scopes: Set[Scope], tables: Iterable[HistoryTable] = HISTORY_TABLES
) -> Iterator[tuple[HistoryTable, Part]]:
    """Yield the parts of history tables that `scopes` feed, each with its table."""
    for description in tables:
        for part in description.parts:
            if part.scope in scopes:
                yield description, part
