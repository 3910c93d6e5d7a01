"""The views that answer in one line say what packets and the command line say: of the last
observation, of each day, and on PostgreSQL of any moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select, text, update

from sonar_access_pipeline.access.rules import RULE_VERSIONS, STATE_RULES
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.facts import Facts, gather
from sonar_access_pipeline.simulator.organization import Organization
from sonar_access_pipeline.warehouse import views
from sonar_access_pipeline.warehouse.ask import proof, queries
from sonar_access_pipeline.warehouse.ledger.policies import record_rules
from sonar_access_pipeline.warehouse.schema import dim_rule
from sonar_access_pipeline_tests.support.company import Company, company
from sonar_access_pipeline_tests.support.programs import new_database

SCOPES = (Scope.PROJECT_PERMISSIONS, Scope.ACCOUNT_DETAILS)
DAYS = (0, 1, 3, 4)
"""The third day is a gap."""
NASTY = (
    "a; b",
    "admins (old)",
    " leads",
    "trails\u00a0",
    'said "so"',
    "back\\slash",
    "tab\there",
    "bell\x07",
    "Žluťoučký 🦊",
    "it's :moment and 100%",
)
"""Names of groups that could be taken for others, where several stand in one field."""
pytestmark = pytest.mark.proofs("sqlite")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def here(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """Five days of a company, whose groups have names that are hard to write; on the last day
    nothing but members and groups is read.
    """
    is_sqlite = request.param == "sqlite"
    url = None if is_sqlite else new_database(request.getfixturevalue("postgresql"))
    with (
        pytest.MonkeyPatch.context() as patch,
        company(
            tmp_path_factory.mktemp("views"),
            patch.setenv,
            warehouse_url=url,
            accounts=40,
            groups=len(NASTY),
            projects=5,
            scopes=SCOPES,
            brake_rows=1000,
        ) as one,
    ):
        real = one.simulator.organization

        def named() -> Organization:
            found = real().copied()
            groups = [group for group in found.groups.values() if not group.default]
            for group, name in zip(groups, NASTY, strict=False):
                group.name = name
            for login in sorted(found.names)[:12]:
                for group in groups[: len(login) % 7]:
                    group.members.add(login)
            groups[1].permissions.add("admin")
            return found

        one.simulator.organization = named
        for day in DAYS:
            assert one.live(day).success
        yield one


def asked(transaction: Connection, view: str) -> list[dict[str, Any]]:
    table = views.metadata.tables[view]
    query = select(table).where(table.c.organization_key == "acme")
    return [dict(row) for row in transaction.execute(query).mappings()]


def packet(one: Company, number: int) -> Facts:
    with one.warehouse() as warehouse:
        return gather(warehouse, "acme", Window(one.day(number), one.day(number)))


def compare_accounts(one: Company, number: int) -> list[dict[str, Any]]:
    facts = packet(one, number)
    with one.warehouse() as warehouse, warehouse.read() as transaction:
        found = sorted(asked(transaction, "current_account"), key=lambda row: str(row["login"]))
    assert {row.pop("last_observed_at") for row in found} == {facts.as_of.observed_at}
    assert found == [{name: row[name] for name in found[0]} for row in facts.population]
    return found


def compare_counts(one: Company) -> None:
    with one.warehouse() as warehouse, warehouse.read() as transaction:
        counted = {row["partition_date"]: row for row in asked(transaction, "daily_count")}
        covered = queries.coverage(transaction, "acme", one.day(0), max(counted))
        assert [(row["day"], row["status"]) for row in covered] == [
            (day, counted[day]["status"]) for day in sorted(counted)
        ]
        for observed in queries.observations(transaction, "acme"):
            said = counted[observed.started_at.date()]
            access = queries.access_at(transaction, observed)
            of_accounts = [row for row in access if row["principal_type"] == "user"]
            kinds = Counter(row["access_type"] for row in of_accounts)
            answers = Counter(
                row["result"]
                for row in transaction.execute(
                    text(
                        "SELECT result FROM fct_finding WHERE valid_from <= :moment AND"
                        " (valid_to IS NULL OR valid_to > :moment)"
                    ).bindparams(moment=moment_of(transaction, observed.observed_at))
                ).mappings()
            )
            assert said["observed_at"] == observed.observed_at
            assert said["members"] == kinds["membership"]
            assert said["members"] == len(queries.members_at(transaction, observed))
            assert said["admins"] == len(proof.admin_since(transaction, observed))
            assert said["group_members"] == kinds["group"]
            assert said["organization_permissions"] == kinds["organization_permission"]
            reads = Scope.PROJECT_PERMISSIONS in observed.scopes
            permissions = kinds["project_permission"]
            assert said["project_permissions"] == (permissions if reads else None)
            projects = len(one.truth((observed.started_at.date() - one.day(0)).days).projects)
            assert said["projects"] == (projects if reads else None)
            assert said["failing"] == answers["fail"]
            assert said["not_evaluable"] == answers["not_evaluable"]
    gap = counted[one.day(2)]
    names = [name for name in gap if name not in ("organization_key", "partition_date", "status")]
    assert gap["status"] != "observed"
    assert {gap[name] for name in names} == {None}, "a day that was not observed counts nothing"


def moment_of(transaction: Connection, moment: Any) -> Any:
    is_text = transaction.dialect.name == "sqlite"
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f") if is_text else moment


def test_accounts_findings_and_counts_are_those_of_the_packet(here: Company) -> None:
    found = compare_accounts(here, 4)
    quoted = "; ".join(row["groups"] for row in found)
    assert all(repr(name)[1:4] in repr(quoted) for name in NASTY[:3])
    assert {True, False} == {row["is_organization_admin"] for row in found}
    assert any(row["provider"] for row in found)
    assert any(row["project_admin_count"] for row in found)
    facts = packet(here, 4)
    rules = {rule.rule_id for rule in STATE_RULES}
    expected = [
        row for row in facts.findings if row["rule_id"] in rules and row["result"] != "pass"
    ]
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        findings = asked(transaction, "current_finding")
    assert {row.pop("last_observed_at") for row in findings} == {facts.as_of.observed_at}
    assert {row.pop("organization_key") for row in findings} == {"acme"}
    names = list(findings[0])
    assert sorted(map(repr, findings)) == sorted(
        repr({name: row[name] for name in names}) for row in expected
    )
    assert {"fail", "not_evaluable"} >= {row["result"] for row in findings}
    assert any(row["failing_since"] for row in findings)
    compare_counts(here)
    # Projects and details are not read any more: what they showed last is no answer for today.
    here.read_scopes()
    assert here.live(5).success
    found = compare_accounts(here, 5)
    assert {(row["provider"], row["project_admin_count"]) for row in found} == {(None, None)}
    compare_counts(here)
    here.read_scopes(*SCOPES)


def test_a_sync_writes_what_each_rule_finds_and_mends_words_of_another_version(
    here: Company,
) -> None:
    titles = {(one, str(version)): rule.title for (one, version), rule in RULE_VERSIONS.items()}

    def said(transaction: Connection) -> dict[tuple[str, str], str]:
        columns = dim_rule.c
        found = transaction.execute(select(columns.rule_id, columns.rule_version, columns.title))
        return {(one, version): title for one, version, title in found}

    with here.warehouse() as warehouse:
        with warehouse.write("test") as transaction:
            assert said(transaction) == titles
            transaction.execute(update(dim_rule).values(title="other words"))
        assert record_rules(warehouse, here.clock) is False, "no rule is new"
        with warehouse.read() as transaction:
            assert said(transaction) == titles


def test_on_postgresql_a_function_gives_access_at_any_moment(here: Company) -> None:
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        if not warehouse.is_postgresql:
            pytest.skip("SQLite has no functions of one's own")
        observed = queries.observations(transaction, "acme")
        moments = [observed[0].observed_at - timedelta(seconds=1)]
        for one in observed:
            moments += [one.observed_at, one.observed_at + timedelta(hours=40)]
        for moment in moments:
            found = transaction.execute(
                text("SELECT * FROM access_as_of(:moment)"), {"moment": moment}
            )
            rows = sorted(map(tuple, found))
            before = [one for one in observed if one.observed_at <= moment]
            expected = [
                ("acme", before[-1].observed_at, *(row[name] for name in NAMES))
                for row in (queries.access_at(transaction, before[-1]) if before else [])
                if row["principal_type"] == "user"
            ]
            assert rows == sorted(expected)
        plan = "\n".join(
            row[0]
            for row in transaction.execute(
                text(
                    "EXPLAIN SELECT * FROM access_as_of(now()) WHERE organization_key = 'acme'"
                    " AND login = 'x'"
                )
            )
        )
    assert "Function Scan" not in plan, "what is asked of it reaches the tables' indexes"


NAMES = (
    "login",
    "access_type",
    "resource",
    "entitlement",
    "granted_via",
    "changed_after",
    "valid_from",
)
