"""Is a snapshot all there is? Verdicts on one list, and controls that compare lists that know nothing of each other.

Two kinds of controls: about *who exists* (a disagreement makes the snapshot incomplete) and about *counts* (a
disagreement is a failed reconciliation, stored and shown, but the lists themselves were complete).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import cast

from sonar_access_pipeline.access.answers import Page
from sonar_access_pipeline.access.content import Lists, is_anyone
from sonar_access_pipeline.access.records import (
    Group,
    GroupMember,
    GroupPermissions,
    Member,
    Record,
    SnapshotContent,
    UserPermissions,
)
from sonar_access_pipeline.access.snapshot import Control, ListName, ListRead, Verdict


def key_of(record: Record) -> Hashable:
    """What makes two records of one list the same thing."""
    match record:
        case Member() | UserPermissions():
            return record.login
        case Group():
            return record.group_id
        case GroupMember():
            return (record.group_id, record.login)
        case GroupPermissions():
            return (record.group_id, record.name)
        case _:
            return record


def list_read(name: ListName, subject: str, pages: Sequence[Page], reading: int) -> ListRead:
    """The verdict on one reading of one list: complete when every page reports one total and the distinct keys are that many."""
    keys = [key_of(record) for page in pages for record in page.records]
    distinct = len(set(keys))
    totals = [page.total for page in pages if page.total is not None]
    reason = _list_fault(totals, len(keys), distinct)
    return ListRead(
        name=name,
        subject=subject,
        reported_total=totals[-1] if totals else None,
        rows=len(keys),
        distinct=distinct,
        rereads=reading - 1,
        verdict=Verdict.INCOMPLETE if reason else Verdict.COMPLETE,
        reason=reason,
    )


def _list_fault(totals: Sequence[int], rows: int, distinct: int) -> str | None:
    if not totals:
        return None
    if len(set(totals)) > 1:
        return f"its total moved from {totals[0]} to {totals[-1]} while it was read"
    if rows != distinct:
        return f"{rows - distinct} of its {rows} rows came twice, of {totals[0]} reported"
    if distinct != totals[0]:
        return f"it reports {totals[0]} rows and delivers {distinct}"
    return None


def who_exists(lists: Lists) -> tuple[Control, ...]:
    """Controls on who exists: two independent lists of everybody, and no group that only one list knows. None may fail."""
    members = {member.login for member in cast(tuple[Member, ...], lists.get(ListName.MEMBERS, ()))}
    permitted = {row.login for row in cast(tuple[UserPermissions, ...], lists.get(ListName.USER_PERMISSIONS, ()))}
    groups = cast(tuple[Group, ...], lists.get(ListName.GROUPS, ()))
    rows = cast(tuple[GroupPermissions, ...], lists.get(ListName.GROUP_PERMISSIONS, ()))
    known = {group.group_id for group in groups} | {group.name for group in groups}
    listed = [row for row in rows if not is_anyone(row)]
    strangers = sum((row.group_id or row.name) not in known for row in listed)
    only_members, only_permitted = len(members - permitted), len(permitted - members)
    return (
        Control(
            "members_listed_twice",
            "logins of search_members and of permissions/users",
            len(members),
            len(permitted),
            members == permitted,
            f"{only_members} only in search_members, {only_permitted} only in permissions/users"
            if members != permitted
            else None,
        ),
        Control(
            "groups_with_permissions_are_listed",
            "groups of permissions/groups, and those of them in user_groups/search",
            len(listed),
            len(listed) - strangers,
            strangers == 0,
            f"{strangers} groups with permissions are not in the list of groups" if strangers else None,
        ),
    )


def counts_agree(content: SnapshotContent) -> tuple[Control, ...]:
    """Controls on counts: memberships, group sizes and admins, each stated by SonarCloud in two places."""
    memberships = Counter(membership.login for membership in content.group_members)
    admins = admin_logins(content)
    sizes = Counter(membership.group_id for membership in content.group_members)
    return (
        _compare(
            "memberships_per_member",
            "groupCount of each member, and the groups that list the member",
            [(member.group_count, memberships[member.login]) for member in content.members],
        ),
        _compare(
            "members_per_group",
            "membersCount of each group, and the members it lists",
            [(group.members_count, sizes[group.group_id]) for group in content.groups],
        ),
        _compare(
            "admins",
            "isOrgAdmin of each member, and admin granted directly or through a group",
            [
                (
                    None if member.is_organization_admin is None else int(member.is_organization_admin),
                    member.login in admins,
                )
                for member in content.members
            ],
        ),
    )


def admin_logins(content: SnapshotContent) -> set[str]:
    """Every login with the organization permission `admin`, granted directly or through a group."""
    admin_groups = {g.principal for g in content.grants if (g.principal_type, g.permission) == ("group", "admin")}
    direct = {g.principal for g in content.grants if (g.principal_type, g.permission) == ("user", "admin")}
    return direct | {membership.login for membership in content.group_members if membership.group_id in admin_groups}


def _compare(name: str, compares: str, pairs: Iterable[tuple[int | None, int]]) -> Control:
    known = [(stated, found) for stated, found in pairs if stated is not None]
    if not known:
        return Control(name, compares, None, None, None, "SonarCloud does not state it for anybody")
    differing = sum(stated != found for stated, found in known)
    return Control(
        name,
        compares,
        sum(stated for stated, _ in known),
        sum(found for _, found in known),
        differing == 0,
        f"{differing} of {len(known)} differ" if differing else None,
    )


def snapshot_verdict(reads: Sequence[ListRead], controls: Sequence[Control]) -> tuple[Verdict, str | None]:
    """Complete when every list is and nobody is missing from one of two lists; else the first reasons, in one sentence."""
    reasons = [f"the list {label(read)} is incomplete: {read.reason}" for read in reads if read.reason]
    reasons += [f"two lists disagree ({c.compares}): {c.left} against {c.right}" for c in controls if c.passed is False]
    if not reasons:
        return Verdict.COMPLETE, None
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return Verdict.INCOMPLETE, "; ".join(reasons[:3]) + more


def label(read: ListRead) -> str:
    """The name of a list as people read it, with the group it belongs to."""
    return f"{read.name} of group {read.subject}" if read.subject else str(read.name)


def counts(content: SnapshotContent) -> dict[str, int]:
    """How much a snapshot holds, without a name in it."""
    return {
        "members": len(content.members),
        "groups": len(content.groups),
        "group_members": len(content.group_members),
        "grants": len(content.grants),
        "admins": len(admin_logins(content)),
    }
