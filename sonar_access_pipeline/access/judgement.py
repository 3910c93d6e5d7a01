"""A snapshot's verdict, judged again from nothing but its answers: what it claims of itself is no
proof.

For whoever did not see it read: an import, a verification. How a list is read is
`sonarcloud/pagination.py`; what makes one whole is `readings.py`, and what must agree is
`completeness.py`, for both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain

from sonar_access_pipeline.access.completeness import (
    details_are_of_members,
    snapshot_verdict,
    somebody_administers,
    who_exists,
)
from sonar_access_pipeline.access.content import Gathered, Lists, by_part, content_of, readings_of
from sonar_access_pipeline.access.lists import ACCOUNT_DETAILS, ENDPOINTS, LISTS, ORGANIZATION, Part
from sonar_access_pipeline.access.readings import Counting, counting, grants_come_first, list_read
from sonar_access_pipeline.access.records import GroupPermissions, SnapshotContent, UserPermissions
from sonar_access_pipeline.access.snapshot import ListRead, Response, Scope, Verdict

Reads = Mapping[Part, ListRead]


def judged(
    scopes: Collection[Scope], responses: Iterable[Response]
) -> tuple[Verdict, str | None, SnapshotContent | None]:
    """Complete or incomplete, why, and what the answers say where they are complete.

    Raises `ValueError` or `LookupError` where an answer cannot be read.
    """
    gathered, reads = _read(responses)
    lists = gathered.lists()
    if missing := next(_missing(lists, reads, frozenset({Scope.CORE, *scopes})), None):
        return Verdict.INCOMPLETE, missing, None
    content = content_of(lists, scopes)
    if Scope.ACCOUNT_DETAILS in content.scopes:
        fault = details_are_of_members(lists, reads[ACCOUNT_DETAILS.name, ""])
        if fault is not None:
            return Verdict.INCOMPLETE, fault, None
    needed = [
        read
        for read in reads.values()
        if LISTS[read.name].is_derived and not LISTS[read.name].is_optional
    ]
    controls = (*who_exists(lists, reads, stand_still=True), *somebody_administers(content))
    verdict, reason = snapshot_verdict(needed, controls)
    return verdict, reason, content if verdict is Verdict.COMPLETE else None


def _read(responses: Iterable[Response]) -> tuple[Gathered, Reads]:
    gathered = Gathered()
    reads = dict[Part, ListRead]()
    for (name, subject), of_part in by_part(responses).items():
        counted = counting(LISTS[name], readings_of(of_part))
        gathered.put((name, subject), counted.records)
        reads[name, subject] = list_read(
            LISTS[name],
            subject,
            counted,
            max(response.reading for response in of_part) - 1,
            window=ENDPOINTS[of_part[0].endpoint].window,
            others_without_grants=LISTS[name].stops_without_grants
            and _ends_without_grants(counted),
        )
    for part in gathered.orphans(list(reads)):
        gathered.drop(part)
        del reads[part]
    return gathered, reads


def _ends_without_grants(counted: Counting) -> bool:
    """Tell whether a list was stopped at a row without grants, behind which nobody has any
    grants.
    """
    records = list(chain.from_iterable(page.records for page in counted.pages))
    last = records[-1] if records else None
    is_without = isinstance(last, UserPermissions | GroupPermissions) and not last.permissions
    return is_without and grants_come_first(records) is not False


def _missing(lists: Lists, reads: Reads, scopes: frozenset[Scope]) -> Iterator[str]:
    """Yield a sentence for each list that the scopes need and nobody read."""
    for one in LISTS.values():
        if one.scope in scopes and one.is_derived:
            subjects = map(one.subject_of, lists.of(one.of)) if one.of and one.subject else [""]
            for subject in subjects:
                if (one.name, subject) not in reads:
                    yield f"the list {one.name}{f' of {subject}' if subject else ''} was not read"
    if not lists.of(ORGANIZATION):
        yield "the list organization does not hold the organization"
