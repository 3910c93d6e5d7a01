"""From the responses of a snapshot to what it says: the records of every list, and the content that
history derives from.

Which lists there are is `lists.py`. Comparing lists with each other is `completeness.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Literal, TypeVar, cast

from sonar_access_pipeline.access.endpoints import Page
from sonar_access_pipeline.access.endpoints.shape import Params
from sonar_access_pipeline.access.lists import (
    ACCOUNT_DETAILS,
    GROUP_MEMBERS,
    GROUP_PERMISSIONS,
    GROUPS,
    LISTS,
    MEMBERS,
    ORGANIZATION,
    PROJECT_GROUP_PERMISSIONS,
    PROJECT_USER_PERMISSIONS,
    PROJECTS,
    USER_PERMISSIONS,
    Part,
    SonarList,
    page_of,
)
from sonar_access_pipeline.access.policy import PolicyInForce
from sonar_access_pipeline.access.readings import Reading, counting
from sonar_access_pipeline.access.records import (
    ANYONE,
    Grant,
    GroupPermissions,
    Member,
    PrincipalType,
    Record,
    SnapshotContent,
    UserPermissions,
)
from sonar_access_pipeline.access.snapshot import Response, Scope

R = TypeVar("R", bound=Record)


class Lists:
    """The records of each list, those of all its subjects together."""

    def __init__(self, records: Mapping[str, tuple[Record, ...]]) -> None:
        self._records = records

    def of(self, one: SonarList[R]) -> tuple[R, ...]:
        """Return the records of one list; none where it was not read."""
        return cast("tuple[R, ...]", self._records.get(one.name, ()))


class Gathered:
    """The records of every list, added list by list, in the order first seen."""

    def __init__(self) -> None:
        self._records: dict[Part, tuple[Record, ...]] = {}

    def put(self, part: Part, records: Iterable[Record]) -> None:
        """Set what a list says, each thing once; what it said before is forgotten."""
        self._records[part] = tuple(record for record in records if not _says_nothing(record))

    def drop(self, part: Part) -> None:
        """Forget a list: its subject is gone."""
        self._records.pop(part, None)

    def lists(self) -> Lists:
        """Return all there is, by list."""
        together: dict[str, list[Record]] = defaultdict(list)
        for (name, _), records in self._records.items():
            together[name] += records
        return Lists({name: tuple(records) for name, records in together.items()})

    def of(self, one: SonarList[R]) -> tuple[R, ...]:
        """Return the records of a list that there is one of."""
        return cast("tuple[R, ...]", self.part((one.name, "")))

    def part(self, part: Part) -> tuple[Record, ...]:
        """Return the records of one list of one subject."""
        return self._records.get(part, ())

    def orphans(self, parts: Iterable[Part]) -> list[Part]:
        """Return those `parts` whose group or project the list of groups or projects does not
        hold.
        """
        owned = {one.name: one.of for one in LISTS.values() if one.of and one.subject}
        owners = {of: {str(key) for key in of.keys_of(self.of(of))} for of in owned.values()}
        return [
            part for part in parts if part[0] in owned and part[1] not in owners[owned[part[0]]]
        ]


def _says_nothing(record: Record) -> bool:
    """Tell whether a record grants an account or a group nothing on a project: most do, and those
    are not kept.
    """
    return (
        isinstance(record, UserPermissions | GroupPermissions)
        and record.project_key is not None
        and not record.permissions
    )


Parse = Callable[[str, Params, bytes], Page]
"""What parses an answer: endpoint, parameters, body."""


def lists_of(responses: Iterable[Response], parse: Parse = page_of) -> Lists:
    """Parse the records of each list from those of its readings that count.

    The members of a group that is in no list of groups any more, and the permissions of a project
    in no list of projects, are left out: they were deleted while they were read.
    """
    gathered = Gathered()
    parts = by_part(responses)
    for part, of_part in parts.items():
        gathered.put(part, counting(LISTS[part[0]], readings_of(of_part, parse)).records)
    for part in gathered.orphans(parts):
        gathered.drop(part)
    return gathered.lists()


def by_part(responses: Iterable[Response]) -> Mapping[Part, list[Response]]:
    """Sort responses by the list and the subject that they are of."""
    parts: dict[Part, list[Response]] = defaultdict(list)
    for response in responses:
        parts[response.list_name, response.subject].append(response)
    return parts


def readings_of(responses: Iterable[Response], parse: Parse = page_of) -> Iterator[Reading]:
    """Yield the last readings of one list that follow each other, the newest first, each parsed
    when it is asked for.

    A number is left out where another list cast doubt on this one: the readings before it are not
    given.
    """
    by_reading: dict[int, list[Response]] = defaultdict(list)
    for response in responses:
        by_reading[response.reading].append(response)
    number = max(by_reading, default=0)
    while number in by_reading:
        in_order = sorted(by_reading[number], key=lambda response: response.page or 1)
        yield [parse(response.endpoint, response.params, response.body) for response in in_order]
        number -= 1


def content_of(
    lists: Lists,
    scopes: Iterable[Scope] = (Scope.CORE,),
    in_force: PolicyInForce | None = None,
    pseudonyms: frozenset[str] = frozenset(),
) -> SnapshotContent:
    """Build the content that the lists of a complete read show, as far as its `scopes` reach,
    judged by the policy `in_force` (or the defaults).

    Members beyond the 10,000 that `search_members` shows are the further accounts that
    `permissions/users` lists; what only `search_members` says of an account is then unknown.
    Permissions of a group that the list of groups does not know keep the group's name as principal:
    an orphan is kept, not dropped, and `completeness.py` has already refused to call such a
    snapshot complete.
    """
    read = set(scopes)
    groups = lists.of(GROUPS)
    ids = {group.name: group.group_id for group in groups}
    user_rows = lists.of(USER_PERMISSIONS)
    group_rows = lists.of(GROUP_PERMISSIONS)
    if Scope.PROJECT_PERMISSIONS in read:
        user_rows += lists.of(PROJECT_USER_PERMISSIONS)
        group_rows += lists.of(PROJECT_GROUP_PERMISSIONS)
    user_grants = chain.from_iterable(_grants("user", row.login, row) for row in user_rows)
    group_grants = chain.from_iterable(_group_grants(row, ids) for row in group_rows)
    return SnapshotContent(
        scopes=frozenset(read),
        in_force=in_force or PolicyInForce(),
        organization=lists.of(ORGANIZATION)[0],
        members=everybody(lists),
        groups=groups,
        group_members=lists.of(GROUP_MEMBERS),
        grants=(*user_grants, *group_grants),
        projects=lists.of(PROJECTS) if Scope.PROJECT_PERMISSIONS in read else (),
        account_details=lists.of(ACCOUNT_DETAILS) if Scope.ACCOUNT_DETAILS in read else (),
        non_members=non_members(lists),
        pseudonyms=pseudonyms,
    )


def answers(responses: Iterable[Response]) -> list[tuple[object, ...]]:
    """Return what was asked for the lists that history derives from, and the digest of what came,
    in an order of its own.

    Where two snapshots of the same scopes give the same, they say the same: nothing need be parsed
    to know.
    """
    return sorted(
        (
            answer.list_name,
            answer.subject,
            answer.reading,
            answer.page or 0,
            answer.endpoint,
            str(answer.params),
            answer.body_sha256,
        )
        for answer in responses
        if LISTS[answer.list_name].is_derived
    )


def in_any_order(content: SnapshotContent) -> tuple[object, ...]:
    """Return what a content says in a form in which two readings of one thing are equal, in
    whatever order it came.
    """
    return (
        content.organization,
        *(
            frozenset(records)
            for records in (
                content.members,
                content.groups,
                content.group_members,
                content.grants,
                content.projects,
                content.account_details,
            )
        ),
    )


def everybody(lists: Lists) -> tuple[Member, ...]:
    """List every member: those in the member list, and behind its window those who are only in
    `permissions/users`, of whom only the name is known.
    """
    listed = lists.of(MEMBERS)
    return (
        (*listed, *[Member(row.login, row.name, None, None) for row in _unlisted(lists)])
        if is_cut_off(lists)
        else listed
    )


def non_members(lists: Lists) -> dict[str, str | None]:
    """Find the accounts in `permissions/users` that a whole member list does not hold, by login,
    with their names: they left, and some of their rights stayed.
    """
    return {} if is_cut_off(lists) else {row.login: row.name for row in _unlisted(lists)}


def is_cut_off(lists: Lists) -> bool:
    """Tell whether the member list may go on behind the last row that SonarCloud shows of it."""
    window = MEMBERS.endpoint.window
    return window is not None and len(lists.of(MEMBERS)) >= window


def _unlisted(lists: Lists) -> list[UserPermissions]:
    logins = {member.login for member in lists.of(MEMBERS)}
    return [row for row in lists.of(USER_PERMISSIONS) if row.login not in logins]


def _grants(
    kind: PrincipalType, principal: str, row: UserPermissions | GroupPermissions
) -> Iterator[Grant]:
    scope: Literal["organization", "project"]
    scope = "organization" if row.project_key is None else "project"
    # An empty key, which an older version took in, is no right.
    for permission in filter(None, row.permissions):
        yield Grant(kind, principal, scope, row.project_key, permission)


def _group_grants(row: GroupPermissions, ids: Mapping[str, str]) -> Iterator[Grant]:
    if is_anyone(row):
        return _grants("anyone", ANYONE, row)
    return _grants("group", row.group_id or ids.get(row.name, row.name), row)


def is_anyone(row: GroupPermissions) -> bool:
    """Tell the pseudo group of everybody from a real one: without an id, or, on newer servers, with
    its name for an id.

    A real group of that name has an id of its own.
    """
    return row.name == ANYONE and row.group_id in (None, ANYONE)
