"""The report for people: one HTML file, no network, every value escaped.

The same facts give the same bytes.

Its only script searches and filters tables that are whole without it; the file's own policy allows
that script, by its digest, and nothing else. Charts are drawn as SVG by the template; each stands
beside the numbers it shows.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from sonar_access_pipeline.access.rules import Result
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.evidence import charts, summary, words
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.tables import limits
from sonar_access_pipeline.warehouse.ask.queries import Rows

CHART_WIDTH, CHART_HEIGHT = 1060, 160
ROWS_PER_PAGE = 100
"""Rows of a table that a browser lays out at once."""


def render(facts: Facts, digest: str, *, is_sealed: bool) -> str:
    """Render the report of the packet with a digest as HTML; it says where it is not sealed."""
    by_project = _projects(facts)
    return _template().render(
        facts=facts,
        words=words,
        summary=summary,
        questions=summary.questions(facts),
        digest=digest,
        is_sealed=is_sealed,
        groups=summary.grouped([*facts.failed, *facts.excepted]),
        unanswered=summary.unanswered(facts),
        passed=[row["title"] for row in facts.findings if row["result"] == Result.PASS.value],
        accounts=_accounts(facts),
        projects_are_read=Scope.PROJECT_PERMISSIONS in facts.as_of.scopes,
        by_project=by_project,
        by_principal=sorted(by_project, key=lambda row: (row["order"], row["who"], row["project"])),
        changes=facts.real_changes[: words.MOST_CHANGES],
        rows_per_page=ROWS_PER_PAGE,
        lines=charts.lines(facts),
        weeks=charts.weeks(facts),
        limits=limits(facts),
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
        script=_script(),
        script_digest=base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode(),
    )


def _accounts(facts: Facts) -> Rows:
    """List the population with what rules found of each: admins first, then who has permissions on
    the organization, then who has a finding.
    """
    titles: dict[str, dict[str, None]] = defaultdict(dict)
    for row in facts.failed:
        if row["subject_type"] == "account":
            titles[row["subject"]].setdefault(row["title"])
    accounts = [
        {
            **row,
            "found": list(titles[row["login"]]),
            "kinds": "|".join(
                kind
                for kind, is_one in (
                    ("admin", row["is_organization_admin"]),
                    ("has a finding", bool(titles[row["login"]])),
                    ("no member", not row["is_member"]),
                )
                if is_one
            ),
        }
        for row in facts.population
    ]
    return sorted(
        accounts,
        key=lambda row: (
            not row["is_organization_admin"],
            not row["organization_permissions"],
            not row["found"],
            row["login"],
        ),
    )


PRINCIPALS = ("anyone", "group", "user")


def _projects(facts: Facts) -> Rows:
    """List who holds which permissions on which project by a grant to itself; a group once."""
    rights: dict[tuple[str, str, str], Rows] = defaultdict(list)
    for row in facts.access:
        if row["access_type"] == "project_permission":
            principal = row["login"] if row["principal_type"] == "user" else row["granted_via"]
            rights[row["resource"], row["principal_type"], principal or ""].append(row)
    of_groups = [row for row in facts.access if row["principal_type"] == "group"]
    names = {row["granted_via"]: row["granted_via_name"] for row in of_groups}
    groups = Counter(names.values())
    listed = [
        {
            "project": _project(of_it[0]),
            "kind": kind,
            "who": _principal(of_it[0], groups),
            "order": PRINCIPALS.index(kind),
            "rights": ", ".join(sorted({row["entitlement"] for row in of_it})),
        }
        for (_, kind, _), of_it in rights.items()
    ]
    return sorted(listed, key=lambda row: (row["project"], row["order"], row["who"]))


def _project(row: Mapping[str, Any]) -> str:
    """Name a project, with its key where the name does not tell."""
    name = row["resource_name"]
    return row["resource"] if name in (None, row["resource"]) else f"{name} ({row['resource']})"


def _principal(row: Mapping[str, Any], groups: Mapping[str | None, int]) -> str:
    """Name who holds a right; a group with its id where another has the same name."""
    if row["principal_type"] != "group":
        return summary.who(row)
    group_id = row["granted_via"].removeprefix("group:")
    name = words.named(row["granted_via_name"])
    if name is None:
        return f"a group whose name is not known (id {group_id})"
    return (
        f"Group {name} (id {group_id})" if groups[row["granted_via_name"]] > 1 else f"Group {name}"
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
