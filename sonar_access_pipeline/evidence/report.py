"""The report for people: one HTML file, no network, every value escaped.

The same facts give the same bytes.

Its only script searches and filters tables that are whole without it; the file's own policy allows
that script, by its digest, and nothing else. Charts are drawn as SVG by the template; each stands
beside the numbers it shows.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from sonar_access_pipeline.evidence import charts, words
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.tables import limits

CHART_WIDTH, CHART_HEIGHT = 640, 120


def render(facts: Facts) -> str:
    """Render the report of a packet as HTML."""
    return _template().render(
        facts=facts,
        words=words,
        changes=facts.real_changes[: words.MOST_CHANGES],
        lines=charts.lines(facts),
        weeks=charts.weeks(facts),
        limits=limits(facts),
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
        script=_script(),
        script_digest=base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode(),
    )


@cache
def _script() -> str:
    return (files("sonar_access_pipeline.evidence") / "templates" / "search.js").read_text(
        encoding="utf-8"
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
