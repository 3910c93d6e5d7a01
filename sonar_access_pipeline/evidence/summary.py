"""The first page of a packet: what needs a decision, who administers, what changed, how far it can
be trusted, and what to do next. In words, each sentence from the facts.

Report, PDF and workbook show the same questions. How one value is written stands in `words.py`.
A day is that on which an observation began. What was seen at an observation happened between the
one before it and this one: where they lie further apart than a day, both are named.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby, islice
from typing import Any

from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.evidence import words
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.tables import IN_PART, NO, limits
from sonar_access_pipeline.evidence.words import named
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
    """Begin a text with a capital letter, without the period at its end."""
    return f"{text[:1].upper()}{text[1:]}".removesuffix(".")


def who(row: Mapping[str, Any]) -> str:
    """Name an account as people know it, with its login; a group by its name alone."""
    told_by = row.get("login") or row.get("subject") or ""
    name = named(row.get("name"))
    if name and (row.get("subject_type") == "group" or not told_by):
        return name
    if name and row.get("name") != told_by:
        return f"{name} ({named(told_by)})"
    return named(told_by) or ""


def grouped(findings: Rows) -> list[tuple[Mapping[str, Any], Rows]]:
    """Group findings by rule, the severe ones first: the first of each rule, and all of them."""
    by_rule: dict[str, Rows] = defaultdict(list)
    for row in findings:
        by_rule[row["rule_id"]].append(row)
    groups = [(rows[0], rows) for rows in by_rule.values()]
    return sorted(groups, key=lambda group: SEVERITIES.index(group[0]["severity"]))


def removal(row: Mapping[str, Any]) -> str:
    """Say what a review decided to remove: whose, which right, on what."""
    subject = named(row["subject"]) or ""
    if row["removed"]:
        return f"{subject}: {row['removed']}"
    if not row["entitlement"]:
        return f"{subject}: everything of {'it' if row['item_kind'] == 'grant' else 'the account'}"
    return f"{subject}: {row['entitlement']} on {named(row['resource'])}"


LOOK_ALIKE = "confusable-name"


@dataclass(frozen=True)
class Found:
    """What a rule found of one subject, or of accounts whose names look alike."""

    whose: str
    subject_type: str
    details: tuple[str, ...]
    since: tuple[str, ...]
    """The days on which it was first seen; several where accounts came to look alike one by one."""
    exception: str


def found(facts: Facts, rows: Rows) -> list[Found]:
    """List what a rule found, once for each subject, or for each set of names that look alike: what
    is said of each of these has the same sign.
    """
    subjects: dict[tuple[str, str, str], Rows] = defaultdict(list)
    for row in rows:
        is_one_of_a_set = row["rule_id"] == LOOK_ALIKE and row["subject_type"] == "account"
        told_by = row["detail"] if is_one_of_a_set else row["subject"]
        subjects[row["subject_type"], told_by, _exception(row)].append(row)
    return [
        Found(
            whose=" and ".join(dict.fromkeys(map(who, of_it))),
            subject_type=kind,
            details=tuple(dict.fromkeys(row["detail"] for row in of_it if row["detail"])),
            since=tuple(sorted({facts.day_of(row["failing_since"]) for row in of_it} - {""})),
            exception=exception,
        )
        for (kind, _, exception), of_it in subjects.items()
    ]


def unanswered(facts: Facts) -> list[tuple[str, str]]:
    """List the rules that could not be answered, or not for all: title, and why."""
    answers = []
    for first, rows in grouped(facts.not_evaluable):
        why = dict.fromkeys(row["detail"] for row in rows)
        answers.append((first["title"], "; ".join(filter(None, why))))
    return answers


def _exception(row: Mapping[str, Any]) -> str:
    """Say who answers for a finding, until when and why; nothing where nobody does or did."""
    if row["exception_by"] is None:
        return ""
    ended = row["exception_ended"]
    until = f"until {row['exception_until']}" if ended is None else f"ended {ended}"
    return f"{row['exception_by']}, {until}: {row['exception_why']}"


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
            f"{sentence(first['severity'])}: {first['title']}{_whom(facts, rows)}.",
            matters=first["severity"] == "high",
        )
    if not facts.failed:
        yield Line("No rule that was answered found anything that needs a decision.")
    for row in facts.ended_exceptions:
        yield Line(
            f"An exception ended on {row['exception_ended']}: {row['title']} ({who(row)});"
            f" {row['exception_by']} answered for it: {sentence(row['exception_why'])}.",
            matters=True,
        )
    if facts.excepted:
        have = some(len(facts.excepted), "finding has", "findings have")
        yield Line(f"{have} an exception that holds: somebody answers for it.")
    if silent := unanswered(facts):
        titles = _shortened([title for title, _ in silent], NAMED)
        rules = some(len(silent), "rule", "rules")
        yield Line(
            f"Not known: {rules} could not be answered, or not for all ({titles}). Findings says"
            " why."
        )


def _whom(facts: Facts, rows: Rows) -> str:
    """Count and name whom a rule found; say what it found where it is about all."""
    each = found(facts, rows)
    names = [one.whose for one in each if one.subject_type in ("account", "group")]
    if not names:
        details = "; ".join(dict.fromkeys(row["detail"] for row in rows if row["detail"]))
        return f": {details}" if details and details != rows[0]["title"] else ""
    count = f" ({len(names):,})" if len(names) > 1 else ""
    return f"{count}: {_shortened(names, NAMED)}"


def _shortened(texts: Sequence[str], most: int) -> str:
    if len(texts) <= most + 1:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most:,} more"


def _items(texts: Iterable[str], number: int, rest: str) -> tuple[str, ...]:
    """Take as many items as a page has room for, and say where the others are."""
    items = tuple(islice(texts, LISTED))
    left = number - len(items)
    return (*items, f"and {left:,} more: {rest}") if left else items


def seen(facts: Facts, after: datetime | None, by: datetime) -> str:
    """Say between which days something happened that an observation was the first to show."""
    day = facts.day_of(by)
    if after is None:
        return f"{day} or before"
    before = after.date()
    return day if date.fromisoformat(day) - before <= timedelta(days=1) else f"{before} to {day}"


def _admins(facts: Facts) -> Iterator[Line]:
    as_of = facts.day_of(facts.as_of.observed_at)
    ways = _ways(facts)
    described = (
        f"{who(row)}: {ways[row['login']]}; {_admin_since(facts, row['login'])}"
        for row in facts.admins
    )
    if facts.admins:
        administer = some(len(facts.admins), "account administers", "accounts administer")
        yield Line(
            f"{administer} the organization as of {as_of}.",
            items=_items(described, len(facts.admins), "see Organization admins"),
        )
    else:
        yield Line(
            f"No account is seen to administer the organization as of {as_of}.", matters=True
        )
    if facts.anyone:
        yield Line(f"Anyone, signed in or not, holds: {', '.join(facts.anyone)}.", matters=True)
    if facts.projects_of_anyone:
        on = some(facts.projects_of_anyone, "project", "projects")
        yield Line(f"Anyone, signed in or not, has permissions on {on}.", matters=True)


def _ways(facts: Facts) -> Mapping[str, str]:
    """Say by which ways each account administers the organization; a group by its name."""
    ways: dict[str, dict[str, None]] = defaultdict(dict)
    for row in facts.access:
        if (row["access_type"], row["entitlement"]) == ("organization_permission", "admin"):
            group = named(row["granted_via_name"]) or "whose name is not known"
            is_direct = row["granted_via"] == "direct"
            ways[row["login"]][
                "by a grant to itself" if is_direct else f"through group {group}"
            ] = None
    return {login: " and ".join(of_it) for login, of_it in ways.items()}


def _admin_since(facts: Facts, login: str) -> str:
    after, by = facts.admin_since[login]
    return f"seen as admin since {seen(facts, after, by)}"


PHRASES = {
    "promoted": "became admin",
    "demoted": "stopped being admin",
    "joined": "joined",
    "returned": "came back",
    "left": "left",
    "renamed": "was renamed",
    "added_to_group": "added to a group",
    "removed_from_group": "taken out of a group",
    "permission_granted": "got a permission",
    "permission_revoked": "lost a permission",
}
"""The kinds of changes of an account as people say them, in the order in which they matter."""
TALLY = {
    **PHRASES,
    "added_to_group": "were added to groups",
    "removed_from_group": "were taken out of groups",
    "permission_granted": "got permissions",
    "permission_revoked": "lost permissions",
    "renamed": "were renamed",
}
WHOLE = ("promoted", "demoted", "joined", "returned", "left", "renamed")
"""Kinds that are about a person as a whole: they stand first."""


def _changes(facts: Facts) -> Iterator[Line]:
    if facts.no_comparison:
        yield Line(f"What changed is not known: {facts.no_comparison}.", matters=True)
        return
    changes = _of_accounts(facts.real_changes)
    people: dict[str, set[str]] = defaultdict(set)
    for row in changes:
        people[row["kind"]].add(row["login"])
    tally = [
        f"{some(len(people[kind]), 'account', 'accounts')} {TALLY[kind]}"
        for kind in PHRASES
        if kind in people
    ]
    told = _by_observation(changes)
    if tally:
        yield Line(
            f"{'; '.join(tally)}.",
            items=_items((_told(facts, rows) for rows in told), len(told), "see Changes"),
        )
    else:
        yield Line(f"{words.UNCHANGED}.")
    others = [row for row in facts.real_changes if not row["login"]]
    for text in dict.fromkeys(_of_no_account(row) for row in others):
        yield Line(text)
    yield Line("Not compared: what Anyone may do, and what groups may do on projects.")
    unread = [one for one in facts.used if Scope.PROJECT_PERMISSIONS not in one.scopes]
    if unread:
        yield Line(
            "What changed on projects is not known for all of the window: they were not read at"
            f" {len(unread)} of {len(facts.used)} observations.",
            matters=True,
        )
    for part in filter(None, (*facts.unknown_parts, facts.reaches_back)):
        yield Line(part, matters=True)


def _of_accounts(changes: Rows) -> Rows:
    """Leave out what is about no account, and what a rename alone looks like: everything of the
    former login ends then, and begins under the new one.
    """
    renamed = {
        (row["login"], row["changed_by"]) for row in changes if row["login"] and _is_rename(row)
    }
    return [
        row
        for row in changes
        if (row["login"] and (_is_rename(row) and not row["closes"]))
        or (row["login"] and (row["login"], row["changed_by"]) not in renamed)
    ]


def _is_rename(row: Mapping[str, Any]) -> bool:
    return bool(row["kind"] == "renamed")


def _of_no_account(row: Mapping[str, Any]) -> str:
    """Say what changed of a group or a scope."""
    if row["kind"] == "renamed":
        was = f" ({row['detail']})" if row["detail"] else ""
        return f"A group is called {named(words.on(row))} now{was}."
    return f"{sentence(row['detail'] or row['kind'].replace('_', ' '))}."


def _by_observation(changes: Rows) -> list[Rows]:
    """Group changes by observation and account: the weightiest first, then the latest."""
    groups: dict[tuple[datetime, str], Rows] = defaultdict(list)
    for row in changes:
        groups[row["changed_by"], row["login"]].append(row)
    in_order = sorted(
        groups.items(),
        key=lambda item: (
            min(_weight(row["kind"]) for row in item[1]),
            -item[0][0].timestamp(),
            item[0][1],
        ),
    )
    return [rows for _, rows in in_order]


def _weight(kind: str) -> int:
    """Weigh a kind of change: whoever becomes or stops being admin first, then people."""
    if kind in ("promoted", "demoted"):
        return 0
    return 1 if kind in WHOLE else 2


def _told(facts: Facts, rows: Rows) -> str:
    """Say what one observation was the first to show of one account."""
    kinds = {row["kind"] for row in rows}
    phrases = [PHRASES[kind] for kind in WHOLE if kind in kinds]
    comes_or_goes = bool({"joined", "left", "returned"} & kinds)
    for kind in PHRASES:
        of_kind = [row for row in rows if row["kind"] == kind]
        if kind in WHOLE or not of_kind:
            continue
        # What somebody has through groups comes and goes with them; a grant to itself does not.
        direct = [row for row in of_kind if row["access_type"] != "group"]
        direct = [row for row in direct if row["granted_via"] == "direct"]
        if shown := direct if comes_or_goes else of_kind:
            phrases.append(_phrase(kind, shown))
    if "left" in kinds and any(row["login"] == rows[0]["login"] for row in facts.admins):
        phrases.append("and still administers")
    when = seen(facts, rows[0]["changed_after"], rows[0]["changed_by"])
    return f"{when}: {who(rows[0])} {', '.join(phrases)}"


def _phrase(kind: str, rows: Rows) -> str:
    """Say one kind of change with what it is about."""
    on = list(dict.fromkeys(named(words.on(row)) or "" for row in rows))
    if kind in ("added_to_group", "removed_from_group"):
        where = {"added_to_group": "added to", "removed_from_group": "taken out of"}[kind]
        return f"{where} {_shortened(on, NAMED)}"
    got = {"permission_granted": "got", "permission_revoked": "lost"}[kind]
    rights = dict.fromkeys(f"{row['entitlement']} on {named(words.on(row))}" for row in rows)
    return f"{got} {_shortened(list(rights), NAMED)}"


def _trust(facts: Facts) -> Iterator[Line]:
    yield from _coverage(facts)
    yield from _reviews(facts)
    agreeing = sum(row["passed"] is True for row in facts.reconciliation)
    yield Line(f"{agreeing} of {len(facts.reconciliation)} comparisons of numbers agree.")
    for row in facts.untied:
        yield Line(
            f"A reconciliation fails: {row['what']}: {words.numbers_of(row)}."
            f" {row['detail'] or ''}".strip(),
            matters=True,
        )
    if facts.untold:
        could = some(len(facts.untold), "comparison", "comparisons")
        yield Line(f"{could} could not be made. Reconciliation says why.")
    if baseline := len(facts.changes) - len(facts.real_changes):
        rights = some(baseline, "right was", "rights were")
        first = "when its part was first read" if facts.before else "at the first observation"
        yield Line(
            f"{rights} there {first}, which lies in this window: when they were granted is not"
            " known."
        )
    if facts.imported:
        yield Line(
            f"{len(facts.imported)} of the {len(facts.used)} observations behind this packet came"
            " in an archive from another warehouse; manifest.json says which."
        )
    if facts.redactions:
        persons = some(len(facts.redactions), "person was", "persons were")
        yield Line(f"{persons} replaced by pseudonyms; manifest.json says by whose decision.")
    version = facts.in_force.version
    policy = f"version {version} of the policy" if version else "the policy that is shipped"
    yield Line(f"Rules were asked with {policy}.")
    unseen = [row["subject"] for row in limits(facts) if row["observed"] == NO]
    in_part = [row["subject"] for row in limits(facts) if row["observed"] == IN_PART]
    yield Line(f"Not observed: {', '.join(dict.fromkeys(unseen))}. limits.csv says why.")
    if in_part:
        yield Line(
            f"Observed in part: {', '.join(dict.fromkeys(in_part))}. limits.csv says what is"
            " missing."
        )


def _reviews(facts: Facts) -> Iterator[Line]:
    """Say how far reviews of access are, and what they decided to remove."""
    if not facts.reviews:
        yield Line("No review of access was opened here by then.")
        return
    ended = [row for row in facts.reviews if row["review_packet"]]
    if ended:
        last = max(ended, key=lambda row: row["ended_at"])
        yield Line(
            f"The last review that was signed, acknowledged and sealed is review"
            f" {last['review_id']} of {last['reviewed_as_of']:%Y-%m-%d} (packet"
            f" {last['review_packet'][:12]})."
        )
    else:
        yield Line("No review of access was sealed here by then.")
    states = Counter(row["state"] for row in facts.follow_ups)
    if states:
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        yield Line(f"What reviews decided to remove: {told}. See Reviews.")


def _coverage(facts: Facts) -> Iterator[Line]:
    """Say which days were observed, which are gaps, and how old the last observation is."""
    days = len(facts.coverage)
    if facts.not_expected == days:
        yield Line(
            "On no day of the window an observation was expected, and none was made.", matters=True
        )
    elif not facts.gaps and not facts.not_expected:
        yield Line("Every day of the window was observed.")
    else:
        yield Line(
            f"{facts.days_observed} of {some(days, 'day', 'days')} of the window were observed.",
            matters=True,
        )
    if facts.gaps:
        runs = list(_runs(facts.gaps))
        yield Line(
            f"{some(len(facts.gaps), 'day was', 'days were')} not observed. SonarCloud only ever"
            " shows the present, so nothing is filled in:",
            matters=True,
            items=_items(runs, len(runs), "see Coverage"),
        )
    if facts.not_expected and facts.not_expected < days:
        on = some(facts.not_expected, "day", "days")
        yield Line(
            f"On {on} of the window nobody expected an observation yet, or any more.", matters=True
        )
    if (old := facts.age_seconds // 86400) > 0:
        yield Line(
            f"The last observation lies {some(old, 'day', 'days')} before the end of the window:"
            " what came after it is not known.",
            matters=True,
        )


def _runs(gaps: Rows) -> Iterator[str]:
    """Yield gaps that follow each other and are of one kind as one."""

    def of_one_run(numbered: tuple[int, Mapping[str, Any]]) -> tuple[date, str]:
        number, row = numbered
        return row["day"] - timedelta(days=number), row["status"]

    for (_, status), run in groupby(enumerate(gaps), of_one_run):
        days = [row["day"] for _, row in run]
        to = f" to {days[-1]}" if len(days) > 1 else ""
        yield f"{days[0]}{to} ({status})"


def _next(facts: Facts) -> Iterator[Line]:
    if facts.held:
        yield Line(
            "Look at the snapshots that wait and decide on each: `sonar-access snapshot list`,"
            " `sonar-access snapshot show`."
        )
    if facts.failed:
        yield Line(
            "Decide on each finding (section Findings): mend it in SonarCloud or in the settings,"
            " or enter an exception with who, why and until when."
        )
    if facts.not_evaluable:
        yield Line("So that more rules are answered, give them what they lack: `[policy]`, scopes.")
    if facts.untied:
        yield Line("Find out why numbers disagree before relying on them: section Reconciliation.")
    if facts.gaps:
        yield Line("Find out why days are missing: `sonar-access coverage` names each, and why.")
    yield Line(
        "Decide on every account in access-review.xlsx, or in a fresh sheet of this packet that"
        " `sonar-access evidence worksheet` makes."
    )
    yield Line("To check a sealed packet without us, follow its README.txt.")
