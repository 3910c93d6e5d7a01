"""The calendar of a connection: on which days it is to be observed, from when, and when a day
without an observation is a gap.

Schedules, the watch, tries, alerts and answers ask here. Another hour, or days that are not
expected, are decided here and set in `settings.py`. What the view `sync_coverage` calls an expected
day is every day, from the first snapshot on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta


@dataclass(frozen=True)
class Calendar:
    """Every UTC day at an `hour`; a day that is not observed `grace_hours` later is late."""

    hour: int
    grace_hours: int

    def cron(self, minute: int = 0, days: str = "* * *") -> str:
        """Return the cron expression, in UTC, of so many minutes after the hour: of each day, or of
        some `days`.
        """
        return f"{minute} {self.hour} {days}"

    def due_at(self, day: date) -> datetime:
        """Return when a day is to be observed."""
        return datetime.combine(day, time(self.hour), UTC)

    def last_due(self, now: datetime) -> date:
        """Return the last day that must have been observed by `now`: its hour and its grace are
        over.
        """
        return (now - timedelta(hours=self.hour + self.grace_hours)).date()

    def expected(self, first: date, last: date) -> list[date]:
        """List the days from `first` to `last`, both included, that are to be observed; none where
        `last` is before `first`.
        """
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]
