"""Windows of whole UTC days: a day, a month, a quarter, or any range that somebody asks about."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta


@dataclass(frozen=True, order=True)
class Window:
    """The days from `first` to `last`, both included.

    Raises `ValueError` when they are the wrong way round.
    """

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"the window ends ({self.last}) before it begins ({self.first})")

    @classmethod
    def month(cls, text: str) -> Window:
        """`2026-09` as a window. Raises `ValueError`."""
        if not (match := re.fullmatch(r"(\d{4})-(\d{2})", text)) or not 1 <= int(match[2]) <= 12:
            raise ValueError(f"'{text}' is no month; write it as 2026-09")
        year, month = int(match[1]), int(match[2])
        return cls(date(year, month, 1), date(year, month, monthrange(year, month)[1]))

    @classmethod
    def quarter(cls, text: str) -> Window:
        """`2026Q3` as a window. Raises `ValueError`."""
        if not (match := re.fullmatch(r"(\d{4})-?Q([1-4])", text.upper())):
            raise ValueError(f"'{text}' is no quarter; write it as 2026Q3")
        year, month = int(match[1]), 3 * int(match[2])
        return cls(date(year, month - 2, 1), date(year, month, monthrange(year, month)[1]))

    @classmethod
    def month_before(cls, day: date) -> Window:
        """Return the whole month before the month of `day`."""
        last = day.replace(day=1) - timedelta(days=1)
        return cls(last.replace(day=1), last)

    @classmethod
    def quarter_before(cls, day: date) -> Window:
        """Return the whole quarter before the quarter of `day`."""
        last = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1) - timedelta(days=1)
        return cls(last.replace(month=last.month - 2, day=1), last)

    @property
    def begin(self) -> datetime:
        """The first moment of the window."""
        return datetime.combine(self.first, time.min, UTC)

    @property
    def end(self) -> datetime:
        """The first moment after the window; the last one there is, of a window that ends with all
        time.
        """
        if self.last == date.max:
            return datetime.max.replace(tzinfo=UTC)
        return datetime.combine(self.last + timedelta(days=1), time.min, UTC)

    def days(self) -> Iterator[date]:
        """Yield every day of the window."""
        return (
            self.first + timedelta(days=offset)
            for offset in range((self.last - self.first).days + 1)
        )

    def __str__(self) -> str:
        return f"{self.first}_{self.last}"
