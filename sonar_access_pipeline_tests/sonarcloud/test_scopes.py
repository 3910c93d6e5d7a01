"""Scopes: every list that the reference knows, what is read of it, and what happens when a scope
comes or goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import select, text

from sonar_access_pipeline.access.content import content_of, lists_of
from sonar_access_pipeline.access.rows import FCT_PERMISSION_GRANT
from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.simulator.organization import (
    READER,
    UNKNOWN_PROJECT_PERMISSION,
    Organization,
)
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.reader import Reader
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import history_tables, raw_list
from sonar_access_pipeline.warehouse.views import user_project_access
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.company import Company, company, metadata_of
from sonar_access_pipeline_tests.support.reading import (
    EVERYTHING,
    QUICK,
    TOKEN,
    UNHURRIED,
    access_of,
    organization,
    read,
    rows_of,
    serving,
)

pytestmark = pytest.mark.proofs("sqlite")

PROJECTS = (Scope.CORE, Scope.PROJECT_PERMISSIONS)
NOW = datetime.max.replace(tzinfo=UTC)


@pytest.fixture
def with_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warehouse_url: str
) -> Iterator[Company]:
    with company(
        tmp_path / "data",
        monkeypatch.setenv,
        warehouse_url=warehouse_url,
        projects=12,
        brake_rows=1000,
    ) as opened:
        yield opened


def project_grants(found: Organization) -> set[tuple[Any, ...]]:
    """Every grant on a project, by the simulator's own reckoning."""
    return {
        (kind, principal, "project", project.key, permission)
        for project in found.projects.values()
        for kind, granted in (
            ("user", project.users),
            ("group", {str(number): permissions for number, permissions in project.groups.items()}),
            ("anyone", {"Anyone": project.anyone}),
        )
        for principal, permissions in granted.items()
        for permission in permissions
    }


def project_rights(found: Organization) -> set[tuple[str, str, str, str]]:
    """Every way in which an account has a right on a project, through groups too."""
    direct = {
        (login, key, permission, via) for login, _, key, permission, via in found.project_truth()
    }
    return direct | {
        (login, project.key, permission, f"group:{number}")
        for project in found.projects.values()
        for number, permissions in project.groups.items()
        for login in found.groups[number].members
        for permission in permissions
    }


def test_every_grant_on_every_project_is_read_with_unknown_keys_and_anyone() -> None:
    found = organization(accounts=60, groups=6, projects=40)
    with serving(found) as simulator:
        snapshot = read(simulator, scopes=PROJECTS)
    assert (snapshot.verdict, snapshot.reason) == (Verdict.COMPLETE, None)
    content = content_of(lists_of(snapshot.responses), snapshot.scopes)
    grants = {row for row in rows_of(FCT_PERMISSION_GRANT, content) if row[2] == "project"}
    assert grants == project_grants(found)
    assert access_of(snapshot) == found.truth() | found.project_truth()
    assert UNKNOWN_PROJECT_PERMISSION in {row[4] for row in grants}
    assert {project.key: project.visibility for project in content.projects} == {
        project.key: project.visibility for project in found.projects.values()
    }
    assert snapshot.counts["projects"] == 40


@pytest.mark.parametrize(
    ("accounts", "groups", "projects"), [(60, 6, 5), (1240, 12, 0), (620, 130, 30)]
)
def test_as_many_requests_are_sent_as_the_page_sizes_force(
    accounts: int, groups: int, projects: int
) -> None:
    found = organization(accounts=accounts, groups=groups, projects=projects)

    def pages(rows: int, size: int) -> int:
        return max(1, -(-rows // size))

    everybody = pages(len(found.names), 500) + pages(len(found.names), 100)
    of_groups = (
        pages(groups, 500)
        + pages(groups, 100)
        + sum(pages(len(group.members), 500) for group in found.groups.values())
    )
    of_projects = projects * (1 + pages(groups, 100)) + (pages(projects, 500) if projects else 0)
    with serving(found) as simulator:
        snapshot = read(simulator, scopes=PROJECTS if projects else (Scope.CORE,))
    assert snapshot.verdict is Verdict.COMPLETE
    assert len(simulator.requests) <= everybody + of_groups + of_projects + 5


def test_a_projects_users_are_read_to_the_first_without_grants_and_the_list_says_so() -> None:
    with serving(organization(accounts=350, groups=4, projects=3)) as simulator:
        snapshot = read(simulator, scopes=PROJECTS)
    stopped = [found for found in snapshot.lists if found.name == "project_user_permissions"]
    assert len(stopped) == 3
    assert {found.reason for found in stopped} == {
        "stopped at a row without grants: the other 250 rows have none"
    }
    assert {(found.rows, found.reported_total, found.verdict) for found in stopped} == {
        (100, 350, Verdict.COMPLETE)
    }


def test_without_a_proof_that_grants_come_first_every_list_is_read_whole() -> None:
    found = organization(accounts=230, groups=4, projects=2)
    found.direct = {}
    for project in found.projects.values():
        project.users = {}
    with serving(found) as simulator:
        snapshot = read(simulator, scopes=PROJECTS)
    assert snapshot.verdict is Verdict.COMPLETE
    whole = [found for found in snapshot.lists if found.name == "project_user_permissions"]
    assert [(found.rows, found.reason) for found in whole] == [(230, None)] * 2


def test_where_grants_turn_out_not_to_come_first_what_was_stopped_is_read_whole() -> None:
    """The organization's own list is in the promised order, but projects are sorted by name alone:
    one of them shows it.
    """
    found = organization(accounts=230, groups=4, projects=8)
    by_name = sorted(found.names, key=lambda login: found.names[login].lower())
    for project in found.projects.values():
        project.users = {by_name[-1]: {"admin"}}
    found.projects[max(found.projects)].users = {by_name[50]: {"admin"}}

    def sorted_by_name(answer: faults.Answer) -> faults.Answer:
        project, first = (
            found.projects[answer.params["projectKey"]],
            (int(answer.params["p"]) - 1) * int(answer.params["ps"]),
        )
        rows = [
            {
                "login": login,
                "name": found.names[login],
                "permissions": sorted(project.users.get(login, ())),
            }
            for login in by_name[first : first + int(answer.params["ps"])]
        ]
        return replace(answer, document={**answer.document, "users": rows})  # type: ignore[dict-item]

    with serving(found) as simulator:
        simulator.faults.add(
            "permissions/users",
            sorted_by_name,
            times=None,
            when=lambda params: "projectKey" in params,
        )
        snapshot = read(simulator, scopes=PROJECTS)
    assert (snapshot.verdict, snapshot.reason) == (Verdict.COMPLETE, None)
    assert access_of(snapshot) == found.truth() | found.project_truth()


def test_templates_and_the_callers_own_tokens_are_kept_and_counted() -> None:
    with serving(organization(accounts=20, groups=3, projects=2)) as simulator:
        snapshot = read(simulator, scopes=PROJECTS)
    kept = {response.endpoint: json.loads(response.body) for response in snapshot.responses}
    assert kept["permissions/search_templates"]["permissionTemplates"]
    assert [token["name"] for token in kept["user_tokens/search"]["userTokens"]] == [
        "access-reader",
        "never used",
    ]
    assert snapshot.counts["own_tokens"] == 2
    assert snapshot.counts["oldest_own_token_days"] >= 500
    assert "own_token_expires_in_days" in snapshot.counts


def test_tokens_of_somebody_else_are_never_taken_for_the_callers() -> None:
    def of_another(answer: faults.Answer) -> faults.Answer:
        return faults.Answer(200, {**answer.document, "login": "somebody-else"})  # type: ignore[dict-item]

    with serving(organization(accounts=20, groups=3)) as simulator:
        simulator.faults.add("user_tokens/search", of_another, times=None)
        snapshot = read(simulator)
        with Client(simulator.url, TOKEN, patience=QUICK) as client:
            reader = Reader(client, "acme")
            reader.preflight()
            assert reader.probe().tokens == ()
    assert "own_tokens" not in snapshot.counts


def test_account_details_are_read_where_the_host_gives_them() -> None:
    found = organization(accounts=620, groups=3)
    with serving(found) as simulator:
        snapshot = read(simulator, scopes=EVERYTHING)
    assert snapshot.scopes == EVERYTHING
    content = content_of(lists_of(snapshot.responses), snapshot.scopes)
    assert {(d.login, d.account_id, d.email, d.provider) for d in content.account_details} == {
        (login, *(lambda d: (d.account_id, d.email, d.provider))(found.details_of(login)))
        for login in found.names
    }


@pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        ("v2/users-management/users", faults.status(404)),
        ("v2/users-management/users", faults.status(503)),
        ("v2/users-management/users", faults.html),
        ("v2/users-management/users", faults.short(3)),
        ("v2/users-management/users", faults.stall(30)),
        ("v2/organizations/organizations", faults.status(403)),
        ("v2/organizations/organizations", faults.body(b"[]")),
        ("v2/organizations/organizations", faults.body(b"{}")),
    ],
)
def test_account_details_that_cannot_be_read_hurt_nothing_else(
    endpoint: str, fault: faults.Fault
) -> None:
    found = organization(accounts=60, groups=3)
    with serving(found) as simulator:
        simulator.faults.add(endpoint, fault, times=None)
        snapshot = read(simulator, scopes=EVERYTHING)
    assert snapshot.verdict is Verdict.COMPLETE
    assert snapshot.scopes == PROJECTS, "a scope that was not read is not claimed"
    assert access_of(snapshot) == found.truth() | found.project_truth()
    assert "account_details" not in snapshot.counts


def test_an_answer_about_everybody_in_the_service_is_not_taken_for_the_organizations_own() -> None:
    """What a service does that ignores the filter it is asked with."""

    def everybody(answer: faults.Answer) -> faults.Answer:
        document = json.loads(json.dumps(answer.document))
        document["users"][0]["login"] = "stranger@github"
        return faults.Answer(200, document)

    with serving(organization(accounts=60, groups=3)) as simulator:
        simulator.faults.add("v2/users-management/users", everybody, times=None)
        snapshot = read(simulator, scopes=EVERYTHING)
    assert (snapshot.verdict, snapshot.scopes) == (Verdict.COMPLETE, PROJECTS)
    details = next(found for found in snapshot.lists if found.name == "account_details")
    assert "1 of its accounts are no members" in str(details.reason)


def test_a_scope_switched_on_begins_with_a_baseline_and_switched_off_ends_without_revoking(
    with_projects: Company,
) -> None:
    here = with_projects
    assert here.live(0).success
    here.read_scopes(Scope.PROJECT_PERMISSIONS)
    for number in (1, 2, 3):
        result = here.live(number)
        assert result.success
    assert metadata_of(result, "dim_project")["dagster/row_count"] == len(here.truth(3).projects)
    here.read_scopes()
    for number in (4, 7):
        assert here.live(number).success
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        observed = queries.observations(transaction, "acme")
        assert [len(facts.scopes) for facts in observed] == [1, 2, 2, 2, 1, 1]
        changes = [
            row
            for row in queries.changes_between(transaction, "acme", queries.BEGINNING, NOW)
            if row["access_type"] == "project_permission"
        ]
        first = [row for row in changes if row["kind"] == "first_observed"]
        assert {row["changed_by"] for row in first} == {observed[1].observed_at}
        assert {(r["login"], r["resource"], r["entitlement"]) for r in first} == {
            (login, key, permission)
            for login, _, key, permission, _ in here.truth(1).project_truth()
        }
        assert not [row for row in changes if row["changed_by"] > observed[3].observed_at], (
            "nothing opens or closes unread"
        )
        # What was read says what was true, and a day that did not read projects says nothing of
        # them.
        for facts, number in zip(observed, (0, 1, 2, 3, 4, 7), strict=True):
            shown = {
                (row["login"], row["resource"], row["entitlement"])
                for row in queries.access_at(transaction, facts)
                if (row["principal_type"], row["access_type"]) == ("user", "project_permission")
            }
            truth = {
                (login, key, permission)
                for login, _, key, permission, _ in here.truth(number).project_truth()
            }
            assert shown == (truth if number in (1, 2, 3) else set())
        ages = transaction.execute(
            text(
                "SELECT access_type, MIN(last_observed_at) AS oldest FROM current_access GROUP BY"
                " access_type"
            )
        ).all()
        stale = {row.access_type: str(row.oldest)[:10] for row in ages}
    assert stale["project_permission"] == str(here.day(3)), (
        "what is not read any more shows how old it is"
    )
    assert stale["membership"] == str(here.day(7))


@pytest.mark.proofs("postgresql")
def test_the_view_of_project_rights_says_what_was_true_on_every_day(with_projects: Company) -> None:
    here = with_projects
    here.read_scopes(Scope.PROJECT_PERMISSIONS)
    days = (0, 1, 2, 3, 4, 7, 8, 9) if THOROUGH else (0, 1, 2, 4, 7)
    for number in days:
        assert here.live(number).success
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        rows = transaction.execute(text("SELECT * FROM user_project_access")).mappings().all()
        for facts, number in zip(queries.observations(transaction, "acme"), days, strict=True):
            moment = facts.observed_at
            shown = [
                (row["login"], row["project_key"], row["permission"], row["granted_via"])
                for row in rows
                if _time(row["valid_from"]) <= moment
                and (row["valid_to"] is None or moment < _time(row["valid_to"]))
            ]
            assert len(shown) == len(set(shown)), "no two intervals of one right overlap"
            assert set(shown) == project_rights(here.truth(number))
        for row in rows:
            assert row["changed_after"] is None or _time(row["changed_after"]) < _time(
                row["valid_from"]
            )
            assert row["valid_to"] is None or _time(row["last_seen_at"]) < _time(row["valid_to"])


def test_a_right_through_a_group_ends_with_the_grant_or_the_membership_whichever_ends_first(
    with_projects: Company,
) -> None:
    here = with_projects
    here.read_scopes(Scope.PROJECT_PERMISSIONS)
    founded = here.truth(0)
    (project, *_), (grant_first, member_first) = (
        sorted(founded.projects),
        [n for n in founded.groups if n][1:3],
    )

    def changed(day: int) -> Organization:
        found = founded.copied()
        for number, grant_ends, membership_ends in ((grant_first, 1, 2), (member_first, 2, 1)):
            found.groups[number].members = {READER} | ({"ada"} if day < membership_ends else set())
            found.projects[project].groups[number] = (
                {"issueadmin"} if day < grant_ends else {"user"}
            )
        found.names["ada"] = "Ada"
        return found

    for day in range(3):
        here.simulator.organization = lambda day=day: changed(day)  # type: ignore[misc]
        assert here.live(day).success
    here.simulator.organization = lambda: changed(2)
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        rights = transaction.execute(
            text(
                "SELECT DISTINCT r.granted_via, s.snapshot_id FROM user_project_access r JOIN"
                " raw_snapshot s ON s.organization_key = r.organization_key AND s.observed_at ="
                " r.valid_to WHERE r.login = 'ada' AND r.permission = 'issueadmin' AND"
                " r.project_key = :project"
            ),
            {"project": project},
        ).all()
    assert sorted(map(tuple, rights)) == sorted(
        [(f"group:{grant_first}", 2), (f"group:{member_first}", 2)]
    )


def _time(value: Any) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value


def test_a_packet_shows_project_rights_once_per_group_and_says_what_was_not_read(
    with_projects: Company,
) -> None:
    here = with_projects
    here.read_scopes(Scope.PROJECT_PERMISSIONS, Scope.ACCOUNT_DETAILS)
    assert here.live(0).success
    with here.warehouse() as warehouse:
        packet = build(warehouse, "acme", Window(here.day(0), here.day(0)))
        with warehouse.read() as transaction:
            details = transaction.execute(select(history_tables["dim_account_detail"])).all()
            stopped = transaction.execute(
                select(raw_list.c.reason).where(raw_list.c.reason.is_not(None))
            ).all()
    found = here.truth(0)
    of_groups = [row for row in packet.facts.access if row["principal_type"] == "group"]
    assert {
        (row["granted_via"].removeprefix("group:"), row["resource"], row["entitlement"])
        for row in of_groups
    } == {
        (principal, key, permission)
        for kind, principal, _, key, permission in project_grants(found)
        if kind == "group"
    }
    assert {row["resource_name"] for row in of_groups} <= {
        project.name for project in found.projects.values()
    }
    assert packet.facts.projects_of_anyone == sum(
        bool(project.anyone) for project in found.projects.values()
    )
    assert len(details) == len(found.names)
    assert stopped == [], "sixty accounts fit one page: nothing was left unread"
    limits = packet.files["limits.csv"].decode()
    assert "only the projects that the token's owner may see" in limits
    emails = {login: found.details_of(login).email for login in found.names}
    assert {row["login"]: row["email"] for row in packet.facts.population} == emails
    with_people = ("population.csv", "report.html", "report.pdf", "access-review.xlsx")
    elsewhere = b"".join(
        body for name, body in packet.files.items() if name not in with_people
    ).decode()
    assert not [email for email in emails.values() if email and email in elsewhere]


def test_more_than_ten_thousand_members_are_found_and_what_is_unknown_stays_unknown() -> None:
    found = organization(accounts=1, groups=3)
    for number in range(10_250):
        found.join(f"user-{number:05d}", f"Name {number % 4000}")
    beyond = sorted(found.names, key=lambda login: found.names[login].lower())[10_000:]
    found.direct[beyond[0]] = {"scan"}
    with serving(found, frozen=True) as simulator:
        snapshot = read(simulator, patience=UNHURRIED)
        refused = [
            answer
            for answer in simulator.asked
            if answer[0].endswith("search_members") and int(answer[1]["p"]) > 20
        ]
    assert (snapshot.verdict, snapshot.reason) == (Verdict.COMPLETE, None)
    assert refused == [], "nothing is asked that SonarCloud refuses"
    content = content_of(lists_of(snapshot.responses))
    members = {member.login: member for member in content.members}
    assert set(members) == set(found.names)
    assert access_of(snapshot) == found.truth()
    unknown = [login for login, member in members.items() if member.is_organization_admin is None]
    assert len(unknown) == len(found.names) - 10_000
    assert all(
        members[login].name == found.names[login] and members[login].group_count is None
        for login in unknown
    )
    said = next(read for read in snapshot.lists if read.name == "members")
    assert (said.rows, said.reported_total) == (10_000, len(found.names))
    twice = next(control for control in snapshot.controls if control.name == "members_listed_twice")
    assert (twice.left, twice.right, twice.passed) == (len(found.names), len(found.names), True)


def test_a_member_beyond_ten_thousand_that_is_missing_leaves_the_snapshot_incomplete() -> None:
    found = organization(accounts=1, groups=3)
    for number in range(10_050):
        found.join(f"user-{number:05d}", f"Name {number:05d}")

    with serving(found, frozen=True) as simulator:
        simulator.faults.add("permissions/users", faults.total_off_by(-1), times=None)
        is_last = lambda params: int(params["p"]) * int(params["ps"]) >= len(found.names)  # noqa: E731
        simulator.faults.add("permissions/users", faults.short(1), times=None, when=is_last)
        snapshot = read(simulator, patience=UNHURRIED)
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert "10051 against 10050" in str(snapshot.reason)


def test_no_right_through_a_group_is_stated_for_days_on_which_nobody_read_the_projects(
    warehouse: Warehouse,
) -> None:
    """Somebody joins a group while projects are not read, and another comes and goes: nobody saw
    what the group might do then.
    """
    base = World(
        members={"ada": "Ada", "bob": "Bob", "cleo": "Cleo"},
        groups={"1": "Members", "2": "Owners"},
        group_members={"1": ["ada", "bob", "cleo"], "2": ["ada"]},
        projects={"p": "P"},
        project_groups={"p": ["2"]},
    )
    both = replace(base, group_members={"1": ["ada", "bob", "cleo"], "2": ["ada", "bob", "cleo"]})
    one = replace(base, group_members={"1": ["ada", "bob", "cleo"], "2": ["ada", "bob"]})
    core, whole = (Scope.CORE,), (Scope.CORE, Scope.PROJECT_PERMISSIONS)
    days = [(base, whole), (both, core), (one, core), (one, whole), (base, core), (base, whole)]
    for number, (world, scopes) in enumerate(days):
        record(
            warehouse,
            snapshot_of(world, EPOCH + timedelta(days=number), scopes=scopes),
            lambda: EPOCH,
        )
    derive(warehouse, "acme")
    view = user_project_access.c
    with warehouse.read() as transaction:
        query = select(
            view.login, view.valid_from, view.valid_to, view.changed_after, view.last_seen_at
        ).order_by(view.login)
        rows = transaction.execute(query).all()
    began = [EPOCH + timedelta(days=number) for number in range(len(days))]
    ended = [moment + timedelta(seconds=10) for moment in began]
    assert [tuple(row) for row in rows] == [
        ("ada", ended[0], None, None, None),
        ("bob", ended[3], ended[5], began[0], began[3]),
    ]


def test_history_and_evidence_of_a_day_before_a_scope_began_are_made_in_one_run(
    with_projects: Company,
) -> None:
    here = with_projects
    here.read_scopes()
    assert here.live(0).success
    here.read_scopes(Scope.PROJECT_PERMISSIONS, Scope.ACCOUNT_DETAILS)
    assert here.live(1).success
    both = dg.AssetSelection.groups("access") | dg.AssetSelection.groups("evidence")
    assets = [one for one in here.definitions.assets or () if isinstance(one, dg.AssetsDefinition)]
    made = dg.materialize(
        assets,
        partition_key=str(here.day(0)),
        instance=here.instance,
        selection=both,
        raise_on_error=False,
    )
    assert made.success
    assert str(here.day(0)) in str(metadata_of(made, "evidence_packet")["folder"])


def test_a_right_through_a_group_ends_with_the_group_though_no_later_day_read_projects(
    warehouse: Warehouse,
) -> None:
    before = World(
        members={"ada": "Ada", "bob": "Bob"},
        groups={"1": "Members"},
        group_members={"1": ["ada", "bob"]},
        projects={"p": "P"},
        project_groups={"p": ["1"]},
    )
    after = replace(before, members={"ada": "Ada"}, group_members={"1": ["ada"]})
    record(warehouse, snapshot_of(before, EPOCH, scopes=tuple(Scope)), lambda: EPOCH)
    left = snapshot_of(after, EPOCH + timedelta(days=1))
    record(warehouse, left, lambda: EPOCH)
    derive(warehouse, "acme")
    with warehouse.read() as transaction:
        ended = dict(
            map(tuple, transaction.execute(text("SELECT login, valid_to FROM user_project_access")))
        )
    assert ended["ada"] is None
    assert str(ended["bob"])[:19] == f"{left.observed_at:%Y-%m-%d %H:%M:%S}"
