"""The watch writes to whom something of a review is open with, tells of what is late, and reads the
sheets of the inbox: each once, and without deciding anything.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import openpyxl
import pytest
from pydantic import SecretStr

from sonar_access_pipeline.access.review.deciding import Proposed, signing_refusal
from sonar_access_pipeline.access.review.facts import Choice, EventKind, Part
from sonar_access_pipeline.access.review.statements import TEXT_VERSION
from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.alerts.channels import write_to
from sonar_access_pipeline.evidence.reviews import sheet
from sonar_access_pipeline.orchestration.monitoring import Look, Memory, Monitoring
from sonar_access_pipeline.settings_review import ReviewSettings, SeriesSettings
from sonar_access_pipeline.warehouse.reviews.facts import decide, load, reassign, sign
from sonar_access_pipeline_tests.support.company import Company, company
from sonar_access_pipeline_tests.support.post import Post, post

OWNER, FALLBACK, HELPER = "owner@example.com", "fallback@example.com", "helper@example.com"
SERIES = SeriesSettings(name="monthly", every=1, due_days=4, reminders=(3, 0), escalate_after=2)
REVIEW = ReviewSettings(
    owner=OWNER, fallback=FALLBACK, series=(SERIES,), page="https://reviews.example.com"
)


@pytest.fixture
def box() -> Iterator[Post]:
    with post() as one:
        yield one


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Post) -> Iterator[Company]:
    mail = SecretStr(box.url)
    with company(
        tmp_path, monkeypatch.setenv, accounts=12, brake_share=1.0, review=REVIEW, mail_url=mail
    ) as one:
        one.live(0)
        yield one


def look(here: Company, memory: Memory) -> Look:
    return Monitoring(here.resources, here.instance).look(memory)


def on(here: Company, day: int, memory: Memory | None = None) -> Look:
    here.clock.go_to(here.day(day), hours=12)
    return look(here, memory or Memory())


def finish(here: Company, person: str) -> None:
    """Have a reviewer keep everything of theirs and sign."""
    clock = here.resources.clock
    with here.warehouse() as warehouse:
        with warehouse.read() as transaction:
            numbers = load(transaction, 1).reviewed_by(person)
        proposals = [Proposed(one, Choice.KEEP, person, (), "needed") for one in numbers]
        decide(warehouse, 1, proposals, {}, here.settings.review.policy(), clock)
        with warehouse.read() as transaction:
            statement = load(transaction, 1).statement_of(person)
        refusal = partial(signing_refusal, person=person)
        sign(warehouse, 1, Part.REVIEWER, person, TEXT_VERSION, statement, None, refusal, clock)


def names_of(here: Company) -> list[str]:
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        found = load(transaction, 1)
    return [one.item.subject for one in found.asked.values()]


def test_whom_something_is_open_with_is_reminded_on_the_days_that_the_series_names_once_each(
    here: Company, box: Post
) -> None:
    memory = on(here, 0).memory
    assert box.letters == [], "four days are left, and three and none are set"
    memory = on(here, 1, memory).memory
    assert sorted(to for to, _ in box.letters) == [FALLBACK, OWNER]
    text = dict(box.letters)[FALLBACK]
    assert "items are not decided" in text
    assert "https://reviews.example.com/r/1" in text
    assert [name for name in names_of(here) if name in text] == []
    look(here, memory)
    look(here, Memory())
    assert len(box.letters) == 2, "also by a watch that was started anew"
    finish(here, FALLBACK)
    box.letters.clear()
    on(here, 4, memory)
    assert [to for to, _ in box.letters] == [OWNER]


def test_what_is_late_is_told_without_a_name_and_escalated_to_its_owner(
    here: Company, box: Post
) -> None:
    problems = on(here, 5).problems
    (late,) = [one for one in problems if one.cause is Cause.REVIEW_LATE]
    assert "Review 1 of series 'monthly' was due on" in late.sentence
    assert FALLBACK not in late.sentence
    assert "reviewers have not signed" not in " ".join(text for _, text in box.letters)
    box.letters.clear()
    on(here, 6)
    (escalated,) = [text for to, text in box.letters if "reviewers have not signed" in text]
    assert FALLBACK not in escalated
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        events = load(transaction, 1).events
    assert {one.kind for one in events} == {
        EventKind.OPENED,
        EventKind.REMINDED,
        EventKind.ESCALATED,
    }
    assert [one for one in events if "@" in one.reason] == [], "who was written to is a digest"


def test_a_mail_server_that_is_down_is_told_and_the_letter_is_sent_later(
    here: Company, box: Post
) -> None:
    box.is_up = False
    found = on(here, 1)
    assert Cause.REVIEW_UNSENT in {one.cause for one in found.problems}
    box.is_up = True
    found = look(here, found.memory)
    assert Cause.REVIEW_UNSENT not in {one.cause for one in found.problems}
    assert len(box.letters) == 2


def test_a_sheet_of_the_inbox_is_read_back_once_and_counts_for_nothing(
    here: Company, box: Post, tmp_path: Path
) -> None:
    with here.warehouse() as warehouse:
        with warehouse.read() as transaction:
            found = load(transaction, 1)
        numbers = found.reviewed_by(FALLBACK)
        reassign(
            warehouse, 1, numbers, HELPER, by=OWNER, reason="x", why_not=lambda _: None,
            clock=here.resources.clock,
        )  # fmt: skip
        with warehouse.read() as transaction:
            found = load(transaction, 1)
    inbox = tmp_path / "evidence" / "inbox"
    inbox.mkdir()
    book = openpyxl.load_workbook(io.BytesIO(sheet.write(found, HELPER)))
    heads = {cell.value: cell.column for cell in book["Decide"][1]}
    book["Decide"].cell(2, heads["decision"]).value = "revoke"
    book["Decide"].cell(2, heads["reason"]).value = "left the team"
    book.save(inbox / "helper.xlsx")
    (inbox / "picture.xlsx").write_bytes(b"no sheet")
    memory = on(here, 0).memory
    ((to, text),) = box.letters
    assert to == HELPER
    assert "Revoke: " in text
    assert "--record" in text
    memory = Memory.read(memory.written())
    (unread,) = [one for one in look(here, memory).problems if one.cause is Cause.SHEET_UNREAD]
    assert "picture" not in unread.sentence
    look(here, Memory())
    assert len(box.letters) == 1
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        assert load(transaction, 1).decisions == []


def test_nobody_is_written_to_where_no_mail_server_is_set(here: Company, box: Post) -> None:
    settings = here.settings.model_copy(update={"mail_url": None})
    here.resources = replace(here.resources, settings=settings)
    assert [one.cause for one in on(here, 5).problems if one.cause is Cause.REVIEW_LATE]
    assert box.letters == []


@pytest.mark.parametrize("address", ["O'Neil@example.com", "a,b@example.com", "a b@example.com"])
def test_nobody_else_is_written_to_whatever_an_address_looks_like(box: Post, address: str) -> None:
    assert write_to(box.url, address, "t", "x") is not None
    assert box.letters == []
