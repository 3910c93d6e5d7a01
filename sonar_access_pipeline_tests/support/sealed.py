"""Packets that are sealed for tests, the keys that seal them, and how they are tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sonar_access_pipeline.access.snapshot import canonical_json
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.offline import Report
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import Sealed, Sealing, seal, sign_head, sums_of
from sonar_access_pipeline.evidence.signers import PACKETS, Signer, signer_of
from sonar_access_pipeline.evidence.stores import FolderStore, Store
from sonar_access_pipeline.evidence.timestamps import Stamp
from sonar_access_pipeline.evidence.verify import verify
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of

DAYS = [EPOCH.date() + timedelta(days=number) for number in range(3)]
WINDOWS = [Window(DAYS[0], DAYS[number]) for number in range(3)]
ALL = {
    "README.txt",
    "SHA256SUMS",
    "SHA256SUMS.sig",
    "access-review.xlsx",
    "access.csv",
    "allowed_signers",
    "changes.csv",
    "coverage.csv",
    "findings.csv",
    "limits.csv",
    "reviews.csv",
    "follow_up.csv",
    "manifest.json",
    "population.csv",
    "reconciliation.csv",
    "report.html",
    "report.pdf",
    "requests.csv",
    "seal.json",
}


def signer(folder: Path) -> Signer:
    """The key that a folder has, made when it has none."""
    return signer_of(None, folder)


def sealing(
    root: Path,
    *,
    store: Store | None = None,
    signed_by: Signer | None = None,
    stamp: Stamp | None = None,
    clock: Callable[[], datetime] = lambda: EPOCH,
) -> Sealing:
    """What seals into a folder, with a key beside it."""
    return Sealing(
        store or FolderStore(root),
        signed_by or signer(root.parent / f"{root.name}-key"),
        clock,
        stamp,
    )


def live_a_day(warehouse: Warehouse, there: Sealing, number: int, *people: str) -> str:
    """Observe one day, in which these people are members and the first is an admin, and seal it:
    the place of its packet.
    """
    at = EPOCH + timedelta(days=number)
    world = World(
        members=dict.fromkeys(people, "Somebody"), user_permissions={people[0]: ["admin"]}
    )
    record(warehouse, snapshot_of(world, at), lambda: at)
    derive(warehouse, "acme")
    sign_head(warehouse, there)
    return seal(
        build(warehouse, "acme", Window(at.date(), at.date())), there, warehouse, run_id="run"
    ).place


class Sealings:
    """Three days of a small organization, each signed at once, and three packets in a chain; the
    last is looked at.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.root = folder / "evidence"
        self.warehouse = Warehouse(url)
        upgrade(self.warehouse)
        self.sealing = sealing(self.root)
        people = ["ada", "bob", "cleo"]
        for number in range(3):
            logins = people[: number + 1]
            world = World(
                members=dict.fromkeys(logins, "Somebody"),
                groups={"1": "Members"},
                group_members={"1": logins},
                user_permissions={login: ["admin"] if login == "ada" else [] for login in logins},
            )
            record(
                self.warehouse, snapshot_of(world, EPOCH + timedelta(days=number)), lambda: EPOCH
            )
            derive(self.warehouse, "acme")
            sign_head(self.warehouse, self.sealing)
        self.packets = [self.seal(window) for window in WINDOWS]

    def seal(self, window: Window) -> Sealed:
        return seal(
            build(self.warehouse, "acme", window), self.sealing, self.warehouse, run_id="run"
        )

    @property
    def fingerprint(self) -> str:
        return self.sealing.signer.key.fingerprint

    @property
    def last(self) -> Path:
        return Path(self.packets[-1].place)

    def verify(
        self, folder: Path | None = None, *, offline: bool = False, trusting: str | None = None
    ) -> Report:
        folder = folder or self.last
        store, path = FolderStore(folder.parents[2]), str(folder.relative_to(folder.parents[2]))
        warehouse = None if offline else self.warehouse
        return verify(store, path, fingerprints=[trusting or self.fingerprint], warehouse=warehouse)


def resigned(folder: Path, key: Path | None = None) -> None:
    """Make sums and signature anew, as somebody with a key of their own can; without one, only the
    sums.
    """
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    content = {name: body for name, body in files.items() if not name.startswith("SHA256SUMS")}
    (folder / "SHA256SUMS").write_bytes(sums_of(content))
    if key is not None:
        (folder / "SHA256SUMS.sig").write_bytes(signer(key).sign(sums_of(content), PACKETS))


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((folder / name).read_bytes())
    change(document)
    (folder / name).write_bytes(canonical_json(document))
