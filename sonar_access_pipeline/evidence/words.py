"""The first page of a packet in words: what it is, in numbers, and everything a reader must know
before believing the rest.

The report, the PDF and the workbook say the same sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.tables import IN_PART, NO, limits

MOST_CHANGES = 2000
"""Rows of the change table in report and PDF; the CSV file holds all, and both say so."""


@dataclass(frozen=True)
class Sentence:
    """One sentence of the first page. `matters`: something is missing, waits, or does not tie."""

    text: str
    matters: bool = False


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
    return [
        (str(len(facts.population)), "accounts"),
        (str(facts.members), "members"),
        (str(len(facts.admins)), "organization admins"),
        (str(len(facts.real_changes)) if facts.compares else "not known", "changes of access"),
        (f"{facts.days_observed} of {days}", "days observed"),
        (f"{agreeing} of {len(facts.reconciliation)}", "reconciliations pass"),
        (str(len(facts.failed)), "findings"),
    ]


def sentences(facts: Facts) -> list[Sentence]:
    """Gaps, held days, what does not tie, Anyone, findings, limits: in the order in which they
    matter.
    """
    statements = [_gaps(facts)]
    if facts.no_comparison:
        statements.append(
            Sentence(f"What changed is not known: {facts.no_comparison}.", matters=True)
        )
    statements += [
        Sentence(part, matters=True) for part in (*facts.unknown_parts, facts.reaches_back) if part
    ]
    for row in facts.held:
        why = f" {row['reason']}" if row["reason"] else ""
        waits = (
            f"A snapshot of {row['partition_date']} waits for a decision and counts for nothing"
            " until a person confirms or"
        )
        statements.append(Sentence(f"{waits} retracts it.{why}", matters=True))
    for row in facts.untied:
        statements.append(
            Sentence(
                f"A reconciliation fails: {row['what']}: {_numbers(row)}."
                f" {row['detail'] or ''}".strip(),
                matters=True,
            )
        )
    for row in facts.untold:
        statements.append(
            Sentence(
                f"Not comparable: {row['what']}:"
                f" {row['detail'] or 'fewer than two of its numbers are known'}."
            )
        )
    if facts.anyone:
        statements.append(
            Sentence(f"Anyone, signed in or not, holds: {', '.join(facts.anyone)}.", matters=True)
        )
    if facts.projects_of_anyone:
        on = f"{facts.projects_of_anyone} project{'s' if facts.projects_of_anyone > 1 else ''}"
        statements.append(
            Sentence(f"Anyone, signed in or not, has permissions on {on}.", matters=True)
        )
    if baseline := len(facts.changes) - len(facts.real_changes):
        statements.append(
            Sentence(
                f"{baseline} access rows were first observed in this window. When they were granted"
                " is not known."
            )
        )
    if facts.imported:
        opening = (
            f"{len(facts.imported)} of the {len(facts.used)} observations behind this packet came"
            " in an archive"
        )
        statements.append(Sentence(f"{opening} from another warehouse; manifest.json says which."))
    if facts.redactions:
        statements.append(
            Sentence(
                f"{len(facts.redactions)} persons were replaced by pseudonyms; manifest.json says"
                " by whose decision."
            )
        )
    statements.append(_findings(facts))
    for row in facts.ended_exceptions:
        statements.append(
            Sentence(
                f"An exception ended on {row['exception_ended']}: {row['title']}"
                f" ({row['subject']}); {row['exception_by']} answered for it:"
                f" {row['exception_why']}.",
                matters=True,
            )
        )
    unseen, in_part = (
        [row["subject"] for row in limits(facts) if row["observed"] == how] for how in (NO, IN_PART)
    )
    statements.append(Sentence(f"Not observed: {', '.join(unseen)}. limits.csv says why."))
    if in_part:
        statements.append(
            Sentence(f"Observed in part: {', '.join(in_part)}. limits.csv says what is missing.")
        )
    return statements


def _gaps(facts: Facts) -> Sentence:
    if facts.not_expected == len(facts.coverage):
        return Sentence(
            "On no day of the window an observation was expected, and none was made.", matters=True
        )
    days_not = "1 day" if facts.not_expected == 1 else f"{facts.not_expected} days"
    early = (
        f" On {days_not} of the window nobody expected an observation yet, or any more."
        if facts.not_expected
        else ""
    )
    if not facts.gaps:
        which = "on which an observation was expected " if early else ""
        return Sentence(f"Every day of the window {which}was observed.{early}", matters=bool(early))
    days = ", ".join(f"{row['day']} ({row['status']})" for row in facts.gaps)
    was = "day was" if len(facts.gaps) == 1 else "days were"
    only = "SonarCloud only ever shows the present, so a gap stays a gap and nothing is filled in"
    return Sentence(f"{len(facts.gaps)} {was} not observed. {only}: {days}.{early}", matters=True)


def _findings(facts: Facts) -> Sentence:
    rules = Counter(row["rule_id"] for row in facts.failed)
    version = facts.in_force.version
    judged = (
        f"Rules were asked with policy version {version}"
        if version
        else "Rules were asked with the policy that is shipped"
    )
    rule_counts = ", ".join(f"{rule_id} ({count})" for rule_id, count in rules.items()) or "none"
    unknown = len({row["rule_id"] for row in facts.not_evaluable})
    excepted = f" {len(facts.excepted)} findings have an exception." if facts.excepted else ""
    return Sentence(
        f"{judged}. Findings: {rule_counts}. {unknown} rules could not be answered for"
        f" all.{excepted}"
    )


def _numbers(row: dict[str, Any]) -> str:
    names = ("reported", "extracted", "stored", "delivered")
    return ", ".join(f"{name} {row[name]}" for name in names if row[name] is not None)


def kinds(facts: Facts) -> str:
    """Count the changes of each kind; say what a change's two times mean, and for which part of the
    window nobody knows.
    """
    if facts.no_comparison:
        return f"What changed is not known: {facts.no_comparison}."
    counts = sorted(Counter(row["kind"] for row in facts.real_changes).items())
    tally = "; ".join(f"{kind.replace('_', ' ')}: {count}" for kind, count in counts)
    left = len(facts.real_changes) - MOST_CHANGES
    more = [f"The last {left} are in changes.csv only."] if left > 0 else []
    lies = "Each lies between two observations: last seen as before, first seen as since."
    parts = [
        f"{tally or 'Nothing changed between these observations'}.",
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
