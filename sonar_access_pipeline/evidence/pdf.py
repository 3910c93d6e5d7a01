"""`report.pdf`: the report on paper, for evidence libraries that take nothing else.

The same facts give the same bytes.

It is compressed by a library that gives the same bytes on every machine, which zlib does not; no
clock and no name of a machine goes into it; its font comes with this package. A character that the
font does not have, that is invisible, or that changes direction, is written as its number.
"""

from __future__ import annotations

import hashlib
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.utils import TimeStamp
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from sonar_access_pipeline.evidence import charts, summary, words
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.evidence.reproducible_zip import compressed
from sonar_access_pipeline.evidence.tables import limits

REGULAR, BOLD = "sonar-access", "sonar-access-bold"
WIDTH, HEIGHT = landscape(A4)
MARGIN = 36.0
TOP = HEIGHT - 50
BOTTOM = 36.0
SIZE = 7.5
LEADING = 9.5
PAD = 4.0
"""Points: of table text, of its lines, and between columns."""
MOST_LINES = 4
"""Lines of a cell; a longer text ends with ... and is whole in the CSV file."""
INK, SOFT, RULE, GOOD, BAD, WARN, ACCENT = map(
    HexColor, ("#1b2330", "#5b6675", "#d8dee6", "#2f7d57", "#b3402e", "#8a5a00", "#2b5f9e")
)
CHART_WIDTH, CHART_HEIGHT = 245.0, 80.0
STATUS = {"observed": GOOD, "held": WARN, "retracted": WARN, "not_expected": SOFT}


@dataclass(frozen=True)
class TableColumn:
    """A column of a table: its key, its head, its share of the page's width, and what stands there
    for nothing.
    """

    key: str
    head: str
    share: float
    nothing: str = ""


UNKNOWN = "unknown"
ACCOUNTS = (
    TableColumn("login", "Login", 14),
    TableColumn("name", "Name", 14, UNKNOWN),
    TableColumn("email", "E-mail", 14, UNKNOWN),
    TableColumn("account_type", "Type", 6),
    TableColumn("is_member", "Member", 5, UNKNOWN),
    TableColumn("is_organization_admin", "Admin", 5, UNKNOWN),
    TableColumn("groups", "Groups", 17),
    TableColumn("organization_permissions", "Organization permissions", 17),
    TableColumn("access_unchanged_since", "Unchanged since", 9, UNKNOWN),
)
ADMINS = (
    TableColumn("login", "Login", 20),
    TableColumn("name", "Name", 25, UNKNOWN),
    TableColumn("admin_through", "Admin through", 40),
    TableColumn("is_admin_by_sonarcloud", "SonarCloud says admin", 15, UNKNOWN),
)
CHANGES = (
    TableColumn("changed_after", "Last seen as before", 12, UNKNOWN),
    TableColumn("changed_by", "First seen as since", 12),
    TableColumn("kind", "What", 12),
    TableColumn("login", "Login", 16),
    TableColumn("entitlement", "Right", 10),
    TableColumn("on", "On", 15),
    TableColumn("through", "Through", 13),
    TableColumn("detail", "", 10),
)
FINDINGS = (
    TableColumn("rule_id", "Rule", 14),
    TableColumn("severity", "Severity", 6),
    TableColumn("result", "Answer", 8),
    TableColumn("subject", "Whose", 16),
    TableColumn("name", "Name", 14),
    TableColumn("detail", "What was found, or why nobody can tell", 20),
    TableColumn("failing_since", "Since", 8),
    TableColumn("exception_by", "Exception by", 8),
    TableColumn("exception_until", "until", 6),
    TableColumn("exception_why", "because", 10),
)
RECONCILIATION = (
    TableColumn("what", "What", 40),
    TableColumn("reported", "Reported", 7),
    TableColumn("extracted", "Extracted", 7),
    TableColumn("stored", "Stored", 7),
    TableColumn("delivered", "Delivered", 7),
    TableColumn("passed", "Same", 6),
    TableColumn("detail", "", 26),
)
LIMITS = (
    TableColumn("subject", "What", 25),
    TableColumn("observed", "Observed", 9),
    TableColumn("why", "Why", 66),
)


def render(facts: Facts) -> bytes:
    """Render the report of a packet as PDF."""
    _fonts()
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT), pageCompression=0, invariant=1, lang="en")
    _prepare(canvas, facts.as_of.observed_at)
    canvas.setTitle(f"{words.title(facts)}, {facts.window.first} to {facts.window.last}")
    canvas.setSubject(words.source(facts))
    canvas.setAuthor("sonar-access-pipeline")
    canvas.setCreator("sonar-access-pipeline")
    paper = _Paper(canvas, words.source(facts), warns=not facts.is_evidence)
    _first_page(paper, facts)
    paper.heading("Over the window")
    paper.draw_charts(charts.lines(facts), charts.weeks(facts))
    paper.table(
        "Organization admins", ADMINS, facts.admins, empty="Nobody administers the organization."
    )
    paper.table("Findings", FINDINGS, facts.findings)
    paper.heading("Changes")
    paper.paragraph(words.kinds(facts))
    paper.table(None, CHANGES, map(_shown_change, facts.real_changes[: words.MOST_CHANGES]))
    paper.table("Every account", ACCOUNTS, facts.population)
    paper.table("Reconciliation", RECONCILIATION, facts.reconciliation)
    paper.table("What is not observed, or only in part", LIMITS, limits(facts))
    paper.end()
    canvas.save()
    return buffer.getvalue()


def _first_page(paper: _Paper, facts: Facts) -> None:
    paper.paragraph(words.title(facts), size=17, font=BOLD)
    paper.paragraph(words.about(facts), size=9, color=SOFT)
    paper.numbers(words.numbers(facts))
    for question in summary.questions(facts):
        paper.heading(question.title)
        for line in question.lines:
            paper.paragraph(line.text, size=9, font=BOLD if line.matters else REGULAR)
            for item in line.items:
                paper.paragraph(f"\u2022 {item}", size=9)
    paper.heading("Coverage")
    paper.calendar([(f"{row['day']:%m-%d}", row["status"]) for row in facts.coverage])


def _shown_change(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "through": words.through(row),
        "on": words.on(row),
        "kind": row["kind"].replace("_", " "),
    }


class _Deflated:
    """How streams of the document are compressed: as ReportLab's own filter, but the same
    everywhere.
    """

    pdfname = "FlateDecode"

    def encode(self, content: str | bytes) -> bytes:
        """Compress a stream."""
        return compressed(content.encode("latin-1") if isinstance(content, str) else content)


def _prepare(canvas: Canvas, made: datetime) -> None:
    """Have the document be made as of the last observation; by itself it would take a date that the
    environment names.
    """
    document: Any = vars(canvas)["_doc"]
    document.defaultStreamFilters = [_Deflated()]
    stamp = TimeStamp(invariant=1)
    stamp.YMDhms = made.timetuple()[:6]
    document._timeStamp = stamp
    document.signature = hashlib.md5(usedforsecurity=False)


@cache
def _fonts() -> None:
    folder = files("sonar_access_pipeline.evidence") / "fonts"
    for name, file in (
        (REGULAR, "DejaVuSansCondensed.ttf"),
        (BOLD, "DejaVuSansCondensed-Bold.ttf"),
    ):
        pdfmetrics.registerFont(TTFont(name, io.BytesIO((folder / file).read_bytes())))


@cache
def _covered() -> frozenset[int]:
    """Return the characters that the font has."""
    font: Any = pdfmetrics.getFont(REGULAR)
    return frozenset(font.face.charToGlyph)


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


@cache
def _width(letter: str, font: str) -> float:
    """Measure the width of one character, in font sizes."""
    return float(pdfmetrics.stringWidth(letter, font, 1000)) / 1000


def wrapped(text: str, font: str, size: float, room: float, most: int) -> list[str]:
    """Break a text into lines that fit, at spaces where there are any; the last line ends with ...
    where there are too many.
    """
    limit = room / size
    if len(text) <= most * 100 and sum([_width(letter, font) for letter in text]) <= limit:
        return [text]
    lines = list[str]()
    line = list[str]()
    width = 0.0
    last_space = -1
    for letter in text[: most * 400]:
        width += _width(letter, font)
        if width > limit and line:
            rest = line[last_space + 1 :] if last_space > 0 else []
            lines.append("".join(line[:last_space] if last_space > 0 else line))
            if len(lines) == most:
                break
            line = rest
            width = sum(_width(one, font) for one in rest) + _width(letter, font)
            last_space = -1
        if letter == " ":
            last_space = len(line)
        line.append(letter)
    else:
        lines.append("".join(line))
    if len("".join(lines)) + len(lines) < len(text) - 1:
        lines[-1] = lines[-1][: max(0, len(lines[-1]) - 3)] + "..."
    return lines


class _Paper:
    """Pages that fill from top to bottom."""

    def __init__(self, canvas: Canvas, source: str, *, warns: bool) -> None:
        self._canvas = canvas
        self._source = source
        self._warns = warns
        self._page = 0
        self._y = TOP
        self._begin_page()

    def _begin_page(self) -> None:
        self._page += 1
        self._y = TOP
        self._text(
            MARGIN,
            HEIGHT - 30,
            self._source,
            8,
            BOLD if self._warns else REGULAR,
            BAD if self._warns else SOFT,
        )
        self._text(WIDTH - MARGIN - 40, HEIGHT - 30, f"Page {self._page}", 8, REGULAR, SOFT)

    def _next_page(self) -> None:
        self._canvas.showPage()
        self._begin_page()

    def end(self) -> None:
        """Finish the last page."""
        self._canvas.showPage()

    def _need(self, height: float) -> bool:
        if self._y - height >= BOTTOM:
            return False
        self._next_page()
        return True

    def _text(self, x: float, y: float, text: str, size: float, font: str, color: Any) -> None:
        self._canvas.setFillColor(color)
        self._canvas.setFont(font, size)
        self._canvas.drawString(x, y, text)

    def paragraph(self, text: str, size: float = 9, font: str = REGULAR, color: Any = INK) -> None:
        """Text over the whole width."""
        for line in wrapped(printable(text), font, size, WIDTH - 2 * MARGIN, 60):
            self._need(size * 1.4)
            self._y -= size * 1.35
            self._text(MARGIN, self._y, line, size, font, color)
        self._y -= size * 0.4

    def heading(self, text: str) -> None:
        """Draw a section's head, and enter it in the outline too."""
        self._need(60)
        self._y -= 22
        self._text(MARGIN, self._y, text, 12, BOLD, INK)
        self._canvas.bookmarkPage(text)
        self._canvas.addOutlineEntry(text, text, 0)
        self._y -= 8

    def numbers(self, numbers: Sequence[tuple[str, str]]) -> None:
        """Draw the counts of the first page, side by side."""
        self._y -= 24
        room = (WIDTH - 2 * MARGIN) / len(numbers)
        for place, (number, label) in enumerate(numbers):
            self._text(MARGIN + place * room, self._y, number, 15, BOLD, INK)
            self._text(MARGIN + place * room, self._y - 11, label, 7.5, REGULAR, SOFT)
        self._y -= 22

    def calendar(self, days: Sequence[tuple[str, str]]) -> None:
        """Draw a box per day, with its status in words."""
        width = 62.0
        height = 20.0
        per_row = int((WIDTH - 2 * MARGIN) // 62)
        for start in range(0, len(days), per_row):
            self._need(height + 2)
            self._y -= height
            for place, (day, status) in enumerate(days[start : start + per_row]):
                x = MARGIN + place * width
                self._canvas.setFillColor(STATUS.get(status, BAD))
                self._canvas.rect(x, self._y, width - 3, height - 3, stroke=0, fill=1)
                self._text(x + 3, self._y + 9, day, 6.5, BOLD, HexColor("#ffffff"))
                self._text(
                    x + 3, self._y + 2.5, status.replace("_", " "), 6, REGULAR, HexColor("#ffffff")
                )
        self._y -= 4

    def draw_charts(self, lines: Sequence[charts.ChartLine], weeks: Sequence[charts.Week]) -> None:
        """Draw all charts side by side, each under its words."""
        heads = [line.words for line in lines] + [
            "Rights that began (up, green) and ended (down, red) per week of the window."
        ]
        wrapped_heads = [wrapped(head, REGULAR, 7.5, CHART_WIDTH, 3) for head in heads]
        self._need(CHART_HEIGHT + 40)
        for place, head in enumerate(wrapped_heads):
            for number, text in enumerate(head, start=1):
                self._text(self._left_of(place), self._y - 9.5 * number, text, 7.5, REGULAR, SOFT)
        self._y -= 9.5 * max(map(len, wrapped_heads)) + CHART_HEIGHT + 6
        for place, line in enumerate(lines):
            self._line_chart(self._left_of(place), line)
        self._week_chart(self._left_of(len(lines)), weeks)

    def _left_of(self, place: int) -> float:
        return MARGIN + place * (WIDTH - 2 * MARGIN - CHART_WIDTH) / 2

    def _frame(self, left: float) -> None:
        self._canvas.setLineWidth(0.6)
        self._canvas.setStrokeColor(RULE)
        self._canvas.rect(left, self._y, CHART_WIDTH, CHART_HEIGHT, stroke=1, fill=0)

    def _line_chart(self, left: float, line: charts.ChartLine) -> None:
        self._frame(left)
        self._canvas.setStrokeColor(ACCENT)
        self._canvas.setFillColor(ACCENT)
        self._canvas.setLineWidth(1)
        places = [
            (left + x * CHART_WIDTH, self._y + 4 + y * (CHART_HEIGHT - 8)) for x, y in line.points
        ]
        for (x1, y1), (x2, y2) in pairwise(places):
            self._canvas.line(x1, y1, x2, y2)
        for x, y in places:
            self._canvas.circle(x, y, 1.6, stroke=0, fill=1)

    def _week_chart(self, left: float, weeks: Sequence[charts.Week]) -> None:
        self._frame(left)
        slot = CHART_WIDTH / len(weeks)
        middle = self._y + CHART_HEIGHT / 2
        for place, week in enumerate(weeks):
            x = left + place * slot + slot * 0.15
            self._bar(x, slot * 0.7, middle, week.opened_share, GOOD)
            self._bar(x, slot * 0.7, middle, -week.closed_share, BAD)
            if len(weeks) <= 20:
                up, down = (
                    share * (CHART_HEIGHT / 2 - 10)
                    for share in (week.opened_share, week.closed_share)
                )
                self._text(x, middle + up + 2, str(week.opened), 6, REGULAR, SOFT)
                self._text(x, middle - down - 7, str(week.closed), 6, REGULAR, SOFT)

    def _bar(self, x: float, width: float, middle: float, share: float, color: Any) -> None:
        height = share * (CHART_HEIGHT / 2 - 10)
        self._canvas.setFillColor(color)
        self._canvas.rect(x, min(middle, middle + height), width, abs(height), stroke=0, fill=1)

    def table(
        self,
        head: str | None,
        columns: Sequence[TableColumn],
        rows: Iterable[Mapping[str, Any]],
        empty: str = "Nothing.",
    ) -> None:
        """Draw a table with its head on every page."""
        if head:
            self.heading(head)
        total = sum(column.share for column in columns)
        room = WIDTH - 2 * MARGIN
        widths = [room * column.share / total for column in columns]
        self._row(widths, [[column.head] for column in columns], BOLD)
        is_empty = True
        for cells in _cells(columns, widths, rows):
            is_empty = False
            if self._need(max(map(len, cells)) * LEADING + 4):
                self._row(widths, [[column.head] for column in columns], BOLD)
            self._row(widths, cells, REGULAR)
        if is_empty:
            self.paragraph(empty)

    def _row(self, widths: Sequence[float], cells: Sequence[Sequence[str]], font: str) -> None:
        canvas = self._canvas
        x = MARGIN
        canvas.setFillColor(INK)
        canvas.setFont(font, SIZE)
        for width, lines in zip(widths, cells, strict=True):
            for place, line in enumerate(lines):
                if line:
                    canvas.drawString(x, self._y - LEADING * (place + 1), line)
            x += width
        self._y -= LEADING * max(map(len, cells)) + 3
        canvas.setStrokeColor(RULE)
        canvas.setLineWidth(0.4)
        canvas.line(MARGIN, self._y, WIDTH - MARGIN, self._y)


def _cells(
    columns: Sequence[TableColumn], widths: Sequence[float], rows: Iterable[Mapping[str, Any]]
) -> Iterator[list[list[str]]]:
    for row in rows:
        yield [
            wrapped(_shown(row[column.key], column), REGULAR, SIZE, width - PAD, MOST_LINES)
            for column, width in zip(columns, widths, strict=True)
        ]


def _shown(value: Any, column: TableColumn) -> str:
    return column.nothing if value is None else printable(words.plain(value))
