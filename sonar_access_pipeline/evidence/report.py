"""The report for people: one HTML file, no network, no script, every value escaped. The same facts give the same bytes.

Charts are drawn as SVG by the template from the numbers prepared here; each stands beside the numbers it shows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.tables import limits

CHART_WIDTH, CHART_HEIGHT = 640, 120
MOST_CHANGES = 2000
"""Rows of the change table in the report; the CSV holds all, and the report says so."""


@dataclass(frozen=True)
class Series:
    """One line of a chart: its polyline, and its first, last, least and most value."""

    label: str
    points: str
    first: int
    last: int
    least: int
    most: int


def render(facts: Facts) -> str:
    """The report of a packet as HTML."""
    changes = [row for row in facts.changes if row["kind"] != "first_observed"]
    return _template().render(
        facts=facts,
        is_simulated=facts.source_kind is not SourceKind.SONARCLOUD,
        changes=changes[:MOST_CHANGES],
        all_changes=len(changes),
        baseline=len(facts.changes) - len(changes),
        kinds=sorted(Counter(row["kind"] for row in changes).items()),
        series=[_series(facts, "members"), _series(facts, "admins")],
        bars=_bars(facts, changes),
        limits=limits(facts),
        members=sum(row["is_member"] for row in facts.population),
        agreeing=sum(row["passed"] is True for row in facts.controls),
        failed_controls=[row for row in facts.controls if row["passed"] is False],
        unknown_controls=[row for row in facts.controls if row["passed"] is None],
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("sonar_access_pipeline.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _series(facts: Facts, count: str) -> Series:
    """A count over the window, one point per observation, placed by its day."""
    days = max(1, (facts.window.last - facts.window.first).days)
    shown = list(facts.observations) or [facts.as_of]
    values = [observed.counts.get(count, 0) for observed in shown]
    least, most = min(values), max(values)
    points = []
    for observed, value in zip(shown, values, strict=True):
        x = CHART_WIDTH * max(0, (observed.started_at.date() - facts.window.first).days) / days
        y = CHART_HEIGHT - CHART_HEIGHT * (value - least) / (most - least) if most > least else CHART_HEIGHT / 2
        points.append(f"{x:.1f},{y:.1f}")
    return Series(count, " ".join(points), values[0], values[-1], least, most)


def _bars(facts: Facts, changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Changes per week of the window, opened above and closed below."""
    gone = {"left", "removed_from_group", "permission_revoked"}
    weeks: list[dict[str, Any]] = []
    first = facts.window.first
    while first <= facts.window.last:
        last = min(first + timedelta(days=6), facts.window.last)
        of_week = [row["kind"] for row in changes if first <= row["changed_by"].date() <= last]
        closed = sum(kind in gone for kind in of_week)
        weeks.append({"first": first, "opened": len(of_week) - closed, "closed": closed})
        first = last + timedelta(days=1)
    most = max([1] + [max(week["opened"], week["closed"]) for week in weeks])
    return [week | {"opened_share": week["opened"] / most, "closed_share": week["closed"] / most} for week in weeks]
