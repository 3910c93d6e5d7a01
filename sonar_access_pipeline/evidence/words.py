"""How single values and a packet as a whole are written for people: title, source, numbers, times.

What the first page says is `summary.py`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sonar_access_pipeline.evidence.facts import Facts

MOST_CHANGES = 2000
"""Rows of the change table in the report; the CSV file holds all, and the report says so."""


FORGES = re.compile(
    r'[,;:()"\\\x00-\x1f\x7f-\x9f]'
    "|[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
"""Characters of a name that would part it from, or make it look like, what stands around it."""


def named(name: str | None) -> str | None:
    """Return a name as it stands in a sentence: one that could forge what stands around it, or show
    nothing, is written as a JSON text. None where there is none.
    """
    if name is None or not name:
        return None
    return json.dumps(name) if FORGES.search(name) or not name.strip() else name


RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
    "[^\\w\\s,;:()]*(?=\\s*[,;:()0-9])"
)
"""The end of what is written from right to left, before what ends a name or begins a number."""


def in_order(text: str) -> str:
    """Keep a name that is written from right to left from moving what stands behind it: a mark
    says that the text goes on from left to right (U+200E, as Unicode's annex 9 has it).
    """
    return text if text.isascii() else RIGHT_TO_LEFT.sub("\\g<0>\u200e", text)


THROUGH_GROUPS = (
    "What the token's owner can see. Members of a group have what the group has on projects, and"
    " are not listed again."
)
UNCHANGED = "No account's own access was seen to change"


def title(facts: Facts) -> str:
    """Say what the packet is about."""
    return f"Who had access to {facts.name or facts.organization_key}"


def source(facts: Facts) -> str:
    """Say where the packet is from; if it is not from SonarCloud, add a warning that stands on
    every page.
    """
    if facts.is_evidence:
        return f"Source: {facts.source_kind.value}."
    return f"Source: {facts.source_kind.value}. This is not evidence about SonarCloud."


def about(facts: Facts) -> str:
    """Organization, window, as of when, from where, by whose token."""
    hours, minutes = abs(facts.age_seconds) // 3600, abs(facts.age_seconds) % 3600 // 60
    lies = (
        "before the window's end"
        if facts.age_seconds >= 0
        else "after the window's end, having begun before it"
    )
    return (
        f"SonarCloud organization {facts.organization_key}, {facts.window.first} to"
        f" {facts.window.last} (UTC days). As of {moment(facts.as_of.observed_at)} UTC, the last"
        f" observation in or before the window, {hours} h {minutes} min {lies}. Read from"
        f" {facts.as_of.source_url} (source: {facts.source_kind.value}) with the token of"
        f" {facts.as_of.token_login}."
    )


def numbers(facts: Facts) -> list[tuple[str, str]]:
    """Return the counts of the first page: number and label."""
    days = len(facts.coverage)
    agreeing = sum(row["passed"] is True for row in facts.reconciliation)
    changes = sum(bool(row["login"]) for row in facts.real_changes)
    subjects = len({(row["rule_id"], row["subject_type"], row["subject"]) for row in facts.failed})
    return [
        _counted(len(facts.population), "account", "accounts"),
        _counted(facts.members, "member", "members"),
        _counted(len(facts.admins), "organization admin", "organization admins"),
        _counted(changes, "change of access", "changes of access")
        if facts.compares
        else ("not known", "changes of access"),
        (f"{facts.days_observed} of {days}", "days observed"),
        (f"{agreeing} of {len(facts.reconciliation)}", "reconciliations pass"),
        _counted(subjects, "finding", "findings"),
    ]


def _counted(number: int, one: str, many: str) -> tuple[str, str]:
    return f"{number:,}", one if number == 1 else many


def numbers_of(row: Mapping[str, Any]) -> str:
    """Return the numbers of a reconciliation that are known, each with its name."""
    names = ("reported", "extracted", "stored", "delivered")
    return ", ".join(f"{name} {row[name]}" for name in names if row[name] is not None)


def kinds(facts: Facts, most: int = MOST_CHANGES) -> str:
    """Count the changes of each kind; say what a change's two times mean, and for which part of the
    window nobody knows. A table shows `most` of them.
    """
    if facts.no_comparison:
        return f"What changed is not known: {facts.no_comparison}."
    counts = sorted(Counter(row["kind"] for row in facts.real_changes).items())
    tally = "; ".join(f"{kind.replace('_', ' ')}: {count}" for kind, count in counts)
    left = len(facts.real_changes) - most
    more = [f"The last {left} are in changes.csv only."] if left > 0 else []
    lies = "Each lies between two observations: last seen as before, first seen as since."
    parts = [
        f"Counted in rights: {tally}." if tally else f"{UNCHANGED}.",
        *([lies] if tally else []),
        *more,
        *facts.unknown_parts,
    ]
    return " ".join([*parts, *([facts.reaches_back] if facts.reaches_back else [])])


def through(change: Mapping[str, Any]) -> str | None:
    """Name the way by which an account has or had a right: directly, or the name of the group."""
    return (
        "direct"
        if change["granted_via"] == "direct"
        else change["granted_via_name"] or change["granted_via"]
    )


def on(change: Mapping[str, Any]) -> str | None:
    """Name what a right is on."""
    named: str | None = change["resource_name"] or change["resource"]
    return named


def moment(when: datetime | None) -> str:
    """Format a time as people read it, to the second; the CSV files have it whole."""
    return _seconds(when) if when else "unknown"


@lru_cache(maxsize=4096)
def _seconds(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S")


def plain(value: Any) -> str:
    """Format a value as people read it: unknown is a word, and so are yes and no."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return moment(value) if isinstance(value, datetime) else str(value)
