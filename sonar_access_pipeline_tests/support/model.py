"""History as `design` defines it, written for reading: the independent truth that the merge is
compared with.

No hash, no neighbour, no edit: it looks at every observation for every row.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

Row = tuple[Hashable, ...]


@dataclass(frozen=True, order=True)
class Interval:
    """One row of a history table."""

    row: Row
    valid_from: datetime
    valid_to: datetime | None
    changed_after: datetime | None
    last_seen_at: datetime | None


def history(observations: Mapping[tuple[datetime, datetime], set[Row]]) -> set[Interval]:
    """The smallest set of intervals for observations, each (started_at, observed_at) with the rows
    it shows.
    """
    times = sorted(observations, key=lambda time: time[1])
    intervals: set[Interval] = set()
    for row in set().union(*observations.values()) if observations else set():
        shown = [row in observations[time] for time in times]
        start: int | None = 0 if times and shown[0] else None
        for index, (was, is_shown) in enumerate(pairwise(shown), start=1):
            if is_shown and not was:
                start = index
            if was and not is_shown and start is not None:
                intervals.add(_interval(row, times, start, index))
                start = None
        if start is not None:
            intervals.add(_interval(row, times, start, None))
    return intervals


def _interval(
    row: Row, times: list[tuple[datetime, datetime]], start: int, end: int | None
) -> Interval:
    return Interval(
        row=row,
        valid_from=times[start][1],
        valid_to=None if end is None else times[end][1],
        changed_after=None if start == 0 else times[start - 1][0],
        last_seen_at=None if end is None else times[end - 1][0],
    )
