"""Rules: each answers fail, pass or not evaluable with its reason, by the policy in force on the
day; unknown is never a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from sonar_access_pipeline.access import rules as access_rules
from sonar_access_pipeline.access.policy import (
    FIRST_RULES,
    Exemption,
    Policy,
    PolicyInForce,
    ReviewPolicy,
    Series,
    excepted,
    identity,
    later,
)
from sonar_access_pipeline.access.records import (
    AccountDetail,
    CallerToken,
    Grant,
    Group,
    GroupMember,
    Member,
    Organization,
    SnapshotContent,
)
from sonar_access_pipeline.access.review.deciding import ReviewState
from sonar_access_pipeline.access.review.standing import DemandStanding, ReviewStanding
from sonar_access_pipeline.access.rules import (
    RULE_VERSIONS,
    RULES,
    STATE_RULES,
    WINDOW_RULES,
    Answer,
    Result,
    StateRule,
    WindowFacts,
    WindowRule,
    looks_like_a_service,
)
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence import summary
from sonar_access_pipeline.evidence.facts import gather
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.settings import load
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.warehouse.ask import proof
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.history.verify import State, verify
from sonar_access_pipeline.warehouse.ledger import policies
from sonar_access_pipeline.warehouse.ledger.policies import policy_at, record_policy, record_rules
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import history_tables
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short, PostgreSQL alone."""

EVERYTHING = frozenset(Scope)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def content(
    *,
    members: Mapping[str, str | None] | None = None,
    groups: Mapping[str, list[str]] | None = None,
    default: str | None = "1",
    grants: list[Grant] | None = None,
    emails: Mapping[str, str | None] | None = None,
    scopes: frozenset[Scope] = EVERYTHING,
) -> SnapshotContent:
    groups = {"1": []} if groups is None else groups
    return SnapshotContent(
        organization=Organization("acme", "Acme", None, None, True),
        members=tuple(Member(login, name, None, None) for login, name in (members or {}).items()),
        groups=tuple(
            Group(key, f"group {key}", None, key == default if default else None, None)
            for key in groups
        ),
        group_members=tuple(
            GroupMember(key, login) for key, logins in groups.items() for login in logins
        ),
        grants=tuple(grants or ()),
        account_details=tuple(
            AccountDetail(login, None, email, None) for login, email in (emails or {}).items()
        ),
        scopes=scopes,
    )


def to_user(login: str, permission: str, project: str | None = None) -> Grant:
    return Grant("user", login, "project" if project else "organization", project, permission)


def to_group(group: str, permission: str, project: str | None = None) -> Grant:
    return Grant("group", group, "project" if project else "organization", project, permission)


def to_anyone(permission: str, project: str | None = None) -> Grant:
    return Grant("anyone", "Anyone", "project" if project else "organization", project, permission)


def failing(rule_id: str, shown: SnapshotContent, policy: Policy | None = None) -> set[str]:
    """The subjects that fail a rule; nothing else is said of the others."""
    rule = next(rule for rule in STATE_RULES if rule.rule_id == rule_id)
    answers = rule.answers(shown, policy or Policy())
    assert answers, "every rule answers"
    fails = {answer.subject for answer in answers if answer.result is Result.FAIL}
    if not fails and all(answer.result is not Result.NOT_EVALUABLE for answer in answers):
        assert answers == [Answer("organization", "acme", Result.PASS, "")]
    return fails


ROSTER = {identity("ada"): "active", identity("bob@x.example"): "active", identity("carl"): "left"}
SERVICE = {identity("ci-bot"): "Platform"}
CASES: Mapping[str, tuple[str, SnapshotContent, Policy, set[str]]] = {
    "six admins are too many": (
        "too-many-admins",
        content(grants=[to_user(f"u{number}", "admin") for number in range(6)]),
        Policy(),
        {"acme"},
    ),
    "five are not": (
        "too-many-admins",
        content(grants=[to_user(f"u{n}", "admin") for n in range(5)]),
        Policy(),
        set(),
    ),
    "the threshold is the policy's": (
        "too-many-admins",
        content(groups={"1": [], "2": ["a", "b"]}, grants=[to_group("2", "admin")]),
        Policy(max_admins=1),
        {"acme"},
    ),
    "an account that is admin twice is one": (
        "too-many-admins",
        content(groups={"2": ["a"]}, grants=[to_group("2", "admin"), to_user("a", "admin")]),
        Policy(max_admins=1),
        set(),
    ),
    "nobody administers": (
        "no-admin",
        content(groups={"2": []}, grants=[to_group("2", "admin")]),
        Policy(),
        {"acme"},
    ),
    "somebody administers": ("no-admin", content(grants=[to_user("a", "admin")]), Policy(), set()),
    "one administers alone": (
        "one-admin",
        content(grants=[to_user("a", "admin")]),
        Policy(),
        {"acme"},
    ),
    "two do": (
        "one-admin",
        content(grants=[to_user("a", "admin"), to_user("b", "admin")]),
        Policy(),
        set(),
    ),
    "an admin of a project is no admin": (
        "no-admin",
        content(grants=[to_user("a", "admin", "p")]),
        Policy(),
        {"acme"},
    ),
    "admin by a grant to itself": (
        "admin-direct",
        content(groups={"2": ["b"]}, grants=[to_user("a", "admin"), to_group("2", "admin")]),
        Policy(),
        {"a"},
    ),
    "a permission by a grant to itself": (
        "direct-grant",
        content(grants=[to_user("a", "scan"), to_user("b", "admin"), to_user("c", "scan", "p")]),
        Policy(),
        {"a"},
    ),
    "on a project": (
        "direct-project-grant",
        content(grants=[to_user("a", "scan"), to_user("c", "user", "p")]),
        Policy(),
        {"c"},
    ),
    "Anyone on the organization": (
        "anyone-organization",
        content(grants=[to_anyone("scan")]),
        Policy(),
        {"Anyone"},
    ),
    "Anyone on a project": (
        "anyone-project",
        content(grants=[to_anyone("user", "p"), to_user("a", "user", "p")]),
        Policy(),
        {"Anyone"},
    ),
    "nobody is Anyone": (
        "anyone-organization",
        content(grants=[to_anyone("user", "p")]),
        Policy(),
        set(),
    ),
    "the default group on the organization": (
        "default-group-organization",
        content(
            groups={"1": [], "2": []},
            grants=[to_group("1", "provisioning"), to_group("2", "admin")],
        ),
        Policy(),
        {"1"},
    ),
    "the default group may browse": (
        "default-group-project",
        content(grants=[to_group("1", "user", "p"), to_group("1", "codeviewer", "p")]),
        Policy(),
        set(),
    ),
    "and no more": (
        "default-group-project",
        content(grants=[to_group("1", "issueadmin", "p")]),
        Policy(),
        {"1"},
    ),
    "in no group but the default": (
        "only-default-group",
        content(members={"a": None, "b": None}, groups={"1": ["a", "b"], "2": ["b"]}),
        Policy(),
        {"a"},
    ),
    "names that look alike": (
        "confusable-name",
        content(
            members={
                "a": "Paul",
                "b": "P\u0430ul",
                "c": "PAU\u0399",
                "d": "Pau1\u200b",
                "e": "Pauline",
                "f": None,
            }
        ),
        Policy(),
        {"a", "b", "c", "d"},
    ),
    "pseudonyms do not": (
        "confusable-name",
        replace(
            content(members={"redacted-0123456789abcdef": "Paul", "b": "Paul"}),
            pseudonyms=frozenset({"redacted-0123456789abcdef"}),
        ),
        Policy(),
        set(),
    ),
    "not on the roster, by login or e-mail": (
        "not-on-roster",
        content(
            members=dict.fromkeys(["ADA ", "bob", "carl", "dora", "ci-bot"]),
            emails={"bob": "Bob@X.example"},
        ),
        Policy(roster=ROSTER, service_accounts=SERVICE),
        {"carl", "dora"},
    ),
    "a service account without an owner": (
        "service-without-owner",
        content(
            members={
                "ci-bot": None,
                "deploy": None,
                "x": "Release Robot",
                "abbot": "Abbot Costello",
            }
        ),
        Policy(service_accounts=SERVICE),
        {"deploy", "x"},
    ),
    "an e-mail from outside": (
        "outside-email-domain",
        content(
            members=dict.fromkeys(["a", "b", "ci-bot"]),
            emails={"a": "a@ACME.example", "b": "b@else.example"},
        ),
        Policy(email_domains=("acme.example",), service_accounts=SERVICE),
        {"b"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_finds_what_it_says_and_nothing_else(case: str) -> None:
    rule_id, shown, policy, expected = CASES[case]
    assert failing(rule_id, shown, policy) == expected


def test_every_rule_of_an_observation_has_a_case_that_fails_and_every_rule_is_documented() -> None:
    assert {rule_id for rule_id, _, _, fails in CASES.values() if fails} == {
        rule.rule_id for rule in STATE_RULES
    }
    documented = (Path(__file__).parents[2] / "docs" / "findings.md").read_text()
    for rule in RULES.values():
        assert f"| `{rule.rule_id}` | {rule.version} | {rule.severity} | {rule.title}" in documented


UNKNOWN = {
    "direct-project-grant": "scope project_permissions was not read",
    "anyone-project": "scope project_permissions was not read",
    "default-group-project": "scope project_permissions was not read",
    "default-group-organization": "no group says that it is the default one",
    "only-default-group": "no group says that it is the default one",
    "not-on-roster": "no roster is named in the settings",
    "outside-email-domain": "scope account_details was not read",
}


@pytest.mark.parametrize("rule_id", UNKNOWN)
def test_what_is_not_known_is_not_evaluable_and_never_a_pass(rule_id: str) -> None:
    shown = content(members={"a": None}, default=None, scopes=frozenset({Scope.CORE}))
    rule = next(rule for rule in STATE_RULES if rule.rule_id == rule_id)
    assert rule.answers(shown, Policy()) == [
        Answer("organization", "acme", Result.NOT_EVALUABLE, UNKNOWN[rule_id])
    ]


def test_an_account_whose_email_is_unknown_is_not_evaluable_by_itself() -> None:
    shown = content(members={"a": None, "b": None}, emails={"a": "a@acme.example", "b": None})
    rule = next(rule for rule in STATE_RULES if rule.rule_id == "outside-email-domain")
    answers = rule.answers(shown, Policy(email_domains=("acme.example",)))
    assert answers == [Answer("account", "b", Result.NOT_EVALUABLE, "its e-mail is not known")]


COMPARED = (NOW - timedelta(days=9), NOW)


def window_answers(
    rule_id: str, facts: WindowFacts, policy: Policy | None = None
) -> list[tuple[str, Result]]:
    rule = RULES[rule_id]
    assert isinstance(rule, WindowRule)
    return [(answer.subject, answer.result) for answer in rule.answers(facts, policy or Policy())]


def test_the_rules_of_a_window() -> None:
    def token(name: str, made: int | None, used: int | None) -> CallerToken:
        ago = [None if days is None else NOW - timedelta(days=days) for days in (made, used)]
        return CallerToken("reader", name, ago[0], ago[1], None)

    tokens = [
        token("old", 400, 1),
        token("new", 3, 1),
        token("unknown", None, None),
        token("unused", 100, 99),
    ]
    facts = WindowFacts(
        "acme",
        NOW,
        COMPARED,
        (),
        {"b", "a"},
        {"c": {"admin"}, "d": {"scan"}},
        {"c": {"admin"}},
        tokens,
    )
    assert window_answers("returned", facts) == [("a", Result.FAIL), ("b", Result.FAIL)]
    assert window_answers("privilege-gained", facts) == [("c", Result.FAIL)]
    before = RULE_VERSIONS["privilege-gained", 2]
    assert isinstance(before, WindowRule)
    assert [answer.subject for answer in before.answers(facts, Policy())] == ["c", "d"], (
        "as it was asked before, also of what the default group gives"
    )
    assert window_answers("old-token", facts) == [
        ("reader", Result.FAIL),
        ("reader", Result.NOT_EVALUABLE),
    ]
    assert window_answers("old-token", facts, Policy(max_token_days=500)) == [
        ("reader", Result.NOT_EVALUABLE)
    ]
    assert window_answers("dormant", facts) == [
        ("reader", Result.FAIL),
        ("acme", Result.NOT_EVALUABLE),
    ]
    nothing = WindowFacts("acme", NOW, COMPARED, (), (), {}, {}, None)
    assert (
        window_answers("returned", nothing)
        == window_answers("privilege-gained", nothing)
        == [("acme", Result.PASS)]
    )
    for rule_id in ("old-token", "dormant"):
        assert window_answers(rule_id, nothing) == [("acme", Result.NOT_EVALUABLE)], rule_id


QUARTERLY = Policy(review=ReviewPolicy(series=(Series("quarterly", "everybody", 3, 14),)))


def of_reviews(policy: Policy, *reviews: ReviewStanding) -> list[tuple[Result, str]]:
    facts = WindowFacts("acme", NOW, COMPARED, (), (), {}, {}, None, reviews)
    rule = RULES["review-overdue"]
    assert isinstance(rule, WindowRule)
    return [(answer.result, answer.detail) for answer in rule.answers(facts, policy)]


def standing(state: str, due_in: int, *, opened: int = -14, number: int = 1) -> ReviewStanding:
    day = NOW.date()
    return ReviewStanding(
        number,
        "quarterly",
        day + timedelta(days=opened),
        day + timedelta(days=due_in),
        ReviewState(state),
    )


def test_a_review_is_overdue_from_the_day_after_it_was_due_and_before_the_first_nobody_knows() -> (
    None
):
    assert [one for one, _ in of_reviews(Policy())] == [Result.NOT_EVALUABLE]
    assert of_reviews(QUARTERLY) == [
        (
            Result.NOT_EVALUABLE,
            "of series 'quarterly' no review was opened yet, so none is due",
        )
    ]
    assert of_reviews(QUARTERLY, standing("open", 0)) == [(Result.PASS, "")]
    ((result, why),) = of_reviews(QUARTERLY, standing("signed", -1))
    assert (result, "was due on" in why) == (Result.FAIL, True)
    assert of_reviews(QUARTERLY, standing("sealed", -1)) == [(Result.PASS, "")]
    ((result, why),) = of_reviews(QUARTERLY, standing("closed incomplete", 3))
    assert (result, "closed incomplete" in why) == (Result.FAIL, True)
    ((result, why),) = of_reviews(QUARTERLY, standing("sealed", -100, opened=-130))
    assert (result, "none was opened" in why) == (Result.FAIL, True)
    assert of_reviews(QUARTERLY, standing("sealed", -60, opened=-80)) == [(Result.PASS, "")]
    cancelled = standing("cancelled", -3)
    assert [one for one, _ in of_reviews(QUARTERLY, cancelled)] == [Result.NOT_EVALUABLE]


def test_what_was_to_be_gone_is_a_finding_of_whom_it_is_about_and_what_is_unclear_no_pass() -> None:
    def demand(number: int, subject: str, state: str) -> DemandStanding:
        return DemandStanding(1, number, subject, state, NOW)

    demands = [
        demand(1, "ada", "late"),
        demand(2, "group:7", "returned"),
        demand(3, "Anyone", "late"),
        demand(4, "bob", "look-alike"),
        demand(5, "cleo", "open"),
        demand(6, "dan", "done"),
        demand(7, "eve", "not observable"),
    ]
    facts = WindowFacts(
        "acme", NOW, COMPARED, (), (), {}, {}, None, [standing("sealed", 1)], demands
    )
    assert window_answers("follow-up-late", facts) == [
        ("ada", Result.FAIL),
        ("7", Result.FAIL),
        ("Anyone", Result.FAIL),
        ("bob", Result.NOT_EVALUABLE),
        ("eve", Result.NOT_EVALUABLE),
    ]
    nothing = WindowFacts("acme", NOW, COMPARED, (), (), {}, {}, None, [standing("sealed", 1)])
    assert window_answers("follow-up-late", nothing) == [("acme", Result.PASS)]


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize("rule_id", ["returned", "privilege-gained"])
def test_a_rule_that_compares_never_passes_where_a_part_of_the_window_is_unknown(
    rule_id: str, compared: bool
) -> None:
    facts = WindowFacts(
        "acme", NOW, COMPARED if compared else None, ["nothing was observed"], (), {}, {}, []
    )
    assert window_answers(rule_id, facts) == [("acme", Result.NOT_EVALUABLE)]


def test_what_was_gained_lies_between_two_observations_whatever_the_window() -> None:
    facts = WindowFacts(
        "acme",
        NOW,
        COMPARED,
        ["what changed after it is not known"],
        (),
        {"c": {"admin"}},
        {"c": {"admin"}},
        [],
    )
    rule = next(rule for rule in WINDOW_RULES if rule.rule_id == "privilege-gained")
    answers = {
        answer.subject: (answer.result, answer.detail) for answer in rule.answers(facts, Policy())
    }
    since, until = (f"{moment:%Y-%m-%d %H:%M} UTC" for moment in COMPARED)
    assert answers["c"] == (Result.FAIL, f"gained between {since} and {until}: admin")
    assert answers["acme"][0] is Result.NOT_EVALUABLE


def test_a_login_of_the_shape_of_a_pseudonym_is_on_the_roster_or_not_like_any_other() -> None:
    shaped, stands = "redacted-0123456789abcdef", "redacted-fedcba9876543210"
    shown = replace(content(members={shaped: None, stands: None}), pseudonyms=frozenset({stands}))
    rule = next(rule for rule in STATE_RULES if rule.rule_id == "not-on-roster")
    answers = {
        answer.subject: answer.result for answer in rule.answers(shown, Policy(roster=ROSTER))
    }
    assert answers == {shaped: Result.FAIL, stands: Result.NOT_EVALUABLE}


def test_service_words_are_words_of_their_own() -> None:
    assert looks_like_a_service("acme-ci", None, Policy.service_words)
    assert looks_like_a_service("x9", "Build Server", Policy.service_words)
    assert not looks_like_a_service("lucia", "Lucia Abbot", Policy.service_words)


def test_a_policy_is_what_its_document_says_and_names_nobody() -> None:
    policy = Policy(
        max_admins=3,
        roster=ROSTER,
        service_accounts=SERVICE,
        exemptions=(
            Exemption("admin-direct", identity("ada"), "eve", "founder", date(2026, 12, 31)),
        ),
    )
    assert Policy.of(policy.document) == policy
    assert not [
        name for name in ("ada", "bob", "carl", "ci-bot") if name.encode() in policy.document
    ]
    with pytest.raises(ValueError, match="fields"):
        Policy.of(b"{}")


def test_an_exemption_holds_for_its_rule_its_subject_and_until_its_last_day() -> None:
    policy = Policy(
        exemptions=(Exemption("admin-direct", identity("Ada"), "eve", "founder", date(2026, 6, 1)),)
    )
    policies = [(date(2026, 1, 1), policy)]

    def ended(rule_id: str, subject: str, day: date) -> date | str | None:
        found = excepted(policies, rule_id, subject, day)
        return found.ended or "holds" if found else None

    assert ended("admin-direct", "ada", date(2026, 6, 1)) == "holds"
    assert ended("admin-direct", "ada", date(2026, 6, 2)) == date(2026, 6, 1)
    assert ended("admin-direct", "bob", date(2026, 6, 1)) is None
    assert ended("direct-grant", "ada", date(2026, 6, 1)) is None
    assert ended("admin-direct", "", date(2026, 6, 1)) is None


def test_an_exemption_that_a_later_policy_does_not_name_has_ended_on_its_day() -> None:
    def until(day: date) -> Policy:
        return Policy(
            exemptions=(Exemption("admin-direct", identity("ada"), "eve", "founder", day),)
        )

    first, second, third = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)
    dropped = [
        (first, until(date(2026, 12, 31))),
        (second, Policy()),
        (third, Policy(max_admins=7)),
    ]
    found = excepted(dropped, "admin-direct", "ada", date(2026, 6, 1))
    assert found is not None
    assert (found.exemption.by, found.ended) == ("eve", second)
    over = excepted(
        [(first, until(date(2026, 1, 9))), (second, Policy())],
        "admin-direct",
        "ada",
        date(2026, 6, 1),
    )
    assert over is not None
    assert over.ended == date(2026, 1, 9), "it had ended before it was taken away"
    renewed = excepted(
        [*dropped, (date(2026, 4, 1), until(date(2026, 12, 31)))],
        "admin-direct",
        "ada",
        date(2026, 6, 1),
    )
    assert renewed is not None
    assert renewed.ended is None


WORLD = World(
    members={"ada": "Ada", "bob": "Bob"},
    groups={"1": "Members"},
    group_members={"1": ["ada", "bob"]},
    user_permissions={"ada": ["admin"], "bob": ["admin"]},
)


def observe(warehouse: Warehouse, day: int, world: World = WORLD) -> None:
    record(warehouse, snapshot_of(world, EPOCH + timedelta(days=day)), lambda: EPOCH)


def of_rule(warehouse: Warehouse, rule_id: str) -> list[tuple[str, str, int, int | None]]:
    """The history of a rule: subject, policy version, and from which day to which."""
    table = history_tables["fct_finding"]
    with warehouse.read() as transaction:
        rows = transaction.execute(
            select(table).where(table.c.rule_id == rule_id).order_by(table.c.valid_from)
        ).mappings()
        return [
            (
                f"{row['subject']} {row['result']}",
                row["policy_version"],
                (row["valid_from"] - EPOCH).days,
                (row["valid_to"] - EPOCH).days if row["valid_to"] else None,
            )
            for row in rows
        ]


def test_findings_have_a_history_by_the_policy_in_force_on_the_day(warehouse: Warehouse) -> None:
    observe(warehouse, 0)
    derive(warehouse, "acme")
    assert record_policy(
        warehouse, Policy(max_admins=1), lambda: EPOCH + timedelta(days=1, hours=-1)
    )
    assert not record_policy(warehouse, Policy(max_admins=1), lambda: EPOCH + timedelta(days=1))
    observe(warehouse, 1)
    observe(warehouse, 2, replace(WORLD, user_permissions={"ada": ["admin"], "bob": []}))
    derive(warehouse, "acme")
    history = [("acme pass", "0", 0, 1), ("acme fail", "1", 1, 2), ("acme pass", "1", 2, None)]
    assert of_rule(warehouse, "too-many-admins") == history
    rebuild(warehouse, "acme")
    assert of_rule(warehouse, "too-many-admins") == history, (
        "rebuilding judges each day as it was judged"
    )
    assert verify(warehouse, "acme").state is State.FINE


def test_a_policy_that_changes_while_nothing_else_does_is_seen(warehouse: Warehouse) -> None:
    observe(warehouse, 0)
    observe(warehouse, 1)
    record_policy(warehouse, Policy(max_admins=1), lambda: EPOCH + timedelta(days=1, hours=5))
    observe(warehouse, 2)
    derive(warehouse, "acme")
    assert of_rule(warehouse, "too-many-admins") == [
        ("acme pass", "0", 0, 2),
        ("acme fail", "1", 2, None),
    ]
    with warehouse.read() as transaction:
        assert policy_at(transaction, EPOCH) == PolicyInForce()
        assert policy_at(transaction, EPOCH + timedelta(days=2)) == PolicyInForce(
            1, Policy(max_admins=1)
        )


def test_a_rule_judges_from_when_the_warehouse_met_it_and_changes_nothing_before(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = any((rule.rule_id, rule.version) not in FIRST_RULES for rule in RULES.values())
    assert bool(record_rules(warehouse, lambda: EPOCH)) == later, (
        "the rules of the first release judge from ever"
    )
    observe(warehouse, 0)
    derive(warehouse, "acme")
    days = Window(EPOCH.date(), EPOCH.date())
    before = build(warehouse, "acme", days)
    assert not record_rules(warehouse, lambda: EPOCH), "each is met once"
    everybody = replace(
        STATE_RULES[0],
        rule_id="everybody",
        version=1,
        ask=lambda _, __: [Answer("group", "g", Result.FAIL, "x")],
    )
    newer = replace(
        STATE_RULES[0], version=2, ask=lambda _, __: [Answer("group", "g", Result.FAIL, "y")]
    )
    known(monkeypatch, everybody, newer)
    assert build(warehouse, "acme", days).digest == before.digest
    observe(warehouse, 1)
    derive(warehouse, "acme")
    assert of_rule(warehouse, "everybody") == [], "nobody recorded it yet"
    assert record_rules(warehouse, lambda: EPOCH + timedelta(days=1, hours=12))
    assert not record_rules(warehouse, lambda: EPOCH + timedelta(days=2))
    observe(warehouse, 2)
    derive(warehouse, "acme")
    assert of_rule(warehouse, "everybody") == [("g fail", "0", 2, None)]
    assert of_rule(warehouse, "too-many-admins") == [
        ("acme pass", "0", 0, 2),
        ("g fail", "0", 2, None),
    ]
    assert build(warehouse, "acme", days).digest == before.digest
    rows = build(
        warehouse, "acme", Window(days.first, days.last + timedelta(days=2))
    ).facts.findings
    assert [row["rule_version"] for row in rows if row["rule_id"] == "too-many-admins"] == ["2"]
    history = of_rule(warehouse, "everybody")
    rebuild(warehouse, "acme")
    assert of_rule(warehouse, "everybody") == history
    assert verify(warehouse, "acme").state is State.FINE


def test_an_older_version_does_not_leave_out_rules_of_a_newer_one(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(STATE_RULES[0], version=2)
    with monkeypatch.context() as later:
        known(later, newer)
        assert record_rules(warehouse, lambda: EPOCH + timedelta(days=1))
    for ask in (lambda: record_rules(warehouse, lambda: EPOCH), lambda: policy_of(warehouse, 2)):
        with pytest.raises(
            WarehouseError, match="judged by version 2 of the rule 'too-many-admins'"
        ):
            ask()
    assert policy_of(warehouse, 0) == PolicyInForce()


def policy_of(warehouse: Warehouse, day: int) -> PolicyInForce:
    with warehouse.read() as transaction:
        return policy_at(transaction, EPOCH + timedelta(days=day))


def known(monkeypatch: pytest.MonkeyPatch, *rules: StateRule) -> None:
    """Have a later version of the pipeline know rules besides."""
    for place in ("access.rows", "warehouse.ask.proof"):
        monkeypatch.setattr(f"sonar_access_pipeline.{place}.STATE_RULES", (*STATE_RULES, *rules))
    by_name = {"RULES": {**RULES, **{rule.rule_id: rule for rule in rules}}}
    by_version = {
        "RULE_VERSIONS": {**RULE_VERSIONS, **{(rule.rule_id, rule.version): rule for rule in rules}}
    }
    for name, newer in (by_name | by_version).items():
        for module in (access_rules, proof, policies):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, newer)


def test_the_rules_of_the_first_release_are_still_known() -> None:
    assert {*FIRST_RULES} <= {*RULE_VERSIONS}
    assert len(dict(FIRST_RULES)) == len(FIRST_RULES)


def test_a_policy_that_lacks_a_later_field_has_its_default_and_keeps_its_digest() -> None:
    @dataclass(frozen=True)
    class Later(Policy):
        max_groups: int = later(7)

    old = Policy(max_admins=2, email_domains=("x",))
    assert Later.of(old.document) == Later(max_admins=2, email_domains=("x",), max_groups=7)
    assert Later.of(old.document).sha256 == old.sha256
    newer = Later(max_admins=2, max_groups=8)
    assert Later.of(newer.document) == newer
    with pytest.raises(ValueError, match="fields of a policy"):
        Policy.of(newer.document)
    with pytest.raises(ValueError, match="fields of a policy"):
        Later.of(b"{}")


def test_what_was_observed_before_anybody_recorded_a_policy_is_judged_as_ever() -> None:
    """Of version 0 nothing is kept but this: a default that changes would change answers of years
    ago.
    """
    assert Policy().sha256 == "0b32712f8e99bcd44c6a1ef8c88cf755ab5fddf14f6cf7f32b8eb9ff5ad93d62"


def test_findings_say_whose_exception_holds_and_what_is_new(warehouse: Warehouse) -> None:
    kept = Exemption(
        "admin-direct", identity("ada"), "eve", "founder", EPOCH.date() + timedelta(days=1)
    )
    record_policy(warehouse, Policy(exemptions=(kept,)), lambda: EPOCH)
    for day in range(3):
        observe(warehouse, day)
    derive(warehouse, "acme")

    def admin_direct(day: int) -> tuple[dict[str, tuple[str | None, date | None]], list[str]]:
        facts = gather(warehouse, "acme", Window(EPOCH.date(), EPOCH.date() + timedelta(days=day)))
        rows = [
            row
            for row in facts.findings
            if row["rule_id"] == "admin-direct" and row["result"] == "fail"
        ]
        failed = [row["subject"] for row in facts.failed if row["rule_id"] == "admin-direct"]
        return {
            row["subject"]: (row["exception_by"], row["exception_ended"]) for row in rows
        }, failed

    assert admin_direct(1) == ({"ada": ("eve", None), "bob": (None, None)}, ["bob"])
    assert admin_direct(2) == (
        {"ada": ("eve", kept.until), "bob": (None, None)},
        ["ada", "bob"],
    ), "its last day is over, and said"
    said = summary.lines(
        gather(warehouse, "acme", Window(EPOCH.date(), EPOCH.date() + timedelta(days=2)))
    )
    assert [
        one.text for one in said if one.matters and "An exception ended on 2026-03-02" in one.text
    ]


def test_a_finding_is_as_old_as_its_answer_whatever_else_changed(warehouse: Warehouse) -> None:
    """A line more in the roster, another threshold, another number in its text: the same rule fails
    for the same subject.
    """
    grown = replace(
        WORLD,
        members={**WORLD.members, "eve": "Eve"},
        user_permissions={**WORLD.user_permissions, "eve": ["admin"]},
    )
    roster = {identity("ada"): "active", identity("zoe"): "active"}
    policies = [
        Policy(max_admins=1, roster={identity("ada"): "active"}),
        Policy(max_admins=1, roster=roster),
        Policy(max_admins=1, roster=roster, max_token_days=30),
    ]
    for day, policy in enumerate(policies):
        record_policy(warehouse, policy, lambda day=day: EPOCH + timedelta(days=day, hours=-1))  # type: ignore[misc]
        observe(warehouse, day, WORLD if day < 2 else grown)
    derive(warehouse, "acme")
    facts = gather(warehouse, "acme", Window(EPOCH.date(), EPOCH.date() + timedelta(days=2)))
    since = {(row["rule_id"], row["subject"]): row["failing_since"] for row in facts.failed}
    first = facts.observations[0].observed_at
    assert (
        since["not-on-roster", "bob"]
        == since["too-many-admins", "acme"]
        == since["admin-direct", "ada"]
        == first
    )
    assert since["not-on-roster", "eve"] == facts.observations[2].observed_at
    versions = {
        row["subject"]: row["policy_version"]
        for row in facts.failed
        if row["rule_id"] == "not-on-roster"
    }
    assert versions == {"bob": "3", "eve": "3"}, "the policy is still said that judged last"


def test_a_finding_that_went_and_came_back_is_as_old_as_its_return(warehouse: Warehouse) -> None:
    for day, direct in enumerate((["admin"], [], ["admin"])):
        observe(warehouse, day, replace(WORLD, user_permissions={"ada": ["admin"], "bob": direct}))
    derive(warehouse, "acme")
    facts = gather(warehouse, "acme", Window(EPOCH.date(), EPOCH.date() + timedelta(days=2)))
    since = {
        row["subject"]: (row["failing_since"], row["changed_after"])
        for row in facts.failed
        if row["rule_id"] == "admin-direct"
    }
    first, second, third = facts.observations
    assert since == {
        "ada": (first.observed_at, None),
        "bob": (third.observed_at, second.started_at),
    }


def test_a_rule_whose_answer_is_not_kept_is_not_evaluable(warehouse: Warehouse) -> None:
    observe(warehouse, 0)
    derive(warehouse, "acme")
    with warehouse.write("test") as transaction:
        transaction.execute(history_tables["fct_finding"].delete())
    facts = gather(warehouse, "acme", Window(EPOCH.date(), EPOCH.date()))
    asked = {row["rule_id"]: row for row in facts.findings}
    for rule in STATE_RULES:
        assert asked[rule.rule_id]["result"] == "not_evaluable"
        assert "is not kept" in asked[rule.rule_id]["detail"]
    observe(warehouse, 1)
    derive(warehouse, "acme")
    table = history_tables["fct_finding"]
    with warehouse.read() as transaction:
        assert set(transaction.execute(select(table.c.changed_after)).scalars()) == {None}, (
            "a baseline, not a finding of today"
        )


def config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, roster: str | None = None
) -> None:
    (tmp_path / "settings.toml").write_text(f"[connections.acme]\norganization = 'acme'\n{policy}")
    if roster is not None:
        (tmp_path / "roster.csv").write_text(roster, encoding="utf-8-sig")
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", str(tmp_path / "settings.toml"))


def test_a_policy_comes_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(
        tmp_path,
        monkeypatch,
        """[policy]
max_admins = 2
roster = "roster.csv"
email_domains = ["acme.example"]
[policy.service_accounts]
ci-bot = "Platform"
[[policy.exceptions]]
rule = "admin-direct"
subject = "ada"
by = "Eve"
why = "founder"
until = 2026-12-31
""",
        "Login,E-Mail,Name,Manager,Status\nada,ada@acme.example,Ada,Eve,Active\ncarl,,Carl,Eve,Left\nbob,bob@acme.example,Bob,Eve,\n",
    )
    policy = load().policy.policy()
    assert (policy.max_admins, policy.owner_of("CI-Bot")) == (2, "Platform")
    assert policy.statuses_of(["ada"]) == policy.statuses_of(["BOB@acme.example"]) == {"active"}
    assert policy.statuses_of(["carl", None]) == {"left"}
    assert policy.exemption("admin-direct", "ada") is not None


@pytest.mark.parametrize(
    ("policy", "roster", "said"),
    [
        ('[policy]\nroster = "none.csv"', None, "cannot be read"),
        ('[policy]\nroster = "roster.csv"', "", "names nobody"),
        ('[policy]\nroster = "roster.csv"', "name,manager\nAda,Eve\n", "names nobody"),
        ("[policy]\nmax_admins = 0", None, "POLICY|policy"),
        (
            '[[policy.exceptions]]\nrule = "no-rule"\nby = "e"\nwhy = "w"\nuntil = 2026-01-01',
            None,
            "there is no rule",
        ),
        (
            '[[policy.exceptions]]\nrule = "no-admin"\nby = ""\nwhy = "w"\nuntil = 2026-01-01',
            None,
            "policy",
        ),
    ],
)
def test_a_policy_that_cannot_be_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, roster: str | None, said: str
) -> None:
    config(tmp_path, monkeypatch, policy, roster)
    with pytest.raises(SettingsError, match=said):
        load().policy.policy()


def test_a_rule_that_goes_by_names_knows_those_of_accounts_that_are_no_members_any_more() -> None:
    shown = replace(
        content(
            members={"ada": "Ada"}, grants=[Grant("user", "old", "organization", None, "scan")]
        ),
        non_members={"old": "Build Bot"},
    )
    rules = {rule.rule_id: rule for rule in STATE_RULES}
    answers = rules["service-without-owner"].answers(shown, Policy())
    assert [(answer.subject, answer.result) for answer in answers] == [("old", Result.FAIL)]
    alike = replace(shown, non_members={"old": "Ada"})
    failing = [
        a.subject
        for a in rules["confusable-name"].answers(alike, Policy())
        if a.result is Result.FAIL
    ]
    assert sorted(failing) == ["ada", "old"]
