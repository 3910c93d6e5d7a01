"""`access-review.xlsx`: what a reviewer decides on, and what the decision rests on.

The same facts give the same bytes.

A workbook is a zip file, and zlib differs between machines: its parts are compressed anew, by a
library that does not, with one fixed date. Every text is a text cell, so that nothing is ever a
formula; numbers are numbers. Add here: a sheet, or a column of one. Which rows there are, and in
which order, stands in `listings.py` and `summary.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from sonar_access_pipeline.access.rules import Result
from sonar_access_pipeline.access.selection import of_no_account
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.evidence import listings, summary, words
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.reproducible_zip import zipped
from sonar_access_pipeline.evidence.sheet_rows import LEADING, rows_of
from sonar_access_pipeline.evidence.tables import (
    encoded,
    limits,
    original,
    parsed,
    records,
    row_digest,
)

MINUTE = 16
"""Characters of a time: the CSV file has it whole."""
DECISIONS = ("keep", "change", "revoke")
A4 = 9
"""As Excel numbers papers."""
LONGEST = 32_000
MOST_ROWS = 1_000_000
"""UTF-16 units of a cell, rows of a sheet: a little less than Excel takes."""
DIGEST = "row sha256"
LOCKED = {
    "autofilter": True,
    "format_cells": True,
    "format_columns": True,
    "format_rows": True,
    "sort": True,
}
"""What a reader of a protected sheet may do besides answering."""
Record = Mapping[str, str]
"""A row of a packet's CSV file, by its columns."""


@dataclass(frozen=True)
class SheetColumn:
    """A column of a sheet: its head; its width, in characters; whether its text is wrapped; whether
    a reviewer fills it in; whether it is there for programs only.
    """

    head: str
    width: int = 12
    wraps: bool = False
    is_to_fill: bool = False
    is_hidden: bool = False


@dataclass(frozen=True)
class Sheet:
    """One sheet with a head that stays, and a filter: its rows in the order of its columns.

    `nothing` is said where there are no rows: an empty sheet says nothing at all; `notes` stand
    above the rows. `fixed` columns stay at the left. `printed` are on paper; all where it is None.
    """

    name: str
    columns: Sequence[SheetColumn]
    rows: Sequence[Sequence[Any]]
    nothing: str
    notes: Sequence[str] = ()
    fixed: int = 1
    printed: int | None = None

    @property
    def said(self) -> list[str]:
        """List what is said above the rows."""
        notes = [*self.notes, *([] if self.rows else [self.nothing])]
        if (left := len(self.rows) - MOST_ROWS) > 0:
            notes.append(f"{summary.some(left, 'row', 'rows')} more: see the CSV files.")
        return notes


TO_FILL = (
    SheetColumn("decision", 9, is_to_fill=True),
    SheetColumn("reason", 22, is_to_fill=True),
    SheetColumn("reviewer", 12, is_to_fill=True),
)
ROW = SheetColumn(DIGEST, 20, is_hidden=True)
REVIEW = (
    SheetColumn("name", 20, wraps=True),
    SheetColumn("login", 22, wraps=True),
    *TO_FILL,
    SheetColumn("findings", 26, wraps=True),
    SheetColumn("exceptions", 16, wraps=True),
    SheetColumn("admin through", 14, wraps=True),
    SheetColumn("permissions on the organization", 26, wraps=True),
    SheetColumn("groups", 20, wraps=True),
    SheetColumn("projects administered", 13),
    SheetColumn("member", 9),
    SheetColumn("type", 9),
    SheetColumn("owner", 14, wraps=True),
    SheetColumn("e-mail", 26),
    SheetColumn("first seen (UTC)", 16),
    SheetColumn("access unchanged since (UTC)", 16),
    SheetColumn("last change (UTC)", 16),
    SheetColumn("unknown", 18, wraps=True),
    ROW,
)
REVIEW_PRINTED = 10
GRANTS = (
    SheetColumn("who", 30, wraps=True),
    SheetColumn("on", 34, wraps=True),
    *TO_FILL,
    SheetColumn("may", 40, wraps=True),
    ROW,
)
"""What `Anyone` and groups may do: whoever joins a group has it too."""
FINDINGS = (
    SheetColumn("severity", 9),
    SheetColumn("what", 34, wraps=True),
    SheetColumn("answer", 13),
    SheetColumn("whose", 20, wraps=True),
    SheetColumn("login or key", 22, wraps=True),
    SheetColumn("detail", 40, wraps=True),
    SheetColumn("first seen", 11),
    SheetColumn("exception by", 12, wraps=True),
    SheetColumn("exception until", 11),
    SheetColumn("exception ended", 11),
    SheetColumn("exception because", 20, wraps=True),
    SheetColumn("rule", 24),
)
PROJECTS = (SheetColumn("project", 44), SheetColumn("who", 40), SheetColumn("may", 60))
CHANGES = (
    SheetColumn("last seen as before", 19),
    SheetColumn("first seen as since", 19),
    SheetColumn("what", 20),
    SheetColumn("name", 24),
    SheetColumn("login", 26),
    SheetColumn("right", 20),
    SheetColumn("on", 26),
    SheetColumn("key of that", 22),
    SheetColumn("through", 24),
    SheetColumn("id of that", 22),
    SheetColumn("detail", 40),
)
ACCESS = (
    SheetColumn("login", 28),
    SheetColumn("name", 26),
    SheetColumn("right", 22),
    SheetColumn("on", 30),
    SheetColumn("key of that", 24),
    SheetColumn("through", 26),
    SheetColumn("id of that", 24),
    SheetColumn("first seen", 12),
)
COVERAGE = (
    SheetColumn("day", 12),
    SheetColumn("status", 14),
    SheetColumn("snapshots", 11),
    SheetColumn("tries", 9),
    SheetColumn("observed at", 20),
    SheetColumn("why not", 70, wraps=True),
    SheetColumn("run", 38),
)
RECONCILIATION = (
    SheetColumn("what", 46, wraps=True),
    SheetColumn("reported"),
    SheetColumn("extracted"),
    SheetColumn("stored"),
    SheetColumn("delivered"),
    SheetColumn("agrees", 10),
    SheetColumn("besides", 60, wraps=True),
)
REVIEWS = tuple(
    SheetColumn(head, width)
    for head, width in zip(listings.REVIEWS, (24, 32, 16, 12, 10, 10, 12, 14), strict=True)
)
FOLLOW_UPS = tuple(
    SheetColumn(head, width, wraps=width > 40)
    for head, width in zip(listings.FOLLOW_UPS, (50, 18, 14, 12, 14, 14), strict=True)
)
LIMITS = (
    SheetColumn("what", 40, wraps=True),
    SheetColumn("observed", 11),
    SheetColumn("why", 90, wraps=True),
)


def write(facts: Facts, data: Mapping[str, bytes]) -> bytes:
    """Build the sealed workbook of a packet from its facts and its data files: what is to decide is
    known by the digests of rows there.
    """
    unread = _unread(facts.as_of.scopes)
    sheets = [
        *_to_decide(data),
        Sheet("Findings", FINDINGS, list(_findings(facts)), "No rule was asked.", fixed=2),
        Sheet(
            "Projects",
            PROJECTS,
            _projects(facts),
            "No permission on a project was seen.",
            unread or [words.THROUGH_GROUPS],
        ),
        _changes(facts),
        Sheet(
            "Reviews",
            REVIEWS,
            listings.reviews(facts),
            "No review of access was opened here by then.",
        ),
        Sheet(
            "Follow-ups",
            FOLLOW_UPS,
            listings.follow_ups(facts),
            "No review decided to remove anything that was still there in the window.",
        ),
        Sheet(
            "Access paths",
            ACCESS,
            list(_access(facts)),
            "No account has more than membership.",
            unread or [words.THROUGH_GROUPS],
        ),
        Sheet("Coverage", COVERAGE, [_day(row) for row in facts.coverage], "No day."),
        Sheet(
            "Reconciliation",
            RECONCILIATION,
            [_tie(row) for row in facts.reconciliation],
            "Nothing was compared.",
        ),
        Sheet(
            "Not observed", LIMITS, [_limit(row) for row in limits(facts)], "Nothing is left out."
        ),
    ]
    return workbook_of(
        _summary(facts), sheets, words.source(facts), words.title(facts), facts.as_of.observed_at
    )


def worksheet(packet: Mapping[str, bytes]) -> bytes:
    """Build a copy to work on, from the files of a sealed packet: what is to decide alone, with the
    packet's digest.

    Raises `ValueError` for files of another shape.
    """
    about = json.loads(packet["manifest.json"])
    organization = about["organization"]["key"]
    window = about["window"]
    kind = about["source"]["kind"]
    is_evidence = kind == "sonarcloud"
    lines: list[tuple[str, Any]] = [
        ("This is a copy to work on. The sealed packet is the record.", ""),
        ("Packet", hashlib.sha256(packet["manifest.json"]).hexdigest()),
        ("Organization", organization),
        ("Window", f"{window['first_day']} to {window['last_day']} (UTC days)"),
        ("As of", about["as_of"]["observed_at"]),
        ("Source", kind if is_evidence else f"{kind}: this is not evidence about SonarCloud"),
        (
            "Rows",
            "A hidden column has the SHA-256 of the row in population.csv that a row of Review is,"
            " or of the rows of access.csv that a row of Groups and Anyone is, as they stand"
            " there: a decision is on exactly these.",
        ),
    ]
    return workbook_of(
        lines,
        _to_decide(packet),
        f"Source: {kind}",
        f"Access review of {organization}",
        datetime.fromisoformat(about["as_of"]["observed_at"]),
    )


def _to_decide(data: Mapping[str, bytes]) -> list[Sheet]:
    """Build what a person decides on, from the data files of a packet alone: a sealed one and its
    copy have the same rows.
    """
    findings, exceptions = _found(records(data["findings.csv"]))
    scopes = json.loads(data["manifest.json"])["as_of"]["scopes"]
    return [
        Sheet(
            "Review",
            REVIEW,
            _review(data["population.csv"], findings, exceptions),
            "No account was seen.",
            fixed=3,
            printed=REVIEW_PRINTED,
        ),
        Sheet(
            "Groups and Anyone",
            GRANTS,
            list(_grants(data["access.csv"])),
            "Nothing is granted to a group or to Anyone.",
            _unread(scopes),
            fixed=3,
        ),
    ]


def _unread(scopes: Iterable[str]) -> list[str]:
    """Say what the rows cannot hold, since nobody asked for it."""
    is_read = Scope.PROJECT_PERMISSIONS.value in scopes
    return [] if is_read else ["Permissions on projects were not read: nobody knows them."]


def _found(rows: Iterable[Record]) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """Group what rules found by login, and what of it somebody answers for."""
    findings: dict[str, list[str]] = defaultdict(list)
    exceptions: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if (row["subject_type"], row["result"]) != ("account", Result.FAIL.value):
            continue
        title = row.get("title") or row["rule_id"]
        if row["exception_by"] and not row.get("exception_ended"):
            until = f"{row['exception_by']}, until {row['exception_until']}"
            exceptions[row["subject"]].append(f"{title}: {until}: {row['exception_why']}")
        elif title not in findings[row["subject"]]:
            findings[row["subject"]].append(title)
    return findings, exceptions


def _review(
    population_csv: bytes,
    findings: Mapping[str, Sequence[str]],
    exceptions: Mapping[str, Sequence[str]],
) -> list[list[Any]]:
    """List the accounts to decide on: admins first, then who has permissions on the organization,
    then who has a finding.
    """
    header, *rows = parsed(population_csv)
    if not {"source", "login"} <= set(header):
        raise ValueError("population.csv has other columns")
    accounts = []
    for fields in rows:
        account = defaultdict(str, zip(header, map(original, fields), strict=True))
        login = account["login"]
        order = listings.need(
            is_admin=account["is_organization_admin"] == "true",
            has_permissions=bool(account["organization_permissions"]),
            is_found=bool(findings.get(login)),
            login=login,
        )
        administered = account["project_admin_count"]
        row = [
            account["name"],
            login,
            *("" for _ in TO_FILL),
            "; ".join(findings.get(login, ())),
            "; ".join(exceptions.get(login, ())),
            account["admin_through"],
            account["organization_permissions"],
            account["groups"],
            int(administered) if administered else "",
            YES.get(account["is_member"], ""),
            account["account_type"],
            account["owner"],
            account["email"],
            _minute(account["first_seen"]),
            _minute(account["access_unchanged_since"]),
            _minute(account["last_change"]),
            account["unknown"],
            row_digest(fields),
        ]
        accounts.append((order, row))
    return [row for _, row in sorted(accounts, key=itemgetter(0))]


def _minute(moment: str) -> str:
    """Write a time of a CSV file, the end of an observation, as people read it (UTC)."""
    return moment[:MINUTE].replace("T", " ")


YES = {"true": "yes", "false": "no"}


def _grants(access_csv: bytes) -> Iterator[list[Any]]:
    """Yield what `Anyone` and each group may do on each resource, `Anyone` first."""
    header, *rows = parsed(access_csv)
    rows_of_it = (
        {**dict(zip(header, map(original, fields), strict=True)), FIELDS: fields} for fields in rows
    )
    for one in listings.held(filter(None, map(of_no_account, rows_of_it))):
        behind = encoded(row[FIELDS] for row in one.rows).removesuffix("\n")
        digest = hashlib.sha256(behind.encode()).hexdigest()
        yield [one.who, one.on, *("" for _ in TO_FILL), one.rights, digest]


FIELDS = ""
"""Under what no column is called, a record has its fields as they stand in the file."""


def _findings(facts: Facts) -> Iterator[list[Any]]:
    """Yield every answer of every rule, what needs a decision first."""
    for row in listings.by_need(facts.findings):
        yield [
            row["severity"],
            row["title"],
            ANSWERS[row["result"]],
            row["name"],
            row["subject"],
            row["detail"],
            facts.day_of(row["failing_since"]),
            row["exception_by"],
            _plain(row["exception_until"]),
            _plain(row["exception_ended"]),
            row["exception_why"],
            row["rule_id"],
        ]


ANSWERS = {
    Result.FAIL.value: "found",
    Result.NOT_EVALUABLE.value: "not known",
    Result.PASS.value: "nothing found",
}


def _projects(facts: Facts) -> list[list[Any]]:
    return [[one.on, one.who, one.rights] for one in listings.by_project(facts)]


def _changes(facts: Facts) -> Sheet:
    """Build the changes, without a baseline, which is none (changes.csv has it)."""
    unknown = [f"What changed is not known: {facts.no_comparison}."] if facts.no_comparison else []
    reaches_back = [facts.reaches_back] if facts.reaches_back else []
    return Sheet(
        "Changes",
        CHANGES,
        [_change(row) for row in facts.real_changes],
        f"{words.UNCHANGED}." if facts.compares else "Nobody knows.",
        [*unknown, *facts.unknown_parts, *reaches_back],
        fixed=0,
    )


def _change(row: Mapping[str, Any]) -> list[Any]:
    return [
        words.moment(row["changed_after"]),
        words.moment(row["changed_by"]),
        row["kind"].replace("_", " "),
        row["name"],
        row["login"],
        row["entitlement"],
        words.on(row),
        row["resource"],
        words.through(row),
        row["granted_via"],
        row["detail"],
    ]


def _access(facts: Facts) -> Iterator[list[Any]]:
    """Yield every right that stands with an account, but membership, which Review has: what groups
    may do on projects stands in Projects.
    """
    for row in facts.access:
        if row["principal_type"] == "user" and row["access_type"] != "membership":
            yield [
                row["login"],
                row["name"],
                row["entitlement"],
                words.on(row),
                row["resource"],
                words.through(row),
                row["granted_via"],
                facts.day_of(row["valid_from"]),
            ]


def _day(row: Mapping[str, Any]) -> list[Any]:
    return [
        str(row["day"]),
        row["status"].replace("_", " "),
        row["snapshots"],
        row["attempts"],
        words.moment(row["observed_at"]) if row["observed_at"] else "",
        row["error"],
        row["run_id"],
    ]


def _tie(row: Mapping[str, Any]) -> list[Any]:
    numbers = [row[name] for name in ("reported", "extracted", "stored", "delivered")]
    return [row["what"], *numbers, words.plain(row["passed"]), row["detail"]]


def _limit(row: Mapping[str, Any]) -> list[Any]:
    return [row["subject"], row["observed"], row["why"]]


def _plain(value: Any) -> str:
    return "" if value is None else words.plain(value)


def _summary(facts: Facts) -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = [(words.title(facts), "")]
    lines += [(words.about(facts), ""), (words.source(facts), "")]
    lines += [
        (label, int(number) if number.isdigit() else number)
        for number, label in words.numbers(facts)
    ]
    for question in summary.questions(facts):
        lines += [("", ""), (question.title, "")]
        for line in question.lines:
            lines += [(line.text, ""), *((f"  {item}", "") for item in line.items)]
    return lines


def workbook_of(
    lines: Sequence[tuple[str, Any]],
    sheets: Sequence[Sheet],
    source: str,
    title: str,
    made: datetime,
) -> bytes:
    """Build a workbook: a summary of some lines, then the sheets. The same bytes everywhere."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(
        buffer, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    ) as book:
        book.set_properties(
            {"title": title, "created": made.replace(tzinfo=None), "comments": source}
        )
        book.set_size(2400, 1400)
        looks = _Looks(book)
        _write_summary(book.add_worksheet("Summary"), lines, looks, source)
        for sheet in sheets:
            _prepare_sheet(book.add_worksheet(sheet.name), sheet, looks, source)
    # The summary is the first part of a workbook that is a sheet.
    rows = {
        f"xl/worksheets/sheet{place}.xml": _filled(sheet, looks)
        for place, sheet in enumerate(sheets, start=2)
    }
    with zipfile.ZipFile(buffer) as made_book:
        return zipped(
            (part.filename, _with_rows(made_book.read(part), rows.get(part.filename, "")))
            for part in made_book.infolist()
        )


class _Looks:
    """The formats of a workbook."""

    def __init__(self, book: Any) -> None:
        top = {"valign": "top", "font_name": "Calibri", "font_size": 10}
        text = {**top, "num_format": "@"}
        self.plain: Format = book.add_format(top)
        self.wrapped: Format = book.add_format({**top, "text_wrap": True})
        self.to_fill: Format = book.add_format(
            {
                **text,
                "text_wrap": True,
                "bg_color": "#FFF8E1",
                "border": 1,
                "border_color": "#D8DEE6",
                "locked": False,
            }
        )
        self.header: Format = book.add_format(
            {**text, "bold": True, "bg_color": "#E8EDF3", "bottom": 1, "text_wrap": True}
        )
        self.number: Format = book.add_format({**top, "align": "left"})
        self.title: Format = book.add_format({**text, "bold": True, "font_size": 14})

    def of(self, column: SheetColumn) -> Format:
        """Return how the cells of a column look."""
        if column.is_to_fill:
            return self.to_fill
        return self.wrapped if column.wraps else self.plain


def _write_summary(
    sheet: Worksheet, lines: Sequence[tuple[str, Any]], looks: _Looks, source: str
) -> None:
    _prepare_pages(sheet, source)
    sheet.set_column(0, 0, 100)
    sheet.set_column(1, 1, 68)
    for place, (left, right) in enumerate(lines):
        # Nobody fits a row to its wrapped text but the one who types it.
        sheet.set_row(
            place, 20 if place == 0 else 14 * (1 + max(len(left) // 118, len(str(right)) // 78))
        )
        sheet.write_string(place, 0, fitting(left), looks.wrapped if place else looks.title)
        if type(right) is int:
            sheet.write_number(place, 1, right, looks.number)
        else:
            sheet.write_string(place, 1, fitting(right), looks.wrapped)


def _prepare_sheet(sheet: Worksheet, one: Sheet, looks: _Looks, source: str) -> None:
    """Write everything of a sheet but its rows."""
    _prepare_pages(sheet, source)
    sheet.repeat_rows(0)
    sheet.freeze_panes(1, one.fixed)
    sheet.set_row(0, 2 * LEADING + 2)
    for place, column in enumerate(one.columns):
        options = {"hidden": True} if column.is_hidden else {}
        sheet.set_column(place, place, column.width, looks.of(column), options)
        sheet.write_string(0, place, column.head, looks.header)
    shown = min(len(one.rows), MOST_ROWS) + len(one.said)
    sheet.autofilter(0, 0, max(1, shown), len(one.columns) - 1)
    if one.printed:
        sheet.print_area(0, 0, shown, one.printed - 1)
    if any(column.is_to_fill for column in one.columns):
        sheet.protect(options=LOCKED)
        decision = [column.head for column in one.columns].index(TO_FILL[0].head)
        sheet.data_validation(1, decision, max(1, shown), decision, CHOICE)


CHOICE = {
    "validate": "list",
    "source": list(DECISIONS),
    "error_message": "Choose keep, change or revoke.",
}


def _filled(one: Sheet, looks: _Looks) -> str:
    """Write the rows of a sheet, and where it ends before they do."""
    to_fill = frozenset(place for place, column in enumerate(one.columns) if column.is_to_fill)
    rows = [[_cell(value) for value in row] for row in one.rows[:MOST_ROWS]]
    notes = one.said
    styles = [looks.of(column).xf_index for column in one.columns]
    wraps_at = [
        (place, column.width - 1)
        for place, column in enumerate(one.columns)
        if column.wraps and not column.is_to_fill
    ]
    # In a cell that is not wrapped, a note is shown over all that are empty beside it.
    plain = [looks.plain.xf_index, *styles[1:]]
    said = rows_of([[note, *("" for _ in styles[1:])] for note in notes], plain)
    return "".join((*said, *rows_of(rows, styles, to_fill, wraps_at, first=2 + len(notes))))


def _cell(value: Any) -> Any:
    return value if value is None or type(value) is int else fitting(value)


DIMENSION = re.compile(r'<dimension ref="A1:([A-Z]+)1"/>')


def _with_rows(part: bytes, rows: str) -> bytes:
    """Put the rows of a sheet behind its head."""
    if not rows:
        return part
    head, end, rest = part.decode().partition("</sheetData>")
    last = rows.count("<row ") + 1
    head = DIMENSION.sub(rf'<dimension ref="A1:\g<1>{last}"/>', head)
    return "".join((head, rows, end, rest)).encode()


def _prepare_pages(sheet: Worksheet, source: str) -> None:
    sheet.set_landscape()
    sheet.set_paper(A4)
    sheet.set_margins(left=0.4, right=0.4, top=0.7, bottom=0.6)
    sheet.fit_to_pages(1, 0)
    sheet.set_header(f"&C{source.replace('&', '&&')}")
    sheet.set_footer("&CPage &P of &N")


def fitting(text: str) -> str:
    """Cut a text that no cell holds, and say so."""
    if len(text) <= LONGEST // 2 or len(text.encode("utf-16-le", "surrogatepass")) <= 2 * LONGEST:
        return text
    begin = text.encode("utf-16-le", "surrogatepass")[: 2 * LONGEST]
    return f"{begin.decode('utf-16-le', 'ignore')} ... (whole in the CSV file)"
