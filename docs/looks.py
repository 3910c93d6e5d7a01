"""Show what people see of packets of 5, 340 and 10,000 accounts, as pictures to look at by eye:
`make looks`, or `python -m docs.looks FOLDER`.

The report at three widths, the first pages of the PDF, and each sheet of the workbook as it is
printed (with LibreOffice, where it is installed). They go into no commit.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pypdfium2

from benchmarks.evidence import BEGAN, worlds
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import PAPER, REPORT, WORKBOOK, build
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.browser import browser_page
from sonar_access_pipeline_tests.support.builders import World, snapshot_of

ACCOUNTS = (5, 340, 10_000)
WIDTHS = (1280, 800, 390)
DAYS = 5
PAGES = 4
SCALE = 1.5
TALLEST = 6_000
"""Pixels of a picture of the report: its first screens."""


def renderings(folder: Path, accounts: int) -> Mapping[str, bytes]:
    """Build the packet of some days of an organization."""
    warehouse = Warehouse(sqlite_url(folder / f"{accounts}.sqlite"))
    upgrade(warehouse)
    world = World()
    for day, changed in enumerate(islice(worlds(accounts), DAYS)):
        world = changed or world
        scopes = (Scope.CORE, Scope.PROJECT_PERMISSIONS)
        observed = BEGAN + timedelta(days=day)
        record(warehouse, snapshot_of(world, observed, scopes=scopes), lambda: BEGAN)
        derive(warehouse, "acme")
    window = Window(BEGAN.date(), BEGAN.date() + timedelta(days=DAYS - 1))
    packet = build(warehouse, "acme", window)
    warehouse.close()
    return packet.renderings


def pages_of(paper: Path, most: int) -> None:
    """Draw the first pages of a PDF beside it."""
    document = pypdfium2.PdfDocument(paper)
    for number in range(min(most, len(document))):
        picture = document[number].render(scale=SCALE).to_pil()
        picture.save(paper.with_name(f"{paper.stem}-{number + 1}.png"))


def main(folder: Path) -> None:
    """Show all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    office = shutil.which("soffice")
    for accounts in ACCOUNTS:
        made = renderings(folder, accounts)
        for name in (REPORT, PAPER, WORKBOOK):
            (folder / f"{accounts}-{name}").write_bytes(made[name])
        pages_of(folder / f"{accounts}-{PAPER}", PAGES)
        if office and accounts < max(ACCOUNTS):
            printed = folder / f"{accounts}-{Path(WORKBOOK).stem}.pdf"
            command = [office, "--headless", "--convert-to", "pdf", "--outdir", str(folder)]
            subprocess.run([*command, str(folder / f"{accounts}-{WORKBOOK}")], check=True)
            pages_of(printed, sys.maxsize if accounts == min(ACCOUNTS) else PAGES)
        with browser_page() as page:
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                page.goto((folder / f"{accounts}-{REPORT}").as_uri())
                height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
                page.set_viewport_size({"width": width, "height": height})
                page.screenshot(path=folder / f"{accounts}-report-{width}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "looks"))
