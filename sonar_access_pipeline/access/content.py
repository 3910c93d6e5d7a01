"""From the responses of a snapshot to what it says: the records of every list, and the content that history derives from.

The only place that knows which lists make up a scope. Comparing lists with each other is `completeness.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

from sonar_access_pipeline.access.answers import Page, page_of
from sonar_access_pipeline.access.records import (
    ANYONE,
    Grant,
    Group,
    GroupMember,
    GroupPermissions,
    Member,
    Organization,
    Record,
    SnapshotContent,
    UserPermissions,
)
from sonar_access_pipeline.access.snapshot import ListName, Response

T = TypeVar("T", bound=Record)

Lists = Mapping[ListName, tuple[Record, ...]]


def lists_of(responses: Iterable[Response]) -> Lists:
    """The records of each list, parsed from the last reading of it, each record once, in the order first seen."""
    readings: dict[tuple[ListName, str], dict[int, list[Response]]] = defaultdict(lambda: defaultdict(list))
    for response in responses:
        readings[response.list_name, response.subject][response.reading].append(response)
    return lists_of_pages(
        {
            part: [
                page_of(response.endpoint, response.params, response.body)
                for response in sorted(by_reading[max(by_reading)], key=lambda response: response.page or 1)
            ]
            for part, by_reading in readings.items()
        }
    )


def lists_of_pages(pages: Mapping[tuple[ListName, str], Iterable[Page]]) -> Lists:
    """The records of each list from its pages, by list and subject: each record once, in the order first seen."""
    records: dict[ListName, dict[Record, None]] = defaultdict(dict)
    for (name, _), of_list in pages.items():
        for page in of_list:
            records[name].update(dict.fromkeys(page.records))
    return {name: tuple(rows) for name, rows in records.items()}


def content_of(lists: Lists) -> SnapshotContent:
    """What the lists of a complete `core` read say.

    Permissions of a group that the list of groups does not know keep their name as principal: an orphan is kept, not
    dropped, and `completeness.py` has already refused to call such a snapshot complete.
    """
    groups = cast(tuple[Group, ...], lists.get(ListName.GROUPS, ()))
    ids = {group.name: group.group_id for group in groups}
    user_grants = (
        Grant("user", row.login, "organization", None, permission)
        for row in cast(tuple[UserPermissions, ...], lists.get(ListName.USER_PERMISSIONS, ()))
        for permission in row.permissions
    )
    group_grants = (
        _group_grant(row, ids, permission)
        for row in cast(tuple[GroupPermissions, ...], lists.get(ListName.GROUP_PERMISSIONS, ()))
        for permission in row.permissions
    )
    return SnapshotContent(
        organization=cast(tuple[Organization, ...], lists[ListName.ORGANIZATION])[0],
        members=cast(tuple[Member, ...], lists.get(ListName.MEMBERS, ())),
        groups=groups,
        group_members=cast(tuple[GroupMember, ...], lists.get(ListName.GROUP_MEMBERS, ())),
        grants=(*user_grants, *group_grants),
    )


def _group_grant(row: GroupPermissions, ids: Mapping[str, str], permission: str) -> Grant:
    if is_anyone(row):
        return Grant("anyone", ANYONE, "organization", None, permission)
    return Grant("group", row.group_id or ids.get(row.name, row.name), "organization", None, permission)


def is_anyone(row: GroupPermissions) -> bool:
    """Whether the row is the pseudo group of everybody; a real group of that name has an id."""
    return row.group_id is None and row.name == ANYONE
