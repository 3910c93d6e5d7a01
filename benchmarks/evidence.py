"""What a packet costs beside the bare writers: `python -m benchmarks.evidence [accounts]`.

A quarter of a simulated organization: 10,000 accounts, 60 groups, 91 days, some of them without
changes. Our time is that of building all files from the warehouse and sealing them. The bare
writers' is that of csv, XlsxWriter and ReportLab writing the same tables, as packets were made
before, with everything worked out, and of putting the bytes on disk. Each has a process of its own;
they take turns. The warehouse is an embedded one. Verifying is compared with `sha256sum` of the
same files.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import Sealing, seal
from sonar_access_pipeline.evidence.signers import signer_of
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.tables import parsed
from sonar_access_pipeline.evidence.verify import verify
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import World, snapshot_of

ACCOUNTS, GROUPS, DAYS, ROUNDS = 10_000, 60, 91, 5
BEGAN = datetime(2026, 7, 1, 5, tzinfo=UTC)
QUARTER = Window(BEGAN.date(), BEGAN.date() + timedelta(days=DAYS - 1))


def worlds(accounts: int) -> Any:
    """What is true, day after day: half a percent come, go, or change a group; on every third day
    nothing does.
    """
    rng, known = random.Random(6), accounts
    teams = [str(number) for number in range(2, GROUPS + 1)]
    in_teams = {f"user-{number}@github": set(rng.sample(teams, 3)) for number in range(accounts)}
    permissions = {team: ["scan"] if int(team) % 3 else [] for team in teams} | {
        "1": ["provisioning"],
        "2": ["admin"],
    }
    for day in range(DAYS):
        if day % 3 == 2:
            yield None
            continue
        if day:
            for login in rng.sample(sorted(in_teams), accounts // 400):
                in_teams[login] ^= {rng.choice(teams[1:])}
            for login in rng.sample(sorted(in_teams), accounts // 1000):
                del in_teams[login]
            for _ in range(accounts // 1000):
                in_teams[f"user-{known}@github"] = set(rng.sample(teams[1:], 3))
                known += 1
        members: dict[str, list[str]] = defaultdict(list)
        for login, of_login in in_teams.items():
            for team in ("1", *sorted(of_login)):
                members[team].append(login)
        members["2"] = members["2"][:4]
        yield World(
            members={login: f"Person {login[5:-7]} of Somewhere" for login in in_teams},
            groups={"1": "Members", **{team: f"Team {team}" for team in teams}},
            group_members=members,
            user_permissions={login: [] for login in in_teams},
            group_permissions=permissions,
        )


def fill(folder: Path, accounts: int) -> None:
    """The warehouse of a quarter."""
    warehouse = Warehouse(sqlite_url(folder / "warehouse.sqlite"))
    upgrade(warehouse)
    world = World()
    for day, found in enumerate(worlds(accounts)):
        world = found or world
        record(warehouse, snapshot_of(world, BEGAN + timedelta(days=day)), lambda: BEGAN)
        derive(warehouse, "acme")
    warehouse.close()


def ours(folder: Path) -> dict[str, float]:
    """Build and seal, in this process."""
    root = Path(tempfile.mkdtemp(dir=folder))
    # A packet that is registered is not sealed again elsewhere: each round has its own register.
    shutil.copyfile(folder / "warehouse.sqlite", root / "warehouse.sqlite")
    warehouse = Warehouse(sqlite_url(root / "warehouse.sqlite"))
    sealing = Sealing(FolderStore(root), signer_of(None, root / "key"), lambda: datetime.now(UTC))
    began = time.perf_counter()
    packet = build(warehouse, "acme", QUARTER)
    built = time.perf_counter()
    sealed = seal(packet, sealing, warehouse, run_id="benchmark")
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(file.stat().st_size for file in Path(sealed.place).iterdir()) / 1e6
    shutil.rmtree(folder / "packet", ignore_errors=True)
    shutil.copytree(sealed.place, folder / "packet")
    return {
        "seconds": ended - began,
        "build": built - began,
        "seal": ended - built,
        "peak": peak,
        "size": size,
    }


SHEETS = ("population", "access", "changes", "findings", "coverage", "reconciliation", "limits")
PAPER = {"population": 9, "changes": 8, "findings": 10, "reconciliation": 7, "limits": 3}
"""What XlsxWriter writes, whole; and of what ReportLab draws how many columns: as packets were made
before other writers took their place.
"""
MOST_CHANGES = 2000
ROWS_OF_PAGE = 50


def bare(folder: Path) -> dict[str, float]:
    """The same rows with csv, XlsxWriter and ReportLab alone, in this process, cell by cell."""
    import xlsxwriter
    from reportlab.lib.pagesizes import A4, landscape
    from reportlab.pdfgen.canvas import Canvas

    packet = {file.name: file.read_bytes() for file in (folder / "packet").iterdir()}
    tables = {name: parsed(body) for name, body in packet.items() if name.endswith(".csv")}
    began = time.perf_counter()
    files = {
        name: body for name, body in packet.items() if name.endswith((".html", ".json", ".txt"))
    }
    for name, rows in tables.items():
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        files[name] = text.getvalue().encode()
    csv_done = time.perf_counter()
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"constant_memory": True}) as book:
        look = book.add_format({"num_format": "@"})
        for name in SHEETS:
            sheet = book.add_worksheet(name)
            for number, row in enumerate(tables[f"{name}.csv"]):
                for place, value in enumerate(row[1:]):
                    if value:
                        sheet.write_string(number, place, value, look)
    files["access-review.xlsx"] = buffer.getvalue()
    xlsx_done = time.perf_counter()
    pages = io.BytesIO()
    canvas = Canvas(pages, pagesize=landscape(A4), pageCompression=0, invariant=1)
    for name, columns in PAPER.items():
        rows = tables[f"{name}.csv"]
        for number, row in enumerate(rows[:MOST_CHANGES] if name == "changes" else rows):
            if number % ROWS_OF_PAGE == 0:
                canvas.showPage()
            height = 550 - number % ROWS_OF_PAGE * 10
            canvas.setFont("Helvetica", 7.5)
            for place, value in enumerate(row[1 : columns + 1]):
                canvas.drawString(36 + place * 80, height, value[:60])
            canvas.line(36, height - 2, 800, height - 2)
    canvas.save()
    files["report.pdf"] = pages.getvalue()
    pdf_done = time.perf_counter()
    target = Path(tempfile.mkdtemp(dir=folder))
    for name, body in files.items():
        with (target / name).open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
    ended = time.perf_counter()
    return {
        "seconds": ended - began,
        "csv": csv_done - began,
        "xlsx": xlsx_done - csv_done,
        "pdf": pdf_done - xlsx_done,
        "write": ended - pdf_done,
    }


def checked(folder: Path) -> dict[str, float]:
    """Verify the packet's files, in this process, and have `sha256sum` read them."""
    root = Path(tempfile.mkdtemp(dir=folder))
    digest = hashlib.sha256((folder / "packet" / "manifest.json").read_bytes()).hexdigest()
    place = f"acme/{QUARTER}/{digest[:12]}-simulated"
    (root / place).parent.mkdir(parents=True)
    shutil.copytree(folder / "packet", root / place)
    began = time.perf_counter()
    report = verify(FolderStore(root), place)
    ended = time.perf_counter()
    assert [fault for fault in report.faults if "packet before it" not in fault] == [], (
        report.faults
    )
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=root / place, check=True)
    summed = time.perf_counter()
    return {"seconds": ended - began, "sha256sum": summed - ended}


def main() -> None:
    """Fill, then take turns."""
    if len(sys.argv) > 2:
        done = {"ours": ours, "bare": bare, "checked": checked}[sys.argv[1]]
        print(json.dumps(done(Path(sys.argv[2]))))
        return
    accounts = int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, accounts)
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(ROUNDS):
            for what in ("ours", "bare", "checked"):
                found[what].append(_run(what, folder))

        def median(what: str, figure: str) -> float:
            return statistics.median(one[figure] for one in found[what])

        files = sorted((folder / "packet").iterdir())
        print(
            f"{accounts} accounts, {DAYS} days, {median('ours', 'size'):.1f} MB:",
            ", ".join(
                f"{file.name} {file.stat().st_size / 1e6:.2f}"
                for file in files
                if file.stat().st_size > 50_000
            ),
        )
        print(
            f"packet: {median('ours', 'seconds'):.2f} s (build {median('ours', 'build'):.2f}, seal"
            f" {median('ours', 'seal'):.2f})"
        )
        parts = ", ".join(
            f"{part} {median('bare', part):.2f}" for part in ("csv", "xlsx", "pdf", "write")
        )
        print(f"bare writers: {median('bare', 'seconds'):.2f} s ({parts})")
        ratios = [
            one["seconds"] / other["seconds"]
            for one, other in zip(found["ours"], found["bare"], strict=True)
        ]
        print(
            f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f});"
            " reach 0.8"
        )
        print(f"peak memory: {median('ours', 'peak'):.0f} MB; reach 600")
        checks = [one["seconds"] / one["sha256sum"] for one in found["checked"]]
        print(
            f"verify {median('checked', 'seconds'):.2f} s, sha256sum"
            f" {median('checked', 'sha256sum'):.2f} s: {statistics.median(checks):.2f}; reach 2.5"
        )


def _run(what: str, folder: Path) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.evidence", what, str(folder)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
