"""The charts of a packet, as numbers and drawn: lines of counts over the window, bars of changes in
each week.

Report and PDF show the same SVG; each chart stands beside what it says in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from operator import itemgetter
from typing import Any

from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.templating import templates
from sonar_access_pipeline.warehouse.ask.queries import ObservationFacts

WIDTH, HEIGHT = 1060, 160
"""Of what is drawn, in units of the SVG."""


@dataclass(frozen=True)
class Chart:
    """A chart: what it says, and how it looks."""

    words: str
    svg: str


@dataclass(frozen=True)
class ChartLine:
    """A count per observation: points from 0 to 1 in both directions, upwards, and its first, last,
    least and most value.

    An observation that did not count has no point.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    first: int = 0
    last: int = 0
    least: int = 0
    most: int = 0

    @property
    def words(self) -> str:
        """The chart in words."""
        if not self.points:
            return f"{self.label}: not counted in these observations."
        return (
            f"{self.label}: {self.first} at the first observation, {self.last} at the last; between"
            f" {self.least} and {self.most}. A dot is an observation."
        )


@dataclass(frozen=True)
class Week:
    """Changes in seven days of the window, or what is left of them at its end; `share`s are of the
    tallest bar.

    Unknown where no observation of those days has one before it: then nobody knows what changed.
    """

    first: date
    opened: int | None
    closed: int | None
    opened_share: float
    closed_share: float


def drawn(facts: Facts) -> list[Chart]:
    """Draw every chart of a packet."""
    drawing = templates().get_template("charts.svg.j2", globals={"width": WIDTH, "height": HEIGHT})
    macros: Any = drawing.module
    of_weeks = weeks(facts)
    in_words = weeks_in_words(of_weeks)
    return [
        *(Chart(line.words, macros.line_of(line, facts.window).strip()) for line in lines(facts)),
        Chart(WEEKS, macros.bars_of(of_weeks, f"{WEEKS} {in_words}").strip()),
    ]


WEEKS = (
    "Rights that began (above the line) and ended (below) in each week of the window; ? where"
    " nothing was observed to compare."
)


def weeks_in_words(of_weeks: Sequence[Week]) -> str:
    """Say what the bars show, week by week."""
    told = [
        f"from {week.first}, not known"
        if week.opened is None
        else f"from {week.first}, {week.opened} began and {week.closed} ended"
        for week in of_weeks
    ]
    return f"Per week: {'; '.join(told)}."


def lines(facts: Facts) -> list[ChartLine]:
    """Members and admins over the window."""
    return [_line(facts, "members", "Members"), _line(facts, "admins", "Organization admins")]


def _line(facts: Facts, count: str, label: str) -> ChartLine:
    days = max(1, (facts.window.last - facts.window.first).days)
    shown = [observed for observed in facts.observations if count in observed.counts]
    if not shown:
        return ChartLine(label, ())
    values = [observed.counts[count] for observed in shown]
    least, most = min(values), max(values)
    points = tuple(
        (
            max(0, (observed.started_at.date() - facts.window.first).days) / days,
            (value - least) / (most - least) if most > least else 0.5,
        )
        for observed, value in zip(shown, values, strict=True)
    )
    return ChartLine(label, points, values[0], values[-1], least, most)


def weeks(facts: Facts) -> list[Week]:
    """Access rows that opened and closed, per week of the window."""
    counts: Counter[tuple[int, bool]] = Counter()
    began = {observed.observed_at: observed.started_at.date() for observed in facts.used}
    for row in filter(itemgetter("login"), facts.real_changes):
        counts[(began[row["changed_by"]] - facts.window.first).days // 7, row["closes"]] += 1
    most = max([1, *counts.values()])
    known = {
        (observed.started_at.date() - facts.window.first).days // 7 for observed in _compared(facts)
    }
    number = (facts.window.last - facts.window.first).days // 7 + 1
    return [
        Week(
            facts.window.first + timedelta(days=7 * place),
            counts[place, False] if place in known else None,
            counts[place, True] if place in known else None,
            counts[place, False] / most,
            counts[place, True] / most,
        )
        for place in range(number)
    ]


def _compared(facts: Facts) -> Sequence[ObservationFacts]:
    """Return the observations of the window that can be compared with one before them."""
    return facts.observations if facts.before is not None else facts.observations[1:]
