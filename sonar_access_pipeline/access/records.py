"""The typed records that SonarCloud's answers are parsed into.

Nothing here knows JSON, HTTP or tables.

`None` always means "SonarCloud did not say". It is never an empty string, never false, never zero.
Named tuples, because a large organization has hundreds of thousands of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sonar_access_pipeline.access.policy import PolicyInForce
from sonar_access_pipeline.access.snapshot import Scope

PrincipalType = Literal["user", "group", "anyone"]

ANYONE = "Anyone"
"""The pseudo group that stands for everybody, signed in or not. A principal, never a login."""


class Caller(NamedTuple):
    """Whose token reads: the answer to "who am I"."""

    login: str


class CallerToken(NamedTuple):
    """One token of the account whose token reads; never the token itself. Times are UTC."""

    login: str
    name: str
    created_at: datetime | None
    last_used_at: datetime | None
    expires_at: datetime | None


class Organization(NamedTuple):
    """One organization, and whether the caller administers it."""

    key: str
    name: str | None
    subscription: str | None
    alm_key: str | None
    caller_is_admin: bool | None


class Member(NamedTuple):
    """One account in the member list. `group_count` includes the default group."""

    login: str
    name: str | None
    group_count: int | None
    is_organization_admin: bool | None


class Group(NamedTuple):
    """One group of an organization; its id survives a rename, its name does not."""

    group_id: str
    name: str
    description: str | None
    is_default: bool | None
    members_count: int | None


class GroupMember(NamedTuple):
    """One account in one group."""

    group_id: str
    login: str


class UserPermissions(NamedTuple):
    """The permissions granted to one account itself, not through groups; often none.

    On a project, if it has a key.
    """

    login: str
    permissions: tuple[str, ...]
    name: str | None = None
    project_key: str | None = None


class GroupPermissions(NamedTuple):
    """The permissions granted to one group.

    `group_id` is absent for `Anyone` and where SonarCloud leaves it out.
    """

    group_id: str | None
    name: str
    permissions: tuple[str, ...]
    project_key: str | None = None


class Project(NamedTuple):
    """One project that the caller can see."""

    key: str
    name: str | None
    visibility: str | None


class PermissionTemplate(NamedTuple):
    """What a new project whose key matches the pattern will be granted; its grants are counts
    only.
    """

    template_id: str
    name: str
    project_key_pattern: str | None


class OrganizationId(NamedTuple):
    """The id under which the v2 interface knows an organization."""

    key: str
    organization_id: str


class AccountDetail(NamedTuple):
    """What only the v2 interface says of an account: its durable id, its e-mail, and who signs it
    in.
    """

    login: str
    account_id: str | None
    email: str | None
    provider: str | None


class CatalogueEntry(NamedTuple):
    """One endpoint of SonarCloud's own catalogue, with its parameters."""

    path: str
    params: frozenset[str]
    deprecated_since: str | None


Record = tuple[Any, ...]
"""One of them, whichever."""


class Grant(NamedTuple):
    """One permission that one principal holds on an organization (`project_key` is None) or a
    project.
    """

    principal_type: PrincipalType
    principal: str
    scope: Literal["organization", "project"]
    project_key: str | None
    permission: str


@dataclass(frozen=True, slots=True)
class SnapshotContent:
    """What one complete snapshot says about access: the input of every history table.

    Each tuple holds distinct records. What a scope that was not read would say is empty, and means
    nothing. `in_force` is the policy that it is judged by. `non_members` are the accounts that
    SonarCloud lists with permissions, often none, and not as members: names by login. `pseudonyms`
    are the logins that stand for persons who were taken out.
    """

    organization: Organization
    members: tuple[Member, ...]
    groups: tuple[Group, ...]
    group_members: tuple[GroupMember, ...]
    grants: tuple[Grant, ...]
    projects: tuple[Project, ...] = ()
    account_details: tuple[AccountDetail, ...] = ()
    scopes: frozenset[Scope] = frozenset({Scope.CORE})
    in_force: PolicyInForce = field(default_factory=PolicyInForce)
    non_members: Mapping[str, str | None] = field(default_factory=dict)
    pseudonyms: frozenset[str] = frozenset()
