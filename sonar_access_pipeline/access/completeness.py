"""Is a snapshot all there is? Controls that compare lists which know nothing of each other, and the
verdict on all of them.

Two kinds of controls: about *who exists* (a disagreement makes the snapshot incomplete) and about
*counts* (a disagreement is a failed reconciliation, stored and shown, but the lists themselves were
complete). Accounts that are no members and keep their rights are of the second kind, once the lists
stand still: SonarCloud leaves such rows behind (reference 9).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter, ne

from sonar_access_pipeline.access.content import (
    Lists,
    everybody,
    is_anyone,
    is_cut_off,
    non_members,
)
from sonar_access_pipeline.access.lists import (
    ACCOUNT_DETAILS,
    CALLER,
    GROUP_PERMISSIONS,
    GROUPS,
    LISTS,
    MEMBERS,
    PROJECT_GROUP_PERMISSIONS,
    USER_PERMISSIONS,
    Part,
)
from sonar_access_pipeline.access.records import (
    CallerToken,
    GroupMember,
    GroupPermissions,
    SnapshotContent,
)
from sonar_access_pipeline.access.snapshot import Control, ListRead, Scope, Verdict

LOGIN = attrgetter("login")
GROUP_ID = attrgetter("group_id")


def who_exists(
    lists: Lists, reads: Mapping[Part, ListRead], *, stand_still: bool = False
) -> tuple[Control, ...]:
    """Controls on who exists: two independent lists of everybody, and no group that only one list
    knows. None may fail.

    A member list cut off at its window agrees when everybody it shows is in `permissions/users`,
    and that list has exactly as many accounts as the member list reports. Lists that `stand_still`
    may differ by accounts that are no members any more: then `lists_agree` says so, and nobody is
    missing.
    """
    members = set(map(LOGIN, lists.of(MEMBERS)))
    permitted = set(map(LOGIN, lists.of(USER_PERMISSIONS)))
    reported = reads[MEMBERS.name, ""].reported_total if (MEMBERS.name, "") in reads else None
    expected = max(len(members), reported or 0)
    left_behind = stand_still and len(members) == expected and not is_cut_off(lists)
    agree = members <= permitted and (len(permitted) == expected or left_behind)
    detail = (
        f"{len(members - permitted)} only in search_members, {len(permitted - members)} only in"
        " permissions/users"
    )
    cut_off = (
        f"{len(members)} of {expected} in both, the others in permissions/users alone"
        if expected > len(members)
        else None
    )
    listed = {_group_of(row) for row in _group_rows(lists)}
    strangers = len({_group_of(row) for row in rows_of_unknown_groups(lists)})
    return (
        Control(
            "members_listed_twice",
            "logins of search_members and of permissions/users",
            expected,
            len(permitted),
            agree,
            cut_off or (detail if permitted - members else None) if agree else detail,
        ),
        Control(
            "groups_with_permissions_are_listed",
            "groups of permissions/groups, and those of them in user_groups/search",
            len(listed),
            len(listed) - strangers,
            strangers == 0,
            (
                f"{strangers} groups with permissions are not in the list of groups"
                if strangers
                else None
            ),
        ),
    )


def rows_of_unknown_groups(lists: Lists) -> list[GroupPermissions]:
    """Find the permissions, on the organization or on a project, of groups that are not in the list
    of groups.
    """
    groups = lists.of(GROUPS)
    known = {group.group_id for group in groups} | {group.name for group in groups}
    return [row for row in _group_rows(lists) if _group_of(row) not in known]


def _group_rows(lists: Lists) -> Iterator[GroupPermissions]:
    rows = lists.of(GROUP_PERMISSIONS) + lists.of(PROJECT_GROUP_PERMISSIONS)
    return (row for row in rows if not is_anyone(row))


def _group_of(row: GroupPermissions) -> str:
    """Its id, or its name where SonarCloud leaves the id out."""
    return row.group_id or row.name


def somebody_administers(content: SnapshotContent) -> tuple[Control, ...]:
    """Build the control that an organization read by one of its admins has an admin in its lists,
    too. This control may not fail.
    """
    if not content.organization.caller_is_admin:
        return ()
    admins = len(admin_logins(content))
    return (
        Control(
            "somebody_administers",
            "the account that reads administers the organization, and the accounts that do so by"
            " the lists of permissions",
            1,
            admins,
            admins > 0,
            None if admins else "no list of permissions shows an admin",
        ),
    )


def lists_agree(lists: Lists, content: SnapshotContent) -> tuple[Control, ...]:
    """Controls on lists that should hold the same, though nobody's access hangs on one of them
    alone.
    """
    members = set(map(LOGIN, content.members))
    in_groups = set(map(LOGIN, content.group_members))
    groups = content.groups
    with_permissions = {_group_of(row) for row in _group_rows(lists) if row.project_key is None}
    unlisted = sum(
        group.group_id not in with_permissions and group.name not in with_permissions
        for group in groups
    )
    return (
        Control(
            "group_members_are_members",
            "logins in groups, and those of them that are members",
            len(in_groups),
            len(in_groups & members),
            in_groups <= members,
            (
                f"{len(in_groups - members)} logins are in a group without being a member"
                if in_groups - members
                else None
            ),
        ),
        Control(
            "groups_listed_twice",
            "groups of user_groups/search, and those of them in permissions/groups",
            len(groups),
            len(groups) - unlisted,
            unlisted == 0,
            f"{unlisted} groups are not in the list of permissions" if unlisted else None,
        ),
        *_of_non_members(lists),
        *_caller_administers(lists, content),
    )


def _of_non_members(lists: Lists) -> Iterator[Control]:
    """Yield a control that counts the accounts in the list of permissions and not in that of
    members, if any.
    """
    if left_behind := len(non_members(lists)):
        permitted = len(lists.of(USER_PERMISSIONS))
        yield Control(
            "holders_are_members",
            "accounts of permissions/users, and those of them that are members",
            permitted,
            permitted - left_behind,
            False,
            f"{left_behind} accounts are listed with permissions, often none, without being"
            " members",
        )


def _caller_administers(lists: Lists, content: SnapshotContent) -> Iterator[Control]:
    """Yield the control that the lists, too, show the account that reads as an admin, where
    SonarCloud says that it is one.
    """
    callers = {caller.login for caller in lists.of(CALLER)}
    if callers and content.organization.caller_is_admin:
        shown = len(callers & admin_logins(content))
        yield Control(
            "caller_administers",
            "the account that reads administers the organization by its own word, and by the lists",
            len(callers),
            shown,
            shown == len(callers),
            None if shown else "no list shows the right by which it administers",
        )


def counts_agree(content: SnapshotContent) -> tuple[Control, ...]:
    """Controls on counts: memberships, group sizes and admins, each stated by SonarCloud in two
    places.
    """
    members = content.members
    groups = content.groups
    memberships = Counter(map(LOGIN, content.group_members))
    sizes = group_sizes(content.group_members)
    admins = admin_logins(content)
    return (
        _compare(
            "memberships_per_member",
            "groupCount of each member, and the groups that list the member",
            [member.group_count for member in members],
            [memberships[member.login] for member in members],
        ),
        _compare(
            "members_per_group",
            "membersCount of each group, and the members it lists",
            [group.members_count for group in groups],
            [sizes[group.group_id] for group in groups],
        ),
        _compare(
            "admins",
            "isOrgAdmin of each member, and admin granted directly or through a group",
            [member.is_organization_admin for member in members],
            [member.login in admins for member in members],
        ),
    )


def group_sizes(memberships: Iterable[GroupMember]) -> Counter[str]:
    """Count the members that each group lists, by group id."""
    return Counter(map(GROUP_ID, memberships))


def admin_logins(content: SnapshotContent) -> set[str]:
    """Find every login with the organization permission `admin`, granted directly or through a
    group.
    """
    admin = [
        grant
        for grant in content.grants
        if (grant.scope, grant.permission) == ("organization", "admin")
    ]
    groups = {grant.principal for grant in admin if grant.principal_type == "group"}
    direct = {grant.principal for grant in admin if grant.principal_type == "user"}
    return direct | {
        membership.login for membership in content.group_members if membership.group_id in groups
    }


def _compare(
    name: str, compares: str, stated: Sequence[int | None], found: Sequence[int]
) -> Control:
    known = [pair for pair in zip(stated, found, strict=True) if pair[0] is not None]
    if not known:
        return Control(name, compares, None, None, None, "SonarCloud does not state it for anybody")
    left, right = zip(*known, strict=True)
    differing = sum(map(ne, left, right))
    detail = f"{differing} of {len(known)} differ" if differing else None
    return Control(name, compares, sum(left), sum(right), differing == 0, detail)


def details_are_of_members(lists: Lists, read: ListRead) -> str | None:
    """Return why the account details cannot be those of this organization's members; None when they
    can.

    A filter that the service ignores would deliver everybody it knows: no more accounts may come
    than there are members.
    """
    if read.verdict is not Verdict.COMPLETE:
        return f"the list {label(read)} is incomplete: {read.reason}"
    members = {member.login for member in everybody(lists)} | non_members(lists).keys()
    strangers = {detail.login for detail in lists.of(ACCOUNT_DETAILS)} - members
    return (
        f"{len(strangers)} of its accounts are no members, so it is not the list of this"
        " organization"
        if strangers
        else None
    )


def snapshot_verdict(
    reads: Iterable[ListRead], controls: Sequence[Control]
) -> tuple[Verdict, str | None]:
    """Complete when every list is and nobody is missing from one of two lists; else the first
    reasons, in one sentence.
    """
    incomplete = (read for read in reads if read.verdict is not Verdict.COMPLETE)
    reasons = [f"the list {label(read)} is incomplete: {read.reason}" for read in incomplete]
    reasons += [
        f"two lists disagree ({c.compares}): {c.left} against {c.right}"
        for c in controls
        if c.passed is False
    ]
    if not reasons:
        return Verdict.COMPLETE, None
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return Verdict.INCOMPLETE, "; ".join(reasons[:3]) + more


def label(read: ListRead) -> str:
    """Name a list as people read it, with the group or project it belongs to."""
    return LISTS[read.name].label(read.subject)


def counts(content: SnapshotContent, scopes: Iterable[Scope]) -> dict[str, int]:
    """Count what a snapshot holds, without a name in it."""
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


def token_ages(tokens: Sequence[CallerToken], now: datetime) -> dict[str, int]:
    """Return how many tokens the caller has, the age of the oldest and the days until the next one
    ends, where SonarCloud says so.

    SonarCloud does not say which of these tokens is the one that reads.
    """
    if not tokens:
        return {}
    ages = [(now - token.created_at).days for token in tokens if token.created_at]
    ends = [(token.expires_at - now).days for token in tokens if token.expires_at]
    answer = {"own_tokens": len(tokens)}
    if ages:
        answer["oldest_own_token_days"] = max(ages)
    if ends:
        answer["own_token_expires_in_days"] = min(ends)
    return answer
