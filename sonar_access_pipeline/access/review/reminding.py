"""Who is reminded of a review, and when. Pure.

Only whom something is open with, once a day at most; in counts, without a name of an account. After
its due date a review is escalated to its owner. Add here: another reason to write to somebody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from sonar_access_pipeline.access.policy import Series, identity
from sonar_access_pipeline.access.review.deciding import RUNNING, Review, ReviewState
from sonar_access_pipeline.access.review.facts import EventKind, is_same

LETTERS = 16
"""Of the digest of a person's address, which says in the record who was written to."""


@dataclass(frozen=True)
class Reminder:
    """One message to one person, of one review."""

    kind: EventKind
    to: str
    text: str

    @property
    def person(self) -> str:
        """Who it is to, as the record has it: by digest."""
        return identity(self.to)[:LETTERS]


def reminders(review: Review, series: Series, today: date) -> list[Reminder]:
    """List what is to be sent today, and was not yet."""
    if review.state not in RUNNING or review.is_restated:
        return []
    left = (review.about.due - today).days
    if left >= 0 and left not in series.reminders:
        return []
    due = [*_to_reviewers(review, left), *_to_owner(review, left, series.escalate_after)]
    return [one for one in due if not _was_sent(review, one, today)]


def _was_sent(review: Review, one: Reminder, today: date) -> bool:
    return any(
        event.kind is one.kind and event.at.date() == today and event.reason == one.person
        for event in review.events
    )


def _to_reviewers(review: Review, left: int) -> Iterator[Reminder]:
    for person in review.unsigned:
        numbers = review.items_of[person]
        undecided = sum(number not in review.decided for number in numbers)
        what = (
            f"{undecided} of your {len(numbers)} items are not decided"
            if undecided
            else f"you decided your {len(numbers)} items and have not signed"
        )
        yield Reminder(EventKind.REMINDED, person, f"{_about(review, left)}: {what}.")


def _to_owner(review: Review, left: int, escalate_after: int) -> Iterator[Reminder]:
    owner = review.about.owner
    if owner is None:
        return
    if review.state is ReviewState.SIGNED and not all(
        is_same(one, owner) for one in review.items_of
    ):
        text = f"{_about(review, left)}: everybody signed; it waits for you to acknowledge it."
        yield Reminder(EventKind.REMINDED, owner, text)
    late = len(review.unsigned)
    if late and left <= -escalate_after:
        text = (
            f"{_about(review, left)}: {late} of {len(review.items_of)} reviewers have not signed,"
            f" and {len(review.undecided)} items are not decided. Give them to somebody else, or"
            " close it incomplete."
        )
        yield Reminder(EventKind.ESCALATED, owner, text)


def _about(review: Review, left: int) -> str:
    about = review.about
    if left < 0:
        when = f"was due on {about.due}"
    else:
        when = "is due today" if left == 0 else f"is due on {about.due}"
    return f"The access review {about.review_id} of {about.organization_key} {when}"
