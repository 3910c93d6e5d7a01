"""One reviewer's sheet: out, with what they are to decide, and in again, as whatever program saved
it.

A row is known by its digest and a column by its heading, never by their places. What was shown is
compared, cell by cell. What no comparison can tell is a column that was sorted alone: so what was
understood is read back (`read_back.py`), and nothing is recorded before a person has seen that.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sonar_access_pipeline.access.review.deciding import (
    Asked,
    Proposed,
    Review,
    refusal,
    removable,
)
from sonar_access_pipeline.access.review.facts import Choice, is_same
from sonar_access_pipeline.access.snapshot import canonical_digest
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.reviews.read_back import Understood
from sonar_access_pipeline.evidence.workbook import (
    DECISIONS,
    Sheet,
    SheetColumn,
    fitting,
    workbook_of,
)

DECIDE, SUMMARY = "Decide", "Summary"
DECISION, GOES, REASON = "decision", "what goes", "reason"
DIGEST, SEEN = "row sha256", "decided as"
COLUMNS = (
    SheetColumn("item", 6),
    SheetColumn("news", 14, wraps=True),
    SheetColumn("name", 20, wraps=True),
    SheetColumn("subject", 22, wraps=True),
    SheetColumn("right", 12, wraps=True),
    SheetColumn("on", 16, wraps=True),
    SheetColumn(DECISION, 10, is_to_fill=True),
    SheetColumn(GOES, 18, is_to_fill=True),
    SheetColumn(REASON, 26, is_to_fill=True),
    SheetColumn("findings", 26, wraps=True),
    SheetColumn("has", 40, wraps=True),
    SheetColumn("unchanged since", 16),
    SheetColumn("can go alone", 24, wraps=True),
    SheetColumn(SEEN, 8, is_hidden=True),
    SheetColumn(DIGEST, 20, is_hidden=True),
)
ANSWERS = frozenset({DECISION, GOES, REASON})
INBOX = "inbox"
"""The folder of the evidence store in which filled sheets lie."""
LARGEST = 50 * 2**20
"""Bytes of a sheet, unpacked: ten thousand rows have a tenth of that."""
MOST_REFUSALS = 20


class SheetError(EvidenceError):
    """A sheet that is not taken; the sentences name each cell and why."""


@dataclass(frozen=True)
class Filled:
    """What a sheet says: a proposal for every row with an answer, the decision that each row was
    made after, and what is without an answer.
    """

    proposals: Sequence[Proposed]
    seen: Mapping[int, int]
    undecided: Sequence[int]

    @property
    def understood(self) -> Mapping[int, Understood]:
        """What is to be read back, by item."""
        return {
            one.item_no: Understood(one.choice, one.remove, one.reason) for one in self.proposals
        }


def write(review: Review, person: str, answers: Mapping[int, Understood] | None = None) -> bytes:
    """Build the sheet of a reviewer, with what they decided so far, and `answers` that they gave
    elsewhere. Raises `SheetError` for somebody without an item.
    """
    numbers = review.reviewed_by(person)
    if not numbers:
        raise SheetError(f"{person} has no item in review {review.about.review_id}.")
    about = review.about
    lines: list[tuple[str, Any]] = [
        (f"What {person} is to decide", ""),
        ("review", about.review_id),
        ("packet", about.packet_digest),
        ("reviewer", person),
        ("organization", about.organization_key),
        ("access as of", f"{about.as_of:%Y-%m-%d %H:%M} UTC"),
        ("due", f"{about.due}, end of day, UTC"),
        (
            "how",
            "Choose keep, change or revoke in the sheet Decide. For change, write what goes as it"
            " stands under `can go alone`, with ; between. A reason is needed for everything but a"
            " plain keep, and to keep a privilege, a finding, or what is news. Sort and filter"
            " whole rows only; what is not answered stays undecided. Times are UTC.",
        ),
    ]
    given = answers or {}
    rows = [_row(review, review.asked[number], given.get(number)) for number in numbers]
    sheet = Sheet(DECIDE, COLUMNS, rows, "There is nothing to decide.", fixed=4, printed=11)
    title = f"Access review {about.review_id} of {about.organization_key}"
    return workbook_of(lines, [sheet], f"Review {about.review_id}, {person}", title, about.as_of)


def _row(review: Review, asked: Asked, given: Understood | None = None) -> list[Any]:
    decision = review.decided.get(asked.item_no)
    answer = given or decision
    answers = (
        (answer.choice.value, "; ".join(answer.remove), answer.reason) if answer else ("", "", "")
    )
    item = asked.item
    return [
        asked.item_no,
        asked.change_class.value,
        asked.name,
        item.subject,
        item.right,
        item.resource,
        *answers,
        "; ".join(asked.findings),
        asked.shown,
        asked.since[:16].replace("T", " "),
        "; ".join(removable(item)),
        decision.decision_id if decision else "",
        _digest(review, asked),
    ]


def _digest(review: Review, asked: Asked) -> str:
    """Bind a row to its review, its packet, and what a decision is on."""
    about = review.about
    return canonical_digest([about.review_id, about.packet_digest, asked.item_no, asked.digest])


class About(NamedTuple):
    """What a sheet says that it is: of which review, and whose."""

    review_id: int
    reviewer: str


def about(file: bytes) -> About:
    """Read of which review a sheet is, and whose. Raises `SheetError`."""
    summary, _ = _opened(file)
    try:
        return About(int(summary["review"]), summary["reviewer"])
    except (KeyError, ValueError):
        raise SheetError("The sheet does not say of which review it is, or whose.") from None


def read(review: Review, person: str, file: bytes) -> Filled:
    """Read what a reviewer filled in: all of it, or nothing.

    Raises `SheetError` with a sentence for each cell that is not taken.
    """
    summary, rows = _opened(file)
    _require_this(review, person, summary)
    reading = _Reading(review, person)
    for number, cells in rows:
        reading.take(number, cells)
    if reading.refusals:
        shown = reading.refusals[:MOST_REFUSALS]
        left = len(reading.refusals) - len(shown)
        more = [f"and {left} more"] if left else []
        raise SheetError(f"The sheet is not taken: {'; '.join([*shown, *more])}.")
    answered = {one.item_no for one in reading.proposals}
    undecided = [
        number
        for number in review.reviewed_by(person)
        if number not in answered and number not in review.decided
    ]
    return Filled(reading.proposals, reading.seen, undecided)


Cell = tuple[str, Any]
"""Where a cell is, as `H12`, and what it says."""


def _opened(file: bytes) -> tuple[Mapping[str, str], list[tuple[int, Mapping[str, Cell]]]]:
    """Open a workbook: its summary by its labels, and the rows to decide by their headings."""
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        with zipfile.ZipFile(io.BytesIO(file)) as packed:
            size = sum(part.file_size for part in packed.infolist())
    except zipfile.BadZipFile:
        raise SheetError("The file is no workbook (.xlsx or .ods).") from None
    if size > LARGEST:
        raise SheetError(f"The workbook has {size // 2**20} MB unpacked; a sheet has less than 50.")
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(file))
        lines = book.get_sheet_by_name(SUMMARY).to_python(skip_empty_area=False)
        grid = book.get_sheet_by_name(DECIDE).to_python(skip_empty_area=False)
    except (CalamineError, OSError, ValueError):
        raise SheetError(
            f"The workbook has no sheets {SUMMARY} and {DECIDE} that can be read; it is none of a"
            " review."
        ) from None
    summary = {_plain(line[0]).casefold(): _plain(line[1]) for line in lines if len(line) > 1}
    heads = [_plain(head).strip().casefold() for head in (grid[0] if grid else [])]
    wanted = {column.head for column in COLUMNS}
    if missing := sorted(wanted - set(heads)):
        raise SheetError(f"The sheet {DECIDE} has no column '{missing[0]}' in its first row.")
    if doubled := sorted(head for head in wanted if heads.count(head) > 1):
        raise SheetError(f"The sheet {DECIDE} has two columns '{doubled[0]}'.")
    places = {head: heads.index(head) for head in wanted}
    return summary, [
        (
            number,
            {head: (f"{_letter(place)}{number}", line[place]) for head, place in places.items()},
        )
        for number, line in enumerate(grid[1:], start=2)
        if any(cell != "" for cell in line)
    ]


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else f"{chr(64 + place // 26)}{chr(65 + place % 26)}"


def _plain(value: Any) -> str:
    """Write a cell's value as it was written out: whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _require_this(review: Review, person: str, summary: Mapping[str, str]) -> None:
    """Refuse the sheet of another review, another packet, or another reviewer."""
    about = review.about
    if summary.get("review") != str(about.review_id):
        raise SheetError(
            f"The sheet is of review {summary.get('review', 'unknown')}, not of {about.review_id}."
        )
    if summary.get("packet") != about.packet_digest:
        raise SheetError(
            f"The sheet is about packet {summary.get('packet', 'unknown')[:12]}, the review about"
            f" {about.packet_digest[:12]}."
        )
    if not is_same(summary.get("reviewer", ""), person):
        raise SheetError(
            f"The sheet was made for {summary.get('reviewer', 'nobody')}, and is read as from"
            f" {person}."
        )


class _Reading:
    """The rows of a sheet as they are read: proposals, and what is refused."""

    def __init__(self, review: Review, person: str) -> None:
        self._review = review
        self._person = person
        own = [review.asked[number] for number in review.reviewed_by(person)]
        self._by_digest = {_digest(review, one): one for one in own}
        self._met: dict[str, str] = {}
        self.proposals: list[Proposed] = []
        self.seen: dict[int, int] = {}
        self.refusals: list[str] = []

    def take(self, number: int, cells: Mapping[str, Cell]) -> None:
        """Take one row in, or note why it is refused."""
        where, value = cells[DIGEST]
        digest = _plain(value)
        asked = self._by_digest.get(digest)
        if asked is None:
            self.refusals.append(f"{where}: row {number} is none of this reviewer's items")
        elif digest in self._met:
            self.refusals.append(f"{where}: item {asked.item_no} stands in {self._met[digest]} too")
        else:
            self._met[digest] = f"row {number}"
            self.refusals += _changed(self._review, asked, cells)
            self._take_answer(asked, cells)

    def _take_answer(self, asked: Asked, cells: Mapping[str, Cell]) -> None:
        said = {name: cells[name] for name in ANSWERS}
        for where, value in said.values():
            if not isinstance(value, str):
                self.refusals.append(f"{where}: it is no text")
                return
        where, decision = cells[DECISION]
        word = decision.strip().casefold()
        if not word:
            if cells[GOES][1].strip() or cells[REASON][1].strip():
                self.refusals.append(f"{where}: there is a reason, and no decision")
            return
        if word not in DECISIONS:
            self.refusals.append(f"{where}: '{decision}' is not keep, change or revoke")
            return
        proposed = Proposed(
            asked.item_no,
            Choice(word),
            self._person,
            tuple(_goes(asked, cells[GOES][1])),
            cells[REASON][1].strip(),
        )
        if _stands(self._review, proposed):
            return
        why_not = refusal(self._review, proposed)
        if why_not:
            self.refusals.append(f"{where}: {why_not.rstrip('.')}")
            return
        self.proposals.append(proposed)
        if seen := _plain(cells[SEEN][1]):
            self.seen[asked.item_no] = int(seen) if seen.isdigit() else 0


def _changed(review: Review, asked: Asked, cells: Mapping[str, Cell]) -> Iterator[str]:
    """Yield the cells that do not show what the review has: somebody wrote over them."""
    for column, value in zip(COLUMNS, _row(review, asked), strict=True):
        if column.head in ANSWERS or column.head == SEEN:
            continue
        where, found = cells[column.head]
        if _plain(found).strip() != fitting(_plain(value)).strip():
            yield f"{where}: '{column.head}' of item {asked.item_no} was changed"


def _goes(asked: Asked, text: str) -> Iterator[str]:
    """Yield the rights that a cell names, each as the item has it, whatever its case."""
    known = {word.casefold(): word for word in removable(asked.item)}
    for part in text.replace("\n", ";").split(";"):
        if word := part.strip():
            yield known.get(word.casefold(), word)


def _stands(review: Review, proposed: Proposed) -> bool:
    """Tell whether an item is decided so already: a sheet may come twice."""
    current = review.decided.get(proposed.item_no)
    return current is not None and (current.choice, current.remove, current.reason) == (
        proposed.choice,
        proposed.remove,
        proposed.reason,
    )
