"""The simulator keeps to the reference: paging, limits, rights and errors as SonarCloud answers
them, and one truth per seed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
import requests

from sonar_access_pipeline.simulator.organization import READER, Evolution
from sonar_access_pipeline.simulator.server import Simulator

DAY = date(2026, 1, 5)
ADMIN = {"Authorization": "Bearer simulated-token"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    organization = Evolution(1, DAY, accounts=60, groups=4).on(DAY)
    with Simulator(lambda: organization) as serving:
        serving.tokens["plain"] = next(
            login for login in sorted(organization.names) if login not in organization.admins()
        )
        yield serving


def get(
    simulator: Simulator, path: str, headers: dict[str, str] | None = None, **params: str
) -> requests.Response:
    return requests.get(
        f"{simulator.url}/api/{path}",
        params=params,
        headers=ADMIN if headers is None else headers,
        timeout=5,
    )


def message(response: requests.Response) -> str:
    return str(response.json()["errors"][0]["msg"])


def test_a_bad_token_is_401_with_an_empty_body_and_no_token_is_401_with_a_message(
    simulator: Simulator,
) -> None:
    bad = get(
        simulator, "user_groups/search", {"Authorization": "Bearer wrong"}, organization="acme"
    )
    assert (bad.status_code, bad.content) == (401, b"")
    none = get(simulator, "user_groups/search", {}, organization="acme")
    assert (none.status_code, message(none)) == (401, "Authentication is required")


def test_basic_authorization_works_as_well(simulator: Simulator) -> None:
    basic = base64.b64encode(b"simulated-token:").decode()
    assert (
        get(simulator, "users/current", {"Authorization": f"Basic {basic}"}).json()["login"]
        == READER
    )


@pytest.mark.parametrize(
    ("path", "default", "most"),
    [
        ("organizations/search_members", 50, 500),
        ("user_groups/search", 100, 500),
        ("permissions/users", 20, 100),
        ("permissions/groups", 20, 100),
    ],
)
def test_pages_have_the_documented_sizes(
    simulator: Simulator, path: str, default: int, most: int
) -> None:
    assert get(simulator, path, organization="acme").json()["paging"]["pageSize"] == default
    refused = get(simulator, path, organization="acme", ps=str(most + 1))
    assert (refused.status_code, message(refused)) == (
        400,
        f"'ps' value ({most + 1}) must be less than {most}",
    )


def test_a_page_past_the_end_is_empty_and_one_past_ten_thousand_is_refused(
    simulator: Simulator,
) -> None:
    assert (
        get(simulator, "organizations/search_members", organization="acme", p="9").json()["users"]
        == []
    )
    refused = get(simulator, "organizations/search_members", organization="acme", p="21", ps="500")
    assert message(refused) == "Can return only the first 10000 results. 10500th result asked."


def test_an_unknown_organization_is_an_empty_search_and_a_404_elsewhere(
    simulator: Simulator,
) -> None:
    assert (
        get(simulator, "organizations/search", organizations="none", member="true").json()[
            "organizations"
        ]
        == []
    )
    assert (
        message(get(simulator, "permissions/users", organization="none"))
        == "No organization with key 'none'"
    )
    assert message(get(simulator, "permissions/users")) == "The 'organization' parameter is missing"
    assert message(get(simulator, "user_groups/users", id="1")) == "No group with id '1'"
    assert message(get(simulator, "users/search")) == "Unknown url : /api/users/search"


def test_a_member_who_is_no_admin_sees_members_without_counts_and_no_groups(
    simulator: Simulator,
) -> None:
    plain = {"Authorization": "Bearer plain"}
    assert set(
        get(simulator, "organizations/search_members", plain, organization="acme").json()["users"][
            0
        ]
    ) == {"login", "name"}
    refused = get(simulator, "user_groups/search", plain, organization="acme")
    assert (refused.status_code, message(refused)) == (403, "Insufficient privileges")


def test_a_seed_gives_one_organization_whatever_was_asked_before() -> None:
    one, other = Evolution(7, DAY), Evolution(7, DAY)
    late = one.on(DAY + timedelta(days=40)).truth()
    for number in range(41):
        found = other.on(DAY + timedelta(days=number)).truth()
    assert found == late
    assert Evolution(8, DAY).on(DAY).truth() != one.on(DAY).truth()


def test_over_a_month_people_join_leave_and_rise() -> None:
    evolution = Evolution(2026, DAY)
    first, last = evolution.on(DAY), evolution.on(DAY + timedelta(days=29))
    assert set(last.names) - set(first.names)
    assert set(first.names) - set(last.names)
    assert last.admins() - first.admins()
    assert READER in last.admins()
