"""What a review of 10,000 accounts costs: `python -m benchmarks.reviews [accounts]`.

Opening it from the files of a sealed packet (items, classes, assignments), a sheet of everything
out and in again with its read-back, its packet beside that of access, and what a thousand
revocations demand over a year of observations. An embedded warehouse, one process.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import openpyxl

from benchmarks.evidence import GROUPS
from sonar_access_pipeline.access.review.deciding import Proposed, Review
from sonar_access_pipeline.access.review.facts import Choice
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.evidence.reviews import sheet
from sonar_access_pipeline.evidence.reviews.packet import build
from sonar_access_pipeline.evidence.reviews.read_back import read_back
from sonar_access_pipeline.evidence.seal import seal_review
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.reviews.facts import decide
from sonar_access_pipeline.warehouse.reviews.follow_ups import derive_follow_ups
from sonar_access_pipeline_tests.support.builders import World
from sonar_access_pipeline_tests.support.reviewing import FALLBACK, OWNER, Reviewed

ACCOUNTS, REVOKED, DAYS = 10_000, 1_000, 365
T = TypeVar("T")


def world(accounts: int, gone: int = 0) -> World:
    """An organization, of which some accounts have left."""
    logins = [f"user-{number}@github" for number in range(gone, accounts)]
    teams = [str(number) for number in range(1, GROUPS + 1)]
    return World(
        members={login: f"Person {login[5:-7]} of Somewhere" for login in logins},
        groups={team: f"Team {team}" for team in teams},
        group_members={team: logins[int(team) :: GROUPS] for team in teams},
        user_permissions={login: ["scan"] for login in logins if login.startswith("user-99")},
        group_permissions={"1": ["admin"]},
    )


def timed(what: str, reach: str, action: Callable[[], T]) -> tuple[T, float]:
    """Do something, and print how long it took."""
    began = time.perf_counter()
    result = action()
    seconds = time.perf_counter() - began
    print(f"| {what} | {reach} | {seconds:.2f} s |", flush=True)
    return result, seconds


def answered(file: bytes) -> bytes:
    """Fill in a sheet, as another program does: every tenth is to go."""
    book = openpyxl.load_workbook(io.BytesIO(file))
    page = book["Decide"]
    places = {str(cell.value): cell.column for cell in page[1]}
    for row in range(2, page.max_row + 1):
        page.cell(row, places["decision"]).value = "revoke" if row % 10 == 0 else "keep"
        page.cell(row, places["reason"]).value = "because"
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue()


@contextmanager
def organization(accounts: int) -> Iterator[Reviewed]:
    """An organization in a warehouse of its own, observed once."""
    with tempfile.TemporaryDirectory() as scratch:
        warehouse = Warehouse(sqlite_url(Path(scratch) / "warehouse.sqlite"))
        upgrade(warehouse)
        here = Reviewed(warehouse, Path(scratch))
        here.live(0, world(accounts), scopes=(Scope.CORE,))
        yield here
        warehouse.close()


def measure_review(accounts: int) -> None:
    """Open, sheet out and in, decide, seal."""
    with organization(accounts) as here:
        files, of_access = timed(
            "the packet of access that it is about, for people",
            "",
            lambda: here.packet(0, for_people=True),
        )
        timed(f"open a review of {accounts:,} accounts", "5 s", lambda: here.open(files))
        review, _ = timed("read it with all its facts", "", here.review)
        rows = len(review.reviewed_by(FALLBACK))
        file, _ = timed(f"sheet out, {rows:,} rows", "3 s", lambda: sheet.write(review, FALLBACK))
        filled = answered(file)
        found, _ = timed("sheet in with its read-back", "2 s", lambda: _read(review, filled))
        decided = [*found.proposals, *_kept(review.reviewed_by(OWNER), OWNER)]
        timed("record all decisions", "", lambda: _decide(here, decided))
        here.sign_all()
        here.acknowledge()
        _, of_review = timed("the packet of the review", "", lambda: _sealed(here))
        ratio = of_review / of_access
        print(f"| packet of the review / packet of access | at most 1 | {ratio:.2f} |")


def measure_follow_ups() -> None:
    """A thousand revocations, a third of them done in the middle of the year."""
    accounts = 2 * REVOKED
    with organization(accounts) as here:
        here.open(here.packet(0))
        numbers = here.review().reviewed_by(FALLBACK)[:REVOKED]
        _decide(here, [Proposed(n, Choice.REVOKE, FALLBACK, (), "because") for n in numbers])
        for day in range(1, DAYS):
            gone = REVOKED // 3 if day > DAYS // 2 else 0
            here.live(day, world(accounts, gone), scopes=(Scope.CORE,))
        what = f"follow-ups of {REVOKED:,} revocations over {DAYS} observations, derived anew"
        timed(what, "5 s", lambda: _derived(here))


def _read(review: Review, file: bytes) -> sheet.Filled:
    found = sheet.read(review, FALLBACK, file)
    list(read_back(review, FALLBACK, found.understood, found.undecided))
    return found


def _kept(numbers: list[int], person: str) -> list[Proposed]:
    return [Proposed(number, Choice.KEEP, person, (), "because") for number in numbers]


def _decide(here: Reviewed, decided: list[Proposed]) -> None:
    decide(here.warehouse, 1, decided, {}, here.policy.review, here.clock)


def _sealed(here: Reviewed) -> str:
    with here.warehouse.read() as transaction:
        packet = build(transaction, 1)
    return seal_review(packet, here.sealing, here.warehouse, by=OWNER)


def _derived(here: Reviewed) -> None:
    with here.warehouse.write("x") as transaction:
        derive_follow_ups(transaction, "acme")


def keystrokes() -> int:
    """Count what is typed in the documentation from `review open` to a sealed packet, with Enter:
    one sheet, read and recorded, and the two who sign.
    """
    lines = (Path(__file__).parents[1] / "docs" / "reviews.md").read_text().splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ sonar-access review")]
    return sum(len(line) + 1 for line in typed)


def main() -> None:
    """Measure each part once, in the order of a review's life."""
    print("| measure | reach | measured |\n|---|---|---|")
    print(f"| keystrokes from opening to a sealed packet, as documented | | {keystrokes()} |")
    measure_review(int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS)
    measure_follow_ups()


if __name__ == "__main__":
    main()
