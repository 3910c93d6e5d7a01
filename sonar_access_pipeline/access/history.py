"""History's algebra: what changes in a history table when an observation is put among its neighbours, or taken out again.

A table is the smallest set of intervals that shows, at every observation, exactly the rows of that observation. Rows are told
apart by their hash, so the whole question is one of three sets: the rows shown by the observation before (B), by the one in
question (S), and by the one after (A). What happens to an interval follows from which of the three a hash is in, and from
nothing else. That is why order does not matter, and why a retracted observation leaves the history that never saw it.

                        in B S A | without S              with S
    ---------------------------- + ---------------------------------------------
                           x x x | --------------         --------------
    `before_and_new`       x x . | -------]A              -------]A seen later
    `before_and_after`     x . x | --------------         --]S      [A----
    `before_only`          x . . | -------]A              --]S
    `new_and_after`        . x x |        [A-----                [S--------
    `new_only`             . x . |                               [S]A
    `after_only`           . . x |        [A-----                [A---- unseen longer

Without A (the usual day: S is the newest) only `before_only` and `new_only` matter: rows that end, and rows that begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R")

BEFORE, NEW, AFTER = 1, 2, 4


class ObservationTime(NamedTuple):
    """When an observation began and when it ended; observations are ordered by their end."""

    started_at: datetime
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Compared(Generic[R]):
    """The hashes of the rows that are in some of the three sets, but not in all; disjoint. `new_only` gives their rows."""

    before_only: list[bytes]
    before_and_new: list[bytes]
    before_and_after: list[bytes]
    new_only: dict[bytes, R]
    new_and_after: list[bytes]
    after_only: list[bytes]


def compare(before: Iterable[bytes], new: Iterable[tuple[bytes, R]], after: Iterable[bytes] = ()) -> Compared[R]:
    """Which of three sets each row is in. A row that comes twice in one of them is in it.

    `new` is read once and not kept, but for the rows that only it has: it may be a million rows.
    """
    sets = dict.fromkeys(before, BEFORE)
    for key in after:
        sets[key] = sets.get(key, 0) | AFTER
    new_only: dict[bytes, R] = {}
    for key, row in new:
        found = sets.get(key)
        if found is None:
            new_only[key] = row
        else:
            sets[key] = found | NEW
    parts: dict[int, list[bytes]] = {place: [] for place in range(1, 8)}
    for key, found in sets.items():
        if found != BEFORE | NEW | AFTER:
            parts[found].append(key)
    return Compared(
        before_only=parts[BEFORE],
        before_and_new=parts[BEFORE | NEW],
        before_and_after=parts[BEFORE | AFTER],
        new_only=new_only,
        new_and_after=parts[NEW | AFTER],
        after_only=parts[AFTER],
    )


@dataclass(frozen=True, slots=True)
class Interval(Generic[R]):
    """One row of a history table, with its times."""

    key: bytes
    row: R
    valid_from: datetime
    valid_to: datetime | None
    changed_after: datetime | None
    last_seen_at: datetime | None


class Begun(NamedTuple, Generic[R]):
    """A row that shows, and since when."""

    row: R
    valid_from: datetime
    changed_after: datetime | None


class Timeline(Generic[R]):
    """All observations of one table, oldest first, in one pass: every interval is given once, when it has ended.

    `begun` and `last` are what showed, since when, at the observation that the pass begins after; nothing for a pass over all.
    """

    def __init__(self, begun: Mapping[bytes, Begun[R]] | None = None, last: ObservationTime | None = None) -> None:
        self._begun: dict[bytes, Begun[R]] = dict(begun or {})
        self._last = last

    def observe(self, time: ObservationTime, rows: Iterable[tuple[bytes, R]]) -> Iterator[Interval[R]]:
        """The next observation: the intervals that end with it."""
        found = compare(self._begun, rows)
        last, self._last = self._last, time
        changed_after = last.started_at if last else None
        for key in found.before_only:
            begun = self._begun.pop(key)
            yield Interval(key, begun.row, begun.valid_from, time.observed_at, begun.changed_after, changed_after)
        self._begun |= {key: Begun(row, time.observed_at, changed_after) for key, row in found.new_only.items()}

    def repeat(self, time: ObservationTime) -> None:
        """The next observation, which shows what the last one showed."""
        self._last = time

    def rest(self) -> Iterator[Interval[R]]:
        """The intervals that have not ended."""
        for key, begun in self._begun.items():
            yield Interval(key, begun.row, begun.valid_from, None, begun.changed_after, None)
