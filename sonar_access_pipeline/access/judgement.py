"""A snapshot's verdict, judged again from nothing but its answers: what it claims of itself is no proof.

For whoever did not see it read: an import, a verification. How a list is read is `sonarcloud/gather.py`; what makes one whole is
`readings.py`, and what must agree is `completeness.py`, for both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from sonar_access_pipeline.access.completeness import (
    details_are_of_members,
    snapshot_verdict,
    somebody_administers,
    who_exists,
)
from sonar_access_pipeline.access.content import Gathered, Lists, content_of, readings_of
from sonar_access_pipeline.access.endpoints import ENDPOINTS
from sonar_access_pipeline.access.readings import Counting, counting, grants_come_first, list_read
from sonar_access_pipeline.access.records import Group, GroupPermissions, Project, SnapshotContent, UserPermissions
from sonar_access_pipeline.access.snapshot import ListName, ListRead, Response, Scope, Verdict

OF_CORE = (
    ListName.ORGANIZATION,
    ListName.MEMBERS,
    ListName.GROUPS,
    ListName.USER_PERMISSIONS,
    ListName.GROUP_PERMISSIONS,
)
"""The lists of the organization as a whole that scope `core` cannot be without."""
OF_EACH_PROJECT = (ListName.PROJECT_USER_PERMISSIONS, ListName.PROJECT_GROUP_PERMISSIONS)

Reads = Mapping[tuple[ListName, str], ListRead]


def judged(scopes: Iterable[Scope], responses: Iterable[Response]) -> tuple[Verdict, str | None, SnapshotContent | None]:
    """Complete or incomplete, why, and what the answers say where they are complete.

    Raises `ValueError` or `LookupError` where an answer cannot be read.
    """
    read = frozenset(scopes)
    gathered, reads = _read(responses)
    lists = gathered.lists()
    if missing := next(_missing(lists, reads, read), None):
        return Verdict.INCOMPLETE, missing, None
    content = content_of(lists, read)
    if Scope.ACCOUNT_DETAILS in read:
        fault = details_are_of_members(lists, reads[ListName.ACCOUNT_DETAILS, ""])
        if fault is not None:
            return Verdict.INCOMPLETE, fault, None
    needed = [found for found in reads.values() if found.name in NEEDED]
    controls = (*who_exists(lists, reads, stand_still=True), *somebody_administers(content))
    verdict, reason = snapshot_verdict(needed, controls)
    return verdict, reason, content if verdict is Verdict.COMPLETE else None


NEEDED = frozenset({*OF_CORE, ListName.GROUP_MEMBERS, ListName.PROJECTS, *OF_EACH_PROJECT})


def _read(responses: Iterable[Response]) -> tuple[Gathered, dict[tuple[ListName, str], ListRead]]:
    parts: dict[tuple[ListName, str], list[Response]] = defaultdict(list)
    for response in responses:
        parts[response.list_name, response.subject].append(response)
    gathered, reads = Gathered(), dict[tuple[ListName, str], ListRead]()
    for (name, subject), of_part in parts.items():
        counted = counting(readings_of(of_part))
        gathered.put(name, subject, counted.records)
        reads[name, subject] = list_read(
            name,
            subject,
            counted,
            max(response.reading for response in of_part) - 1,
            window=ENDPOINTS[of_part[0].endpoint].window,
            others_without_grants=name in OF_EACH_PROJECT and _ends_without_grants(counted),
        )
    for part in gathered.orphans():
        gathered.drop(*part)
        del reads[part]
    return gathered, reads


def _ends_without_grants(counted: Counting) -> bool:
    """Whether a list was stopped at a row without grants, behind which nobody has any."""
    records = [record for page in counted.pages for record in page.records]
    last = records[-1] if records else None
    is_without = isinstance(last, UserPermissions | GroupPermissions) and not last.permissions
    return is_without and grants_come_first(records) is not False


def _missing(lists: Lists, reads: Reads, scopes: frozenset[Scope]) -> Iterator[str]:
    """The lists that the scopes need and nobody read."""
    needed = [(name, "") for name in OF_CORE]
    needed += [(ListName.GROUP_MEMBERS, group.group_id) for group in cast("tuple[Group, ...]", lists.get(ListName.GROUPS, ()))]
    if Scope.PROJECT_PERMISSIONS in scopes:
        projects = cast("tuple[Project, ...]", lists.get(ListName.PROJECTS, ()))
        needed += [(ListName.PROJECTS, ""), *[(name, one.key) for one in projects for name in OF_EACH_PROJECT]]
    if Scope.ACCOUNT_DETAILS in scopes:
        needed.append((ListName.ACCOUNT_DETAILS, ""))
    for name, subject in needed:
        if (name, subject) not in reads:
            yield f"the list {name}{f' of {subject}' if subject else ''} was not read"
    if not lists.get(ListName.ORGANIZATION):
        yield "the list organization does not hold the organization"
