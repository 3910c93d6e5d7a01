"""Properties of a review's rules: facts in any order give one state, only a decision decides, and a
follow-up is what a model that looks at each observation says.
"""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonar_access_pipeline.access.history import ObservationTime
from sonar_access_pipeline.access.policy import identity
from sonar_access_pipeline.access.review.deciding import (
    Asked,
    Proposed,
    Review,
    ReviewState,
    bulk_refusal,
    quality,
    refusal,
)
from sonar_access_pipeline.access.review.facts import (
    Assignment,
    Basis,
    Channel,
    Choice,
    Decision,
    Event,
    EventKind,
    Part,
    SignOff,
    Strength,
)
from sonar_access_pipeline.access.review.follow_up import (
    Demand,
    FollowUpState,
    Need,
    Read,
    Span,
    follow_ups,
)
from sonar_access_pipeline.access.review.items import Held, Item, Kind
from sonar_access_pipeline.access.review.people import Accounts, Roster
from sonar_access_pipeline.access.review.statements import About, statement_sha256
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.roster import RosterError, people_of, read_roster
from sonar_access_pipeline_tests.support.builders import EPOCH

ABOUT = About(1, "acme", "d" * 64, EPOCH, date(2026, 3, 15), "owner")
MEMBER = Held("membership", "acme", "member", "direct")
PEOPLE = ("anna", "Bert", "owner")


def _asked(number: int) -> Asked:
    item = Item(Kind.ACCOUNT, f"login{number}", "", "", (MEMBER,))
    return Asked(number, item, item.digest)


def _signoff(number: int, part: Part, who: str, statement: bytes) -> SignOff:
    digest = statement_sha256(statement)
    return SignOff(number, part, who, 1, digest, 1, Strength.DECLARED, EPOCH)


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[Asked], list[Assignment], list[Decision]]:
    """Some items, each with a line of assignments and a line of decisions."""
    numbers = range(1, draw(st.integers(1, 4)) + 1)
    ids = count(1)
    assignments: list[Assignment] = []
    decisions: list[Decision] = []
    for number in numbers:
        before = None
        for person in draw(st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3)):
            one = next(ids)
            assignments.append(
                Assignment(one, number, person, Basis.FALLBACK, "r", "", EPOCH, before)
            )
            before = one
        before = None
        for choice in draw(st.lists(st.sampled_from(list(Choice)), max_size=3)):
            one = next(ids)
            decisions.append(
                Decision(
                    one,
                    number,
                    choice,
                    ("member",) if choice is Choice.CHANGE else (),
                    "because",
                    "x",
                    Strength.DECLARED,
                    Channel.COMMAND,
                    EPOCH,
                    before,
                )
            )
            before = one
    return [_asked(number) for number in numbers], assignments, decisions


@given(lives(), st.randoms(use_true_random=False))
def test_facts_in_any_order_give_one_state(
    life: tuple[list[Asked], list[Assignment], list[Decision]], order: random.Random
) -> None:
    asked, assignments, decisions = life
    first = Review(ABOUT, asked, assignments, decisions)
    signed = [
        _signoff(number, Part.REVIEWER, who, first.statement_of(who))
        for number, who in enumerate(first.items_of, start=1)
    ]
    signed.append(_signoff(9, Part.OWNER, "OWNER", first.acknowledgement))
    whole = Review(ABOUT, asked, assignments, decisions, signed)
    for facts in (asked, assignments, decisions, signed):
        order.shuffle(facts)
    again = Review(ABOUT, asked, assignments, decisions, signed)
    assert (again.state, again.decided, again.reviewers) == (
        whole.state,
        whole.decided,
        whole.reviewers,
    )
    is_whole = {one.item_no for one in decisions} == {one.item_no for one in asked}
    assert whole.state is (ReviewState.ACKNOWLEDGED if is_whole else ReviewState.OPEN)


@given(lives())
def test_only_a_decision_decides(
    life: tuple[list[Asked], list[Assignment], list[Decision]],
) -> None:
    asked, assignments, _ = life
    kinds = [kind for kind in EventKind if kind not in (EventKind.CANCELLED, EventKind.SEALED)]
    events = [
        Event(number, kind, "somebody", "x", EPOCH)
        for number, kind in enumerate(kinds, start=1)
        if kind is not EventKind.CLOSED_INCOMPLETE
    ]
    silent = Review(ABOUT, asked, assignments, events=events)
    signed = [
        _signoff(number, Part.REVIEWER, who, silent.statement_of(who))
        for number, who in enumerate(silent.items_of, start=1)
    ]
    found = Review(ABOUT, asked, assignments, signoffs=signed, events=events)
    assert found.state is ReviewState.OPEN
    assert len(found.undecided) == len(asked)


def test_a_keep_over_somebody_elses_revoke_needs_a_reason() -> None:
    asked = [_asked(1)]
    line = [Assignment(1, 1, "anna", Basis.FALLBACK, "r", "", EPOCH)]
    revoked = Decision(
        1, 1, Choice.REVOKE, (), "left", "bert", Strength.DECLARED, Channel.SHEET, EPOCH
    )
    found = Review(ABOUT, asked, line, [revoked])
    silently = Proposed(1, Choice.KEEP, "anna")
    assert "bert decided revoke; to keep it needs a reason" in str(refusal(found, silently))
    assert refusal(found, Proposed(1, Choice.KEEP, "anna", (), "is back")) is None


def test_several_are_kept_at_once_only_where_nothing_is_to_be_looked_at() -> None:
    asked = [_asked(number) for number in range(1, 5)]
    line = [Assignment(n, n, "anna", Basis.FALLBACK, "r", "", EPOCH) for n in range(1, 5)]
    asked[3] = Asked(4, asked[3].item, asked[3].digest, findings=("is dormant",))
    found = Review(ABOUT, asked, line)
    assert bulk_refusal(found, [1, 2, 3], 3) is None
    assert "more than the 2" in str(bulk_refusal(found, [1, 2, 3], 2))
    assert "Item 4 is decided by itself: it has a finding" in str(bulk_refusal(found, [1, 4], 9))


def test_quality_has_numbers_and_no_verdict_and_says_unknown_where_nobody_measured() -> None:
    asked = [_asked(number) for number in range(1, 4)]
    line = [Assignment(n, n, "anna", Basis.FALLBACK, "r", "", EPOCH) for n in range(1, 4)]
    decided = [
        Decision(
            n, n, Choice.KEEP, (), "fine", "anna", Strength.DECLARED, Channel.COMMAND, EPOCH,
            batch="b",
        )
        for n in (1, 2)
    ]  # fmt: skip
    (one,) = quality(Review(ABOUT, asked, line, decided))
    assert (one.items, one.undecided, one.kept, one.kept_share) == (3, 1, 2, 1.0)
    assert (one.in_bulk, one.largest_batch, one.repeated_reasons) == (2, 2, 2)
    assert (one.median_seconds, one.weakest) == (None, "declared")


GATE = Need("organization_permission", "acme", "gateadmin")
DAYS = 8


@given(
    st.lists(st.booleans(), min_size=DAYS, max_size=DAYS),
    st.lists(st.booleans(), min_size=DAYS, max_size=DAYS),
    st.lists(st.booleans(), min_size=DAYS, max_size=DAYS),
    st.integers(0, DAYS - 1),
    st.integers(0, 4),
    st.booleans(),
)
def test_a_follow_up_is_what_each_observation_says(
    is_shown: list[bool],
    is_elsewhere: list[bool],
    reads_all: list[bool],
    decided: int,
    days: int,
    of_project: bool,
) -> None:
    """The model looks at one observation after the other, and at nothing else."""
    need = Need("project_permission", "web", "user") if of_project else GATE
    times = [
        ObservationTime(EPOCH + timedelta(days=n), EPOCH + timedelta(days=n, seconds=9))
        for n in range(DAYS)
    ]
    both = frozenset({Scope.CORE, Scope.PROJECT_PERMISSIONS})
    observations = [
        Read(time, both if reads else frozenset({Scope.CORE}))
        for time, reads in zip(times, reads_all, strict=True)
    ]
    demand = Demand(
        1, 7, 3, Kind.ACCOUNT, "bob", frozenset({need}),
        times[0].observed_at - timedelta(days=1),
        times[decided].observed_at + timedelta(hours=1),
        times[decided].observed_at + timedelta(days=days),
    )  # fmt: skip

    def spans(login: str, wanted: Need) -> list[Span]:
        shown = is_shown if login == "bob" else is_elsewhere
        return [
            Span(time.observed_at, time.observed_at + timedelta(seconds=1))
            for time, here in zip(times, shown, strict=True)
            if here and wanted == need
        ]

    found = follow_ups([demand], observations, spans, lambda _: {"bob2"})
    was_gone, state = False, FollowUpState.OPEN
    for n in range(decided + 1, DAYS):
        if of_project and not reads_all[n]:
            is_gone_now = state in (FollowUpState.DONE, FollowUpState.LOOK_ALIKE)
            state = state if is_gone_now else FollowUpState.NOT_OBSERVABLE
        elif is_shown[n]:
            late = times[n].observed_at > demand.due_at
            state = FollowUpState.LATE if late else FollowUpState.OPEN
            state = FollowUpState.RETURNED if was_gone else state
        else:
            was_gone = True
            state = FollowUpState.LOOK_ALIKE if is_elsewhere[n] else FollowUpState.DONE
        moment = times[n].observed_at
        (row,) = [
            one.row
            for one in found
            if one.valid_from <= moment and (one.valid_to is None or moment < one.valid_to)
        ]
        assert row.state is state
        assert (row.first_not_shown is None) == (
            state not in (FollowUpState.DONE, FollowUpState.LOOK_ALIKE)
        )
    assert all(one.valid_from > times[decided].observed_at for one in found)


def test_one_person_is_everything_that_is_linked_however_far() -> None:
    population = [
        {"login": "anna", "email": "Anna@x.org"},
        {"login": "anna-admin", "email": ""},
        {"login": "carl", "email": "carl@x.org"},
    ]
    accounts = Accounts(population, {"anna@X.org": ["anna-admin"]})
    assert accounts.is_of("ANNA", "anna-admin")
    assert accounts.is_of("anna-admin", "anna")
    assert not accounts.is_of("carl@x.org", "anna")
    assert not accounts.is_of("stranger", "anna")


SCIM_USERS = [
    {
        "id": "7",
        "userName": "ada",
        "emails": [{"value": "ada@x.org"}],
        "active": True,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": "8"}},
    },
    {"id": "8", "userName": "bob@x.org", "active": False},
]
EXPORTS = {
    "plain": ("login;Status;Manager", "ada;active;bob@x.org", "carl;left;"),
    "okta": ("login,email,status,managerId", "ada,ada@x.org,ACTIVE,bob@x.org", "bob@x.org,,LEFT,"),
    "entra": (
        "userPrincipalName\tmail\taccountEnabled\tmanager",
        "ada@x.org\t\tTrue\tbob@x.org",
        "bob@x.org\t\tFalse\t",
    ),
    "google": (
        "Email Address [Required],Status [READ ONLY],Manager Email",
        "ada@x.org,Active,bob@x.org",
        "bob@x.org,Left,",
    ),
    "bamboohr": (
        "Employee #,Work Email,Status,Supervisor Email",
        "7,ada@x.org,Active,bob@x.org",
        "8,bob@x.org,Left,",
    ),
    "scim": (json.dumps({"Resources": SCIM_USERS}),),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_roster_is_read_as_its_directory_exports_it(name: str, tmp_path: Path) -> None:
    text, manager = "\n".join(EXPORTS[name]), "bob@x.org"
    who = "ada" if name in ("plain", "okta", "scim") else "ada@x.org"
    file = tmp_path / "roster"
    file.write_bytes(text.encode("utf-16" if name == "entra" else "utf-8"))
    people = people_of(read_roster(file), {"active"})
    roster = Roster(people)
    person = roster.person({identity(who)})
    assert person is not None
    assert person.is_active
    assert person.manager == manager
    boss = roster.person({identity(manager)})
    assert (boss is None) == (name == "plain")
    assert roster.manager({identity(who)}) == (manager if name == "plain" else None)


def test_a_roster_that_names_nobody_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "roster.json"
    for text in ('{"Resources": []}', "{}", '{"Resources": 7}', "name\nAda", "[1]"):
        file.write_text(text)
        with pytest.raises(RosterError):
            read_roster(file)
