"""`access-review.xlsx`: what a reviewer decides on, and what the decision rests on.

The same facts give the same bytes.

A workbook is a zip file, and zlib differs between machines: its parts are compressed anew, by a
library that does not, with one fixed date. Every value is a text cell, so that nothing is ever a
formula; numbers that one wants to add up are numbers.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from sonar_access_pipeline.access.rules import Result
from sonar_access_pipeline.evidence import summary, words
from sonar_access_pipeline.evidence.columns import COLUMNS, PacketColumn
from sonar_access_pipeline.evidence.facts import POPULATION, Facts
from sonar_access_pipeline.evidence.reproducible_zip import zipped
from sonar_access_pipeline.evidence.tables import LIMITS, limits, original, parsed, row_digest
from sonar_access_pipeline.warehouse.ask import proof, queries

REVIEW = tuple(
    name
    for name in POPULATION
    if name not in ("organization_key", "provider", "is_admin_by_sonarcloud")
)
"""What a reviewer sees of an account, as `population.csv` has it."""
DAY = 10
"""Characters of a day: the CSV file has the time whole."""
DECISIONS = ("keep", "change", "revoke")
TO_FILL = ("decision", "reason", "reviewer")
A3 = 8
"""As Excel numbers papers."""
LONGEST = 32_000
MOST_ROWS = 1_000_000
"""Characters of a cell, rows of a sheet: a little less than Excel takes."""
WIDTHS = {"findings": 30, "row sha256": 20, "reason": 40}
"""Of what only the review sheet has."""


@dataclass(frozen=True)
class Sheet:
    """One sheet with a header, a filter and frozen panes: its rows in the order of its columns."""

    name: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]
    count: int


def review_rows(
    population: Iterable[Mapping[str, str]],
    digests: Iterable[str],
    findings: Mapping[str, Sequence[str]],
) -> Iterator[list[str]]:
    """Yield the rows of the review sheet: for each account what is known, what rules found, room to
    decide, and the row's digest.
    """
    for account, digest in zip(population, digests, strict=True):
        known = [
            account.get(name, "")[:DAY] if COLUMNS[name].is_day else account.get(name, "")
            for name in REVIEW
        ]
        yield [
            *known,
            "; ".join(findings.get(account["login"], ())),
            *("" for _ in TO_FILL),
            digest,
        ]


REVIEW_COLUMNS = (*REVIEW, "findings", *TO_FILL, "row sha256")


def write(facts: Facts, population_csv: bytes) -> bytes:
    """Build the sealed workbook of a packet.

    `population_csv` is the packet's own file: rows are known by the digests of its rows.
    """
    rules_by_account: dict[str, list[str]] = defaultdict(list)
    for row in facts.failed:
        if row["subject_type"] == "account":
            rules_by_account[row["subject"]].append(row["rule_id"])
    sheets = [
        _review(population_csv, rules_by_account),
        _sheet("Access paths", queries.ACCESS, facts.access),
        # Without a baseline, which is no change; changes.csv has it.
        _sheet("Changes", queries.CHANGES, facts.real_changes),
        _sheet("Findings", proof.FINDINGS, facts.findings),
        _sheet("Coverage", queries.COVERAGE, facts.coverage),
        _sheet("Reconciliation", proof.RECONCILIATION, facts.reconciliation),
        _sheet("Not observed", LIMITS, limits(facts)),
    ]
    return _workbook(
        _summary(facts), sheets, words.source(facts), words.title(facts), facts.as_of.observed_at
    )


def worksheet(packet: Mapping[str, bytes]) -> bytes:
    """Build a copy to work on, from the files of a sealed packet: the review sheet alone, with the
    packet's digest.

    Raises `ValueError` for files of another shape.
    """
    about = json.loads(packet["manifest.json"])
    population_csv = packet["population.csv"]
    digest = hashlib.sha256(packet["manifest.json"]).hexdigest()
    header, *records = parsed(packet["findings.csv"])
    rules_by_account: dict[str, list[str]] = defaultdict(list)
    for record in records:
        row = dict(zip(header, map(original, record), strict=True))
        is_excepted = row["exception_by"] and not row.get("exception_ended")
        if (row["subject_type"], row["result"]) == (
            "account",
            Result.FAIL.value,
        ) and not is_excepted:
            rules_by_account[row["subject"]].append(row["rule_id"])
    organization = about["organization"]["key"]
    window = about["window"]
    kind = about["source"]["kind"]
    summary = [
        ("This is a copy to work on. The sealed packet is the record.", ""),
        ("Packet", digest),
        ("Organization", organization),
        ("Window", f"{window['first_day']} to {window['last_day']} (UTC days)"),
        ("As of", about["as_of"]["observed_at"]),
        (
            "Source",
            kind if kind == "sonarcloud" else f"{kind}: this is not evidence about SonarCloud",
        ),
        (
            "Rows",
            (
                "Each row has the SHA-256 of its row in the packet's population.csv: the decision"
                " is on exactly that row."
            ),
        ),
    ]
    made = datetime.fromisoformat(about["as_of"]["observed_at"])
    return _workbook(
        summary,
        [_review(population_csv, rules_by_account)],
        f"Source: {kind}",
        f"Access review of {organization}",
        made,
    )


def _review(population_csv: bytes, findings: Mapping[str, Sequence[str]]) -> Sheet:
    """Read a population by its headings: one of an older packet lacks what came later, and that
    stays empty.
    """
    header, *records = parsed(population_csv)
    if not {"source", "login"} <= set(header):
        raise ValueError("population.csv has other columns")
    accounts = (dict(zip(header, map(original, record), strict=True)) for record in records)
    return Sheet(
        "Review",
        REVIEW_COLUMNS,
        review_rows(accounts, map(row_digest, records), findings),
        len(records),
    )


def _sheet(name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Sheet:
    return Sheet(name, columns, ([row[column] for column in columns] for row in rows), len(rows))


def _summary(facts: Facts) -> list[tuple[str, str]]:
    lines = [(words.title(facts), ""), (words.about(facts), ""), (words.source(facts), "")]
    lines += [(label, number) for number, label in words.numbers(facts)]
    for question in summary.questions(facts):
        lines += [("", ""), (question.title, "")]
        for line in question.lines:
            lines += [(line.text, ""), *((f"  {item}", "") for item in line.items)]
    return lines


def _workbook(
    summary: Sequence[tuple[str, str]],
    sheets: Sequence[Sheet],
    source: str,
    title: str,
    made: datetime,
) -> bytes:
    buffer = io.BytesIO()
    # Row by row onto disk: a hundred thousand access rows must not be in memory twice.
    with xlsxwriter.Workbook(
        buffer, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    ) as book:
        book.set_properties(
            {"title": title, "created": made.replace(tzinfo=None), "comments": source}
        )
        book.set_size(2400, 1400)
        looks = _Looks(book)
        _write_summary(book.add_worksheet("Summary"), summary, looks, source)
        for sheet in sheets:
            _write_sheet(book.add_worksheet(sheet.name), sheet, looks, source)
    return _packed_anew(buffer)


class _Looks:
    """The formats of a workbook."""

    def __init__(self, book: Any) -> None:
        top = {"valign": "top", "font_name": "Calibri", "font_size": 10}
        self.text: Format = book.add_format({**top, "num_format": "@"})
        self.number: Format = book.add_format(top)
        self.wrapped: Format = book.add_format({**top, "text_wrap": True, "num_format": "@"})
        self.fill_in: Format = book.add_format(
            {**top, "bg_color": "#FFF8E1", "border": 1, "border_color": "#D8DEE6"}
        )
        self.header: Format = book.add_format(
            {
                **top,
                "bold": True,
                "bg_color": "#E8EDF3",
                "bottom": 1,
                "text_wrap": True,
                "num_format": "@",
            }
        )
        self.title: Format = book.add_format(
            {**top, "bold": True, "font_size": 14, "num_format": "@"}
        )


def _write_summary(
    sheet: Worksheet, summary: Sequence[tuple[str, str]], looks: _Looks, source: str
) -> None:
    _prepare_pages(sheet, source)
    sheet.set_column(0, 0, 100)
    sheet.set_column(1, 1, 68)
    for place, (left, right) in enumerate(summary):
        # Nobody fits a row to its wrapped text but the one who types it.
        sheet.set_row(
            place, 20 if place == 0 else 14 * (1 + max(len(left) // 105, len(right) // 70))
        )
        sheet.write_string(place, 0, _fitting(left), looks.wrapped if place else looks.title)
        sheet.write_string(place, 1, _fitting(right), looks.text)


def _write_sheet(sheet: Worksheet, one: Sheet, looks: _Looks, source: str) -> None:
    _prepare_pages(sheet, source)
    sheet.repeat_rows(0)
    sheet.freeze_panes(1, 2 if one.name == "Review" else 1)
    for place, column in enumerate(one.columns):
        sheet.set_column(place, place, _width(column))
        sheet.write_string(0, place, column.replace("_", " "), looks.header)
    to_fill = {
        place
        for place, column in enumerate(one.columns)
        if column in TO_FILL and one.name == "Review"
    }
    shown = min(one.count, MOST_ROWS)
    for number, row in enumerate(one.rows, start=1):
        if number > MOST_ROWS:
            sheet.write_string(
                number, 0, f"{one.count - MOST_ROWS} rows more are in the CSV file only", looks.text
            )
            break
        for place, value in enumerate(row):
            if place in to_fill:
                sheet.write_blank(number, place, None, looks.fill_in)
            elif value is None or value == "":
                continue
            elif type(value) is int:
                sheet.write_number(number, place, value, looks.number)
            else:
                sheet.write_string(number, place, _fitting(words.plain(value)), looks.text)
    sheet.autofilter(0, 0, max(1, shown), len(one.columns) - 1)
    if to_fill and shown:
        decision = one.columns.index("decision")
        choice = {
            "validate": "list",
            "source": list(DECISIONS),
            "error_message": "Choose keep, change or revoke.",
        }
        sheet.data_validation(1, decision, shown, decision, choice)


def _width(column: str) -> int:
    return COLUMNS[column].width if column in COLUMNS else WIDTHS.get(column, PacketColumn.width)


def _prepare_pages(sheet: Worksheet, source: str) -> None:
    sheet.set_landscape()
    sheet.set_paper(A3)
    sheet.fit_to_pages(1, 0)
    sheet.set_header(f"&C{source.replace('&', '&&')}")
    sheet.set_footer("&CPage &P of &N")


def _fitting(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... (whole in the CSV file)"


def _packed_anew(buffer: io.BytesIO) -> bytes:
    """Pack the same zip file again, with its parts compressed the same way everywhere, in the same
    order, all of one date.
    """
    with zipfile.ZipFile(buffer) as made:
        return zipped((part.filename, made.read(part)) for part in made.infolist())
