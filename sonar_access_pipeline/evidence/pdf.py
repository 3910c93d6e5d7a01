"""`report.pdf`: the report on paper, for evidence libraries that take nothing else.

The same facts give the same bytes: no clock, no name of a machine and no font but those of this
package goes into it. Here is what it says, block by block; how that looks stands in
`templates/report.typ`, which Typst sets. A character that the font does not have, that is
invisible, or that changes direction, is written as its number.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib.resources import as_file, files
from typing import Any

import typst

from sonar_access_pipeline.access.rules import Result
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.evidence import charts, listings, summary, words
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.tables import limits

MOST_ROWS = 500
"""Rows of a table on paper; of more, the number is told, and where all of them are."""
HUNDREDTH = 770 / 100 / 7.5
LINE = 480 / 9
"""Of a page of tables, and of a line of the first page: how wide they are, in sizes of their text.
"""
INSET = 0.7
WIDE = frozenset("MW@%mw")
BREAKS = "@.-_/:"
"""Where a word that has no room may be broken. It is then found and copied with what breaks it, so
no other one is.
"""

Block = dict[str, Any]
"""What the template sets: a kind, and what it needs."""


@dataclass(frozen=True)
class TableColumn:
    """A column of a table: its head, and its share of the page's width."""

    head: str
    share: int


def _columns(**shares: int) -> tuple[TableColumn, ...]:
    return tuple(TableColumn(head.replace("_", " "), share) for head, share in shares.items())


FINDINGS = _columns(Whose=26, What_was_found=38, First_seen=14, Exception=22)
ADMINS = _columns(Account=30, Admin_through=50, SonarCloud_says_admin=20)
ACCOUNTS = _columns(
    Account=20,
    Findings=18,
    Type_and_owner=10,
    Member=6,
    Groups=18,
    Permissions_on_the_organization=18,
    No_change_seen_since=10,
)
BY_PROJECT = _columns(Project=34, Who=32, May=34)
BY_PRINCIPAL = _columns(Who=32, Project=34, May=34)
CHANGES = _columns(
    Last_seen_as_before=12,
    First_seen_as_since=12,
    What=14,
    Whose=20,
    Right=12,
    On=16,
    Through=14,
)
RECONCILIATION = _columns(
    What=34, Reported=8, Extracted=8, Stored=8, Delivered=8, Agree=7, Besides=27
)
REVIEWS = _columns(
    Review=20, Of=24, State=12, Decided=10, Signed=8, To_remove=8, Due=10, Sealed_as=12
)
FOLLOW_UPS = _columns(
    What=36, Decided_in_review=16, State=12, So_since=12, To_be_gone_by=12, First_not_seen=12
)
LIMITS = _columns(What=26, Observed=9, Why=65)


def render(facts: Facts, digest: str, *, is_sealed: bool) -> bytes:
    """Render the report of the packet with a digest as PDF; it says where it is not sealed."""
    of = "Packet" if is_sealed else "Not sealed, made of packet"
    paper = {
        "title": f"{words.title(facts)}, {facts.window.first} to {facts.window.last}",
        "running": printable(
            f"{facts.organization_key}, {facts.window.first} to {facts.window.last}."
            + (f" {words.source(facts)}" if facts.is_evidence else "")
        ),
        "warning": None if facts.is_evidence else words.source(facts),
        "packet": f"{of} {digest[:12]}",
        "first": list(_first(facts)),
        "rest": list(_rest(facts)),
    }
    return typeset(paper, facts.as_of.observed_at)


def typeset(paper: Mapping[str, Any], made: datetime) -> bytes:
    """Set a paper as PDF: its title, what stands on every page, and its blocks. The same bytes
    everywhere; its date is when it was `made`.
    """
    with as_file(files("sonar_access_pipeline.evidence") / "fonts") as folder:
        fonts = typst.Fonts(
            include_system_fonts=False, include_embedded_fonts=False, font_paths=[folder]
        )
        compiler = typst.Compiler(_template(), font_paths=fonts, ignore_system_fonts=True)
    body = compiler.compile(
        format="pdf",
        sys_inputs={"paper": json.dumps(paper)},
        timestamp=made.replace(microsecond=0),
        # PDF/UA-1: tagged, so that a screen reader reads headings and tables.
        pdf_standards="ua-1",
    )
    if not isinstance(body, bytes):
        raise TypeError("a PDF is one file")
    return body


@cache
def _template() -> bytes:
    return (files("sonar_access_pipeline.evidence") / "templates" / "report.typ").read_bytes()


def _first(facts: Facts) -> Iterator[Block]:
    """Yield what a manager reads: the questions and their answers."""
    yield text(words.title(facts), kind="title", matters=True)
    yield text(words.about(facts), soft=True)
    yield {"kind": "numbers", "numbers": words.numbers(facts)}
    for question in summary.questions(facts):
        yield section(question.title)
        for line in question.lines:
            yield text(line.text, matters=line.matters, items=line.items)


def _rest(facts: Facts) -> Iterator[Block]:
    """Yield what the answers rest on, table by table."""
    yield section("Findings")
    yield from _findings(facts)
    yield section("Reviews")
    nothing = "No review of access was opened here by then."
    yield from table(REVIEWS, listings.reviews(facts), nothing, "reviews.csv")
    if facts.follow_ups:
        yield {"kind": "part", "text": "What reviews decided to remove"}
        yield from table(FOLLOW_UPS, listings.follow_ups(facts), rest="follow_up.csv")
    yield section("Organization admins")
    yield from table(ADMINS, map(_admin, facts.admins), "Nobody is seen to administer it.")
    yield section("Every account")
    yield from table(ACCOUNTS, map(partial(_account, facts), listings.accounts(facts)), "Nobody.")
    yield section("Who may do what on which project")
    yield from _projects(facts)
    yield section("Changes")
    yield text(words.kinds(facts, MOST_ROWS))
    if facts.real_changes:
        yield from table(CHANGES, map(_change, facts.real_changes))
    yield section("Over the window")
    for chart in charts.drawn(facts):
        yield text(chart.words, soft=True)
        yield {"kind": "chart", "svg": chart.svg, "words": chart.words}
    yield section("Coverage")
    days = [[f"{row['day']:%Y-%m-%d}", row["status"]] for row in facts.coverage]
    yield {"kind": "calendar", "days": days}
    yield section("Reconciliation")
    yield from table(RECONCILIATION, map(_compared, facts.reconciliation))
    yield section("What is not observed, or only in part")
    shown = ([row["subject"], row["observed"], row["why"]] for row in limits(facts))
    yield from table(LIMITS, shown)


def section(title: str) -> Block:
    """Make the heading of a section."""
    return {"kind": "section", "text": title}


def text(
    text: str,
    *,
    kind: str = "text",
    matters: bool = False,
    soft: bool = False,
    items: Iterable[str] = (),
) -> Block:
    """Make a paragraph, with items below it."""
    return {
        "kind": kind,
        "text": _written(text),
        "matters": matters,
        "soft": soft,
        "items": [_written(item) for item in items],
    }


def table(
    columns: Sequence[TableColumn],
    rows: Iterable[Sequence[Any]],
    empty: str = "Nothing.",
    rest: str = "the CSV files of this packet",
) -> Iterator[Block]:
    """Yield a table as far as paper goes, or what there is to say where it has no rows."""
    listed = list(rows)
    if not listed:
        yield text(empty)
        return
    yield {
        "kind": "table",
        "heads": [column.head for column in columns],
        "shares": [column.share for column in columns],
        "cells": list(_cells(columns, listed[:MOST_ROWS])),
    }
    if (left := len(listed) - MOST_ROWS) > 0:
        yield text(f"{summary.some(left, 'row', 'rows')} more: {rest}.", matters=True)


def _findings(facts: Facts) -> Iterator[Block]:
    groups = summary.grouped([*facts.failed, *facts.excepted])
    for first, rows in groups:
        found = summary.found(facts, rows)
        count = f" ({len(found):,})" if len(found) > 1 else ""
        yield {"kind": "part", "text": f"{first['severity'].capitalize()}: {first['title']}{count}"}
        told = (
            [one.whose, "; ".join(one.details), ", ".join(one.since), one.exception]
            for one in found
        )
        yield from table(FINDINGS, told, rest="findings.csv")
    if not groups:
        yield text("No rule that was answered found anything.")
    if silent := summary.unanswered(facts):
        yield {"kind": "part", "text": "Could not be answered, or not for all"}
        yield from (text(f"{title}: {why}") for title, why in silent)
    passed = [row["title"] for row in facts.findings if row["result"] == Result.PASS.value]
    if passed:
        yield text(f"Nothing found: {'; '.join(passed)}.", soft=True)


def _admin(row: Mapping[str, Any]) -> list[Any]:
    return [summary.who(row), row["admin_through"], row["is_admin_by_sonarcloud"]]


def _account(facts: Facts, row: Mapping[str, Any]) -> list[Any]:
    return [
        (summary.who(row), row["email"] or ""),
        "; ".join(row["found"]),
        (row["account_type"], row["owner"] or ""),
        row["is_member"],
        row["groups"] or "",
        row["organization_permissions"] or "",
        facts.day_of(row["access_unchanged_since"]) or None,
    ]


def _projects(facts: Facts) -> Iterator[Block]:
    if Scope.PROJECT_PERMISSIONS not in facts.as_of.scopes:
        yield text("Permissions on projects were not read.")
        return
    empty, rest = "No permission on a project was seen.", "access-review.xlsx and access.csv"
    yield text(words.THROUGH_GROUPS, soft=True)
    yield {"kind": "part", "text": "By project"}
    by_project = ([one.on, one.who, one.rights] for one in listings.by_project(facts))
    yield from table(BY_PROJECT, by_project, empty, rest)
    yield {"kind": "part", "text": "By account and group"}
    by_who = ([one.who, one.on, one.rights] for one in listings.by_principal(facts))
    yield from table(BY_PRINCIPAL, by_who, empty, rest)


def _change(row: Mapping[str, Any]) -> list[Any]:
    kind = row["kind"].replace("_", " ")
    return [
        row["changed_after"],
        row["changed_by"],
        (kind, row["detail"] or ""),
        summary.who(row),
        row["entitlement"] or "",
        words.on(row) or "",
        words.through(row) or "",
    ]


def _compared(row: Mapping[str, Any]) -> list[Any]:
    numbers = ("reported", "extracted", "stored", "delivered")
    return [
        row["what"],
        *("" if row[name] is None else row[name] for name in numbers),
        row["passed"],
        row["detail"] or "",
    ]


def _cells(columns: Sequence[TableColumn], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    rooms = [column.share * HUNDREDTH - INSET for column in columns]
    for row in rows:
        yield from map(_cell, row, rooms)


def _cell(value: Any, room: float) -> str:
    """Write the value of a cell that is so many letter sizes wide; several texts are lines of their
    own.
    """
    if isinstance(value, tuple):
        return "\n".join(_cell(part, room) for part in value if part)
    return _written(words.plain(value), room)


def _written(text: str, room: float = LINE) -> str:
    """Write a text so that nothing in it is hidden, moves what stands beside it, or runs out of the
    room of a line.
    """
    seen = words.in_order(printable(text))
    if len(seen) * _width("M") <= room:
        return seen
    return " ".join(_breakable(word, room) for word in seen.split(" "))


def _breakable(word: str, room: float) -> str:
    """Let a word that has no room be broken after a sign, and what has none even so, anywhere."""
    if sum(map(_width, word)) <= room:
        return word
    pieces = PIECE.findall(word)
    return "\u200b".join(
        piece if sum(map(_width, piece)) <= room else "\u200b".join(piece) for piece in pieces
    )


PIECE = re.compile(f"[^{re.escape(BREAKS)}]*[{re.escape(BREAKS)}]|[^{re.escape(BREAKS)}]+")


@cache
def _width(letter: str) -> float:
    """Tell how wide a letter is at most, in sizes of its text."""
    if letter in WIDE or not letter.isascii():
        return 0.9
    return 0.72 if letter.isupper() else 0.6


@cache
def _covered() -> frozenset[int]:
    """Return the characters that the font has: `covered.txt` beside it has the first and the last
    of each run.
    """
    runs = (files("sonar_access_pipeline.evidence") / "fonts" / "covered.txt").read_text("ascii")
    covered = set[int]()
    for run in runs.splitlines():
        first, last = (int(code, 16) for code in run.split())
        covered.update(range(first, last + 1))
    return frozenset(covered)


@cache
def _glyph(letter: str) -> str:
    """Return a character as paper shows it: itself, or its number."""
    if letter in "\n\r\t":
        return " "
    if unicodedata.category(letter)[0] == "C" or ord(letter) not in _covered():
        return f"<U+{ord(letter):04X}>"
    return letter


def printable(text: str) -> str:
    """Make every character of a text visible."""
    return text if text.isascii() and text.isprintable() else "".join(map(_glyph, text))
