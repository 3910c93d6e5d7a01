"""The report for people: one HTML file, no network, every value escaped.

The same facts give the same bytes.

Its only script searches and filters tables that are whole without it; the file's own policy allows
that script, by its digest, and nothing else. What it lists is `listings.py`; its charts are
`charts.py`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from sonar_access_pipeline.access.rules import Result
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.evidence import charts, listings, summary, words
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.tables import limits
from sonar_access_pipeline.evidence.templating import templates

ROWS_PER_PAGE = 100
"""Rows of a table that a browser lays out at once."""


def render(facts: Facts, digest: str, *, is_sealed: bool) -> str:
    """Render the report of the packet with a digest as HTML; it says where it is not sealed."""
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            facts=facts,
            words=words,
            summary=summary,
            questions=summary.questions(facts),
            digest=digest,
            is_sealed=is_sealed,
            groups=summary.grouped([*facts.failed, *facts.excepted]),
            unanswered=summary.unanswered(facts),
            passed=[row["title"] for row in facts.findings if row["result"] == Result.PASS.value],
            accounts=[{**row, "kinds": _kinds(row)} for row in listings.accounts(facts)],
            projects_are_read=Scope.PROJECT_PERMISSIONS in facts.as_of.scopes,
            by_project=listings.by_project(facts),
            by_principal=listings.by_principal(facts),
            changes=facts.real_changes[: words.MOST_CHANGES],
            rows_per_page=ROWS_PER_PAGE,
            reviews=listings.reviews(facts),
            follow_ups=listings.follow_ups(facts),
            charts=charts.drawn(facts),
            limits=limits(facts),
            script=_script(),
            script_digest=base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode(),
        )
    )


def _kinds(row: Mapping[str, Any]) -> str:
    """Name the kinds of an account that the list can be filtered by."""
    kinds = (
        ("admin", row["is_organization_admin"]),
        ("has a finding", bool(row["found"])),
        ("no member", not row["is_member"]),
    )
    return "|".join(kind for kind, is_one in kinds if is_one)


@cache
def _script() -> str:
    return (files("sonar_access_pipeline.evidence") / "templates" / "search.js").read_text(
        encoding="utf-8"
    )
