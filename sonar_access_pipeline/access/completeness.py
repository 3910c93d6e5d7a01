"""Is a snapshot all there is? Verdicts on one list, and controls that compare lists that know nothing of each other.

Two kinds of controls: about *who exists* (a disagreement makes the snapshot incomplete) and about *counts* (a
disagreement is a failed reconciliation, stored and shown, but the lists themselves were complete).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import cast

from sonar_access_pipeline.access.content import Lists, everybody, is_anyone
from sonar_access_pipeline.access.endpoints import Page
from sonar_access_pipeline.access.records import (
    AccountDetail,
    Group,
    GroupMember,
    GroupPermissions,
    Member,
    Project,
    Record,
    SnapshotContent,
    UserPermissions,
)
from sonar_access_pipeline.access.snapshot import Control, ListName, ListRead, Scope, Verdict


def key_of(record: Record) -> Hashable:
    """What makes two records of one list the same thing."""
    match record:
        case Member() | UserPermissions() | AccountDetail():
            return record.login
        case Group():
            return record.group_id
        case GroupMember():
            return (record.group_id, record.login)
        case GroupPermissions():
            return (record.group_id, record.name)
        case Project():
            return record.key
        case _:
            return record


def list_read(
    name: ListName,
    subject: str,
    pages: Sequence[Page],
    reading: int,
    *,
    window: int | None = None,
    others_without_grants: bool = False,
) -> ListRead:
    """The verdict on one reading of one list: complete when every page reports one total and the distinct keys are that many.

    Two lists are complete though rows of their total are missing, and say so in `reason`: the member list, which SonarCloud
    shows to the end of its `window` only (`who_exists` then demands the others from another list), and the permissions of a
    project when `others_without_grants`: it was stopped at a row without grants, and behind that nobody has any.
    """
    keys = [key_of(record) for page in pages for record in page.records]
    distinct = len(set(keys))
    totals = [page.total for page in pages if page.total is not None]
    reported = totals[-1] if totals else None
    fault = _moved_or_repeated(totals, len(keys), distinct)
    note = None
    if fault is None and reported is not None and distinct != reported:
        fault = f"it reports {reported} rows and delivers {distinct}"
        if distinct < reported and others_without_grants:
            fault, note = None, f"stopped at a row without grants: the other {reported - distinct} rows have none"
        elif name is ListName.MEMBERS and window is not None and distinct == window < reported:
            fault, note = None, f"SonarCloud shows {window} of {reported}; the others come from permissions/users"
        elif window is not None and distinct == window < reported:
            fault = f"it reports {reported} rows, of which SonarCloud shows the first {window}"
    return ListRead(
        name=name,
        subject=subject,
        reported_total=reported,
        rows=len(keys),
        distinct=distinct,
        rereads=reading - 1,
        verdict=Verdict.INCOMPLETE if fault else Verdict.COMPLETE,
        reason=fault or note,
    )


def _moved_or_repeated(totals: Sequence[int], rows: int, distinct: int) -> str | None:
    if len(set(totals)) > 1:
        return f"its total moved from {totals[0]} to {totals[-1]} while it was read"
    if totals and rows != distinct:
        return f"{rows - distinct} of its {rows} rows came twice, of {totals[0]} reported"
    return None


def grants_come_first(records: Iterable[Record]) -> bool | None:
    """Whether no row with grants stands behind one without. None where that cannot be told: the list has not both kinds."""
    granted = [bool(record.permissions) for record in records if isinstance(record, UserPermissions | GroupPermissions)]
    if len(set(granted)) < 2:
        return None
    return all(before or not after for before, after in pairwise(granted))


def who_exists(lists: Lists, reads: Mapping[tuple[ListName, str], ListRead]) -> tuple[Control, ...]:
    """Controls on who exists: two independent lists of everybody, and no group that only one list knows. None may fail.

    A member list cut off at its window agrees when everybody it shows is in `permissions/users`, and that list has exactly as
    many accounts as the member list reports.
    """
    members = {member.login for member in cast(tuple[Member, ...], lists.get(ListName.MEMBERS, ()))}
    permitted = {row.login for row in cast(tuple[UserPermissions, ...], lists.get(ListName.USER_PERMISSIONS, ()))}
    reported = reads[ListName.MEMBERS, ""].reported_total if (ListName.MEMBERS, "") in reads else None
    expected = max(len(members), reported or 0)
    agree = members <= permitted and len(permitted) == expected
    detail = f"{len(members - permitted)} only in search_members, {len(permitted - members)} only in permissions/users"
    cut_off = f"{len(members)} of {expected} in both, the others in permissions/users alone" if expected > len(members) else None
    groups = cast(tuple[Group, ...], lists.get(ListName.GROUPS, ()))
    known = {group.group_id for group in groups} | {group.name for group in groups}
    rows = [
        row
        for name in (ListName.GROUP_PERMISSIONS, ListName.PROJECT_GROUP_PERMISSIONS)
        for row in cast(tuple[GroupPermissions, ...], lists.get(name, ()))
        if not is_anyone(row)
    ]
    listed = {row.group_id or row.name for row in rows}
    strangers = len(listed - known)
    return (
        Control(
            "members_listed_twice",
            "logins of search_members and of permissions/users",
            expected,
            len(permitted),
            agree,
            cut_off if agree else detail,
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
    sizes = group_sizes(content.group_members)
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


def group_sizes(memberships: Iterable[GroupMember]) -> Counter[str]:
    """How many members each group lists, by id."""
    return Counter(membership.group_id for membership in memberships)


def admin_logins(content: SnapshotContent) -> set[str]:
    """Every login with the organization permission `admin`, granted directly or through a group."""
    admin = [grant for grant in content.grants if (grant.scope, grant.permission) == ("organization", "admin")]
    groups = {grant.principal for grant in admin if grant.principal_type == "group"}
    direct = {grant.principal for grant in admin if grant.principal_type == "user"}
    return direct | {membership.login for membership in content.group_members if membership.group_id in groups}


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


def details_are_of_members(lists: Lists, read: ListRead) -> str | None:
    """Why the account details cannot be those of this organization's members; None when they can.

    A filter that the service ignores would deliver everybody it knows: no more accounts may come than there are members.
    """
    if read.verdict is not Verdict.COMPLETE:
        return f"the list {label(read)} is incomplete: {read.reason}"
    members = {member.login for member in everybody(lists)}
    strangers = {detail.login for detail in cast(tuple[AccountDetail, ...], lists.get(ListName.ACCOUNT_DETAILS, ()))} - members
    return f"{len(strangers)} of its accounts are no members, so it is not the list of this organization" if strangers else None


def snapshot_verdict(reads: Iterable[ListRead], controls: Sequence[Control]) -> tuple[Verdict, str | None]:
    """Complete when every list is and nobody is missing from one of two lists; else the first reasons, in one sentence."""
    incomplete = (read for read in reads if read.verdict is not Verdict.COMPLETE)
    reasons = [f"the list {label(read)} is incomplete: {read.reason}" for read in incomplete]
    reasons += [f"two lists disagree ({c.compares}): {c.left} against {c.right}" for c in controls if c.passed is False]
    if not reasons:
        return Verdict.COMPLETE, None
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return Verdict.INCOMPLETE, "; ".join(reasons[:3]) + more


def label(read: ListRead) -> str:
    """The name of a list as people read it, with the group or project it belongs to."""
    if not read.subject:
        return str(read.name)
    return f"{read.name} of {'group' if read.name is ListName.GROUP_MEMBERS else 'project'} {read.subject}"


def counts(content: SnapshotContent, scopes: Iterable[Scope]) -> dict[str, int]:
    """How much a snapshot holds, without a name in it."""
    answer = {
        "members": len(content.members),
        "groups": len(content.groups),
        "group_members": len(content.group_members),
        "grants": len(content.grants),
        "admins": len(admin_logins(content)),
    }
    if Scope.PROJECT_PERMISSIONS in scopes:
        answer["projects"] = len(content.projects)
    if Scope.ACCOUNT_DETAILS in scopes:
        answer["account_details"] = len(content.account_details)
    return answer
