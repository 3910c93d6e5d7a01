"""The daily job opens the reviews that are due and seals what is acknowledged; it warns, and stops
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonar_access_pipeline.access.policy import Series
from sonar_access_pipeline.access.review.deciding import (
    Proposed,
    acknowledging_refusal,
    signing_refusal,
)
from sonar_access_pipeline.access.review.facts import Choice, EventKind, Part
from sonar_access_pipeline.access.review.rhythm import is_due
from sonar_access_pipeline.access.review.statements import TEXT_VERSION
from sonar_access_pipeline.settings_review import ReviewSettings, SeriesSettings
from sonar_access_pipeline.warehouse.reviews.facts import (
    decide,
    follow_ups,
    load,
    note,
    reassign,
    reviews,
    sign,
)
from sonar_access_pipeline_tests.support.company import Company, company, metadata_of

OWNER, FALLBACK = "owner@example.com", "fallback@example.com"
MONTHLY = SeriesSettings(name="monthly", every=1, due_days=2)
REVIEW = ReviewSettings(owner=OWNER, fallback=FALLBACK, series=(MONTHLY,))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    with company(tmp_path, monkeypatch.setenv, accounts=12, brake_share=1.0, review=REVIEW) as one:
        yield one


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    found = result.get_asset_check_evaluations()
    return {one.check_name: one.passed for one in found if one.asset_key.path[-1] == "reviews"}


FINE = {"in_time": True, "complete": True, "independent": True, "followed_up": True}


def finish(here: Company) -> None:
    """Decide everything: one account is to go, all others stay; sign and acknowledge."""
    clock = here.resources.clock
    policy = here.settings.review.policy()
    with here.warehouse() as warehouse:
        with warehouse.read() as transaction:
            found = load(transaction, 1)
        proposals = [
            Proposed(
                number,
                Choice.REVOKE if number == max(found.asked) else Choice.KEEP,
                found.reviewers[number].reviewer,
                (),
                "because",
            )
            for number in found.asked
        ]
        decide(warehouse, 1, proposals, {}, policy, clock)
        with warehouse.read() as transaction:
            found = load(transaction, 1)
        for person in found.items_of:
            refusal = partial(signing_refusal, person=person)
            statement = found.statement_of(person)
            sign(warehouse, 1, Part.REVIEWER, person, TEXT_VERSION, statement, None, refusal, clock)
        sign(
            warehouse, 1, Part.OWNER, OWNER, TEXT_VERSION, found.acknowledgement, None,
            lambda now: acknowledging_refusal(now, OWNER), clock,
        )  # fmt: skip


def test_a_due_review_is_opened_once_then_sealed_and_what_is_not_done_is_warned_of(
    here: Company,
) -> None:
    first = here.live(0)
    assert first.success
    assert checks(first) == FINE
    assert metadata_of(first, "reviews")["opened"] == 1
    second = here.live(1)
    assert metadata_of(second, "reviews")["opened"] == 0
    finish(here)
    third = here.live(2)
    assert metadata_of(third, "review_packet") == {"sealed_now": 1, "sealed": 1}
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        (row,) = reviews(transaction)
        (demand,) = follow_ups(transaction)
    assert row["state"] == "sealed"
    assert demand["state"] == "open"
    assert metadata_of(here.live(8), "reviews")["follow_ups"] == {"open": 1}
    late = here.live(9)
    assert late.success
    assert checks(late) == {**FINE, "followed_up": False}
    assert metadata_of(here.live(31), "reviews")["opened"] == 1


def test_a_review_that_is_late_warns_and_stops_nothing(here: Company) -> None:
    here.live(0)
    assert checks(here.live(2)) == FINE
    late = here.live(3)
    assert late.success
    assert checks(late) == {**FINE, "in_time": False}


def test_a_cancelled_review_is_opened_anew_and_a_lone_reviewer_who_is_not_the_owner_is_no_fault(
    here: Company,
) -> None:
    here.live(0)
    clock = here.resources.clock
    with here.warehouse() as warehouse:
        note(warehouse, 1, EventKind.CANCELLED, by=OWNER, reason="wrong", clock=clock)
    assert metadata_of(here.live(1), "reviews")["opened"] == 1
    alone(here, 2, FALLBACK)
    assert checks(here.live(2)) == FINE


def test_an_owner_who_is_the_only_reviewer_is_warned_of(here: Company) -> None:
    here.live(0)
    alone(here, 1, OWNER)
    assert checks(here.live(1)) == {**FINE, "independent": False}


def alone(here: Company, review_id: int, person: str) -> None:
    """Have one person keep everything of a review, and sign."""
    clock = here.resources.clock
    with here.warehouse() as warehouse:
        with warehouse.read() as transaction:
            numbers = list(load(transaction, review_id).asked)
        given = {"by": OWNER, "reason": "x"}
        reassign(
            warehouse, review_id, numbers, person, **given, why_not=lambda _: None, clock=clock
        )
        proposals = [Proposed(number, Choice.KEEP, person, (), "fine") for number in numbers]
        decide(warehouse, review_id, proposals, {}, here.settings.review.policy(), clock)
        with warehouse.read() as transaction:
            statement = load(transaction, review_id).statement_of(person)
        refusal = partial(signing_refusal, person=person)
        part = Part.REVIEWER
        sign(warehouse, review_id, part, person, TEXT_VERSION, statement, None, refusal, clock)


def test_a_series_that_cannot_be_opened_says_so_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = ReviewSettings(owner=OWNER, series=(MONTHLY,))
    with company(tmp_path, monkeypatch.setenv, accounts=12, brake_share=1.0, review=nobody) as here:
        result = here.live(0)
        assert result.success
        assert checks(result) == {**FINE, "in_time": False}
        assert OWNER not in str(list(result.all_events))


def test_nothing_personal_of_a_review_is_in_what_dagster_keeps(here: Company) -> None:
    results = [here.live(0)]
    finish(here)
    results.append(here.live(1))
    texts = [str(event) for result in results for event in result.all_events]
    logins = here.truth(0).names
    assert [text for text in texts if OWNER in text or FALLBACK in text] == []
    assert [login for login in logins if any(f"'{login}'" in text for text in texts)] == []


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(1, 24))
def test_a_series_is_due_again_after_its_months_and_not_before(first: date, months: int) -> None:
    series = Series("s", "everybody", months, 14)
    assert is_due(series, None, first)
    due = next(
        day
        for day in (first + timedelta(days=n) for n in range(28 * months, 31 * months + 1))
        if is_due(series, first, day)
    )
    assert (due.year - first.year) * 12 + due.month - first.month == months
    assert due.day == first.day or (due + timedelta(days=1)).day == 1
