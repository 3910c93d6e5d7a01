"""The removal brake: what is held, what people decide about it, and what history becomes then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonar_access_pipeline.access.brake import (
    Brake,
    Measure,
    Removal,
    held_reason,
    measured,
    measured_parts,
    measures,
    removals,
)
from sonar_access_pipeline.access.records import (
    Grant,
    Group,
    GroupMember,
    Member,
    Organization,
    SnapshotContent,
)
from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.orchestration.observe import observe
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.simulator.organization import READER
from sonar_access_pipeline.simulator.organization import Organization as Simulated
from sonar_access_pipeline.warehouse.ask import preview, queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.brake import LastShown
from sonar_access_pipeline.warehouse.history.merge import derive, lock_of, merge, pending
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.raw.decisions import CONFIRMED, RETRACTED, Decided, decide
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.company import Company, company, failure_sentence

pytestmark = pytest.mark.proofs("sqlite")

NOW = datetime.max.replace(tzinfo=UTC)


def content(people: int, *, admins: int = 1, teams: tuple[int, ...] = ()) -> SnapshotContent:
    """An organization of so many people, of whom the first administer, and teams of the first so
    many.
    """
    logins = [f"user-{number}" for number in range(people)]
    groups = [
        Group("0", "Members", None, True, None),
        *(Group(str(n), f"team-{n}", None, False, None) for n in range(1, 9)),
    ]
    return SnapshotContent(
        organization=Organization("acme", "Acme", None, None, True),
        members=tuple(Member(login, None, None, None) for login in logins),
        groups=tuple(groups),
        group_members=(
            *(GroupMember("0", login) for login in logins),
            *(
                GroupMember(str(n), login)
                for n, size in enumerate(teams, start=1)
                for login in logins[:size]
            ),
        ),
        grants=tuple(
            Grant("user", login, "organization", None, permission)
            for login in logins[:admins]
            for permission in ("admin", "gateadmin", "profileadmin", "provisioning", "scan")
        ),
    )


def found(
    before: SnapshotContent, after: SnapshotContent, brake: Brake | None = None
) -> list[Removal]:
    shown = [
        entry
        for description, part in measured_parts({Scope.CORE})
        for entry in measures(description, part.rows(before))
    ]
    return removals(shown, measured(after, [Scope.CORE]), brake or Brake())


def test_an_everyday_change_passes() -> None:
    assert found(content(100), content(100)) == []
    assert found(content(100), content(81)) == [], "nineteen of a hundred"
    assert found(content(100), content(300)) == [], "nobody is kept from joining"


def test_more_than_a_fifth_and_at_least_ten_is_held_with_the_numbers() -> None:
    removed = found(content(100), content(79))
    assert Removal("members", 100, 21) in removed
    assert Removal("access rows of type membership", 100, 21) in removed
    said = held_reason(removed, Brake())
    assert "21 of 100 members" in said
    assert "more than 20% and at least 10 rows" in said


def test_exactly_a_fifth_passes_and_so_does_a_large_share_of_few() -> None:
    assert found(content(100), content(80)) == []
    assert found(content(12), content(3)) == [], "nine rows are fewer than ten"
    assert found(content(50, teams=(50,)), content(50, teams=(30,))) == [], (
        "a fifth of the rows, though two fifths of the people"
    )
    assert found(content(50, teams=(50,)), content(50, teams=(29,))) != []


def test_a_small_organization_is_not_held_for_one_leaver() -> None:
    """Whose rows may be many: an admin, through several groups."""
    for people in range(2, 12):
        logins = [f"user-{number}" for number in range(people)]
        through_groups = tuple(
            Grant("group", str(number), "organization", None, permission)
            for number in range(1, 9)
            for permission in ("admin", "gateadmin", "profileadmin", "provisioning", "scan")
        )
        stays = Grant("user", logins[-1], "organization", None, "admin")
        before = replace(content(people, teams=(1,) * 8), grants=(*through_groups, stays))
        gone = logins[0]
        after = replace(
            before,
            members=tuple(member for member in before.members if member.login != gone),
            group_members=tuple(row for row in before.group_members if row.login != gone),
        )
        assert found(before, after) == [], f"{people} people"


def test_a_list_that_had_rows_and_comes_back_empty_is_held_whatever_its_size() -> None:
    emptied = replace(content(3), groups=(), group_members=())
    assert {
        (removal.what, removal.before, removal.gone) for removal in found(content(3), emptied)
    } == {
        ("groups", 9, 9),
        ("group members", 3, 3),
        ("access rows of type group", 3, 3),
    }


def test_an_access_type_that_empties_is_held_in_an_organization_of_three() -> None:
    """A list of permissions that comes back empty once would close every right there is."""
    (removed,) = found(content(3), replace(content(3), grants=()))
    assert removed == Removal("access rows of type organization_permission", 5, 5)


def without_members(here: Company, logins: set[str]) -> faults.Fault:
    """A member list that lacks some, and counts itself as whole."""

    def fault(answer: faults.Answer) -> faults.Answer:
        document = json.loads(json.dumps(answer.document))
        before = len(document["users"])
        document["users"] = [row for row in document["users"] if row["login"] not in logins]
        document["paging"]["total"] -= before - len(document["users"])
        return replace(answer, document=document)

    return fault


def test_who_is_listed_with_permissions_and_not_as_member_is_a_persons_to_decide_once(
    here: Company,
) -> None:
    """Nobody can tell who left and kept rights from a short list, day after day the same."""
    assert here.live(0).success
    gone = set(sorted(set(here.truth(2).names) & members(here) - {READER})[:2])
    here.simulator.faults.add(
        "organizations/search_members", without_members(here, gone), times=None
    )
    for number in (1, 2):
        assert (
            "2 accounts stand in the list of permissions and not in that of members"
            in failure_sentence(here.live(number))
        )
    assert gone <= members(here), "nobody left by this alone"
    assert decided(here, 2, CONFIRMED).released == (3,), "the same two, so the same answer"
    assert not gone & members(here)
    assert here.live(3).success, "no question any more"


def test_a_first_observation_with_accounts_that_are_no_members_waits_for_a_person(
    here: Company,
) -> None:
    gone = set(sorted(set(here.truth(0).names) - {READER})[:1])
    here.simulator.faults.add(
        "organizations/search_members", without_members(here, gone), times=None
    )
    assert "1 account stands in the list of permissions" in failure_sentence(here.live(0))


def test_a_group_that_was_large_and_is_empty_is_held_and_one_that_was_deleted_is_not() -> None:
    before = content(400, teams=(30, 9))
    emptied = replace(
        before, group_members=tuple(row for row in before.group_members if row.group_id != "1")
    )
    assert found(before, emptied) == [Removal("members of group 1", 30, 30)]
    deleted = replace(
        emptied, groups=tuple(group for group in before.groups if group.group_id != "1")
    )
    assert found(before, deleted) == []
    small = replace(
        before, group_members=tuple(row for row in before.group_members if row.group_id != "2")
    )
    assert found(before, small) == []


def test_everybody_replaced_by_somebody_else_is_held_though_the_counts_agree() -> None:
    others = tuple(Member(f"other-{number}", None, None, None) for number in range(100))
    renamed = replace(
        content(100),
        members=others,
        group_members=tuple(GroupMember("0", member.login) for member in others),
    )
    assert Removal("members", 100, 100) in found(content(100), renamed)


@given(
    before=st.integers(0, 60),
    after=st.integers(0, 60),
    share=st.floats(0, 1),
    rows=st.integers(1, 30),
)
def test_what_is_held_follows_from_share_and_rows_alone(
    before: int, after: int, share: float, rows: int
) -> None:
    gone = max(0, before - after)
    is_held = (gone >= rows and gone > share * before) or (before > 0 and after == 0)
    held = {
        removal.what
        for removal in found(
            content(before, admins=0), content(after, admins=0), Brake(share, rows)
        )
    }
    assert ("members" in held) == is_held


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warehouse_url: str) -> Iterator[Company]:
    with company(
        tmp_path / "data", monkeypatch.setenv, warehouse_url=warehouse_url, accounts=80
    ) as opened:
        yield opened


def losing(here: Company, people: int) -> Callable[[], Simulated]:
    """A source that has forgotten so many people, consistently in every list."""
    real = here.simulator.organization

    def forgetful() -> Simulated:
        organization = real().copied()
        for login in sorted(set(organization.names) - {READER})[:people]:
            organization.leave(login)
        return organization

    return forgetful


def decided(here: Company, snapshot_id: int, decision: str, **more: Any) -> Decided:
    with here.warehouse() as warehouse:
        options = {
            "by": "ada",
            "reason": "looked at it",
            "brake": here.settings.brake,
            "clock": here.clock,
            **more,
        }
        return decide(warehouse, snapshot_id, decision, **options)


def days_observed(here: Company, days: int) -> list[str]:
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        return [
            row["status"]
            for row in queries.coverage(transaction, "acme", here.day(0), here.day(days - 1))
        ]


def members(here: Company, number: int | None = None) -> set[str]:
    """Who is a member by the last observation, or by the last one of a day."""
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        until = NOW if number is None else Window(here.day(number), here.day(number)).end
        answering = queries.observation_at(transaction, "acme", until)
        return {row["login"] for row in queries.members_at(transaction, answering)}


def test_a_held_snapshot_fails_the_run_and_its_check_names_the_counts_and_changes_nothing(
    here: Company,
) -> None:
    assert here.live(0).success
    before, real = members(here), here.simulator.organization
    here.simulator.organization = losing(here, 30)
    result = here.live(1)
    here.simulator.organization = real
    said = failure_sentence(result)
    assert "The snapshot is held: " in said
    assert f"of {len(before)} members" in said
    assert "sonar-access snapshot confirm 2" in said
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert (checks["complete"].passed, checks["not_held"].passed) == (True, False)
    assert f"of {len(before)} members" in str(checks["not_held"].metadata["reason"].value)
    assert members(here) == before
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        (day,) = queries.coverage(transaction, "acme", here.day(1), here.day(1))
        waiting = queries.held(transaction, "acme")
    assert (day["status"], day["attempts"]) == ("held", 1)
    assert f"of {len(before)} members" in day["error"]
    assert [row["snapshot_id"] for row in waiting] == [2]
    with here.warehouse() as warehouse:
        report = (
            build(warehouse, "acme", Window(here.day(0), here.day(1))).files["report.html"].decode()
        )
    assert "waits for a decision" in report


def test_the_comparison_is_with_the_last_observation_though_a_killed_run_had_not_derived_it(
    here: Company,
) -> None:
    assert here.live(0).success
    real = here.simulator.organization
    grown = real().copied()
    newcomers = {f"newcomer-{number}" for number in range(120)}
    for login in sorted(newcomers):
        grown.join(login, "New")
    here.simulator.organization, connection = lambda: grown, here.settings.connections[0]
    here.clock.go_to(here.day(1))
    with here.warehouse() as warehouse:
        recorded, _ = observe(
            connection, here.resources, warehouse, "killed", lambda progress: None
        )
    assert recorded.verdict is Verdict.COMPLETE
    assert not newcomers & members(here), "a killed run derives nothing"
    here.simulator.organization = real
    assert "The snapshot is held" in failure_sentence(here.live(2))
    assert newcomers <= members(here), "what it left is derived, though the day after it is held"


def test_a_confirmed_snapshot_takes_its_place_in_time_and_the_record_says_who_and_why(
    here: Company,
) -> None:
    assert here.live(0).success
    real = here.simulator.organization
    here.simulator.organization = losing(here, 30)
    assert not here.live(1).success
    here.simulator.organization = real
    assert here.live(2).success, "everybody is back, so nothing is held"
    shrunk = decided(here, 2, CONFIRMED, by="grace", reason="a team left, ticket 17")
    assert (shrunk.released, shrunk.still_held) == ((), ())
    assert days_observed(here, 3) == ["observed"] * 3
    assert len(members(here, 0) - members(here, 1)) >= 30
    assert members(here, 2) == set(here.truth(2).names)
    with here.warehouse() as warehouse:
        with warehouse.read() as transaction:
            decisions = queries.decisions(transaction, "acme")
            faults = queries.history_faults(transaction, "acme")
        manifest = (
            build(warehouse, "acme", Window(here.day(0), here.day(2)))
            .files["manifest.json"]
            .decode()
        )
        rebuild(warehouse, "acme")
    assert [
        (row["snapshot_id"], row["decision"], row["decided_by"], row["reason"]) for row in decisions
    ] == [(2, "confirmed", "grace", "a team left, ticket 17")]
    assert not any(faults.values())
    assert "a team left, ticket 17" in manifest
    assert len(members(here, 0) - members(here, 1)) >= 30, "a rebuild says the same"


def test_later_snapshots_held_for_the_same_reason_are_judged_again_after_a_decision(
    here: Company,
) -> None:
    assert here.live(0).success
    here.simulator.organization = losing(here, 30)
    for number in (1, 2, 3):
        assert not here.live(number).success
    assert days_observed(here, 4) == ["observed", "held", "held", "held"]
    answer = decided(here, 2, CONFIRMED)
    assert (answer.released, answer.still_held) == ((3, 4), ())
    assert days_observed(here, 4) == ["observed"] * 4
    assert here.live(4).success, "compared with what was confirmed, tomorrow is an everyday change"
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        said = {
            row["snapshot_id"]: row["decided_by"] for row in queries.decisions(transaction, "acme")
        }
    assert said == {2: "ada", 3: "sonar-access", 4: "sonar-access"}


def test_a_retracted_snapshot_leaves_the_history_that_never_saw_it_and_later_held_ones_stay_held(
    here: Company,
) -> None:
    assert here.live(0).success
    here.simulator.organization = losing(here, 30)
    for number in (1, 2):
        assert not here.live(number).success
    answer = decided(here, 2, RETRACTED)
    assert (answer.released, answer.still_held) == ((), (3,))
    assert days_observed(here, 3) == ["observed", "retracted", "held"]
    assert members(here) == set(here.truth(0).names)


def test_retracting_an_observation_takes_it_out_of_history(here: Company) -> None:
    for number in range(3):
        assert here.live(number).success
    decided(here, 2, RETRACTED, reason="read during their incident 8812")
    assert days_observed(here, 3) == ["observed", "retracted", "observed"]
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        changes = queries.changes_between(transaction, "acme", queries.BEGINNING, NOW)
        (day,) = queries.coverage(transaction, "acme", here.day(1), here.day(1))
    later = [row for row in changes if row["kind"] != "first_observed"]
    assert later
    assert {(row["changed_after"].date(), row["changed_by"].date()) for row in later} == {
        (here.day(0), here.day(2))
    }
    assert day["error"] == "read during their incident 8812"


def test_a_decision_is_never_taken_twice_nor_about_what_cannot_be_decided(here: Company) -> None:
    assert here.live(0).success
    with pytest.raises(WarehouseError, match="only a held one can be confirmed"):
        decided(here, 1, CONFIRMED)
    with pytest.raises(WarehouseError, match="no snapshot 9"):
        decided(here, 9, CONFIRMED)
    decided(here, 1, RETRACTED)
    with pytest.raises(WarehouseError, match="already"):
        decided(here, 1, RETRACTED)
    with pytest.raises(WarehouseError, match="already"):
        decided(here, 1, CONFIRMED)


def test_the_brake_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with company(tmp_path / "data", monkeypatch.setenv, accounts=80, brake_share=0.9) as here:
        assert here.live(0).success
        here.simulator.organization = losing(here, 30)
        assert here.live(1).success


def test_what_is_read_is_compared_with_the_last_observation_whether_history_shows_it_or_not(
    warehouse: Warehouse,
) -> None:
    """A killed run leaves an observation that no table shows; the step that observes next derives
    nothing, and still sees it.
    """
    both = (Scope.CORE, Scope.PROJECT_PERMISSIONS)
    first = World(
        members={"ada": "Ada", "bob": "Bob"}, projects={"p": "P"}, project_users={"p": ["bob"]}
    )
    second = World(
        members={"ada": "Ada", "cleo": "Cleo"},
        groups={"1": "owners"},
        group_members={"1": ["cleo"]},
    )
    third = World(
        members={"ada": "Ada"},
        groups={"1": "owners"},
        group_members={"1": ["ada"]},
        anyone=["scan"],
    )
    for day, (world, scopes) in enumerate(
        [(first, both), (second, (Scope.CORE,)), (third, (Scope.CORE,))]
    ):
        record(
            warehouse, snapshot_of(world, EPOCH + timedelta(days=day), scopes=scopes), lambda: EPOCH
        )

    def seen() -> tuple[list[Measure], set[str] | None]:
        with warehouse.read() as transaction:
            last = LastShown(transaction, "acme", NOW)
            return sorted(last.measures(set(both)), key=str), last.members()

    nothing_merged = seen()
    assert nothing_merged[1] == {"ada"}
    assert ("members", ("ada",), ("ada",)) in nothing_merged[0], nothing_merged
    assert any(what == "access rows of type project_permission" for what, *_ in nothing_merged[0])
    for _ in range(3):
        with warehouse.write(lock_of("acme")) as transaction:
            merge(transaction, "acme", pending(transaction, "acme")[0])
        assert seen() == nothing_merged


def test_a_held_snapshot_is_shown_against_the_observation_it_was_held_against(
    warehouse: Warehouse,
) -> None:
    """The observation before it was left by a killed run: no table shows it yet."""
    few = World(members={f"user-{number}": None for number in range(3)})
    many = World(members={f"user-{number}": f"Name {number}" for number in range(60)})
    for day, world, verdict in (
        (0, few, Verdict.COMPLETE),
        (1, many, Verdict.COMPLETE),
        (2, few, Verdict.HELD),
    ):
        held = snapshot_of(world, EPOCH + timedelta(days=day), verdict=verdict)
        recorded = record(warehouse, held, lambda: EPOCH)
        if day == 0:
            derive(warehouse, "acme")
    with warehouse.read() as transaction:
        merged = preview.shown(transaction, recorded.snapshot_id)
    assert "57 members would disappear" in merged.compared
    gone = {row["login"]: row["name"] for row in merged.changes}
    assert gone["user-59"] == "Name 59"
    derive(warehouse, "acme")
    with warehouse.read() as transaction:
        assert preview.shown(transaction, recorded.snapshot_id) == merged
