"""What is told of problems, and when: once when one appears, daily while it lasts, once when it is
over. Pure.

One message tells of everything in a tick that has one cause. A problem whose group was told of
already (thirty connections, one host that is down) joins that message, and its next repetition,
instead of making another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain

from sonar_access_pipeline.alerts.causes import MEANINGS, Cause, runbook_section
from sonar_access_pipeline.alerts.problems import Problem, owner

REPEATED_AFTER = timedelta(days=1)
JOINED_WITHIN = timedelta(hours=1)
"""After a message, for so long others with the same problem for the same reason need none of their
own.
"""
NAMED = 40
"""Connections that one message names; the rest are counted."""


class Event(StrEnum):
    """What happened to a problem. `closed`: it leaves the list, and whether it is over is
    unknown.
    """

    RAISED = "raised"
    REPEATED = "repeated"
    RECOVERED = "recovered"
    CLOSED = "closed"


@dataclass(frozen=True)
class Open:
    """A problem that was raised and is not over: as it was told last, when and by which message,
    and every cause it had.
    """

    problem: Problem
    said_at: datetime
    message_id: int | None
    causes: frozenset[Cause]


@dataclass(frozen=True)
class Entry:
    """One row to write.

    `message_id` is that of the message it joins; None where it needs a new one, or none.
    """

    event: Event
    problem: Problem
    message_id: int | None = None
    is_told: bool = True
    """Whether somebody is to hear of it now."""


def entries_of(
    problems: Iterable[Problem],
    open_problems: Iterable[Open],
    now: datetime,
    *,
    connections: Collection[str],
) -> list[Entry]:
    """Decide what to write down and to tell of `problems`, given those that are open.

    The entries are ordered by event, cause and key.

    `connections` are those that were looked at. A problem of another connection is left as it is:
    another deployment may look at it.
    """
    known = {one.problem.key: one for one in open_problems}
    wrong = {problem.key: problem for problem in problems}
    entries = [
        *_raised(wrong, known, now),
        *_repeated(wrong, known, now),
        *_over(
            {
                key: one
                for key, one in known.items()
                if key not in wrong and owner(key) in connections
            },
            known,
            wrong,
        ),
    ]
    return sorted(entries, key=lambda entry: (entry.event, entry.problem.cause, entry.problem.key))


def _raised(wrong: Mapping[str, Problem], known: Mapping[str, Open], now: datetime) -> list[Entry]:
    """Make entries of problems that are new or have another cause; a cause told of already is not
    told again.
    """
    told = {
        one.problem.group: one.message_id
        for one in known.values()
        if one.problem.key in wrong
        and not one.problem.told_once
        and now - one.said_at <= JOINED_WITHIN
    }
    entries = []
    for key, problem in wrong.items():
        before = known.get(key)
        if before is not None and problem.cause == before.problem.cause:
            continue
        if before is not None and problem.cause in before.causes:
            # It goes to and fro between causes: it was told of each.
            entries.append(Entry(Event.RAISED, problem, before.message_id, is_told=False))
            continue
        joined = None if problem.told_once else told.get(problem.group)
        entries.append(Entry(Event.RAISED, problem, joined, is_told=joined is None))
    return entries


def _repeated(
    wrong: Mapping[str, Problem], known: Mapping[str, Open], now: datetime
) -> list[Entry]:
    """Make entries of problems that have lasted for a day since they were told, with all of their
    group.
    """
    lasting = [
        one
        for one in known.values()
        if (p := wrong.get(one.problem.key)) and p.cause == one.problem.cause and not p.told_once
    ]
    due = {one.problem.group for one in lasting if now - one.said_at >= REPEATED_AFTER}
    return [
        Entry(Event.REPEATED, wrong[one.problem.key]) for one in lasting if one.problem.group in due
    ]


def _over(
    gone: Mapping[str, Open], known: Mapping[str, Open], wrong: Mapping[str, Problem]
) -> list[Entry]:
    """Make entries of problems that are not wrong any more; they are told when nothing of their
    group is wrong.
    """
    remaining = {one.problem.group for key, one in known.items() if key in wrong} | {
        p.group for p in wrong.values()
    }
    entries = []
    for one in gone.values():
        if one.problem.told_once:
            entries.append(Entry(Event.CLOSED, one.problem, is_told=False))
        else:
            entries.append(
                Entry(Event.RECOVERED, one.problem, is_told=one.problem.group not in remaining)
            )
    return entries


@dataclass(frozen=True)
class Message:
    """What goes to every channel: a title, a text, and the rows that it tells of."""

    title: str
    text: str
    entries: tuple[Entry, ...]


def messages_of(
    entries: Sequence[Entry],
    link: Callable[[str], str],
    earlier: Mapping[str, Sequence[Problem]] | None = None,
) -> list[Message]:
    """Write one message for all entries that have one event and one cause.

    `link` is how a run is named or linked.

    `earlier` are, by group, problems that were over before the rest of their group: the message
    about the rest tells of them, too.
    """
    together: dict[tuple[Event, Cause], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.is_told and entry.message_id is None and entry.event is not Event.CLOSED:
            together[entry.event, entry.problem.cause].append(entry)
    messages = []
    for (event, cause), told_entries in together.items():
        groups = (
            {entry.problem.group for entry in told_entries} if event is Event.RECOVERED else set()
        )
        before = list(
            chain.from_iterable((earlier or {}).get(group, ()) for group in sorted(groups))
        )
        messages.append(_message(event, cause, tuple(told_entries), before, link))
    return messages


def numbered(entries: Sequence[Entry], messages: Sequence[Message], first_id: int) -> list[Entry]:
    """Give each entry the number of the message that tells of it; an entry that joined an earlier
    message keeps the number of that one.
    """
    ids: dict[int, int] = {}
    for number, message in enumerate(messages, first_id):
        ids |= dict.fromkeys(map(id, message.entries), number)
    return [replace(entry, message_id=ids.get(id(entry), entry.message_id)) for entry in entries]


def _more(problems: Sequence[Problem]) -> list[str]:
    return (
        [f"And {len(problems) - NAMED} more: `sonar-access alerts list --all`."]
        if len(problems) > NAMED
        else []
    )


ABOUT = "SonarCloud access, "
PREFIX = {
    Event.RAISED: "",
    Event.REPEATED: "still: ",
    Event.RECOVERED: "recovered: ",
    Event.CLOSED: "",
}


def _message(
    event: Event,
    cause: Cause,
    entries: tuple[Entry, ...],
    before: Sequence[Problem],
    link: Callable[[str], str],
) -> Message:
    problems = [*before, *(entry.problem for entry in entries)]
    meaning = MEANINGS[cause]
    title = f"{ABOUT}{PREFIX[event]}{_subject(problems)}: {meaning.title}"
    if event is Event.RECOVERED:
        return Message(
            title,
            "\n".join(
                [
                    *(f"{_about(p)}: {harmless(p.sentence)}" for p in problems[:NAMED]),
                    *_more(problems),
                ]
            ),
            entries,
        )
    lines = []
    by_sentence: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_sentence[problem.sentence].append(problem)
    for sentence, same in list(by_sentence.items())[:NAMED]:
        first = same[0]
        lines.append(f"{_about(first)}: {harmless(sentence)}")
        if first.run_id:
            lines.append(f"Run: {link(first.run_id)}")
        if others := [problem.connection or "" for problem in same[1:]]:
            more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
            lines.append(f"The same for {', '.join(others[:NAMED])}{more}.")
    if len(by_sentence) > NAMED:
        lines.append(f"And {len(by_sentence) - NAMED} more: `sonar-access alerts list`.")
    return Message(
        title,
        "\n".join(
            [
                *lines,
                f"Next: {meaning.next_step}",
                f"More: sonar-access alerts explain {runbook_section(cause)}",
            ]
        ),
        entries,
    )


def is_over(title: str) -> bool | None:
    """Tell whether a message says that something is over; None of one that says nothing of a
    problem.
    """
    return (
        title.startswith(f"{ABOUT}{PREFIX[Event.RECOVERED]}") if title.startswith(ABOUT) else None
    )


def harmless(sentence: str) -> str:
    """Give a sentence, in which there may be words of a server or a person, without what a chat
    takes for a command.

    No mention of everybody, no markup, no link, no line of its own.
    """
    shown = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for character in sentence
    )
    return (
        shown.replace("<", "\u2039")
        .replace(">", "\u203a")
        .replace("@", "@\u200b")
        .replace("://", ":\u200b//")
    )


def _subject(problems: Sequence[Problem]) -> str:
    connections = sorted({problem.connection for problem in problems if problem.connection})
    if not connections:
        return "this deployment"
    return connections[0] if len(connections) == 1 else f"{len(connections)} connections"


def _about(problem: Problem) -> str:
    if problem.connection is None:
        return "This deployment"
    organization = f" (organization {problem.organization_key})" if problem.organization_key else ""
    day = f", {problem.day}" if problem.day else ""
    return f"{problem.connection}{organization}{day}"
