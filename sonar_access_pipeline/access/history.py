"""History's algebra: what changes in a history table when one more observation is known.

A table is the smallest set of intervals that shows, at every observation, exactly the rows of that observation. Rows are
told apart by their hash, so the whole question is one of three sets: the rows shown by the observation before (P), by the
new one (S), and by the one after (N, when the new one is late). Whether an interval must be opened, closed, moved or cut
follows from which of the three sets a hash is in, and from nothing else. That is why order does not matter.

    in P S N | before           after                        | edit
    ---------+-----------------------------------------------+-----------------
       x x x | --------------   --------------               | none
       x x . | -------]N        -------]N  seen later        | `seen_longer`
       x . x | --------------   --]S      [N----             | `cut`
       x . . | -------]N        --]S                         | `close`
       . x x |        [N-----       [S--------               | `open_earlier`
       . x . |                      [S]N                     | `insert`
       . . x |        [N-----          [N----  unseen longer | `unseen_longer`

Without N (the usual day: the new observation is the newest) only `close` and `insert` remain.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ObservationTime:
    """When an observation began and when it ended; observations are ordered by their end."""

    started_at: datetime
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Edits:
    """The hashes of the rows that each edit of the table above touches; disjoint, sorted, together as few as possible."""

    close: tuple[bytes, ...]
    insert: tuple[bytes, ...]
    seen_longer: tuple[bytes, ...] = ()
    cut: tuple[bytes, ...] = ()
    open_earlier: tuple[bytes, ...] = ()
    unseen_longer: tuple[bytes, ...] = ()

    @property
    def opened(self) -> int:
        """Intervals that begin at the new observation."""
        return len(self.insert) + len(self.open_earlier)

    @property
    def closed(self) -> int:
        """Intervals that end at the new observation."""
        return len(self.close) + len(self.cut)


def edits(before: Set[bytes], new: Set[bytes], after: Set[bytes] | None) -> Edits:
    """What to change when an observation that shows `new` is put between its neighbours.

    `before` is empty when there is none; `after` is None when there is none, which is not the same as one showing nothing.
    """
    if after is None:
        return Edits(close=_sorted(before - new), insert=_sorted(new - before))
    return Edits(
        close=_sorted(before - new - after),
        insert=_sorted(new - before - after),
        seen_longer=_sorted((before & new) - after),
        cut=_sorted((before & after) - new),
        open_earlier=_sorted((new & after) - before),
        unseen_longer=_sorted(after - new - before),
    )


def _sorted(hashes: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(hashes))
