"""What a review demands until an observation shows it gone. Pure.

A demand is closed by observations alone: by one that began after the decision, that counts, that
read every scope the demand needs, and that shows none of what is to go. A day that was not
observed, is held, was retracted, or read less, changes nothing. What comes back opens it again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from sonar_access_pipeline.access.history import Interval, ObservationTime, Timeline
from sonar_access_pipeline.access.review.deciding import word_of
from sonar_access_pipeline.access.review.facts import Choice
from sonar_access_pipeline.access.review.items import Item, Kind
from sonar_access_pipeline.access.snapshot import Scope


class FollowUpState(StrEnum):
    """How far a demand is."""

    OPEN = "open"
    DONE = "done"
    LATE = "late"
    RETURNED = "returned"
    LOOK_ALIKE = "look-alike"
    NOT_OBSERVABLE = "not observable"


class Need(NamedTuple):
    """One right that is to go, by whatever way it is given."""

    access_type: str
    resource: str
    entitlement: str


@dataclass(frozen=True)
class Demand:
    """What one decision demands: which rights of whom are to go, and by when. `ended_at` is when
    another decision took its place, or its review was cancelled.
    """

    review_id: int
    item_no: int
    decision_id: int
    kind: Kind
    subject: str
    needs: frozenset[Need]
    as_of: datetime
    decided_at: datetime
    due_at: datetime
    ended_at: datetime | None = None

    @property
    def scopes(self) -> frozenset[Scope]:
        """What an observation must have read to show it."""
        of_projects = any(need.access_type == "project_permission" for need in self.needs)
        return frozenset({Scope.CORE, Scope.PROJECT_PERMISSIONS} if of_projects else {Scope.CORE})


class FollowUpRow(NamedTuple):
    """One demand as it stands at an observation. `last_shown` and `first_not_shown` are the two
    observations between which it went; both are None while it is shown.
    """

    review_id: int
    item_no: int
    decision_id: int
    subject: str
    state: FollowUpState
    due_at: datetime
    last_shown: datetime | None
    first_not_shown: datetime | None


class Read(NamedTuple):
    """An observation that counts, and what it read."""

    time: ObservationTime
    scopes: frozenset[Scope]


class Span(NamedTuple):
    """A time in which a right shows, from the first observation that shows it until the first that
    does not.
    """

    valid_from: datetime
    valid_to: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Tell whether it shows at a moment."""
        return self.valid_from <= moment and (self.valid_to is None or moment < self.valid_to)


Spans = Callable[[str, Need], Collection[Span]]
"""When a subject has a right, by any way."""


def needs_of(item: Item, choice: Choice, remove: Collection[str]) -> frozenset[Need]:
    """Say which rights of an item are to go: all of a revoke, the named ones of a change."""
    return frozenset(
        Need(held.access_type, held.resource, held.entitlement)
        for held in item.held
        if choice is Choice.REVOKE
        or word_of(held.access_type, held.resource, held.entitlement) in remove
    )


def follow_ups(
    demands: Sequence[Demand],
    observations: Sequence[Read],
    spans: Spans,
    same_person: Callable[[str], Collection[str]],
) -> list[Interval[FollowUpRow]]:
    """Derive the history of every demand: what stands at each observation, as intervals.

    `observations` are oldest first. `same_person` gives the other logins of whoever has one.
    """
    times = [one.time for one in observations]
    intervals: list[Interval[FollowUpRow]] = []
    for demand in demands:
        rows = list(_rows(demand, observations, spans, same_person))
        if rows:
            intervals += _as_intervals(rows, times)
    return sorted(intervals, key=lambda one: (one.row.review_id, one.row.item_no, one.valid_from))


def _as_intervals(
    rows: Sequence[tuple[int, FollowUpRow | None]], times: Sequence[ObservationTime]
) -> Iterator[Interval[FollowUpRow]]:
    first = rows[0][0]
    timeline = Timeline[FollowUpRow]({}, times[first - 1] if first else None)
    last: FollowUpRow | None = None
    for place, row in rows:
        if row is not None and row == last:
            timeline.repeat(times[place])
        else:
            yield from timeline.observe(times[place], [] if row is None else [row])
        last = row
    yield from timeline.rest()


def _rows(
    demand: Demand,
    observations: Sequence[Read],
    spans: Spans,
    same_person: Callable[[str], Collection[str]],
) -> Iterator[tuple[int, FollowUpRow | None]]:
    """Yield what stands at each observation since the decision, with the observation's place; None
    where nothing is demanded any more.
    """
    held = list(_of_subject(demand, demand.subject, spans))
    others = _of_others(demand, spans, same_person)
    begins = bisect_right([one.time.started_at for one in observations], demand.decided_at)
    last_shown = _last_shown(held, observations[:begins], demand.scopes)
    gone_at: datetime | None = None
    was_gone = False
    state = FollowUpState.OPEN
    for place, (time, scopes) in enumerate(observations[begins:], start=begins):
        if demand.ended_at is not None and time.started_at > demand.ended_at:
            yield place, None
            return
        if not demand.scopes <= scopes:
            state = FollowUpState.NOT_OBSERVABLE if gone_at is None else state
        elif _any_holds(held, time.observed_at):
            state = _while_shown(demand, time.observed_at, was_gone=was_gone)
            last_shown, gone_at = time.observed_at, None
        else:
            gone_at = gone_at or time.observed_at
            was_gone = True
            is_elsewhere = _any_holds(others, time.observed_at)
            state = FollowUpState.LOOK_ALIKE if is_elsewhere else FollowUpState.DONE
        yield place, _row(demand, state, last_shown, gone_at)


def _any_holds(several: Iterable[Span], moment: datetime) -> bool:
    return any(span.holds(moment) for span in several)


def _while_shown(demand: Demand, moment: datetime, *, was_gone: bool) -> FollowUpState:
    if was_gone:
        return FollowUpState.RETURNED
    return FollowUpState.LATE if moment > demand.due_at else FollowUpState.OPEN


def _of_others(
    demand: Demand, spans: Spans, same_person: Callable[[str], Collection[str]]
) -> list[Span]:
    """Find what other accounts of the same person have got since the review looked. What they had
    then was an item of its own.
    """
    if demand.kind is Kind.GRANT:
        return []
    of_each = (_of_subject(demand, login, spans) for login in sorted(same_person(demand.subject)))
    return [span for span in chain.from_iterable(of_each) if span.valid_from > demand.as_of]


def _of_subject(demand: Demand, subject: str, spans: Spans) -> Iterator[Span]:
    """Yield when a subject has what a demand wants gone."""
    return chain.from_iterable(spans(subject, need) for need in sorted(demand.needs))


def _last_shown(
    held: Sequence[Span], observations: Sequence[Read], scopes: frozenset[Scope]
) -> datetime | None:
    """Find the last observation before the decision that shows any of what is to go."""
    for time, read in reversed(observations):
        if scopes <= read and _any_holds(held, time.observed_at):
            return time.observed_at
    return None


def _row(
    demand: Demand, state: FollowUpState, last_shown: datetime | None, gone_at: datetime | None
) -> FollowUpRow:
    return FollowUpRow(
        demand.review_id,
        demand.item_no,
        demand.decision_id,
        demand.subject,
        state,
        demand.due_at,
        None if gone_at is None else last_shown,
        gone_at,
    )
