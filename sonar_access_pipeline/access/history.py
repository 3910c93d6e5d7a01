"""History's algebra: what changes in a history table when an observation is put among its
neighbours, or taken out again.

A table is the smallest set of intervals that shows, at every observation, exactly the rows of that
observation. Rows are told apart by a key (their hash where they are kept, themselves where they are
at hand), so the whole question is one of three sets: the rows shown by the observation before (B),
by the one in question (S), and by the one after (A). What happens to an interval follows from which
of the three a key is in, and from nothing else. That is why order does not matter, and why a
retracted observation leaves the history that never saw it.

                        in B S A | without S              with S
    ---------------------------- + ---------------------------------------------
                           x x x | --------------         --------------
    `before_and_new`       x x . | -------]A              -------]A seen later
    `before_and_after`     x . x | --------------         --]S      [A----
    `before_only`          x . . | -------]A              --]S
    `new_and_after`        . x x |        [A-----                [S--------
    `new_only`             . x . |                               [S]A
    `after_only`           . . x |        [A-----                [A---- unseen longer

Without A (the usual day: S is the newest) only `before_only` and `new_only` matter: rows that end,
and rows that begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K")
R = TypeVar("R")

AT_ONCE = 50_000
"""Rows compared at once: in memory twice, and enough of them that the work is done in sets, not row
by row.
"""


class ObservationTime(NamedTuple):
    """When an observation began and when it ended; observations are ordered by their end."""

    started_at: datetime
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Compared(Generic[K, R]):
    """The keys of the rows that are in some of the three sets, but not in all; disjoint.

    `new_only` gives their rows.
    """

    before_only: Set[K]
    before_and_new: Set[K]
    before_and_after: Set[K]
    new_only: Mapping[K, R]
    new_and_after: Set[K]
    after_only: Set[K]


def compare(
    before: Set[K], rows: Iterable[R], key_of: Callable[[R], K], after: Set[K] = frozenset()
) -> Compared[K, R]:
    """Tell which of three sets each row is in, when the new ones are `rows`.

    They are read once, and of them only what nothing else has is kept: they may be a million. A row
    that comes twice is one.
    """
    left = iter(rows)
    new_only = dict[K, R]()
    missing_before, missing_after = set(before), set(after)
    while several := list(islice(left, AT_ONCE)):
        keys = list(map(key_of, several))
        missing_before.difference_update(keys)
        missing_after.difference_update(keys)
        if new := set(keys).difference(before, after):
            row_of = dict(zip(keys, several, strict=True))
            new_only |= {key: row_of[key] for key in new}
    return Compared(
        before_only=missing_before - after,
        before_and_new=before - missing_before - after,
        before_and_after=missing_before & after,
        new_only=new_only,
        new_and_after=after - missing_after - before,
        after_only=missing_after - before,
    )


@dataclass(frozen=True, slots=True)
class Interval(Generic[R]):
    """One row of a history table, with its times."""

    row: R
    valid_from: datetime
    valid_to: datetime | None
    changed_after: datetime | None
    last_seen_at: datetime | None


class Begun(NamedTuple):
    """Since when a row shows."""

    valid_from: datetime
    changed_after: datetime | None


class Timeline(Generic[R]):
    """All observations of one table, oldest first, in one pass: every interval is given once, when
    it has ended.

    `begun` and `last` are what showed, since when, at the observation that the pass begins after;
    nothing for a pass over all.
    """

    def __init__(
        self, begun: Mapping[R, Begun] | None = None, last: ObservationTime | None = None
    ) -> None:
        self._begun: dict[R, Begun] = dict(begun or {})
        self._last = last

    def observe(self, time: ObservationTime, rows: Iterable[R]) -> Iterator[Interval[R]]:
        """Take in the next observation, and yield the intervals that end with it."""
        difference = compare(self._begun.keys(), rows, _itself)
        last = self._last
        self._last = time
        changed_after = last.started_at if last else None
        for row in difference.before_only:
            begun = self._begun.pop(row)
            yield Interval(
                row,
                begun.valid_from,
                time.observed_at,
                begun.changed_after,
                changed_after,
            )
        since = Begun(time.observed_at, changed_after)
        self._begun |= dict.fromkeys(difference.new_only, since)

    def repeat(self, time: ObservationTime) -> None:
        """Take in the next observation, which shows the same as the last one."""
        self._last = time

    def rest(self) -> Iterator[Interval[R]]:
        """Yield the intervals that have not ended."""
        for row, begun in self._begun.items():
            yield Interval(row, begun.valid_from, None, begun.changed_after, None)


def _itself(row: R) -> R:
    return row
