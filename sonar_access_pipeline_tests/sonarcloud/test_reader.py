"""Reading a real server on loopback: everything it holds, nothing it does not, and a sentence for
every fault.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sonar_access_pipeline.access.content import content_of, lists_of
from sonar_access_pipeline.access.snapshot import Snapshot, SourceKind, Verdict
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.simulator.organization import READER
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.errors import RefusedError, SourceError, UnavailableError
from sonar_access_pipeline.sonarcloud.reader import Reader
from sonar_access_pipeline_tests.support.reading import (
    QUICK,
    TOKEN,
    UNHURRIED,
    access_of,
    organization,
    preflight,
    read,
    serving,
)


def test_a_complete_snapshot_says_exactly_what_is_true() -> None:
    found = organization()
    found.anyone = {"scan"}
    with serving(found) as simulator:
        snapshot = read(simulator)
    assert (snapshot.verdict, snapshot.reason) == (Verdict.COMPLETE, None)
    content = content_of(lists_of(snapshot.responses))
    assert access_of(snapshot) == found.truth()
    assert [grant.permission for grant in content.grants if grant.principal_type == "anyone"] == [
        "scan"
    ]
    assert all(control.passed for control in snapshot.controls)
    assert snapshot.counts["admins"] == len(found.admins())
    assert snapshot.source_kind is SourceKind.SIMULATED


def test_only_get_is_sent_with_the_largest_pages_and_no_trailing_empty_one() -> None:
    found = organization()
    with serving(found) as simulator:
        snapshot = read(simulator)
        sent = Counter(simulator.requests)
    members, groups = len(found.names), len(found.groups)
    assert {method for method, _ in sent} == {"GET"}
    assert sent["GET", "organizations/search_members"] == -(-members // 500)
    assert sent["GET", "permissions/users"] == -(-members // 100)
    assert sent["GET", "user_groups/search"] == sent["GET", "permissions/groups"] == 1
    assert sent["GET", "user_groups/users"] == groups + 1, (
        "the group of all members has a second page"
    )
    assert sum(sent.values()) == len(snapshot.responses)


def test_bodies_are_kept_as_they_came() -> None:
    with serving(organization(accounts=5, groups=2)) as simulator:
        snapshot = read(simulator)
    member_list = next(
        response
        for response in snapshot.responses
        if response.endpoint == "organizations/search_members"
    )
    assert json.loads(member_list.body)["paging"] == {"pageIndex": 1, "pageSize": 500, "total": 5}
    assert member_list.server_time is not None
    assert member_list.params == {"organization": "acme", "p": "1", "ps": "500"}


@pytest.mark.parametrize("size", [0, 1, 499, 500, 501, 1000])
def test_every_size_around_a_page_is_read_whole(size: int) -> None:
    found = organization(accounts=1, groups=2)
    for number in range(size):
        found.join(f"user-{number}", "One Name For All")
    with serving(found) as simulator:
        snapshot = read(simulator)
    assert snapshot.verdict is Verdict.COMPLETE
    assert snapshot.counts["members"] == size + 1


def test_an_incomplete_snapshot_gives_the_numbers() -> None:
    with serving(organization(accounts=130, groups=4)) as simulator:
        simulator.faults.add("organizations/search_members", faults.short(7), times=None)
        snapshot = read(simulator)
    assert snapshot.reason is not None
    assert "members is incomplete: it reports 130 rows and delivers 123" in snapshot.reason
    assert next(read for read in snapshot.lists if read.name == "members").rereads >= 2


def test_a_list_is_read_again_with_other_page_boundaries() -> None:
    """Between two pages of one size the same people of one name would change places again and
    again.
    """
    with serving(organization(accounts=1300, groups=2)) as simulator:
        simulator.faults.add("organizations/search_members", faults.short(7), times=None)
        snapshot = read(simulator)
    sizes = {r.reading: r.params["ps"] for r in snapshot.responses if r.list_name == "members"}
    assert len(sizes) == len(set(sizes.values())) == 3


def test_two_lists_that_never_agree_on_who_exists_leave_the_snapshot_incomplete() -> None:
    found = organization(accounts=50, groups=3)

    def vanish(answer: faults.Answer) -> faults.Answer:
        return faults.total_off_by(-1)(faults.short(1)(answer))

    with serving(found) as simulator:
        simulator.faults.add("permissions/users", vanish, times=None)
        snapshot = read(simulator)
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert "50 against 49" in str(snapshot.reason)


def test_accounts_with_rights_that_are_no_members_are_kept_once_the_lists_stand_still() -> None:
    found = organization(accounts=50, groups=3)
    left = sorted(set(found.names) - {READER})[:2]

    def without(answer: faults.Answer) -> faults.Answer:
        document = json.loads(json.dumps(answer.document))
        document["users"] = [row for row in document["users"] if row["login"] not in left]
        document["paging"]["total"] -= 2
        return replace(answer, document=document)

    with serving(found) as simulator:
        simulator.faults.add("organizations/search_members", without, times=None)
        snapshot = read(simulator)
    controls = {control.name: control for control in snapshot.controls}
    assert snapshot.verdict is Verdict.COMPLETE
    assert controls["members_listed_twice"].passed
    assert (controls["holders_are_members"].passed, controls["holders_are_members"].left) == (
        False,
        50,
    )
    content = content_of(lists_of(snapshot.responses))
    assert set(content.non_members) == set(left)
    assert {member.login for member in content.members} == set(found.names) - set(left)
    assert snapshot.counts["members"] == 48
    readings = {
        response.reading for response in snapshot.responses if response.list_name == "members"
    }
    assert len(readings) == 4, "every reading said the same"


def test_lists_of_permissions_without_any_admin_contradict_the_admin_who_reads() -> None:
    with serving(organization(accounts=3, groups=1)) as simulator:
        for endpoint in ("permissions/users", "permissions/groups"):
            simulator.faults.add(endpoint, without_permissions, times=None)
        snapshot = read(simulator)
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert "the account that reads administers the organization" in str(snapshot.reason)


def without_permissions(answer: faults.Answer) -> faults.Answer:
    document = json.loads(json.dumps(answer.document))
    for rows in (document.get("users", []), document.get("groups", [])):
        for row in rows:
            row["permissions"] = []
    return replace(answer, document=document)


def test_an_empty_permission_is_no_right() -> None:
    def emptied(answer: faults.Answer) -> faults.Answer:
        document = json.loads(json.dumps(answer.document))
        document["users"][0]["permissions"] = [""]
        return replace(answer, document=document)

    with serving(organization(accounts=5, groups=1)) as simulator:
        simulator.faults.add("permissions/users", emptied, times=None)
        snapshot = read(simulator)
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert "'permissions' holds an empty text" in str(snapshot.reason)


@pytest.mark.parametrize("granted", [True, False])
def test_anyone_is_everybody_with_an_id_of_its_name_and_without_one(granted: bool) -> None:
    """As newer servers have it: always listed, and counted in the total (docs/sonarcloud.md)."""
    found = organization(accounts=20, groups=3)
    found.anyone = {"scan"} if granted else set()

    def newer(answer: faults.Answer) -> faults.Answer:
        document = json.loads(json.dumps(answer.document))
        rows = [row for row in document["groups"] if row["name"] != "Anyone"]
        rows.append({"id": "Anyone", "name": "Anyone", "permissions": sorted(found.anyone)})
        document["groups"], document["paging"]["total"] = rows, len(rows)
        return replace(answer, document=document)

    with serving(found) as simulator:
        simulator.faults.add("permissions/groups", newer, times=None)
        snapshot = read(simulator)
    assert (snapshot.verdict, snapshot.reason) == (Verdict.COMPLETE, None)
    grants = content_of(lists_of(snapshot.responses)).grants
    assert {(g.principal, g.permission) for g in grants if g.principal_type == "anyone"} == {
        ("Anyone", permission) for permission in found.anyone
    }


def test_counts_that_disagree_are_a_failed_control_of_a_complete_snapshot() -> None:
    found = organization(accounts=20, groups=3)

    def miscounted(answer: faults.Answer) -> faults.Answer:
        document = json.loads(json.dumps(answer.document))
        document["users"][0]["groupCount"] += 1
        return faults.Answer(200, document)

    with serving(found) as simulator:
        simulator.faults.add("organizations/search_members", miscounted, times=None)
        snapshot = read(simulator)
    assert snapshot.verdict is Verdict.COMPLETE
    assert {control.name: control.passed for control in snapshot.controls}[
        "memberships_per_member"
    ] is False


def test_a_wrong_token_is_refused_at_once() -> None:
    with serving(organization(20, 3)) as simulator:
        with pytest.raises(RefusedError, match="refuses the token"):
            preflight(simulator, token="wrong")
        asked = [endpoint for _, endpoint in simulator.requests]
        assert len(asked) <= len(set(asked)) + 1, "nothing is asked twice, but once to confirm"
        assert set(asked) <= {
            "users/current",
            "organizations/search",
            "user_tokens/search",
        }, "and no list"


def test_a_wrong_organization_is_named() -> None:
    with (
        serving(organization(20, 3)) as simulator,
        pytest.raises(RefusedError, match="no organization 'acne'"),
    ):
        preflight(simulator, key="acne")


def test_a_caller_who_is_no_admin_is_told_what_to_grant() -> None:
    found = organization(20, 3)
    plain = next(login for login in sorted(found.names) if login not in found.admins())
    with serving(found, tokens={"plain": plain}) as simulator:
        with pytest.raises(RefusedError, match="Administer organization"):
            preflight(simulator, token="plain")
        assert ("GET", "organizations/search_members") not in simulator.requests


def test_an_unreachable_host_is_tried_again_and_then_named() -> None:
    with (
        Client("http://127.0.0.1:9", TOKEN, patience=QUICK) as client,
        pytest.raises(
            UnavailableError, match=r"http://127\.0\.0\.1:9 cannot be reached.*\(tried 3 times\)"
        ),
    ):
        Reader(client, "acme").preflight()


def test_no_error_and_no_repr_holds_the_token() -> None:
    with serving(organization(20, 3)) as simulator:
        simulator.faults.add("users/current", faults.html, times=None)
        with Client(simulator.url, "secret-token-value", patience=QUICK) as client:
            reader = Reader(client, "acme")
            with pytest.raises(SourceError) as caught:
                reader.preflight()
            assert "secret-token-value" not in f"{caught.value!r}{client!r}{vars(client)}{reader!r}"


def test_a_host_whose_clock_is_not_sonarclouds_is_refused_for_the_real_source_only() -> None:
    class Real(Client):
        source_kind = SourceKind.SONARCLOUD

    def six_minutes_slow() -> datetime:
        return datetime.now(UTC) - timedelta(minutes=6)

    with serving(organization(20, 3), clock=six_minutes_slow) as simulator:
        preflight(simulator)
        with (
            Real(simulator.url, TOKEN, patience=QUICK) as client,
            pytest.raises(RefusedError, match="clock"),
        ):
            Reader(client, "acme").preflight()


def test_the_two_lists_of_everybody_are_read_in_opposite_directions() -> None:
    """One who leaves and one who joins between two pages would otherwise hide a third from both of
    them.
    """
    with serving(organization(6000, 3), latency=0.01) as simulator:
        assert read(simulator, patience=UNHURRIED).verdict is Verdict.COMPLETE
        asked = {
            name: [int(params["p"]) for endpoint, params in simulator.asked if endpoint == name]
            for name in ("organizations/search_members", "permissions/users")
        }
    assert set(asked["organizations/search_members"]) == set(range(1, 13))
    downwards = asked["permissions/users"]
    assert downwards[0] == 1
    first, second = downwards[1 : len(downwards) // 2], downwards[len(downwards) // 2 :]
    assert statistics.mean(first) > statistics.mean(second) + 16, "downwards, but for who overtakes"


def test_a_short_group_list_is_read_again_though_the_lists_of_everybody_disagree_for_good() -> None:
    found = organization(accounts=60, groups=3)
    left = sorted(set(found.names) - {READER})[0]

    def without(answer: faults.Answer) -> faults.Answer:
        document = json.loads(json.dumps(answer.document))
        document["users"] = [row for row in document["users"] if row["login"] != left]
        document["paging"]["total"] -= 1
        return replace(answer, document=document)

    def counted(once: bool) -> Snapshot:
        with serving(found) as simulator:
            simulator.faults.add("organizations/search_members", without, times=None)
            if once:
                simulator.faults.add(
                    "user_groups/users",
                    lambda answer: faults.total_off_by(-1)(faults.short(1)(answer)),
                    times=1,
                )
            return read(simulator)

    whole, short = counted(once=False), counted(once=True)
    assert (whole.verdict, short.verdict) == (Verdict.COMPLETE, Verdict.COMPLETE)
    inside = [set(content_of(lists_of(one.responses)).group_members) for one in (short, whole)]
    assert inside[0] == inside[1]
