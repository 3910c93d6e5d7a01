"""When a sync of today that failed is tried again: with growing pauses, within the day, and only
where that can help. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sonar_access_pipeline.alerts.causes import MAY_PASS, Cause

FIRST_PAUSE = timedelta(minutes=15)
"""The pause after the first failure; each further one is twice as long: 15, 30, 60, 120, 240, 480
minutes fill a day.
"""
LAST_CHANCE = timedelta(minutes=30)
"""Before midnight: a try that begins later might not begin today any more."""


@dataclass(frozen=True)
class Tried:
    """One try of today, oldest first: when it ended, None while it runs, and why it failed, None
    when it did not.

    `done` says that nothing is left to do for the day: it read everything, and its run succeeded.
    """

    ended_at: datetime | None
    cause: Cause | None
    done: bool = False


def next_try(tried: Sequence[Tried], first_pause: timedelta = FIRST_PAUSE) -> datetime | None:
    """Compute when to try again; None when a try runs, the day is done, nothing was tried yet, or
    trying cannot help.
    """
    if not tried or any(one.done for one in tried):
        return None
    last = tried[-1]
    if last.ended_at is None or last.cause not in MAY_PASS:
        return None
    pause: timedelta = first_pause * 2 ** (len(tried) - 1)
    return last.ended_at + pause


def is_due(tried: Sequence[Tried], now: datetime, first_pause: timedelta = FIRST_PAUSE) -> bool:
    """Tell whether to try again now."""
    when = next_try(tried, first_pause)
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return when is not None and when <= now < tomorrow - LAST_CHANCE
