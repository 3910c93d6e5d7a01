"""A reviewer's sheet, out and in again: what is taken, what is refused, and what only the read-back
shows.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from sonar_access_pipeline.access.review.facts import Choice
from sonar_access_pipeline.evidence.reviews import sheet
from sonar_access_pipeline.evidence.reviews.read_back import read_back
from sonar_access_pipeline.evidence.reviews.sheet import SheetError
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline_tests.support.reviewing import BOB, FALLBACK, OWNER, USUAL, Reviewed

SOFFICE = shutil.which("soffice")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Reviewed]:
    """A review that is open, of the first day."""
    warehouse = Warehouse(sqlite_url(tmp_path / "warehouse.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, tmp_path)
    here.live(0, USUAL)
    here.open(here.packet(0))
    yield here
    warehouse.close()


Edit = Callable[[Any, dict[str, int]], None]


def edited(file: bytes, change: Edit) -> bytes:
    """Open the sheet, change it, and save it, as a program that is not ours does."""
    book = openpyxl.load_workbook(io.BytesIO(file))
    page = book["Decide"]
    change(page, {str(cell.value): cell.column for cell in page[1]})
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue()


def answering(page: Any, heads: dict[str, int]) -> None:
    """Keep everything, each with a reason; revoke the last."""
    for row in range(2, page.max_row + 1):
        page.cell(row, heads["decision"]).value = " KEEP" if row < page.max_row else "Revoke "
        page.cell(row, heads["reason"]).value = f"as row {row}"


def test_a_sheet_that_was_filled_in_is_understood(opened: Reviewed) -> None:
    review = opened.review()
    file = sheet.write(review, FALLBACK)
    assert file == sheet.write(review, FALLBACK)
    filled = sheet.read(review, FALLBACK.upper(), edited(file, answering))
    assert [one.choice for one in filled.proposals] == [Choice.KEEP, Choice.KEEP, Choice.REVOKE]
    assert filled.undecided == []
    told = list(read_back(review, FALLBACK, filled.understood, filled.undecided))
    assert any(line.startswith("Revoke: ") and "Why: as row 4" in line for line in told)
    assert sheet.read(review, FALLBACK, file).undecided == review.reviewed_by(FALLBACK)


def test_a_sheet_comes_back_the_same_from_another_program(opened: Reviewed, tmp_path: Path) -> None:
    if SOFFICE is None:
        pytest.skip("soffice (LibreOffice) is not here; apt install libreoffice-calc brings it")
    review = opened.review()
    file = tmp_path / "sheet.xlsx"
    file.write_bytes(edited(sheet.write(review, FALLBACK), answering))
    for kind in ("ods", "xlsx"):
        folder = tmp_path / kind
        command = ["soffice", "--headless", f"-env:UserInstallation=file://{tmp_path}/profile"]
        subprocess.run(
            [*command, "--convert-to", kind, "--outdir", str(folder), str(file)],
            check=True,
            capture_output=True,
        )
        saved = (folder / f"sheet.{kind}").read_bytes()
        again = sheet.read(review, FALLBACK, saved)
        assert again == sheet.read(review, FALLBACK, file.read_bytes())


def _swapped(page: Any, heads: dict[str, int]) -> None:
    answering(page, heads)
    for name in ("decision", "reason"):
        cells = [page.cell(row, heads[name]) for row in range(2, page.max_row + 1)]
        for cell, value in zip(cells, [cell.value for cell in reversed(cells)], strict=True):
            cell.value = value


def test_a_column_that_was_sorted_alone_is_seen_in_the_read_back_and_nowhere_else(
    opened: Reviewed,
) -> None:
    review = opened.review()
    file = sheet.write(review, FALLBACK)
    meant, said = (
        list(read_back(review, FALLBACK, filled.understood, ()))
        for filled in (
            sheet.read(review, FALLBACK, edited(file, change)) for change in (answering, _swapped)
        )
    )
    assert [line for line in meant if "Revoke" in line] != [
        line for line in said if "Revoke" in line
    ]


def _set(row: int, head: str, value: Any) -> Edit:
    def change(page: Any, heads: dict[str, int]) -> None:
        answering(page, heads)
        page.cell(row, heads[head]).value = value

    return change


def _twice(page: Any, heads: dict[str, int]) -> None:
    page.append([cell.value for cell in page[2]])


def _moved(page: Any, heads: dict[str, int]) -> None:
    page.cell(1, heads["reason"]).value = "why"


REFUSED = {
    "a name that was changed": (_set(2, "name", "Eve"), r"C2: 'name' of item \d was changed"),
    "a right that was changed": (_set(3, "has", "nothing"), r"K3: 'has' of item \d was changed"),
    "a word that is not known": (_set(3, "decision", "maybe"), "G3: 'maybe' is not keep, change"),
    "no reason where one is needed": (_set(4, "reason", None), r"G4: Item \d needs a reason"),
    "a reason that is a number": (_set(3, "reason", 7), "I3: it is no text"),
    "a reason without a decision": (_set(3, "decision", None), "G3: there is a reason, and no"),
    "a change of nothing": (_set(3, "decision", "change"), "names what goes"),
    "a row of something else": (_set(2, "row sha256", "0" * 64), "row 2 is none of this reviewer"),
    "a row that comes twice": (_twice, r"O5: item \d stands in row 2 too"),
    "a column that is gone": (_moved, "has no column 'reason' in its first row"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_was_tampered_with_is_refused_whole_and_the_cell_is_named(
    opened: Reviewed, what: str
) -> None:
    change, words = REFUSED[what]
    review = opened.review()
    with pytest.raises(SheetError, match=words):
        sheet.read(review, FALLBACK, edited(sheet.write(review, FALLBACK), change))


def test_the_sheet_of_another_review_packet_or_person_is_refused(opened: Reviewed) -> None:
    first = opened.review()
    file = sheet.write(first, FALLBACK)
    with pytest.raises(SheetError, match=f"made for {FALLBACK}, and is read as from {OWNER}"):
        sheet.read(first, OWNER, file)
    opened.live(1)
    opened.open(opened.packet(1), series="other")
    with pytest.raises(SheetError, match="of review 1, not of 2"):
        sheet.read(opened.review(2), FALLBACK, file)
    for body, words in ((b"x", "is no workbook"), (_empty_book(), "has no sheets Summary and")):
        with pytest.raises(SheetError, match=words):
            sheet.read(first, FALLBACK, body)
    with pytest.raises(SheetError, match="has no item"):
        sheet.write(first, "stranger")


def _empty_book() -> bytes:
    saved = io.BytesIO()
    openpyxl.Workbook().save(saved)
    return saved.getvalue()


def test_a_workbook_that_unpacks_to_too_much_is_not_unpacked(opened: Reviewed) -> None:
    saved = io.BytesIO()
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/workbook.xml", b"\0" * (51 * 2**20))
    with pytest.raises(SheetError, match="51 MB unpacked"):
        sheet.read(opened.review(), FALLBACK, saved.getvalue())


def test_a_stale_sheet_does_not_undo_what_was_decided_meanwhile(opened: Reviewed) -> None:
    number = opened.number("account", BOB)
    file = sheet.write(opened.review(), FALLBACK)
    opened.decide(number, "revoke", "left")
    filled = sheet.read(opened.review(), FALLBACK, edited(file, answering))
    with pytest.raises(Exception, match="was decided meanwhile"):
        opened.decide(number, "keep", "stale", seen=filled.seen)
    fresh = sheet.write(opened.review(), FALLBACK)
    assert sheet.read(opened.review(), FALLBACK, fresh).proposals == []
    assert number in sheet.read(opened.review(), FALLBACK, edited(fresh, answering)).seen
