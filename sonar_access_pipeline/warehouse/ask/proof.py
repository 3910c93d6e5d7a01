"""The questions of an evidence packet, besides those that everybody asks (`queries.py`): who an
account is and since when, what a change is called, what rules answer, which requests are behind an
observation, and whether all numbers tie.

Every answer is ordered, in UTC, and belongs to an observation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, func, select

from sonar_access_pipeline.access.content import lists_of
from sonar_access_pipeline.access.lists import CALLER_TOKENS
from sonar_access_pipeline.access.policy import Policy, PolicyInForce, excepted
from sonar_access_pipeline.access.records import CallerToken
from sonar_access_pipeline.access.rules import (
    RULE_VERSIONS,
    RULES,
    STATE_RULES,
    WINDOW_RULES,
    Answer,
    Result,
    Rule,
    WindowFacts,
    judging,
)
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.warehouse.ask.as_of import Names, shown_at
from sonar_access_pipeline.warehouse.ask.queries import (
    CHANGES,
    ObservationFacts,
    Rows,
    WindowObservations,
    changes_between,
    lists_of_snapshot,
)
from sonar_access_pipeline.warehouse.ask.tied import Tie
from sonar_access_pipeline.warehouse.bulk import rows
from sonar_access_pipeline.warehouse.errors import BodyDroppedError
from sonar_access_pipeline.warehouse.ledger.policies import policies_until
from sonar_access_pipeline.warehouse.raw.snapshots import responses_of
from sonar_access_pipeline.warehouse.schema import history_tables, raw_response, redaction
from sonar_access_pipeline.warehouse.views import finding_period

K = TypeVar("K")
REQUESTS = (
    "sequence",
    "list_name",
    "subject",
    "reading",
    "endpoint",
    "params",
    "page",
    "status",
    "started_at",
    "duration_ms",
    "server_time",
    "attempts",
    "rows",
    "reported_total",
    "body_sha256",
)
FINDINGS = (
    "rule_id",
    "rule_version",
    "title",
    "severity",
    "result",
    "subject_type",
    "subject",
    "name",
    "detail",
    "threshold",
    "policy_version",
    "changed_after",
    "failing_since",
    "exception_by",
    "exception_why",
    "exception_until",
    "exception_ended",
)
RECONCILIATION = (
    "check",
    "what",
    "reported",
    "extracted",
    "stored",
    "delivered",
    "passed",
    "detail",
)


def requests(transaction: Connection, answering: ObservationFacts) -> Rows:
    """Return every response behind an observation. Columns: `REQUESTS`; ordered by sequence."""
    columns = [raw_response.c[name] for name in REQUESTS]
    query = (
        select(*columns)
        .where(raw_response.c.snapshot_id == answering.snapshot_id)
        .order_by(raw_response.c.sequence)
    )
    return [dict(row) for row in transaction.execute(query).mappings()]


def redactions(transaction: Connection, answering: ObservationFacts) -> Rows:
    """List who was replaced by a pseudonym: pseudonym, basis, decided_by, redacted_at; in the order
    of deciding.
    """
    table = redaction.c
    query = (
        select(table.pseudonym, table.basis, table.decided_by, table.redacted_at)
        .where(table.organization_key == answering.organization_key)
        .order_by(table.redaction_id)
    )
    return [dict(row) for row in transaction.execute(query).mappings()]


def details(
    transaction: Connection, answering: ObservationFacts
) -> dict[str, tuple[str | None, str | None]]:
    """E-mail and identity provider by login, as far as an observation that read them says; empty
    where it did not.
    """
    if Scope.ACCOUNT_DETAILS not in answering.scopes:
        return {}
    table = history_tables["dim_account_detail"]
    query = select(table.c.login, table.c.email, table.c.provider).where(
        shown_at(table, answering.organization_key, answering.observed_at)
    )
    return {login: (email, provider) for login, email, provider in transaction.execute(query)}


def lives(
    transaction: Connection, answering: ObservationFacts
) -> dict[str, tuple[datetime, datetime, datetime | None]]:
    """Return, by login, when access was first seen, since when it is unchanged, and when a change
    was last seen (None: never).

    Only the scopes that the observation read are looked at; each time is the end of the first
    observation that showed it.
    """
    table = history_tables["fct_user_access"]
    until = answering.observed_at
    ours = [table.c.organization_key == answering.organization_key]
    if Scope.PROJECT_PERMISSIONS not in answering.scopes:
        ours.append(table.c.access_type != "project_permission")
    by_login = table.c.login
    first = select(by_login, func.min(table.c.valid_from), func.max(table.c.valid_from)).where(
        *ours, table.c.valid_from <= until
    )
    began = select(by_login, func.max(table.c.valid_from)).where(
        *ours, table.c.valid_from <= until, table.c.changed_after.is_not(None)
    )
    ended = select(by_login, func.max(table.c.valid_to)).where(*ours, table.c.valid_to <= until)
    changed: dict[str, datetime] = {}
    for query in (began, ended):
        for login, moment in rows(transaction, query.group_by(by_login)):
            changed[login] = max(moment, changed.get(login, moment))
    access_times = {}
    for login, first_seen, newest in rows(transaction, first.group_by(by_login)):
        last_change = changed.get(login)
        access_times[login] = (first_seen, max(newest, last_change or newest), last_change)
    return access_times


def project_admins(transaction: Connection, answering: ObservationFacts) -> Counter[str] | None:
    """Count, by login, the projects on which it holds `admin`, itself or through a group; None
    where projects were not read.
    """
    if Scope.PROJECT_PERMISSIONS not in answering.scopes:
        return None
    grants = history_tables["fct_permission_grant"]
    bridge = history_tables["bridge_group_member"]
    at = (answering.organization_key, answering.observed_at)
    admin = and_(shown_at(grants, *at), grants.c.scope == "project", grants.c.permission == "admin")
    members: dict[str, list[str]] = defaultdict(list)
    for group_id, login in transaction.execute(
        select(bridge.c.group_id, bridge.c.login).where(shown_at(bridge, *at))
    ):
        members[group_id].append(login)
    projects_by_login: dict[str, set[str]] = defaultdict(set)
    held = select(grants.c.principal_type, grants.c.principal, grants.c.project_key).where(admin)
    for kind, principal, project_key in transaction.execute(held):
        # Anyone is nobody's login.
        logins = {"user": [principal], "group": members[principal]}.get(kind, [])
        for login in logins:
            projects_by_login[login].add(project_key)
    return Counter({login: len(projects) for login, projects in projects_by_login.items()})


def admin_since(
    transaction: Connection, answering: ObservationFacts
) -> dict[str, tuple[datetime | None, datetime]]:
    """Return, by login of those who administer the organization at an observation, between which
    observations each was first seen to, by whatever way, without a break since.

    The first is when the observation before began, None where there is none; the second is when the
    one that showed it ended.
    """
    access = history_tables["fct_user_access"].c
    query = (
        select(access.login, access.changed_after, access.valid_from, access.valid_to)
        .where(
            access.organization_key == answering.organization_key,
            access.access_type == "organization_permission",
            access.entitlement == "admin",
            access.valid_from <= answering.observed_at,
        )
        .order_by(access.login, access.valid_from)
    )
    begun: dict[str, tuple[datetime | None, datetime]] = {}
    ends: dict[str, datetime] = {}
    never = datetime.max.replace(tzinfo=UTC)
    for login, changed_after, valid_from, valid_to in rows(transaction, query):
        if login not in ends or ends[login] < valid_from:
            begun[login] = (changed_after, valid_from)
            ends[login] = valid_to or never
        ends[login] = max(ends[login], valid_to or never)
    return {login: begun[login] for login, end in ends.items() if end > answering.observed_at}


def default_groups(transaction: Connection, answering: ObservationFacts) -> set[str]:
    """Return the ids of the groups that SonarCloud says every member is in."""
    groups = history_tables["dim_group"]
    at = shown_at(groups, answering.organization_key, answering.observed_at)
    query = select(groups.c.group_id).where(at, groups.c.is_default.is_(True))
    return set(transaction.execute(query).scalars())


def changes(transaction: Connection, rests_on: WindowObservations) -> Rows:
    """List what changed in a window, with renamed groups and scopes that ended among it.

    Columns: `CHANGES`, and whether a row `closes`; ordered by changed_by, kind, login and the rest
    of the row.
    """
    key = rests_on.as_of.organization_key
    until = rests_on.as_of.observed_at
    change_rows = changes_between(transaction, key, rests_on.after, until)
    change_rows += _renamed_groups(transaction, key, rests_on.after, until)
    change_rows += _ended_scopes(rests_on)
    order = (
        "changed_by",
        "kind",
        "login",
        "access_type",
        "resource",
        "entitlement",
        "granted_via",
        "detail",
    )
    return sorted(
        change_rows, key=lambda row: [row[order[0]], *(row[name] or "" for name in order[1:])]
    )


def _grouped(pairs: Iterable[tuple[str, K]]) -> dict[str, list[K]]:
    values_by_key: dict[str, list[K]] = defaultdict(list)
    for key, value in pairs:
        values_by_key[key].append(value)
    return values_by_key


def _blank() -> dict[str, Any]:
    return {**dict.fromkeys(CHANGES), "closes": False}


def _renamed_groups(
    transaction: Connection, organization_key: str, after: datetime, until: datetime
) -> Rows:
    group = history_tables["dim_group"].c
    query = select(
        group.group_id, group.name, group.valid_from, group.valid_to, group.changed_after
    ).where(group.organization_key == organization_key, group.valid_from <= until)
    versions = _grouped(
        (row[0], row) for row in rows(transaction, query.order_by(group.group_id, group.valid_from))
    )
    renames = []
    for of_group in versions.values():
        for old, new in pairwise(of_group):
            if old[3] == new[2] and old[1] != new[1] and after < new[2] <= until:
                about = {
                    "kind": "renamed",
                    "access_type": "group",
                    "resource": new[0],
                    "resource_name": new[1],
                }
                times = {"changed_after": new[4], "changed_by": new[2]}
                renames.append(_blank() | about | times | {"detail": f"was {old[1]}"})
    return renames


def _ended_scopes(rests_on: WindowObservations) -> Rows:
    seen = [*([rests_on.before] if rests_on.before else []), *rests_on.within]
    endings = []
    for earlier, later in pairwise(seen):
        for scope in sorted(set(earlier.scopes) - set(later.scopes)):
            times = {"changed_after": earlier.started_at, "changed_by": later.observed_at}
            description = {
                "kind": "scope_ended",
                "detail": (
                    f"scope {scope.value} is not read any more: what it showed is unknown from here"
                ),
            }
            endings.append(_blank() | description | times)
    return endings


def own_tokens(transaction: Connection, answering: ObservationFacts) -> list[CallerToken] | None:
    """Read the tokens of the account that read an observation, from its answers; None where they
    were not read or are not kept.
    """
    try:
        responses = responses_of(transaction, answering.snapshot_id, CALLER_TOKENS.name)
    except BodyDroppedError:
        return None
    if not responses:
        return None
    return list(lists_of(responses).of(CALLER_TOKENS))


def findings(
    transaction: Connection,
    answering: ObservationFacts,
    in_force: PolicyInForce,
    window_facts: WindowFacts,
) -> Rows:
    """Return what every rule answers: rules about the observation from their history, rules about
    the window now.

    A finding fails since the first observation of an unbroken line in which its rule failed for its
    subject, whatever words, thresholds and policies there were meanwhile. An exception that ended
    is shown with the day of its end.

    Columns: `FINDINGS`; ordered by rule (as in `RULES`), result, subject_type, subject. A rule that
    judged then and has no kept answer is not evaluable; one that came later is not named.
    """
    table = history_tables["fct_finding"]
    kept = _grouped(
        (row["rule_id"], dict(row))
        for row in transaction.execute(
            select(table).where(shown_at(table, answering.organization_key, answering.observed_at))
        ).mappings()
    )
    failing = _failing(transaction, answering)
    policies = policies_until(transaction, answering.observed_at)
    names = Names(transaction, answering.organization_key, answering.observed_at)
    answer_rows: Rows = []
    for rule in judging(STATE_RULES, in_force.rules):
        answer_rows += kept.get(rule.rule_id) or [
            _asked(rule, _unasked(answering.organization_key), None)
        ]
    for window_rule in judging(WINDOW_RULES, in_force.rules):
        answers = window_rule.answers(window_facts, in_force.policy)
        answer_rows += [_asked(window_rule, answer, in_force.version) for answer in answers]
    day = answering.started_at.date()
    order = {rule_id: place for place, rule_id in enumerate(RULES)}
    finished = [
        _finished(row, in_force, names) | _since(row, failing) | _exception(row, policies, day)
        for row in answer_rows
    ]
    return sorted(
        finished,
        key=lambda row: (
            order[row["rule_id"]],
            row["result"],
            row["subject_type"],
            row["subject"],
            row["detail"] or "",
        ),
    )


def _unasked(organization_key: str) -> Answer:
    why = "what the rule answered to this observation is not kept"
    return Answer("organization", organization_key, Result.NOT_EVALUABLE, why)


def _asked(rule: Rule, answer: Answer, version: int | None) -> dict[str, Any]:
    """Build from an answer a row as `fct_finding` has them, without a history."""
    about = {
        "rule_id": rule.rule_id,
        "rule_version": str(rule.version),
        "severity": rule.severity.value,
    }
    policy = {"policy_version": None if version is None else str(version)}
    return {
        **about,
        **policy,
        **answer._asdict(),
        "result": answer.result.value,
        "detail": answer.detail or None,
    }


Failing = dict[tuple[str, str, str], tuple[datetime, datetime | None]]


def _failing(transaction: Connection, answering: ObservationFacts) -> Failing:
    """Since when each rule fails for each subject, and the begin of the observation before: by
    rule, subject type and subject.
    """
    view = finding_period.c
    query = select(
        view.rule_id, view.subject_type, view.subject, view.valid_from, view.changed_after
    ).where(
        shown_at(finding_period, answering.organization_key, answering.observed_at),
        view.result == Result.FAIL.value,
    )
    return {tuple(row[:3]): (row[3], row[4]) for row in transaction.execute(query)}


def _since(row: dict[str, Any], failing: Failing) -> dict[str, datetime | None]:
    is_failing = row["result"] == Result.FAIL.value
    key = (row["rule_id"], row["subject_type"], row["subject"])
    since, after = failing.get(key, (None, None)) if is_failing else (None, None)
    return {"failing_since": since, "changed_after": after}


def _exception(
    row: dict[str, Any], policies: Sequence[tuple[date, Policy]], day: date
) -> dict[str, Any]:
    subject = "" if row["subject_type"] == "organization" else row["subject"]
    exception = (
        excepted(policies, row["rule_id"], subject, day)
        if row["result"] == Result.FAIL.value
        else None
    )
    return {
        "exception_by": exception.exemption.by if exception else None,
        "exception_why": exception.exemption.why if exception else None,
        "exception_until": exception.exemption.until if exception else None,
        "exception_ended": exception.ended if exception else None,
    }


def _finished(row: dict[str, Any], in_force: PolicyInForce, names: Names) -> dict[str, Any]:
    rule = RULE_VERSIONS[row["rule_id"], int(row["rule_version"])]
    called_as = {"account": names.users, "group": names.groups}.get(row["subject_type"], {})
    return {
        **{name: row.get(name) for name in FINDINGS},
        "title": rule.title,
        "name": called_as.get(row["subject"]),
        "threshold": rule.threshold(in_force.policy),
    }


def reconciliation(
    transaction: Connection,
    rests_on: WindowObservations,
    *,
    population: Rows,
    access: Rows,
    changes: Rows,
    controls: Rows,
    tied: Sequence[Tie],
) -> Rows:
    """Tie all numbers: what SonarCloud reports, what came, what is stored, what the packet
    delivers; every table with the answers; list against list; and what was before, with what
    changed, against what is now.

    Columns: `RECONCILIATION`; in the order in which they are checked. `passed` is NULL where a
    number is not known.
    """
    answering = rests_on.as_of
    lists = lists_of_snapshot(transaction, answering.snapshot_id)
    kinds = Counter(row["access_type"] for row in access if row["principal_type"] == "user")
    checks = [
        _tied(
            "members",
            lists,
            _stored(transaction, "dim_user", answering),
            sum(row["is_member"] for row in population),
        ),
        _tied("groups", lists, _stored(transaction, "dim_group", answering), None),
        _tied(
            "group_members",
            lists,
            _stored(transaction, "bridge_group_member", answering),
            kinds["group"],
        ),
    ]
    if Scope.PROJECT_PERMISSIONS in answering.scopes:
        checks.append(
            _tied("projects", lists, _stored(transaction, "dim_project", answering), None)
        )
    rows_of_accounts = _stored(transaction, "fct_user_access", answering)
    checks.append(
        _row(
            "delivered", "access rows of accounts", stored=rows_of_accounts, delivered=kinds.total()
        )
    )
    for tie in tied:
        numbers: dict[str, int | None] = {"extracted": tie.answered, "stored": tie.shown}
        checks.append(
            _row("answers against tables", f"{tie.table.name}: {tie.table.meaning}", **numbers)
            | {"detail": tie.detail}
        )
    for control in controls:
        numbers = {"reported": control["left_count"], "extracted": control["right_count"]}
        checks.append(
            _row("list against list", control["compares"], **numbers)
            | {
                "passed": control["passed"],
                "detail": control["detail"],
            }
        )
    checks += _rolled_forward(transaction, rests_on, changes, population, rows_of_accounts)
    return checks


def _row(check: str, what: str, **numbers: int | None) -> dict[str, Any]:
    known = [value for value in numbers.values() if value is not None]
    passed = len(set(known)) == 1 if len(known) > 1 else None
    return dict.fromkeys(RECONCILIATION) | {
        "check": check,
        "what": what,
        "passed": passed,
        **numbers,
    }


def _tied(name: str, lists: Rows, stored: int, delivered: int | None) -> dict[str, Any]:
    """Compare the numbers of one kind of list, summed over its subjects.

    A list that does not show everything is not compared with what was stored.
    """
    ours = [row for row in lists if row["list_name"] == name]
    totals = [row["reported_total"] for row in ours]
    reported = sum(totals) if ours and None not in totals else None
    extracted = sum(row["distinct_keys"] for row in ours) if ours else None
    partial = [row["reason"] for row in ours if row["reason"]]
    row = _row(
        "reported, extracted, stored, delivered",
        name,
        reported=reported,
        extracted=extracted,
        stored=stored,
        delivered=delivered,
    )
    if partial:
        row |= {"passed": None if delivered in (None, stored) else False, "detail": partial[0]}
    return row


def _stored(transaction: Connection, name: str, answering: ObservationFacts) -> int:
    table = history_tables[name]
    query = (
        select(func.count())
        .select_from(table)
        .where(shown_at(table, answering.organization_key, answering.observed_at))
    )
    if name == "fct_user_access" and Scope.PROJECT_PERMISSIONS not in answering.scopes:
        query = query.where(table.c.access_type != "project_permission")
    return transaction.execute(query).scalar_one()


def _rolled_forward(
    transaction: Connection,
    rests_on: WindowObservations,
    changes: Rows,
    population: Rows,
    rows_now: int,
) -> Rows:
    before = rests_on.before
    reads_projects = Scope.PROJECT_PERMISSIONS in rests_on.as_of.scopes
    opened, closed = Counter[bool](), Counter[bool]()
    for row in changes:
        if row["login"] is None or (
            row["access_type"] == "project_permission" and not reads_projects
        ):
            continue
        is_membership = row["access_type"] == "membership"
        (closed if row["closes"] else opened)[is_membership] += 1
    members_before = _stored(transaction, "dim_user", before) if before else 0
    members_now = sum(row["is_member"] for row in population)
    since = f"of {before.observed_at:%Y-%m-%d}" if before else "before the first observation"
    member_rows = [
        _row(
            "rolled forward",
            "members before, with those who came and those who went, against members now",
            stored=members_before + opened[True] - closed[True],
            delivered=members_now,
        )
        | {"detail": _sum(f"members {since}", members_before, opened[True], closed[True])}
    ]
    same_scopes = before is None or set(before.scopes) == set(rests_on.as_of.scopes)
    rows_before = _stored(transaction, "fct_user_access", before) if before else 0
    total_opened, total_closed = opened.total(), closed.total()
    row = _row(
        "rolled forward",
        "access rows before, with those that opened and those that closed, against access rows now",
        stored=rows_before + total_opened - total_closed,
        delivered=rows_now,
    ) | {"detail": _sum(f"access rows {since}", rows_before, total_opened, total_closed)}
    if not same_scopes:
        row |= {"passed": None, "detail": "other lists were read then than now"}
    return [*member_rows, row]


def _sum(what: str, before: int, came: int, went: int) -> str:
    """Write a sum so that it can be read by itself."""
    return (
        f"{before} {what} + {came} seen for the first time or again - {went} not seen any more ="
        f" {before + came - went}"
    )
