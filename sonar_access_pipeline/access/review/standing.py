"""How reviews, and what they demand, stand at a moment, as rules judge it. Pure.

Add here: what makes a review late. What a rule answers is `access/rules.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sonar_access_pipeline.access.policy import Series
from sonar_access_pipeline.access.review.deciding import RUNNING, ReviewState
from sonar_access_pipeline.access.review.rhythm import next_opening


class ReviewStanding(NamedTuple):
    """One review: its series, when it was opened and is due, and how far it is."""

    review_id: int
    series: str
    opened_on: date
    due: date
    state: ReviewState


class DemandStanding(NamedTuple):
    """One thing that a review decided to remove, and what observations say of it."""

    review_id: int
    item_no: int
    subject: str
    state: str
    due_at: datetime


def overdue(
    series: Sequence[Series], reviews: Sequence[ReviewStanding], day: date
) -> Iterator[str]:
    """Yield a sentence for each review that is late on a day, and for each series that has none in
    time. One that was closed incomplete is none; a cancelled one is as if it never was.
    """
    counted = [one for one in reviews if one.state is not ReviewState.CANCELLED]
    for one in counted:
        if one.state in RUNNING and one.due < day:
            yield f"review {one.review_id} of series '{one.series}' was due on {one.due}"
    for known in series:
        ours = [one for one in counted if one.series == known.name]
        last = max(ours, key=lambda one: (one.opened_on, one.review_id), default=None)
        if last is None or last.state in RUNNING:
            continue
        if last.state is ReviewState.CLOSED_INCOMPLETE:
            yield f"review {last.review_id} of series '{known.name}' was closed incomplete"
        latest = next_opening(known, last.opened_on) + timedelta(days=known.due_days)
        if latest < day:
            yield (
                f"after review {last.review_id} of series '{known.name}' the next was due on"
                f" {latest}, and none was opened"
            )


def unreviewed(series: Sequence[Series], reviews: Sequence[ReviewStanding]) -> list[str]:
    """List the series of which no review was ever opened."""
    known = {one.series for one in reviews if one.state is not ReviewState.CANCELLED}
    return [one.name for one in series if one.name not in known]
