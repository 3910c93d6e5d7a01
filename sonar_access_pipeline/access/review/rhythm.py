"""When a series is due again. Pure."""

from __future__ import annotations

from calendar import monthrange
from datetime import date

from sonar_access_pipeline.access.policy import Series


def is_due(series: Series, last_opened: date | None, today: date) -> bool:
    """Tell whether a review of a series is to be opened: the first at once, each later one so many
    months after the last; a day that was missed opens late.
    """
    return last_opened is None or today >= next_opening(series, last_opened)


def next_opening(series: Series, last_opened: date) -> date:
    """Give the day on which the review after one is to be opened."""
    return _later(last_opened, series.every)


def _later(day: date, months: int) -> date:
    """Give the same day some months later, or the last one of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
