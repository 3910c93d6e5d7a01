"""The first page of a packet: what needs a decision, who administers, what changed, how far it can
be trusted, and what to do next. In words, each sentence from the facts.

Report, PDF and workbook show the same questions. How one value is written stands in `words.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

from sonar_access_pipeline.evidence import words
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.tables import IN_PART, NO, limits
from sonar_access_pipeline.warehouse.ask.queries import Rows

SEVERITIES = ("high", "medium", "low")
NAMED = 3
"""Names that stand beside a finding; of more, only the number is told."""
LISTED = 12
"""Items below a sentence; of more, only the number is told, and where they are."""


@dataclass(frozen=True)
class Line:
    """One sentence of the first page, and what belongs below it.

    `matters`: it needs a decision, something is missing, or does not tie.
    """

    text: str
    matters: bool = False
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """One question that the first page answers."""

    title: str
    lines: tuple[Line, ...]


def questions(facts: Facts) -> list[Question]:
    """Answer the questions of the first page, in the order in which people ask them."""
    return [
        Question("What needs a decision", tuple(_decisions(facts))),
        Question("Who administers", tuple(_admins(facts))),
        Question("What changed", tuple(_changes(facts))),
        Question("How far this can be trusted", tuple(_trust(facts))),
        Question("What to do next", tuple(_next(facts))),
    ]


def lines(facts: Facts) -> Iterator[Line]:
    """Yield every line of the first page."""
    for question in questions(facts):
        yield from question.lines


def some(number: int, one: str, many: str) -> str:
    """Return a number with its noun, in the singular where it is one."""
    return f"1 {one}" if number == 1 else f"{number:,} {many}"


def sentence(text: str) -> str:
    """Begin a text with a capital letter."""
    return text[:1].upper() + text[1:]


def who(row: Mapping[str, Any]) -> str:
    """Name an account as people know it, with its login; a group by its name alone."""
    told_by = row.get("login") or row.get("subject") or ""
    name = row.get("name")
    if name and (row.get("subject_type") == "group" or not told_by):
        return str(name)
    return f"{name} ({told_by})" if name and name != told_by else str(told_by)


def grouped(findings: Rows) -> list[tuple[Mapping[str, Any], Rows]]:
    """Group findings by rule, the severe ones first: the first of each rule, and all of them."""
    by_rule: dict[str, Rows] = defaultdict(list)
    for row in findings:
        by_rule[row["rule_id"]].append(row)
    groups = [(rows[0], rows) for rows in by_rule.values()]
    return sorted(groups, key=lambda group: SEVERITIES.index(group[0]["severity"]))


def _decisions(facts: Facts) -> Iterator[Line]:
    for row in facts.held:
        why = f" {sentence(row['reason'])}." if row["reason"] else ""
        yield Line(
            f"A snapshot of {row['partition_date']} waits for a decision and counts for nothing"
            f" until a person confirms or retracts it.{why}",
            matters=True,
        )
    for first, rows in grouped(facts.failed):
        yield Line(
            f"{sentence(first['severity'])}: {first['title']}{_whom(rows)}.",
            matters=first["severity"] == "high",
        )
    for row in facts.ended_exceptions:
        yield Line(
            f"An exception ended on {row['exception_ended']}: {row['title']} ({who(row)});"
            f" {row['exception_by']} answered for it: {row['exception_why']}.",
            matters=True,
        )
    if facts.excepted:
        have = "has an exception" if len(facts.excepted) == 1 else "have an exception"
        yield Line(f"{some(len(facts.excepted), 'more finding', 'more findings')} {have}.")
    if not facts.failed and not facts.held:
        yield Line("No rule found anything that needs a decision.")


def _whom(rows: Rows) -> str:
    """Count and name whom a rule found; say what it found where it is about all."""
    named = list(dict.fromkeys(who(row) for row in rows if row["subject_type"] != "organization"))
    if not named:
        return f": {rows[0]['detail']}" if rows[0]["detail"] else ""
    count = f" ({len(named):,})" if len(named) > 1 else ""
    return f"{count}: {_shortened(named, NAMED)}"


def _shortened(named: Sequence[str], most: int) -> str:
    if len(named) <= most + 1:
        return ", ".join(named)
    return f"{', '.join(named[:most])} and {len(named) - most:,} more"


def _items(texts: Iterable[str], number: int, rest: str) -> tuple[str, ...]:
    """Take as many items as a page has room for, and say where the others are."""
    items = tuple(islice(texts, LISTED))
    left = number - len(items)
    return (*items, f"and {left:,} more: {rest}") if left else items


def _admins(facts: Facts) -> Iterator[Line]:
    since = _admin_since(facts)
    described = (
        f"{who(row)}: {_through(row['admin_through'])}; {since.get(row['login'], 'since unknown')}"
        for row in facts.admins
    )
    if facts.admins:
        administer = "administers" if len(facts.admins) == 1 else "administer"
        yield Line(
            f"{some(len(facts.admins), 'account', 'accounts')} {administer} the organization.",
            items=_items(described, len(facts.admins), "see Organization admins"),
        )
    else:
        yield Line("Nobody administers the organization.", matters=True)
    if facts.anyone:
        yield Line(
            f"Anyone, signed in or not, holds: {', '.join(facts.anyone)}.",
            matters=True,
        )
    if facts.projects_of_anyone:
        on = some(facts.projects_of_anyone, "project", "projects")
        yield Line(f"Anyone, signed in or not, has permissions on {on}.", matters=True)


def _through(paths: str) -> str:
    return "by a grant to itself" if paths == "direct" else f"through {paths}"


def _admin_since(facts: Facts) -> dict[str, str]:
    """Say of each admin since when: the earliest of the ways that it has now."""
    since: dict[str, str] = {}
    ways = [
        row
        for row in facts.access
        if (row["access_type"], row["entitlement"]) == ("organization_permission", "admin")
    ]
    for row in sorted(ways, key=lambda row: row["valid_from"]):
        day = row["valid_from"].date()
        known = f"since {day}" if row["changed_after"] else f"since {day} or before"
        since.setdefault(row["login"], known)
    return since


PHRASES = {
    "joined": "joined",
    "left": "left",
    "returned": "came back",
    "promoted": "became admin",
    "demoted": "stopped being admin",
    "added_to_group": "added to a group",
    "removed_from_group": "taken out of a group",
    "permission_granted": "got a permission",
    "permission_revoked": "lost a permission",
    "renamed": "renamed",
    "scope_ended": "not read any more",
}
"""The kinds of changes as people say them, in the order in which they matter."""
KINDS = ("promoted", "demoted", "joined", "returned", "left")
"""Kinds that are about a person as a whole: they stand first."""


def _changes(facts: Facts) -> Iterator[Line]:
    if facts.no_comparison:
        yield Line(f"What changed is not known: {facts.no_comparison}.", matters=True)
        return
    people: dict[str, set[str]] = defaultdict(set)
    for row in facts.real_changes:
        people[row["kind"]].add(row["login"] or row["resource"])
    order = [*KINDS, *(kind for kind in PHRASES if kind not in KINDS)]
    tally = [
        f"{some(len(people[kind]), 'account', 'accounts')} {PHRASES[kind]}"
        for kind in order
        if kind in people
    ]
    by_day = _by_day(facts.real_changes)
    if tally:
        yield Line(
            f"{'; '.join(tally)}.",
            items=_items(map(_told, by_day), len(by_day), "see Changes"),
        )
    else:
        yield Line("Nothing changed between these observations.")
    for part in filter(None, (*facts.unknown_parts, facts.reaches_back)):
        yield Line(part, matters=True)


def _by_day(changes: Rows) -> list[tuple[date, Rows]]:
    """Group changes by day and person: the weightiest first, then the latest day."""
    groups: dict[tuple[date, str], Rows] = defaultdict(list)
    for row in changes:
        groups[row["changed_by"].date(), row["login"] or row["resource"] or ""].append(row)
    in_order = sorted(
        groups.items(),
        key=lambda item: (
            min(_weight(row["kind"]) for row in item[1]),
            -item[0][0].toordinal(),
            item[0][1],
        ),
    )
    return [(day, rows) for (day, _), rows in in_order]


def _weight(kind: str) -> int:
    """Weigh a kind of change: whoever becomes or stops being admin first, then people."""
    if kind in ("promoted", "demoted"):
        return 0
    return 1 if kind in KINDS else 2


def _told(change: tuple[date, Rows]) -> str:
    """Say what one day changed for one person."""
    day, rows = change
    kinds = Counter(row["kind"] for row in rows)
    # Who joins is added to groups and gets permissions by it: that goes without saying.
    whole = [kind for kind in KINDS if kind in kinds]
    others = [] if {"joined", "left", "returned"} & kinds.keys() else [*kinds.keys() - {*whole}]
    phrases = [PHRASES[kind] for kind in whole]
    for kind in sorted(others, key=list(PHRASES).index):
        of_kind = [row for row in rows if row["kind"] == kind]
        phrases.append(_phrase(kind, of_kind))
    return f"{day}: {_person(rows[0])} {', '.join(phrases)}"


def _person(row: Mapping[str, Any]) -> str:
    return who(row) if row["login"] else str(words.on(row) or "a scope")


def _phrase(kind: str, rows: Rows) -> str:
    """Say one kind of change with what it is about."""
    if kind in ("added_to_group", "removed_from_group"):
        where = {"added_to_group": "added to", "removed_from_group": "taken out of"}[kind]
        return f"{where} {_shortened([str(words.on(row)) for row in rows], NAMED)}"
    if kind in ("permission_granted", "permission_revoked"):
        got = {"permission_granted": "got", "permission_revoked": "lost"}[kind]
        rights = [f"{row['entitlement']} on {words.on(row)}" for row in rows]
        return f"{got} {_shortened(rights, NAMED)}"
    return f"{PHRASES[kind]}{f' ({detail})' if (detail := rows[0]['detail']) else ''}"


def _trust(facts: Facts) -> Iterator[Line]:
    yield _gaps(facts)
    agreeing = sum(row["passed"] is True for row in facts.reconciliation)
    if not facts.untied:
        yield Line(f"{agreeing} of {len(facts.reconciliation)} comparisons of numbers agree.")
    for row in facts.untied:
        yield Line(
            f"A reconciliation fails: {row['what']}: {words.numbers_of(row)}."
            f" {row['detail'] or ''}".strip(),
            matters=True,
        )
    for row in facts.untold:
        detail = row["detail"] or "fewer than two of its numbers are known"
        yield Line(f"Not comparable: {row['what']}: {detail}.")
    if baseline := len(facts.changes) - len(facts.real_changes):
        were = "1 right was" if baseline == 1 else f"{baseline:,} rights were"
        yield Line(
            f"{were} there at the first observation, which lies in this window: when they were"
            " granted is not known."
        )
    if facts.imported:
        yield Line(
            f"{len(facts.imported)} of the {len(facts.used)} observations behind this packet came"
            " in an archive from another warehouse; manifest.json says which."
        )
    if facts.redactions:
        persons = some(len(facts.redactions), "person was", "persons were")
        yield Line(f"{persons} replaced by pseudonyms; manifest.json says by whose decision.")
    yield Line(_judged(facts))
    unseen = [row["subject"] for row in limits(facts) if row["observed"] == NO]
    in_part = [row["subject"] for row in limits(facts) if row["observed"] == IN_PART]
    yield Line(f"Not observed: {', '.join(dict.fromkeys(unseen))}. limits.csv says why.")
    if in_part:
        yield Line(
            f"Observed in part: {', '.join(dict.fromkeys(in_part))}. limits.csv says what is"
            " missing."
        )


def _gaps(facts: Facts) -> Line:
    if facts.not_expected == len(facts.coverage):
        return Line(
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
        return Line(f"Every day of the window {which}was observed.{early}", matters=bool(early))
    days = ", ".join(f"{row['day']} ({row['status']})" for row in facts.gaps)
    only = "SonarCloud only ever shows the present, so a gap stays a gap and nothing is filled in"
    return Line(
        f"{some(len(facts.gaps), 'day was', 'days were')} not observed. {only}: {days}.{early}",
        matters=True,
    )


def _judged(facts: Facts) -> str:
    version = facts.in_force.version
    policy = f"version {version} of the policy" if version else "the policy that is shipped"
    unknown = len({row["rule_id"] for row in facts.not_evaluable})
    told = f"; {some(unknown, 'rule', 'rules')} could not be answered for all" if unknown else ""
    return f"Rules were asked with {policy}{told}."


def _next(facts: Facts) -> Iterator[Line]:
    for row in facts.held:
        yield Line(
            f"Look at what the snapshot of {row['partition_date']} shows and decide: `sonar-access"
            f" snapshot show {row['snapshot_id']}`."
        )
    if facts.failed:
        yield Line(
            "Of each finding, take the right away in SonarCloud, or enter an exception with who,"
            " why and until when in the settings."
        )
    yield Line(
        "Decide on every account in access-review.xlsx, or in a fresh sheet of this packet that"
        " `sonar-access evidence worksheet` makes."
    )
    if facts.gaps:
        yield Line(
            "Find out why days are missing: `sonar-access coverage` names each with its cause."
        )
    yield Line("To check this packet without us, follow README.txt.")
