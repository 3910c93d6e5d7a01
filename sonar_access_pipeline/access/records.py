"""The typed records that SonarCloud's answers are parsed into. Nothing here knows JSON, HTTP or tables.

`None` always means "SonarCloud did not say". It is never an empty string, never false, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PrincipalType = Literal["user", "group", "anyone"]

ANYONE = "Anyone"
"""The pseudo group that stands for everybody, signed in or not. A principal, never a login."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token reads: the answer to "who am I"."""

    login: str


@dataclass(frozen=True, slots=True)
class Organization:
    """One organization, and whether the caller administers it."""

    key: str
    name: str | None
    subscription: str | None
    alm_key: str | None
    caller_is_admin: bool | None


@dataclass(frozen=True, slots=True)
class Member:
    """One account in the member list. `group_count` includes the default group."""

    login: str
    name: str | None
    group_count: int | None
    is_organization_admin: bool | None


@dataclass(frozen=True, slots=True)
class Group:
    """One group of an organization; its id survives a rename, its name does not."""

    group_id: str
    name: str
    description: str | None
    is_default: bool | None
    members_count: int | None


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One account in one group."""

    group_id: str
    login: str


@dataclass(frozen=True, slots=True)
class UserPermissions:
    """The permissions granted to one account itself, not through groups; often none."""

    login: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupPermissions:
    """The permissions granted to one group. `group_id` is absent for `Anyone` and where SonarCloud leaves it out."""

    group_id: str | None
    name: str
    permissions: tuple[str, ...]


Record = Caller | Organization | Member | Group | GroupMember | UserPermissions | GroupPermissions


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission that one principal holds on an organization (`project_key` is None) or a project."""

    principal_type: PrincipalType
    principal: str
    scope: Literal["organization", "project"]
    project_key: str | None
    permission: str


@dataclass(frozen=True, slots=True)
class SnapshotContent:
    """What one complete snapshot says about access: the input of every history table.

    Each tuple holds distinct records.
    """

    organization: Organization
    members: tuple[Member, ...]
    groups: tuple[Group, ...]
    group_members: tuple[GroupMember, ...]
    grants: tuple[Grant, ...]
