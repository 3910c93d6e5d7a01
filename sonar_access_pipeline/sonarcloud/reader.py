"""Reading one organization whole: who asks, may they, then every list to its total. The result is a `Snapshot`.

A list that does not add up is read again; one that never does leaves the snapshot incomplete, with the numbers. What a
complete list is, and which lists must agree, is decided by `access/completeness.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.answers import Page, page_of
from sonar_access_pipeline.access.completeness import counts, counts_agree, list_read, snapshot_verdict, who_exists
from sonar_access_pipeline.access.content import content_of, lists_of_pages
from sonar_access_pipeline.access.records import Caller, Group, Organization
from sonar_access_pipeline.access.snapshot import (
    Control,
    ListName,
    ListRead,
    Response,
    Scope,
    Snapshot,
    SourceKind,
    Verdict,
)
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.endpoints import (
    CALLER,
    GROUP_MEMBERS,
    GROUP_PERMISSIONS,
    GROUPS,
    MEMBERS,
    ORGANIZATION,
    USER_PERMISSIONS,
    Endpoint,
)
from sonar_access_pipeline.sonarcloud.errors import RefusedError, SourceError

READINGS = 3
"""How often a list is read before its numbers are believed to be wrong for good."""
CLOCK_TOLERANCE = timedelta(minutes=5)

Progress = Callable[[str, int, int | None, int], None]
"""Told after every page: the list, its rows so far, its reported total, requests so far."""


@dataclass(frozen=True)
class Preflight:
    """What was learned before the first list: whose token it is, and the organization it administers."""

    token_login: str
    organization: Organization


class Reader:
    """One read of one organization. Use once: `preflight`, then `read`."""

    def __init__(self, client: Client, organization_key: str, *, progress: Progress | None = None) -> None:
        self._client = client
        self._organization_key = organization_key
        self._progress = progress or (lambda *_: None)
        self._responses: list[Response] = []
        self._reads: dict[tuple[ListName, str], ListRead] = {}
        self._pages_of: dict[tuple[ListName, str], list[Page]] = {}

    def preflight(self) -> Preflight:
        """Ask whose token this is and whether it administers the organization.

        Raises `RefusedError` with what is wrong and what to do, `UnavailableError` when nothing answers.
        """
        started_at = self._client.clock()
        key = self._organization_key
        caller = cast(Caller, self._page(CALLER, "", 1, {}).records[0])
        organization_page = self._page(ORGANIZATION, "", 1, {"organizations": key, "member": "true"})
        self._pages_of[ListName.ORGANIZATION, ""] = [organization_page]
        self._check_clocks(started_at)
        organizations = [row for row in cast(Sequence[Organization], organization_page.records) if row.key == key]
        if len(organizations) != 1:
            raise RefusedError(
                f"The token's owner is in no organization '{key}' at {self._client.host_url}; check the key (it stands in "
                "the address of the organization's page), the region (SONAR_REGION=us), and whose token it is."
            )
        if organizations[0].caller_is_admin is not True:
            raise RefusedError(
                f"The token's owner does not administer organization '{key}', so groups and permissions stay hidden; grant its "
                "account 'Administer organization', or use the token of an account that has it."
            )
        return Preflight(caller.login, organizations[0])

    def probe(self) -> list[str]:
        """Ask every list for one row: the endpoints that answer. Raises `SourceError` for the first that does not."""
        of_organization = {"organization": self._organization_key}
        for endpoint in (MEMBERS, GROUPS, USER_PERMISSIONS, GROUP_PERMISSIONS):
            page = self._page(replace(endpoint, page_size=1), "", 1, of_organization, 1)
            self._pages_of[endpoint.list_name, ""] = [page]
        groups = cast(Sequence[Group], lists_of_pages(self._pages_of).get(ListName.GROUPS, ()))
        for group in groups[:1]:
            self._page(replace(GROUP_MEMBERS, page_size=1), group.group_id, 1, {"id": group.group_id}, 1)
        return [response.endpoint for response in self._responses]

    def read(self, preflight: Preflight, *, connection: str, run_id: str, started_at: datetime) -> Snapshot:
        """Read every list of scope `core`. A source that fails midway raises nothing: the snapshot is incomplete and says so."""
        failure: str | None = None
        try:
            controls = self._read_core()
        except SourceError as fault:
            controls, failure = (), str(fault)
        reads = tuple(self._reads.values())
        verdict, reason = (Verdict.INCOMPLETE, failure) if failure else snapshot_verdict(reads, controls)
        statistics: Mapping[str, int] = {}
        if verdict is Verdict.COMPLETE:
            content = content_of(lists_of_pages(self._pages_of))
            controls, statistics = (*controls, *counts_agree(content)), counts(content)
        server_times = [response.server_time for response in self._responses if response.server_time]
        return Snapshot(
            connection=connection,
            organization_key=self._organization_key,
            source_url=self._client.host_url,
            source_kind=self._client.source_kind,
            started_at=started_at,
            observed_at=self._client.clock(),
            server_started_at=min(server_times, default=None),
            server_observed_at=max(server_times, default=None),
            scopes=(Scope.CORE,),
            verdict=verdict,
            reason=reason,
            token_login=preflight.token_login,
            run_id=run_id,
            pipeline_version=__version__,
            counts=statistics,
            lists=reads,
            controls=controls,
            responses=tuple(self._responses),
        )

    def _read_core(self) -> tuple[Control, ...]:
        of_organization = {"organization": self._organization_key}
        for endpoint in (MEMBERS, GROUPS, USER_PERMISSIONS, GROUP_PERMISSIONS):
            self._list(endpoint, "", of_organization)
        groups = cast(Sequence[Group], lists_of_pages(self._pages_of).get(ListName.GROUPS, ()))
        for group in groups:
            self._list(GROUP_MEMBERS, group.group_id, {"id": group.group_id})
        controls = who_exists(lists_of_pages(self._pages_of))
        if any(control.passed is False for control in controls):
            # People come and go between two lists: read those that disagree once more, next to each other.
            for endpoint in (MEMBERS, USER_PERMISSIONS, GROUPS, GROUP_PERMISSIONS):
                self._list(endpoint, "", of_organization)
            controls = who_exists(lists_of_pages(self._pages_of))
        return controls

    def _list(self, endpoint: Endpoint, subject: str, params: Mapping[str, str]) -> None:
        """Read one list until it settles, and keep the verdict on the last reading."""
        earlier = self._reads.get((endpoint.list_name, subject))
        first = earlier.rereads + 2 if earlier else 1
        for reading in range(first, first + READINGS):
            pages = self._pages(endpoint, subject, reading, params)
            self._pages_of[endpoint.list_name, subject] = pages
            read = list_read(endpoint.list_name, subject, pages, reading)
            self._reads[endpoint.list_name, subject] = read
            if read.verdict is Verdict.COMPLETE:
                return

    def _pages(self, endpoint: Endpoint, subject: str, reading: int, params: Mapping[str, str]) -> list[Page]:
        """Every page that the first one's total forces, and no trailing empty one."""
        pages = [self._page(endpoint, subject, reading, params, 1)]
        size, total = endpoint.page_size, pages[0].total or 0
        if size is not None:
            pages += [self._page(endpoint, subject, reading, params, number) for number in range(2, -(-total // size) + 1)]
        return pages

    def _page(self, endpoint: Endpoint, subject: str, reading: int, params: Mapping[str, str], number: int | None = None) -> Page:
        asked = dict(params)
        if endpoint.page_size is not None:
            asked |= {"p": str(number), "ps": str(endpoint.page_size)}
        answer, page = self._client.get(endpoint.path, asked, lambda body: page_of(endpoint.path, asked, body))
        self._responses.append(
            Response(
                sequence=len(self._responses) + 1,
                list_name=endpoint.list_name,
                subject=subject,
                reading=reading,
                endpoint=endpoint.path,
                params=asked,
                page=number if endpoint.page_size is not None else None,
                status=answer.status,
                started_at=answer.started_at,
                duration_ms=answer.duration_ms,
                server_time=answer.server_time,
                attempts=answer.attempts,
                rows=len(page.records),
                reported_total=page.total,
                body=answer.body,
            )
        )
        rows = sum(
            response.rows
            for response in self._responses
            if (response.list_name, response.subject, response.reading) == (endpoint.list_name, subject, reading)
        )
        self._progress(str(endpoint.list_name), rows, page.total, len(self._responses))
        return page

    def _check_clocks(self, host_time: datetime) -> None:
        """Evidence with a wrong date is worse than none: refuse a host whose clock is not SonarCloud's."""
        server_time = self._responses[0].server_time
        if self._client.source_kind is not SourceKind.SONARCLOUD or server_time is None:
            return
        if abs(host_time - server_time) > CLOCK_TOLERANCE:
            raise RefusedError(
                f"This machine's clock is {abs(host_time - server_time)} away from SonarCloud's; set it by NTP, then sync again."
            )
