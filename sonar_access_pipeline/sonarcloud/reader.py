"""Reading one organization whole: who asks, may they, then every list to its total.

The result is a `Snapshot`.

Here stands what is read when, and what is read again when two lists disagree. Which lists there are
is `access/lists.py`; what a complete list is, and which lists must agree, is decided by
`access/completeness.py`; how lists are read, by `pagination.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.catalogue import warnings_of
from sonar_access_pipeline.access.completeness import (
    admin_logins,
    counts,
    counts_agree,
    details_are_of_members,
    group_sizes,
    lists_agree,
    rows_of_unknown_groups,
    snapshot_verdict,
    somebody_administers,
    token_ages,
    who_exists,
)
from sonar_access_pipeline.access.content import Lists, content_of, in_any_order
from sonar_access_pipeline.access.lists import (
    ACCOUNT_DETAILS,
    CALLER,
    CALLER_TOKENS,
    CATALOGUE,
    GROUP_MEMBERS,
    GROUP_PERMISSIONS,
    GROUPS,
    LISTS,
    MEMBERS,
    ORGANIZATION,
    PROJECT_GROUP_PERMISSIONS,
    PROJECTS,
    USER_PERMISSIONS,
    Part,
    SonarList,
)
from sonar_access_pipeline.access.records import CallerToken, Organization, SnapshotContent
from sonar_access_pipeline.access.snapshot import (
    CLOCKS_DIFFER,
    Control,
    ListRead,
    Scope,
    Snapshot,
    SourceKind,
    Verdict,
)
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.errors import RefusedError, SourceError, UnavailableError
from sonar_access_pipeline.sonarcloud.pagination import READINGS, Gathering, ListPlan, Progress

STANDING_STILL = timedelta(seconds=30)
"""How long a read must last before a server clock that did not move is taken to stand still."""

EVERYBODY = (MEMBERS, USER_PERMISSIONS, GROUPS, GROUP_PERMISSIONS)
"""The lists that say who exists: read again together when they disagree."""


@dataclass(frozen=True)
class Preflight:
    """What was learned before the first list: whose token it is, and the organization it
    administers.
    """

    token_login: str
    organization: Organization


@dataclass(frozen=True)
class Probed:
    """What a check found: the endpoints that answer, the caller's own tokens, and sentences to be
    warned by.
    """

    endpoints: tuple[str, ...]
    tokens: tuple[CallerToken, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Observed:
    """One read: the snapshot, and what it says where it is complete."""

    snapshot: Snapshot
    content: SnapshotContent | None


@dataclass(frozen=True)
class Settled:
    """How the lists compare once they are at rest, and what they say then; nothing where they never
    came to it.
    """

    who_exists: tuple[Control, ...] = ()
    counts: tuple[Control, ...] = ()
    content: SnapshotContent | None = None


class Reader:
    """One read of one organization. Use once: `preflight`, then `read` or `probe`."""

    def __init__(
        self,
        client: Client,
        organization_key: str,
        *,
        scopes: Iterable[Scope] = (Scope.CORE,),
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._client = client
        self._organization_key = organization_key
        self._scopes = (
            Scope.CORE,
            *(scope for scope in Scope if scope in set(scopes) - {Scope.CORE}),
        )
        self._gathering = Gathering(client, progress or (lambda _: None))
        self._begun: set[Part] = set()
        self._began = client.rate_limit.now()

    def preflight(self) -> Preflight:
        """Ask whose token this is, which others its owner has, and whether that account administers
        the organization.

        Raises `RefusedError` with what is wrong and what to do, `UnavailableError` when nothing
        answers.
        """
        started_at = self._client.clock()
        key = self._organization_key
        self._gathering.read(self._plans(CALLER, ORGANIZATION, CALLER_TOKENS))
        self._check_clocks(started_at)
        caller, *_ = self._gathering.gathered.of(CALLER)
        organizations = [row for row in self._gathering.gathered.of(ORGANIZATION) if row.key == key]
        if len(organizations) != 1:
            raise RefusedError(
                f"The token's owner is in no organization '{key}' at {self._client.host_url}; check"
                " the key (it stands in the address of the organization's page), the region"
                " (SONAR_REGION=us), and whose token it is."
            )
        if organizations[0].caller_is_admin is not True:
            raise RefusedError(
                f"The token's owner does not administer organization '{key}', so groups and"
                " permissions stay hidden; grant its account 'Administer organization', or use the"
                " token of an account that has it."
            )
        return Preflight(caller.login, organizations[0])

    def probe(self) -> Probed:
        """Ask every list that will be read for one row, and SonarCloud's catalogue for what we rely
        on.

        Raises `SourceError` for the first list that does not answer; what is optional only warns.
        """
        gathering = self._gathering
        plans = self._plans(*self._lists(), CATALOGUE)
        gathering.read(
            map(_of_one_row, plans),
            lambda plan: map(_of_one_row, self._following(plan, first=True)),
        )
        entries = gathering.gathered.of(CATALOGUE)
        optional = [one.name for one in LISTS.values() if one.is_optional]
        failed = [gathering.reads[name, ""] for name in optional if (name, "") in gathering.reads]
        return Probed(
            tuple(dict.fromkeys(response.endpoint for response in gathering.responses)),
            self._own_tokens(),
            (
                *(
                    f"{read.name} cannot be read: {read.reason}"
                    for read in failed
                    if read.reported_total is None and read.reason
                ),
                *(warnings_of(entries) if entries else ()),
            ),
        )

    def read(
        self, preflight: Preflight, *, connection: str, run_id: str, started_at: datetime
    ) -> Observed:
        """Read every list of the scopes.

        A source that fails midway raises nothing: the snapshot is incomplete and says so.

        Raises `RefusedError` when the clocks cannot be trusted.
        """
        failure: str | None = None
        settled = Settled()
        try:
            self._read_lists()
            self._gathering.read(self._gathering.stopped_in_vain())
            settled = self._settle()
        except SourceError as fault:
            failure = str(fault)
        observed_at = self._client.clock()
        gathering = self._gathering
        verdict, reason = (
            (Verdict.INCOMPLETE, failure)
            if failure
            else snapshot_verdict(self._needed(), settled.who_exists)
        )
        scopes = self._scopes
        content = None
        statistics: Mapping[str, int] = {}
        if verdict is Verdict.COMPLETE and settled.content is not None:
            content = settled.content
            if Scope.ACCOUNT_DETAILS in scopes and not self._details_are_read():
                scopes = tuple(scope for scope in scopes if scope is not Scope.ACCOUNT_DETAILS)
                content = replace(content, account_details=())
            statistics = counts(content, scopes) | token_ages(self._own_tokens(), started_at)
        self._check_end(started_at, observed_at)
        server_times = [
            response.server_time for response in gathering.responses if response.server_time
        ]
        return Observed(
            Snapshot(
                connection=connection,
                organization_key=self._organization_key,
                source_url=self._client.host_url,
                source_kind=self._client.source_kind,
                started_at=started_at,
                observed_at=observed_at,
                server_started_at=min(server_times, default=None),
                server_observed_at=max(server_times, default=None),
                scopes=scopes,
                verdict=verdict,
                reason=reason,
                token_login=preflight.token_login,
                tls_bundle_sha256=self._client.tls_bundle_sha256,
                run_id=run_id,
                pipeline_version=__version__,
                counts=statistics,
                lists=tuple(gathering.reads.values()),
                controls=(*settled.who_exists, *settled.counts),
                responses=tuple(gathering.responses),
            ),
            content,
        )

    def _lists(self) -> Iterator[SonarList[Any]]:
        """Yield the lists of the organization as a whole that are left to read, in the order they
        are begun.
        """
        for one in LISTS.values():
            if (
                one.scope in self._scopes
                and one.of is None
                and (one.name, "") not in self._gathering.reads
            ):
                yield one

    def _plans(self, *lists: SonarList[Any], row: Any = None) -> list[ListPlan]:
        """Plan to read lists, or those of one row of another list."""
        asked = [(one, one.asked(self._organization_key, row)) for one in lists]
        return [
            ListPlan(one, params, one.subject_of(row))
            for one, params in asked
            if params is not None
        ]

    def _read_lists(self) -> None:
        self._gathering.read(self._plans(*self._lists()), self._following)
        self._forget_what_is_gone()

    def _following(self, plan: ListPlan, first: bool = False) -> list[ListPlan]:
        """Plan what to read once a list is complete: the members of each group, the permissions of
        each project, the details.

        Only what was not read yet; only of the `first` of them, for a check.
        """
        plans: list[ListPlan] = []
        for one in LISTS.values():
            is_ready = one.after is None or (one.after.name, "") in self._gathering.reads
            if one.of is not None and plan.list in (one.of, one.after) and is_ready:
                rows = self._gathering.gathered.of(one.of)
                of_rows = chain.from_iterable(self._plans(one, row=row) for row in rows)
                plans += islice(of_rows, 1 if first else None)
        return [following for following in plans if self._is_new(following)]

    def _is_new(self, plan: ListPlan) -> bool:
        is_new = plan.part not in self._begun
        self._begun.add(plan.part)
        return is_new

    def _read_again(self, lists: Iterable[SonarList[Any]], others: Iterable[ListPlan] = ()) -> None:
        self._gathering.read([*self._plans(*lists), *others], self._following)
        self._forget_what_is_gone()

    def _forget_what_is_gone(self) -> None:
        """Drop lists of groups and projects that were deleted while they were read: the list of
        them, read again, says which.
        """
        gathering = self._gathering
        gone = dict(gathering.gone)
        gathering.gone.clear()
        owners = {LISTS[name].of for name, _ in gone}
        if GROUPS in owners:
            # A group that one list knows and the other does not is a contradiction.
            owners.add(GROUP_PERMISSIONS)
        if owners:
            gathering.read(
                self._plans(*(one for one in LISTS.values() if one in owners)), self._following
            )
        for part in gathering.gathered.orphans(list(gathering.reads)):
            del gathering.reads[part]
            gathering.gathered.drop(part)

    def _settle(self) -> Settled:
        """Compare the lists, and read those again that disagree: people come and go between two
        lists.

        Who exists must agree. Counts may disagree for good (SonarCloud counts deactivated accounts
        in places), but only when reading again shows the same once more. Raises `UnavailableError`
        when they never come to rest.
        """
        before: object = None
        for readings_left in range(READINGS, -1, -1):
            lists = self._gathering.gathered.lists()
            if any(read.verdict is not Verdict.COMPLETE for read in self._needed()):
                # A list that did not settle by itself was read often enough.
                return Settled(who_exists(lists, self._gathering.reads))
            content = content_of(lists, self._scopes)
            now = (in_any_order(content), content.non_members)
            # Who keeps rights after having left is believed last of all: a short list would look
            # the same.
            controls = self._who_exists(
                lists, content, stand_still=now == before and not readings_left
            )
            settled = Settled(
                controls, (*lists_agree(lists, content), *counts_agree(content)), content
            )
            disagreeing = [control for control in controls if control.passed is False]
            doubts = [control for control in settled.counts if control.passed is False]
            if not disagreeing and (not doubts or now == before):
                return settled
            before = now
            if readings_left:
                # Both: a list that disagrees for good must not keep a short one from being read
                # again.
                of_projects = self._projects_of_unknown_groups(lists) if disagreeing else []
                self._read_again(EVERYBODY, [*of_projects, *self._doubtful_groups(content)])
        if disagreeing:
            return Settled(controls)
        raise UnavailableError(
            "lists change as fast as they are read"
            f" ({'; '.join(doubt.compares for doubt in doubts)})"
        )

    def _who_exists(
        self, lists: Lists, content: SnapshotContent, *, stand_still: bool
    ) -> tuple[Control, ...]:
        return (
            *who_exists(lists, self._gathering.reads, stand_still=stand_still),
            *somebody_administers(content),
        )

    def _needed(self) -> list[ListRead]:
        """Return the lists without which a snapshot is not complete."""
        return [read for read in self._gathering.reads.values() if not LISTS[read.name].is_optional]

    def _projects_of_unknown_groups(self, lists: Lists) -> list[ListPlan]:
        """Find the lists of groups' permissions on projects that name a group which is gone by
        now.
        """
        keys = {row.project_key for row in rows_of_unknown_groups(lists)}
        doubtful = (project for project in lists.of(PROJECTS) if project.key in keys)
        return list(
            chain.from_iterable(
                self._plans(PROJECT_GROUP_PERMISSIONS, row=project) for project in doubtful
            )
        )

    def _doubtful_groups(self, content: SnapshotContent) -> list[ListPlan]:
        """Find the groups whose members may have been read wrong when counts disagree: groups of
        another size than stated, on more pages than one, or with a share in who administers.
        """
        sizes = group_sizes(content.group_members)
        stated = {group.group_id: group.members_count for group in content.groups}
        admin = {
            grant.principal
            for grant in content.grants
            if (grant.scope, grant.permission) == ("organization", "admin")
        }
        doubtful = (
            group
            for group in content.groups
            if stated[group.group_id] not in (None, sizes[group.group_id])
            or self._gathering.page_counts.get((GROUP_MEMBERS.name, group.group_id), 0) > 1
            or (group.group_id in admin and _admins_differ(content))
        )
        return list(
            chain.from_iterable(self._plans(GROUP_MEMBERS, row=group) for group in doubtful)
        )

    def _details_are_read(self) -> bool:
        """Tell whether the account details are whole and this organization's.

        When they are not, their list is changed to say why.
        """
        gathering = self._gathering
        read = gathering.reads.get((ACCOUNT_DETAILS.name, ""))
        if read is None:
            return False
        reason = details_are_of_members(gathering.gathered.lists(), read)
        if reason is not None:
            gathering.reads[ACCOUNT_DETAILS.name, ""] = replace(
                read, verdict=Verdict.INCOMPLETE, reason=reason
            )
        return reason is None

    def _own_tokens(self) -> tuple[CallerToken, ...]:
        """Return the caller's tokens, but none where the answer is about somebody else."""
        caller, *_ = self._gathering.gathered.of(CALLER)
        return tuple(
            token
            for token in self._gathering.gathered.of(CALLER_TOKENS)
            if token.login == caller.login
        )

    def _check_clocks(self, host_time: datetime) -> None:
        """Evidence with a wrong date is worse than none: refuse a host whose clock is not
        SonarCloud's.
        """
        server_time = self._gathering.responses[0].server_time
        if self._client.source_kind is not SourceKind.SONARCLOUD:
            return
        if server_time is None:
            raise RefusedError(
                "SonarCloud's answers come without a date, so nothing says whether this machine's"
                " clock is right; something between takes the header Date away: let it through,"
                " then sync again."
            )
        if abs(host_time - server_time) > CLOCKS_DIFFER:
            raise RefusedError(
                f"This machine's clock is {abs(host_time - server_time)} away from SonarCloud's;"
                " set it by NTP, then sync again."
            )

    def _check_end(self, started_at: datetime, observed_at: datetime) -> None:
        """Refuse a read during which a clock stood still, jumped or went backwards: its times would
        be wrong.
        """
        if self._client.source_kind is not SourceKind.SONARCLOUD:
            return
        took = timedelta(seconds=self._client.rate_limit.now() - self._began)
        if observed_at < started_at or abs(observed_at - started_at - took) > CLOCKS_DIFFER:
            raise RefusedError(
                "This machine's clock jumped while SonarCloud was read; set it by NTP, then sync"
                " again."
            )
        times = [
            response.server_time for response in self._gathering.responses if response.server_time
        ]
        if len(times) > 1 and took > STANDING_STILL and min(times) == max(times):
            raise RefusedError(
                f"SonarCloud's clock stood still for {took}: something between repeats old answers;"
                " let requests through, then sync again."
            )


def _admins_differ(content: SnapshotContent) -> bool:
    admins = admin_logins(content)
    return any(
        member.is_organization_admin is not None
        and member.is_organization_admin != (member.login in admins)
        for member in content.members
    )


def _of_one_row(plan: ListPlan) -> ListPlan:
    """Plan the same list so that one row of it is enough."""
    return replace(plan, is_sample=True)
