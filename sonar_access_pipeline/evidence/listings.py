"""The lists that people read, in the order in which they need them: accounts with what was found of
each, and who may do what on which project.

Report, PDF and workbook show the same lists. What the first page says is `summary.py`; how a value
is written is `words.py`. The CSV files have their own order (`tables.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonar_access_pipeline.access.rules import Result
from sonar_access_pipeline.evidence import summary, words
from sonar_access_pipeline.evidence.facts import Facts, is_open
from sonar_access_pipeline.warehouse.ask.queries import Rows

PRINCIPALS = ("anyone", "group", "user")


def accounts(facts: Facts) -> Rows:
    """List the population with what rules found of each (`found`) and who answers for what they
    found (`excepted`): admins first, then who has permissions on the organization, then who has a
    finding.
    """
    titles = _titles(facts.failed)
    excepted = _titles(facts.excepted)
    listed = [
        {**row, "found": list(titles[row["login"]]), "excepted": list(excepted[row["login"]])}
        for row in facts.population
    ]
    return sorted(
        listed,
        key=lambda row: need(
            is_admin=row["is_organization_admin"],
            has_permissions=bool(row["organization_permissions"]),
            is_found=bool(row["found"]),
            login=row["login"],
        ),
    )


def reviews(facts: Facts) -> list[list[Any]]:
    """List the reviews of access, as a person reads them: which, of what, how far, decided, due."""
    return [
        [
            f"{row['review_id']}, {row['series']} ({row['scope']})",
            f"packet {row['reviewed_packet'][:12]}, {row['reviewed_as_of']:%Y-%m-%d}",
            row["state"],
            f"{row['items'] - row['undecided']} of {row['items']}",
            f"{row['signed']} of {row['reviewers']}",
            row["to_go"],
            str(row["due"]),
            (row["review_packet"] or "")[:12],
        ]
        for row in facts.reviews
    ]


REVIEWS = ("review", "of", "state", "decided", "signed", "to remove", "due", "sealed as")
"""Heads of `reviews`."""


def follow_ups(facts: Facts) -> list[list[Any]]:
    """List what reviews decided to remove, as a person reads it: what, of which review, how it
    stands and since when, until when it was to be gone.
    """
    return [
        [
            summary.removal(row),
            f"{row['review_id']}, item {row['item_no']}",
            row["state"],
            facts.day_of(row["state_since"]),
            f"{row['due_at']:%Y-%m-%d}",
            facts.day_of(row["first_not_shown"]),
        ]
        for row in facts.follow_ups
    ]


FOLLOW_UPS = ("what", "decided in review", "state", "so since", "to be gone by", "first not seen")
"""Heads of `follow_ups`."""


def need(
    *, is_admin: bool, has_permissions: bool, is_found: bool, login: str
) -> tuple[bool, bool, bool, str]:
    """Order accounts by how much they need a decision."""
    return not is_admin, not has_permissions, not is_found, login


def _titles(findings: Rows) -> dict[str, dict[str, None]]:
    """List what was found, without doubles, by the login that it is about."""
    titles: dict[str, dict[str, None]] = defaultdict(dict)
    for row in findings:
        if row["subject_type"] == "account":
            titles[row["subject"]].setdefault(row["title"])
    return titles


RESULTS = (Result.FAIL.value, Result.NOT_EVALUABLE.value, Result.PASS.value)


def by_need(findings: Rows) -> Rows:
    """Order what rules answer: what is open first, then what somebody answers for, then what is not
    known, passes last; of each the severe first.
    """
    return sorted(
        findings,
        key=lambda row: (
            RESULTS.index(row["result"]),
            row["result"] == Result.FAIL.value and not is_open(row),
            summary.SEVERITIES.index(row["severity"]),
        ),
    )


@dataclass(frozen=True)
class Held:
    """What one principal may do on one resource by grants to itself, and the access rows that say
    so.
    """

    kind: str
    who: str
    on: str
    rows: Sequence[Mapping[str, Any]]

    @property
    def rights(self) -> str:
        """Name the permissions."""
        return ", ".join(sorted({row["entitlement"] for row in self.rows}))


def by_project(facts: Facts) -> list[Held]:
    """List who holds which permissions on which project by a grant to itself, a group once: by
    project, then `Anyone`, groups, accounts.
    """
    of_projects = [row for row in facts.access if row["access_type"] == "project_permission"]
    order = PRINCIPALS.index
    return sorted(held(of_projects), key=lambda one: (one.on, order(one.kind), one.who))


def by_principal(facts: Facts) -> list[Held]:
    """List the same by `Anyone`, groups and accounts, then project."""
    of_projects = [row for row in facts.access if row["access_type"] == "project_permission"]
    return held(of_projects)


def held(access: Iterable[Mapping[str, Any]]) -> list[Held]:
    """List what each principal may do on each resource, from access rows or the records of an
    `access.csv`: `Anyone` first, then groups, then accounts, each by name and resource.
    """
    rights: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    names: dict[str, str | None] = {}
    for row in access:
        kind = row["principal_type"]
        principal = row["login"] if kind == "user" else row["granted_via"]
        rights[kind, principal or "", row["resource"]].append(row)
        if kind == "group":
            names[principal] = row["granted_via_name"]
    groups = Counter(names.values())
    listed = [
        Held(kind, _principal(of_it[0], groups), resource_of(of_it[0]), of_it)
        for (kind, _, _), of_it in rights.items()
    ]
    return sorted(listed, key=lambda one: (PRINCIPALS.index(one.kind), one.who, one.on))


def resource_of(row: Mapping[str, Any]) -> str:
    """Name what a right is on; a project with its key where the name does not tell."""
    name, key = row["resource_name"], row["resource"]
    if not name or name == key:
        return str(key)
    return f"{name} ({key})" if row["access_type"] == "project_permission" else str(name)


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
