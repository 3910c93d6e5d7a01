"""A review from its opening to what observations show of it, on both databases."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.policy import Exemption, Policy, identity
from sonar_access_pipeline.access.review.deciding import (
    ReviewState,
    reassignment_refusal,
)
from sonar_access_pipeline.access.review.facts import EventKind
from sonar_access_pipeline.access.review.items import ReviewScope
from sonar_access_pipeline.access.review.people import SELF, Accounts, Person, items_about
from sonar_access_pipeline.access.review.statements import statement_sha256
from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.warehouse.ask.accounts import accounts_at
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.history.verify import State, verify
from sonar_access_pipeline.warehouse.ledger.policies import record_policy
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.archive import export, import_
from sonar_access_pipeline.warehouse.raw.decisions import RETRACTED
from sonar_access_pipeline.warehouse.raw.decisions import decide as say_of_snapshot
from sonar_access_pipeline.warehouse.raw.redaction import redact
from sonar_access_pipeline.warehouse.reviews import facts
from sonar_access_pipeline.warehouse.reviews.facts import ReviewError, note, reassign
from sonar_access_pipeline.warehouse.schema_reviews import (
    PEOPLE,
    REVIEW_TABLES,
    review_decision,
    review_item,
)
from sonar_access_pipeline_tests.support.builders import EPOCH
from sonar_access_pipeline_tests.support.reviewing import (
    ADA,
    BOB,
    CLEO,
    FALLBACK,
    OWNER,
    USUAL,
    WITHOUT_GATE,
    Reviewed,
    done,
    without,
)

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short PostgreSQL alone: the page's tests ask SQLite."""


@pytest.fixture
def here(warehouse: Warehouse, tmp_path: Path) -> Reviewed:
    return Reviewed(warehouse, tmp_path)


@pytest.fixture
def opened(here: Reviewed) -> Reviewed:
    """A review that is open, of the first day."""
    here.live(0)
    here.open(here.packet(0))
    return here


WITHOUT_BOB = without(
    USUAL,
    members={ADA: "Ada", CLEO: "Cleo"},
    group_members={"1": [ADA, CLEO], "2": [ADA]},
    user_permissions={},
    emails={ADA: "ada@example.com", CLEO: "cleo@example.com"},
)


def test_a_review_goes_from_open_to_acknowledged_by_decisions_and_sign_offs_alone(
    opened: Reviewed,
) -> None:
    found = opened.review()
    assert found.state is ReviewState.OPEN
    assert {one.item.kind.value for one in found.asked.values()} == {
        "account",
        "privilege",
        "grant",
    }
    assert set(found.items_of) == {OWNER, FALLBACK}
    opened.keep_the_rest()
    assert (opened.review().state, opened.states()) == (ReviewState.DECIDED, "decided")
    opened.sign(FALLBACK)
    assert opened.review().unsigned == [OWNER]
    opened.sign(OWNER)
    assert (opened.review().state, opened.states()) == (ReviewState.SIGNED, "signed")
    opened.acknowledge(OWNER)
    assert (opened.review().state, opened.states()) == (ReviewState.ACKNOWLEDGED, "acknowledged")
    with pytest.raises(ReviewError, match="nothing is decided in it any more"):
        opened.decide(1, "revoke")


@pytest.mark.proofs("postgresql")
def test_the_only_reviewer_does_not_acknowledge_their_own_work(here: Reviewed) -> None:
    here.live(0)
    here.policy = _with_deciders(here, owner=OWNER, fallback=OWNER.upper())
    here.open(here.packet(0))
    here.keep_the_rest()
    here.sign_all()
    with pytest.raises(ReviewError, match="only reviewer"):
        here.acknowledge(OWNER)
    with pytest.raises(ReviewError, match="acknowledged by its owner"):
        here.acknowledge(FALLBACK)


def _with_deciders(here: Reviewed, **who: Any) -> Policy:
    return replace(here.policy, review=replace(here.policy.review, **who))


@pytest.mark.proofs("postgresql")
@pytest.mark.parametrize(
    ("reviewer", "linked"),
    [
        ("ADA", {}),
        ("Ada@Example.com", {}),
        ("ada-private", {"ada-private": [ADA]}),
        ("boss@example.com", {"boss@example.com": ["ada@example.com"]}),
    ],
    ids=["by login", "by another-case address", "by second account", "by linked address"],
)
def test_nobody_decides_on_themselves(
    here: Reviewed, reviewer: str, linked: dict[str, list[str]]
) -> None:
    here.live(0)
    here.policy = _with_deciders(here, owner=reviewer)
    here.open(here.packet(0), linked=linked)
    number = here.number("privilege", ADA, "admin")
    assert here.review().reviewers[number].reviewer == FALLBACK
    assert here.review().reviewers[here.number("privilege", BOB, "gateadmin")].reviewer == reviewer


def test_nobody_is_given_what_is_about_them_and_the_rest_is_delegated(opened: Reviewed) -> None:
    found = opened.review()
    items = {number: one.item for number, one in found.asked.items()}
    about = items_about(items, _accounts(opened), "BOB@example.com")
    numbers = [opened.number("account", BOB), opened.number("account", CLEO)]

    def give(chosen: list[int]) -> None:
        reassign(
            opened.warehouse,
            1,
            chosen,
            "bob@example.com",
            by=FALLBACK,
            reason="on leave",
            why_not=lambda now: reassignment_refusal(now, chosen, about),
            clock=opened.clock,
        )

    with pytest.raises(ReviewError, match="nobody decides on themselves"):
        give(numbers)
    give(numbers[1:])
    with pytest.raises(ReviewError, match=r"is to be decided by bob@example\.com"):
        opened.decide(numbers[1], "keep", by=FALLBACK)
    opened.decide(numbers[1], "keep")
    assert opened.review().decided[numbers[1]].decided_by == "bob@example.com"


@pytest.mark.proofs("postgresql")
def test_a_lone_administrator_needs_an_exception_with_an_end(here: Reviewed) -> None:
    here.live(0)
    here.policy = _with_deciders(here, owner=ADA, fallback=ADA)
    files = here.packet(0)
    with pytest.raises(ReviewError, match=f"Nobody but {ADA} could decide"):
        here.open(files)
    until = (EPOCH + timedelta(days=30)).date()
    exemption = Exemption(SELF, identity(ADA), OWNER, "there is nobody else yet", until)
    here.open(files, exemptions=(exemption,))
    number = here.number("privilege", ADA, "admin")
    assert here.review().reviewers[number].basis.value == "exception: nobody else could"


def _person(login: str, manager: str = "", *, is_active: bool = True) -> Person:
    return Person(frozenset({identity(f"{login}@example.com")}), manager, is_active)


@pytest.mark.proofs("postgresql")
def test_accounts_go_to_managers_past_those_who_left_and_loops_and_unclear_people(
    here: Reviewed,
) -> None:
    here.live(0)
    people = [
        _person(ADA, "left@example.com"),
        _person("left", "boss@example.com", is_active=False),
        _person("boss"),
        _person(BOB, "gone@example.com"),
        _person("gone", "gone2@example.com", is_active=False),
        _person("gone2", "gone@example.com", is_active=False),
        _person(CLEO, "boss@example.com"),
        Person(frozenset({identity(CLEO)}), "other@example.com"),
    ]
    here.open(here.packet(0), people=people)
    found = here.review().reviewers
    assert found[here.number("account", ADA)].reviewer == "boss@example.com"
    assert found[here.number("account", BOB)].reviewer == FALLBACK
    assert found[here.number("account", CLEO)].reviewer == FALLBACK


@pytest.mark.proofs("postgresql")
def test_a_reason_is_asked_for_where_one_is_needed_and_only_rights_that_are_there_go(
    opened: Reviewed,
) -> None:
    admin = opened.number("privilege", ADA, "admin")
    account = opened.number("account", CLEO)
    for number, choice, words in (
        (admin, "keep", "it is a privilege"),
        (account, "revoke", "it is to revoke"),
    ):
        with pytest.raises(ReviewError, match=words):
            opened.decide(number, choice, "  ")
    with pytest.raises(ReviewError, match="names what goes"):
        opened.decide(account, "change")
    with pytest.raises(ReviewError, match="has no right 'admin'; it has: group 1, member"):
        opened.decide(account, "change", remove=["admin"])
    with pytest.raises(ReviewError, match="only `change` names what goes"):
        opened.decide(account, "revoke", remove=["member"])
    with pytest.raises(ReviewError, match="has no item 999"):
        opened.decide(999, "keep", by=FALLBACK)
    opened.decide(account, "change", remove=["group 1"])
    assert opened.review().decided[account].remove == ("group 1",)


def test_whoever_decides_second_is_shown_the_first(opened: Reviewed) -> None:
    number = opened.number("account", CLEO)
    opened.decide(number, "revoke", "left the team")
    with pytest.raises(ReviewError, match=r"decided meanwhile: revoke by fallback.*left the team"):
        opened.decide(number, "keep", "stays", seen={})
    opened.decide(number, "keep", "came back")
    assert [one.choice.value for one in opened.review().decisions] == ["revoke", "keep"]
    assert opened.review().decided[number].choice.value == "keep"


def test_of_two_who_decide_at_once_one_is_refused(opened: Reviewed) -> None:
    number = opened.number("account", CLEO)
    said: list[str] = []
    barrier = threading.Barrier(2)

    def one(choice: str) -> None:
        barrier.wait()
        try:
            opened.decide(number, choice, f"{choice} it", seen={})
        except WarehouseError as error:
            said.append(str(error))

    threads = [threading.Thread(target=one, args=(choice,)) for choice in ("keep", "revoke")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    assert len(opened.review().decisions) == 1


def test_the_database_refuses_a_fork_a_change_and_a_line_across_items(opened: Reviewed) -> None:
    number, other = opened.number("account", CLEO), opened.number("account", BOB)
    opened.decide(number, "revoke")
    first = opened.review().decided[number]
    with opened.warehouse.read() as transaction:
        row = dict(transaction.execute(review_decision.select()).mappings().one())
    del row["decision_id"]
    for change in (
        {},
        {"supersedes": first.decision_id, "item_no": other},
        {"supersedes": first.decision_id + 5},
    ):
        with (
            pytest.raises(WarehouseError),
            opened.warehouse.write("x") as transaction,
        ):
            transaction.execute(insert(review_decision).values(**{**row, **change}))
    opened.keep_the_rest()
    opened.sign_all()
    for table in REVIEW_TABLES:
        person = PEOPLE[table][0]
        for statement in (
            f"DELETE FROM {table.name}",
            f"UPDATE {table.name} SET review_id = 2",
            f"UPDATE {table.name} SET {person} = 'somebody else'",
        ):
            with (
                pytest.raises(WarehouseError, match=f"{table.name} is append-only"),
                opened.warehouse.write("x") as transaction,
            ):
                transaction.execute(text(statement))


def test_a_person_is_taken_out_of_a_review_and_what_was_signed_stands(opened: Reviewed) -> None:
    bob, cleo = opened.number("account", BOB), opened.number("account", CLEO)
    found = opened.review()
    about = items_about({n: one.item for n, one in found.asked.items()}, _accounts(opened), BOB)
    reassign(
        opened.warehouse,
        1,
        [cleo],
        "bob@example.com",
        by=FALLBACK,
        reason="on leave",
        why_not=lambda now: reassignment_refusal(now, [cleo], about),
        clock=opened.clock,
    )
    opened.decide(bob, "revoke", "left")
    opened.keep_the_rest()
    opened.sign_all()
    signed = {one.statement_sha256 for one in opened.review().signoffs}
    opened.live(1, WITHOUT_BOB)
    done = redact(opened.warehouse, "acme", BOB, by="dpo", basis="asked for", clock=opened.clock)
    after = opened.review()
    assert after.asked[bob].item.subject == done.pseudonym
    assert set(after.items_of) == {OWNER, FALLBACK, done.pseudonym}
    assert after.state is ReviewState.SIGNED
    digests = {statement_sha256(after.statement_of(one)) for one in after.items_of}
    assert digests == signed
    assert opened.follow_up(bob) == "done"
    assert verify(opened.warehouse, "acme").state is State.REDACTED
    for table in REVIEW_TABLES:
        with opened.warehouse.read() as transaction:
            rows = transaction.execute(table.select()).mappings().all()
        values = [str(value).casefold() for row in rows for value in row.values()]
        assert [value for value in values if value in (BOB, "bob@example.com")] == []


def _accounts(here: Reviewed) -> Accounts:
    with here.warehouse.read() as transaction:
        return accounts_at(transaction, "acme", here.review().about.as_of, {})


def test_a_review_is_not_opened_where_it_could_not_be_believed(here: Reviewed) -> None:
    here.live(0)
    files = here.packet(0)
    foreign = {**files, "manifest.json": files["manifest.json"].replace(b'"acme"', b'"acmf"')}
    with pytest.raises(ReviewError, match="does not stand in the register"):
        here.open(foreign)
    with pytest.raises(ReviewError, match=r"set review\.fallback"):
        here.open(files, review=type(here.policy.review)(owner=OWNER))
    here.now += timedelta(days=8)
    with pytest.raises(ReviewError, match=r"8 days ago; the policy lets 7"):
        here.open(files)
    here.now -= timedelta(days=8)
    here.open(files)
    with pytest.raises(ReviewError, match="Review 1 of series 'quarterly' is open"):
        here.open(files)
    here.open(files, series="monthly")
    note(here.warehouse, 1, EventKind.CANCELLED, by=OWNER, reason="wrong", clock=here.clock)
    here.open(files)
    with pytest.raises(ReviewError, match="cancelled already"):
        note(here.warehouse, 1, EventKind.CANCELLED, by=OWNER, reason="x", clock=here.clock)


def _retract(here: Reviewed, snapshot_id: int) -> None:
    say_of_snapshot(
        here.warehouse,
        snapshot_id,
        RETRACTED,
        by=OWNER,
        reason="another organization's",
        brake=Brake(),
        clock=here.clock,
    )


def test_a_retracted_observation_is_neither_reviewed_nor_signed_and_a_signed_review_stands(
    here: Reviewed,
) -> None:
    here.live(0)
    here.live(1)
    of_first, of_second = here.packet(0), here.packet(1)
    here.open(of_first)
    here.keep_the_rest()
    here.open(of_second, series="other")
    here.keep_the_rest(2)
    here.sign_all(2)
    _retract(here, 1)
    with pytest.raises(ReviewError, match="was corrected since"):
        here.sign_all()
    with pytest.raises(ReviewError, match="does not count: it is held or was retracted"):
        here.open(of_first, series="third")
    _retract(here, 2)
    assert here.review(2).is_restated
    assert here.review(2).state is ReviewState.SIGNED


@pytest.mark.parametrize("is_rebuilt", [False, True], ids=["merged", "rebuilt"])
def test_a_demand_is_done_by_an_observation_alone_and_comes_back_by_one(
    opened: Reviewed, is_rebuilt: bool
) -> None:
    number = opened.number("privilege", BOB, "gateadmin")
    opened.decide(number, "revoke", "not needed")
    said = [opened.follow_up(number)]
    days: list[Callable[[int], object]] = [
        lambda day: opened.live(day, verdict=Verdict.HELD, world=WITHOUT_GATE),
        lambda day: opened.live(day, verdict=Verdict.INCOMPLETE, world=WITHOUT_GATE),
        lambda day: opened.live(day),
        lambda day: opened.live(day, world=WITHOUT_GATE),
        lambda day: opened.live(day, world=USUAL),
        lambda day: opened.live(day, world=WITHOUT_GATE),
    ]
    for day, live in enumerate(days, start=1):
        live(day)
        if is_rebuilt:
            rebuild(opened.warehouse, "acme")
        said.append(opened.follow_up(number))
    assert said == ["open", "open", "open", "late", "done", "returned", "done"]
    assert verify(opened.warehouse, "acme").state is State.FINE


def test_the_proof_of_a_removal_goes_with_the_observation_that_gave_it(opened: Reviewed) -> None:
    number = opened.number("account", BOB)
    opened.decide(number, "revoke", "left")
    opened.live(1, WITHOUT_BOB)
    assert opened.follow_up(number) == "done"
    _retract(opened, 2)
    assert opened.follow_up(number) == "open"


def test_a_narrower_scope_never_closes_a_demand(here: Reviewed) -> None:
    world = without(USUAL, project_users={"web": [BOB]})
    here.live(0, world)
    here.open(here.packet(0))
    number = here.number("account", BOB)
    here.decide(number, "change", "not needed", remove=["user on web"])
    here.live(1, world, scopes=(Scope.CORE,))
    assert here.follow_up(number) == "not observable"
    here.live(2, USUAL)
    assert here.follow_up(number) == "done"


def test_a_login_that_was_renamed_is_a_look_alike_and_not_gone(opened: Reviewed) -> None:
    number = opened.number("privilege", BOB, "gateadmin")
    opened.decide(number, "revoke", "not needed")
    renamed = without(
        USUAL,
        members={ADA: "Ada", "bob2": "Bob", CLEO: "Cleo"},
        group_members={"1": [ADA, "bob2", CLEO], "2": [ADA]},
        user_permissions={"bob2": ["gateadmin"]},
        emails={ADA: "ada@example.com", "bob2": "Bob@example.com", CLEO: "cleo@example.com"},
    )
    opened.live(1, renamed)
    assert opened.follow_up(number) == "look-alike"


def test_what_takes_the_place_of_a_removal_and_a_cancelled_review_demand_nothing(
    opened: Reviewed,
) -> None:
    gate, cleo = opened.number("privilege", BOB, "gateadmin"), opened.number("account", CLEO)
    opened.decide(gate, "revoke", "not needed")
    opened.decide(cleo, "revoke", "left")
    opened.live(1)
    opened.decide(gate, "keep", "needed after all")
    opened.live(2)
    with pytest.raises(StopIteration):
        opened.follow_up(gate)
    note(opened.warehouse, 1, EventKind.CANCELLED, by=OWNER, reason="wrong", clock=opened.clock)
    with pytest.raises(StopIteration):
        opened.follow_up(cleo)
    opened.live(3)
    assert verify(opened.warehouse, "acme").state is State.FINE


def test_what_came_back_and_is_kept_by_a_later_review_is_demanded_no_more(
    opened: Reviewed,
) -> None:
    gate = opened.number("privilege", BOB, "gateadmin")
    opened.decide(gate, "revoke", "not needed")
    opened.keep_the_rest()
    opened.sign_all()
    opened.live(1, WITHOUT_GATE)
    opened.live(2)
    assert opened.follow_up(gate) == "returned"
    second = opened.open(opened.packet(2), series="next")
    again = opened.number("privilege", BOB, "gateadmin", review_id=second)
    assert opened.review(second).asked[again].change_class.value == "returned after revoke"
    opened.decide(again, "keep", "needed after all", review_id=second)
    with pytest.raises(StopIteration):
        opened.follow_up(gate)
    opened.live(3)
    note(opened.warehouse, second, EventKind.CANCELLED, by=OWNER, reason="x", clock=opened.clock)
    opened.live(4)
    assert opened.follow_up(gate) == "returned"
    assert verify(opened.warehouse, "acme").state is State.FINE


def test_half_a_roster_is_refused_until_somebody_says_that_so_many_left(here: Reviewed) -> None:
    def named(count: int) -> Policy:
        return replace(here.policy, roster={str(number): "active" for number in range(count)})

    assert record_policy(here.warehouse, named(10), here.clock)
    with pytest.raises(WarehouseError, match="has 4 logins and addresses, and had 10"):
        record_policy(here.warehouse, named(4), here.clock)
    assert record_policy(here.warehouse, here.policy, here.clock)
    assert record_policy(here.warehouse, named(4), here.clock)


def test_a_scope_without_anything_to_decide_is_not_reviewed(here: Reviewed) -> None:
    here.live(0)
    with pytest.raises(ReviewError, match="'services' the packet has nothing to decide"):
        here.open(here.packet(0), scope=ReviewScope.SERVICES)


def test_a_changed_follow_up_is_found(opened: Reviewed) -> None:
    number = opened.number("account", BOB)
    opened.decide(number, "revoke", "left")
    opened.live(1)
    with opened.warehouse.write("x") as transaction:
        transaction.execute(text("UPDATE fct_follow_up SET state = 'done'"))
    found = verify(opened.warehouse, "acme")
    assert found.state is State.DIFFERENT
    assert f"item {number} of review 1" in found.findings[0].sentence


def test_the_next_review_shows_what_is_news_first(opened: Reviewed) -> None:
    opened.decide(opened.number("privilege", BOB, "gateadmin"), "revoke", "not needed")
    opened.keep_the_rest()
    opened.sign_all()
    later = without(
        USUAL,
        members={**USUAL.members, "dan": "Dan"},
        group_members={"1": [ADA, BOB, CLEO, "dan"], "2": [ADA, CLEO]},
        emails={**USUAL.emails, "dan": "dan@example.com"},
    )
    opened.live(1, later)
    second = opened.open(opened.packet(1), series="next")
    classes = {
        (one.item.kind.value, one.item.subject, one.item.right): one.change_class.value
        for one in opened.review(second).asked.values()
    }
    assert classes["privilege", BOB, "gateadmin"] == "revoke not yet done"
    assert classes["privilege", CLEO, "admin"] == "gained privilege"
    assert classes["account", "dan", ""] == "new"
    assert classes["account", CLEO, ""] == "gained"
    assert classes["account", ADA, ""] == "unchanged"
    order = [one.change_class.value for one in opened.review(second).asked.values()]
    assert order[:2] == ["revoke not yet done", "gained privilege"]


def test_what_no_signed_review_asked_about_is_not_called_new(opened: Reviewed) -> None:
    first = {one.change_class.value for one in opened.review().asked.values()}
    assert first == {"not reviewed before"}
    note(opened.warehouse, 1, EventKind.CANCELLED, by=OWNER, reason="x", clock=opened.clock)
    opened.open(opened.packet(0), scope=ReviewScope.ADMINS)
    opened.keep_the_rest(2)
    opened.sign_all(2)
    opened.live(1)
    third = opened.open(opened.packet(1), series="next")
    found = opened.review(third).asked.values()
    by_subject = {one.item.subject: one.change_class.value for one in found if not one.item.right}
    assert by_subject[CLEO] == "not reviewed before"
    assert by_subject[ADA] == "unchanged"


@pytest.mark.proofs("postgresql")
def test_every_account_of_the_packet_is_an_item_or_left_out(here: Reviewed) -> None:
    here.live(0)
    here.open(here.packet(0), scope=ReviewScope.ADMINS)
    with here.warehouse.read() as transaction:
        rows = transaction.execute(review_item.select()).mappings().all()
    accounts = {row["subject"]: row["left_out_why"] for row in rows if row["kind"] == "account"}
    assert accounts == {ADA: None, BOB: None, CLEO: "the account holds no privileged right"}


@pytest.mark.proofs("postgresql")
def test_a_review_is_overdue_when_the_day_after_begins_in_utc(opened: Reviewed) -> None:
    due = opened.review().about.due
    assert not opened.review().is_overdue(due)
    assert opened.review().is_overdue(due + timedelta(days=1))


PAGE = (Path(__file__).parents[2] / "docs" / "reviews.md").read_text()


def test_the_questions_of_the_page_are_answered_from_the_views(opened: Reviewed) -> None:
    number = opened.number("account", BOB)
    opened.decide(number, "revoke", "left")
    opened.live(1)
    status, demands = (part.split("```")[0] for part in PAGE.split("```sql\n")[1:])
    with opened.warehouse.read() as transaction:
        (row,) = transaction.execute(text(status)).all()
        (open_one,) = transaction.execute(text(demands)).all()
    left = len(opened.review().undecided)
    assert tuple(row)[:4] == (1, "open", left, 1)
    assert tuple(open_one)[:4] == (1, number, BOB, "open")


def test_an_account_that_was_renamed_is_still_of_whom_its_durable_id_is(here: Reviewed) -> None:
    here.live(0)
    renamed = without(
        USUAL,
        members={ADA: "Ada", "bobby": "Bob", CLEO: "Cleo"},
        group_members={"1": [ADA, "bobby", CLEO], "2": [ADA]},
        user_permissions={"bobby": ["gateadmin"]},
        emails={ADA: "ada@example.com", "bobby": "new@example.com", CLEO: "cleo@example.com"},
        ids={"bobby": f"id-{BOB}"},
    )
    here.live(1, renamed)
    here.open(here.packet(1), review=replace(here.policy.review, owner=BOB))
    privilege = here.number("privilege", "bobby", "gateadmin")
    assert here.review().reviewers[privilege].reviewer == FALLBACK, "its owner is whom it is about"
    with here.warehouse.read() as transaction:
        accounts = accounts_at(transaction, "acme", here.review().about.as_of, {})
    assert accounts.is_of(BOB, "bobby")
    assert not accounts.is_of(ADA, "bobby")


def test_a_login_that_somebody_else_has_by_now_links_nobody(here: Reviewed) -> None:
    here.live(0)
    taken_over = without(
        USUAL,
        members={ADA: "Ada", BOB: "Bert", "bobby": "Bob", CLEO: "Cleo"},
        emails={ADA: "a@example.com", BOB: "bert@example.com", "bobby": "new@example.com"},
        ids={"bobby": f"id-{BOB}", BOB: "id-of-bert"},
    )
    here.live(1, taken_over)
    with here.warehouse.read() as transaction:
        accounts = accounts_at(transaction, "acme", here.now, {})
    assert not accounts.is_of(BOB, "bobby")


def test_a_packet_of_a_simulator_is_no_review_of_what_is_read_from_sonarcloud(
    here: Reviewed,
) -> None:
    here.live(0)
    files = here.packet(0)
    with pytest.raises(ReviewError, match="of a simulated source, and acme is read from Sonar"):
        here.open(files, real={"acme"})
    here.open(files, real={"another"})


def test_after_a_correction_what_is_the_same_names_what_was_decided_of_it(here: Reviewed) -> None:
    here.live(0)
    here.live(1, without(USUAL, user_permissions={BOB: ["gateadmin", "scan"]}))
    of_first, of_second = here.packet(0), here.packet(1)
    here.open(of_first)
    here.keep_the_rest()
    decided = {one.item_no: one.decision_id for one in here.review().decisions}
    _retract(here, 1)
    note(here.warehouse, 1, EventKind.CANCELLED, by=OWNER, reason="corrected", clock=here.clock)
    here.open(of_second)
    with here.warehouse.read() as transaction:
        shown = facts.rows_of(transaction, review_item, 2)
    named = {
        (row["kind"], row["subject"], row["right"]): row["previous_decision_id"] for row in shown
    }
    assert named["account", BOB, ""] is None, "more is shown of it"
    assert named["account", ADA, ""] == decided[here.number("account", ADA)]
    assert here.review(2).decided == {}, "nothing is decided by it"


def test_a_note_about_an_item_closes_nothing(opened: Reviewed) -> None:
    number = opened.number("privilege", BOB, "gateadmin")
    opened.decide(number, "revoke", "not needed")
    note(
        opened.warehouse, 1, EventKind.NOTED, by=OWNER, reason="SEC-204",
        clock=opened.clock, item_no=number,
    )  # fmt: skip
    with opened.warehouse.read() as transaction:
        (kept,) = facts.notes(transaction, 1)
    assert (kept["item_no"], kept["reason"]) == (number, "SEC-204")
    assert opened.follow_up(number) == "open"
    with pytest.raises(ReviewError, match="has no item 999"):
        note(
            opened.warehouse, 1, EventKind.NOTED, by=OWNER, reason="x", clock=opened.clock,
            item_no=999,
        )  # fmt: skip


def test_an_archive_carries_reviews_with_what_people_decided_and_signed(
    here: Reviewed, tmp_path: Path
) -> None:
    done(here)
    here.live(1, WITHOUT_GATE)
    export(here.warehouse, "acme", tmp_path / "acme.zip")
    target = Warehouse(sqlite_url(tmp_path / "target.sqlite"))
    upgrade(target)
    carried = import_(target, tmp_path / "acme.zip", here.clock)
    derive(target, "acme")
    assert (carried.reviews, carried.lacking) == (1, ())

    def told(warehouse: Warehouse) -> object:
        with warehouse.read() as transaction:
            found = facts.load(transaction, 1)
            return (
                found.state,
                found.decisions,
                [one.statement_sha256 for one in found.signoffs],
                facts.follow_ups(transaction),
            )

    assert told(target) == told(here.warehouse)
    assert verify(target, "acme").state is State.FINE
    again = import_(target, tmp_path / "acme.zip", here.clock)
    assert (again.reviews, again.lacking) == (0, ())
    target.close()


def test_a_warehouse_that_came_from_an_archive_numbers_its_next_review_after_those(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    source = Warehouse(sqlite_url(tmp_path / "source.sqlite"))
    upgrade(source)
    there = Reviewed(source, tmp_path / "there")
    done(there)
    export(source, "acme", tmp_path / "acme.zip")
    source.close()
    import_(warehouse, tmp_path / "acme.zip", there.clock)
    derive(warehouse, "acme")
    here = Reviewed(warehouse, tmp_path)
    here.live(1)
    assert here.open(here.packet(1), series="another") == 2
    with warehouse.read() as transaction:
        events = facts.load(transaction, 1).events
    assert [one.kind for one in events] == [EventKind.OPENED, EventKind.IMPORTED]


def test_reviews_that_are_not_of_an_archives_organization_are_refused(
    here: Reviewed, tmp_path: Path
) -> None:
    done(here)
    export(here.warehouse, "acme", tmp_path / "acme.zip")
    with zipfile.ZipFile(tmp_path / "acme.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    ledger = json.loads(files["ledger.json"])
    ledger["reviews"]["review"][0]["organization_key"] = "other"
    with zipfile.ZipFile(tmp_path / "forged.zip", "w") as archive:
        for name, body in {**files, "ledger.json": json.dumps(ledger).encode()}.items():
            archive.writestr(name, body)
    target = Warehouse(sqlite_url(tmp_path / "target.sqlite"))
    upgrade(target)
    with pytest.raises(WarehouseError, match="no archive of snapshots, or it is damaged"):
        import_(target, tmp_path / "forged.zip", here.clock)
    target.close()


def test_of_two_organizations_one_that_fails_holds_nothing_of_the_other(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    fine, failing = Reviewed(warehouse, tmp_path), Reviewed(warehouse, tmp_path, "other")
    for one in (fine, failing):
        one.live(0)
        one.open(one.packet(0))
    failing.live(1, verdict=Verdict.INCOMPLETE)
    _retract(failing, 2)
    fine.keep_the_rest()
    fine.sign_all()
    fine.acknowledge()
    assert (fine.states(1), fine.states(2)) == ("acknowledged", "open")
    assert (fine.review(1).is_restated, fine.review(2).is_restated) == (False, True)
    with pytest.raises(ReviewError, match="was corrected since"):
        failing.decide(failing.number("account", ADA, review_id=2), "keep", review_id=2)
