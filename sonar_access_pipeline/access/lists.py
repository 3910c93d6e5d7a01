"""The lists of SonarCloud, one value each: what is asked, what a row of it is, and what a snapshot
is without it.

To read another list, add a value here, at its place in the order of reading, and its endpoint in
`endpoints/`; reading, judging and forgetting follow from it. What its rows become is decided by
`content.py` and `rows.py`. Why a list is read in its way: reference 1.5 and 9.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, TypeVar

from sonar_access_pipeline.access.endpoints import (
    Endpoint,
    Page,
    organizations_search,
    permission_templates,
    permissions_groups,
    permissions_users,
    projects_search,
    search_members,
    user_groups_search,
    user_groups_users,
    user_tokens,
    users_current,
    v2_organizations,
    v2_users,
    webservices_list,
)
from sonar_access_pipeline.access.endpoints.shape import Params
from sonar_access_pipeline.access.records import (
    AccountDetail,
    Caller,
    CallerToken,
    CatalogueEntry,
    Group,
    GroupMember,
    GroupPermissions,
    Member,
    Organization,
    OrganizationId,
    PermissionTemplate,
    Project,
    Record,
    UserPermissions,
)
from sonar_access_pipeline.access.snapshot import Scope

R = TypeVar("R", bound=Record)
Part = tuple[str, str]
"""What was read as one: the name of a list, and its subject."""


@dataclass(frozen=True, eq=False)
class SonarList(Generic[R]):
    """One list, of which each row is a `record`.

    `scope` reads it; None: it is about the token, or read by a check alone. `asked` gives the
    parameters for an organization and, where the list is one `of` each row of another, for that
    row; None: it is not read for it. `key` are the fields that make two rows the same thing; none:
    all of them. `subject` is what each row of the other list is; empty: there is one list only.
    """

    name: str
    endpoint: Endpoint
    record: type[R]
    scope: Scope | None
    asked: Callable[[str, Any], Mapping[str, str] | None]
    key: tuple[str, ...] = ()
    of: SonarList[Any] | None = None
    subject: str = ""
    after: SonarList[Any] | None = None
    """The list that must be read before, to learn in which order the endpoint gives its rows."""
    is_derived: bool = True
    """Whether history derives from it."""
    is_optional: bool = False
    """Whether a snapshot is complete without it: its failure is noted, and nothing more."""
    is_read_backwards: bool = False
    """Whether it is read from the last page down, behind page 1."""
    is_unwitnessed: bool = False
    """Whether no other list would show that a row slipped from one page to another while they were
    read: more than one page is then read until two readings say the same.
    """
    stops_without_grants: bool = False
    """Whether it is read page by page, and no further than the first row without grants, once
    grants are proven to come first.
    """
    continued_in: str = ""
    """The endpoint that has the rows behind the window of this one."""

    @cached_property
    def key_of(self) -> Callable[[R], Hashable]:
        """What makes two rows the same thing."""
        return attrgetter(*self.key) if self.key else _itself

    def keys_of(self, rows: Iterable[R]) -> Iterator[Hashable]:
        """Yield the key of each row."""
        return map(self.key_of, rows)

    def subject_of(self, row: Any) -> str:
        """Return what the list of one row of the other list is told by; empty where there is one
        only.
        """
        return str(self.of.key_of(row)) if self.of and self.subject else ""

    def label(self, subject: str) -> str:
        """Name the list as people read it, with the group or project it belongs to."""
        return f"{self.name} of {self.subject} {subject}" if subject else self.name


def _itself(row: Hashable) -> Hashable:
    return row


def _of_organization(organization: str, _: Any) -> Mapping[str, str]:
    return {"organization": organization}


def _of_project(organization: str, project: Project) -> Mapping[str, str]:
    return {"organization": organization, "projectKey": project.key}


CALLER = SonarList("caller", users_current.ENDPOINT, Caller, None, lambda *_: {}, is_derived=False)
ORGANIZATION = SonarList(
    "organization",
    organizations_search.ENDPOINT,
    Organization,
    Scope.CORE,
    lambda organization, _: {"organizations": organization, "member": "true"},
)
CALLER_TOKENS = SonarList(
    "caller_tokens",
    user_tokens.ENDPOINT,
    CallerToken,
    None,
    lambda *_: {},
    is_derived=False,
    is_optional=True,
)
GROUPS = SonarList(
    "groups", user_groups_search.ENDPOINT, Group, Scope.CORE, _of_organization, key=("group_id",)
)
# One who leaves and one who joins between two pages make a list that is read upwards lose a third,
# without a trace. Read downwards it repeats one instead, so of the two lists of everybody at least
# one tells.
MEMBERS = SonarList(
    "members",
    search_members.ENDPOINT,
    Member,
    Scope.CORE,
    _of_organization,
    key=("login",),
    continued_in=permissions_users.ENDPOINT.path,
)
USER_PERMISSIONS = SonarList(
    "user_permissions",
    permissions_users.ENDPOINT,
    UserPermissions,
    Scope.CORE,
    _of_organization,
    key=("login",),
    is_read_backwards=True,
)
GROUP_PERMISSIONS = SonarList(
    "group_permissions",
    permissions_groups.ENDPOINT,
    GroupPermissions,
    Scope.CORE,
    _of_organization,
    key=("group_id", "name"),
)
GROUP_MEMBERS = SonarList(
    "group_members",
    user_groups_users.ENDPOINT,
    GroupMember,
    Scope.CORE,
    lambda _, group: {"id": group.group_id},
    key=("group_id", "login"),
    of=GROUPS,
    subject="group",
)
PROJECTS = SonarList(
    "projects",
    projects_search.ENDPOINT,
    Project,
    Scope.PROJECT_PERMISSIONS,
    _of_organization,
    key=("key",),
    is_unwitnessed=True,
)
PERMISSION_TEMPLATES = SonarList(
    "permission_templates",
    permission_templates.ENDPOINT,
    PermissionTemplate,
    Scope.PROJECT_PERMISSIONS,
    _of_organization,
    is_derived=False,
)
PROJECT_USER_PERMISSIONS = SonarList(
    "project_user_permissions",
    permissions_users.ENDPOINT,
    UserPermissions,
    Scope.PROJECT_PERMISSIONS,
    _of_project,
    key=("login",),
    of=PROJECTS,
    subject="project",
    after=USER_PERMISSIONS,
    is_unwitnessed=True,
    stops_without_grants=True,
)
PROJECT_GROUP_PERMISSIONS = SonarList(
    "project_group_permissions",
    permissions_groups.ENDPOINT,
    GroupPermissions,
    Scope.PROJECT_PERMISSIONS,
    _of_project,
    key=("group_id", "name"),
    of=PROJECTS,
    subject="project",
    after=GROUP_PERMISSIONS,
    is_unwitnessed=True,
    stops_without_grants=True,
)
ORGANIZATION_ID = SonarList(
    "organization_id",
    v2_organizations.ENDPOINT,
    OrganizationId,
    Scope.ACCOUNT_DETAILS,
    lambda organization, _: {"organizationKey": organization},
    is_derived=False,
    is_optional=True,
)
ACCOUNT_DETAILS = SonarList(
    "account_details",
    v2_users.ENDPOINT,
    AccountDetail,
    Scope.ACCOUNT_DETAILS,
    lambda organization, row: (
        {"organizationIds": row.organization_id} if row.key == organization else None
    ),
    key=("login",),
    of=ORGANIZATION_ID,
    is_unwitnessed=True,
    is_optional=True,
)
CATALOGUE = SonarList(
    "catalogue",
    webservices_list.ENDPOINT,
    CatalogueEntry,
    None,
    lambda *_: {"include_internals": "true"},
    is_derived=False,
    is_optional=True,
)

LISTS: Mapping[str, SonarList[Any]] = {
    one.name: one
    for one in (
        CALLER,
        ORGANIZATION,
        CALLER_TOKENS,
        GROUPS,
        MEMBERS,
        USER_PERMISSIONS,
        GROUP_PERMISSIONS,
        GROUP_MEMBERS,
        PROJECTS,
        PERMISSION_TEMPLATES,
        PROJECT_USER_PERMISSIONS,
        PROJECT_GROUP_PERMISSIONS,
        ORGANIZATION_ID,
        ACCOUNT_DETAILS,
        CATALOGUE,
    )
}
"""Every list by its name, in the order in which they are begun."""

ENDPOINTS: Mapping[str, Endpoint] = {one.endpoint.path: one.endpoint for one in LISTS.values()}
"""Every endpoint that is or was read, by its path. One that is not read any more is added here, so
that stored answers stay readable.
"""


def page_of(path: str, params: Params, body: bytes) -> Page:
    """Parse one response body of an endpoint asked with `params`. Raises `ShapeError`."""
    return ENDPOINTS[path].page(params, body)
