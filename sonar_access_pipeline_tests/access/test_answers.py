"""Parsing: what SonarCloud writes becomes records, and what is not an answer is refused without
quoting it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonar_access_pipeline.access.endpoints import Page, ShapeError
from sonar_access_pipeline.access.endpoints.shape import storable
from sonar_access_pipeline.access.lists import ENDPOINTS, page_of
from sonar_access_pipeline.access.records import (
    Group,
    GroupMember,
    GroupPermissions,
    Member,
    Organization,
)

MEMBERS = "organizations/search_members"


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_an_absent_value_is_unknown_and_an_unknown_field_is_ignored() -> None:
    page = page_of(
        MEMBERS, {}, body({"paging": {"total": 1}, "users": [{"login": "ada", "shoeSize": 38}]})
    )
    assert page == Page((Member("ada", None, None, None),), 1)


def test_null_means_the_same_as_absent() -> None:
    row = {"login": "ada", "name": None, "groupCount": None, "isOrgAdmin": None}
    assert page_of(MEMBERS, {}, body({"paging": {"total": 1}, "users": [row]})).records == (
        Member("ada", None, None, None),
    )


def test_group_ids_are_compared_as_texts_whatever_the_endpoint_writes() -> None:
    groups = page_of(
        "user_groups/search",
        {},
        body({"paging": {"total": 1}, "groups": [{"id": 441813, "name": "Members"}]}),
    )
    granted = page_of(
        "permissions/groups",
        {},
        body(
            {
                "paging": {"total": 2},
                "groups": [{"id": "441813", "name": "Members", "permissions": []}, ANYONE],
            }
        ),
    )
    assert groups.records == (Group("441813", "Members", None, None, None),)
    assert granted.records == (
        GroupPermissions("441813", "Members", ()),
        GroupPermissions(None, "Anyone", ("scan",)),
    )


ANYONE = {"name": "Anyone", "permissions": ["scan"]}


def test_the_list_without_a_paging_object_keeps_its_total_and_leaves_out_who_is_not_selected() -> (
    None
):
    document = {
        "users": [{"login": "ada", "selected": True}, {"login": "bob", "selected": False}],
        "p": 1,
        "ps": 25,
        "total": 1,
    }
    assert page_of("user_groups/users", {"id": "7"}, body(document)) == Page(
        (GroupMember("7", "ada"),), 1, 1, 25
    )


def test_an_organization_says_whether_the_caller_is_its_admin() -> None:
    row = {
        "key": "acme",
        "name": "Acme",
        "actions": {"admin": True},
        "alm": {"key": "github"},
        "subscription": "PAID",
    }
    page = page_of(
        "organizations/search", {}, body({"paging": {"total": 1}, "organizations": [row]})
    )
    assert page.records == (Organization("acme", "Acme", "PAID", "github", True),)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        {"users": []},
        {"paging": {"total": "1"}, "users": []},
        {"paging": {"total": True}, "users": []},
        {"paging": {"total": -1}, "users": []},
        {"paging": {"total": 1}},
        {"paging": {"total": 1}, "users": None},
        {"paging": {"total": 1}, "users": {"login": "ada"}},
        {"paging": {"total": 1}, "users": ["ada"]},
        {"paging": {"total": 1}, "users": [{}]},
        {"paging": {"total": 1}, "users": [{"login": ""}]},
        {"paging": {"total": 1}, "users": [{"login": 7}]},
        {"paging": {"total": 1}, "users": [{"login": "ada", "isOrgAdmin": "yes"}]},
        {"paging": {"total": 1}, "users": [{"login": "ada", "groupCount": "2"}]},
    ],
)
def test_a_wrong_shape_is_refused(document: Any) -> None:
    with pytest.raises(ShapeError):
        page_of(MEMBERS, {}, body(document))


@pytest.mark.parametrize("raw", [b"", b"<html>", b'{"users":[', b"\xff\xfe\xfa", b"NaN"])
def test_a_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ShapeError):
        page_of(MEMBERS, {}, raw)


KEYS = """
users groups organizations paging total login name id permissions isLoggedIn actions alm
""".split()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(endpoint=st.sampled_from(sorted(ENDPOINTS)), document=json_values)
def test_whatever_arrives_is_a_page_or_a_shape_error_and_the_error_quotes_nothing(
    endpoint: str, document: Any
) -> None:
    try:
        page = page_of(endpoint, {"id": "1"}, body(document))
    except ShapeError as error:
        assert len(str(error)) < 80
    else:
        assert isinstance(page, Page)


def test_text_that_no_database_holds_is_written_out_and_all_other_text_kept() -> None:
    assert storable("a\x00b") == r"a\u0000b"
    assert storable("\ud83d") == r"\ud83d"
    assert storable("Ada \U0001f600 \u202e'; DROP TABLE") == "Ada \U0001f600 \u202e'; DROP TABLE"
