"""What a review asks is everything that a packet shows, once each, whatever order it comes in."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonar_access_pipeline.access.review.items import (
    PRIVILEGED,
    Held,
    Item,
    Kind,
    Record,
    ReviewScope,
    plan,
)

LOGINS = ("ada", "bob", "ci-bot")
ORGANIZATION = [
    ("organization_permission", "acme", right) for right in ("admin", "gateadmin", "scan")
]
PROJECT = [
    ("project_permission", project, right) for project in "pq" for right in ("admin", "user")
]
VIAS = ("direct", "group:1", "group:2")


def row(kind: str, login: str, right: tuple[str, str, str], via: str) -> Record:
    access_type, resource, entitlement = right
    return {
        "principal_type": kind,
        "login": login,
        "access_type": access_type,
        "resource": resource,
        "entitlement": entitlement,
        "granted_via": via,
    }


def account(login: str, owner: str = "") -> Record:
    return {"login": login, "owner": owner}


USERS = st.builds(
    row,
    st.just("user"),
    st.sampled_from(LOGINS),
    st.sampled_from([*ORGANIZATION, ("membership", "acme", "member")]),
    st.sampled_from(VIAS),
)
DIRECT = st.builds(
    row, st.just("user"), st.sampled_from(LOGINS), st.sampled_from(PROJECT), st.just("direct")
)
GROUPS = st.builds(
    row, st.just("group"), st.just(""), st.sampled_from(PROJECT), st.sampled_from(VIAS[1:])
)
ANYONE = st.builds(
    row,
    st.just("anyone"),
    st.just(""),
    st.sampled_from([*ORGANIZATION, *PROJECT]),
    st.just("direct"),
)
ACCESS = st.lists(st.one_of(USERS, DIRECT, GROUPS, ANYONE), max_size=25)
POPULATION = [account("ada"), account("bob"), account("ci-bot", "Platform")]


def held(record: Record) -> Held:
    return Held(*(record[name] for name in Held._fields))


@given(ACCESS, st.sampled_from(ReviewScope))
def test_every_account_and_every_right_is_one_item_or_left_out_with_a_reason(
    access: list[Record], scope: ReviewScope
) -> None:
    planned = plan(POPULATION, access, scope)
    every = [*planned.items, *(one.item for one in planned.left_out)]
    assert len(every) == len(set(every))
    accounts = Counter(item.subject for item in every if item.kind is Kind.ACCOUNT)
    assert accounts == Counter(LOGINS), "as many as the packet's population"
    assert all(one.why for one in planned.left_out)
    for record in access:
        if record["principal_type"] == "user":
            mine = [
                item
                for item in every
                if item.kind is not Kind.GRANT
                and item.subject == record["login"]
                and held(record) in item.held
            ]
            is_privileged = (record["access_type"], record["entitlement"]) in PRIVILEGED
            kind = Kind.PRIVILEGE if is_privileged else Kind.ACCOUNT
            assert [item.kind for item in mine] == [kind]
        else:
            subject = record["granted_via"] if record["principal_type"] == "group" else "Anyone"
            (grant,) = (
                item
                for item in every
                if (item.kind, item.subject, item.resource)
                == (Kind.GRANT, subject, record["resource"])
            )
            assert held(record) in grant.held


@given(ACCESS, st.sampled_from(ReviewScope), st.data())
def test_the_order_of_rows_changes_nothing(
    access: list[Record], scope: ReviewScope, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(access))
    people = data.draw(st.permutations(POPULATION))
    assert plan(people, [*shuffled, *shuffled], scope) == plan(POPULATION, access, scope)


def test_what_a_decision_is_on_has_a_digest_of_all_that_was_shown() -> None:
    one = Item(Kind.ACCOUNT, "ada", "", "", (Held("membership", "acme", "member", "direct"),))
    other = Item(Kind.ACCOUNT, "ada", "", "", (Held("membership", "acme", "member", "group:1"),))
    assert one.digest != other.digest
    assert one.digest == Item(*vars(one).values()).digest


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        (ReviewScope.EVERYBODY, {("account", "ada"), ("account", "bob"), ("account", "ci-bot")}),
        (ReviewScope.ADMINS, {("account", "ada")}),
        (ReviewScope.SERVICES, {("account", "ci-bot")}),
    ],
)
def test_a_scope_asks_about_its_own(scope: ReviewScope, asked: set[tuple[str, str]]) -> None:
    access = [
        row("user", "ada", ("organization_permission", "acme", "admin"), "group:2"),
        row("user", "ada", ("organization_permission", "acme", "admin"), "direct"),
        row("user", "bob", ("organization_permission", "acme", "scan"), "group:1"),
        row("group", "", ("project_permission", "p", "admin"), "group:1"),
        row("anyone", "", ("project_permission", "p", "user"), "direct"),
    ]
    planned = plan(POPULATION, access, scope)
    assert {(i.kind.value, i.subject) for i in planned.items if i.kind is Kind.ACCOUNT} == asked
    privileges = [item for item in planned.items if item.kind is Kind.PRIVILEGE]
    grants = {(item.subject, item.resource) for item in planned.items if item.kind is Kind.GRANT}
    if scope is ReviewScope.SERVICES:
        assert (privileges, grants) == ([], set())
        return
    (privilege,) = privileges
    assert (privilege.subject, privilege.right, len(privilege.held)) == ("ada", "admin", 2)
    everything = {("group:2", "acme"), ("group:1", "acme"), ("group:1", "p"), ("Anyone", "p")}
    gives = {("group:2", "acme"), ("group:1", "p")}
    assert grants == (everything if scope is ReviewScope.EVERYBODY else gives)
    kinds = [item.kind for item in planned.items]
    assert kinds == sorted(kinds, key=list(Kind).index)
