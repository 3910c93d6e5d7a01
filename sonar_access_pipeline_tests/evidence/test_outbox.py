"""What is entered in the register comes to lie in the store, whatever goes wrong on the way, and
whatever is done next.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.objects import ObjectStore
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import SUMS, Sealing, endorse, publish, seal, sign_head
from sonar_access_pipeline.evidence.verify import verify
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import publication
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.sealed import sealing, signer

FIRST = EPOCH.date()
LIVES = 500 if THOROUGH else 8
"""Each takes two seconds; `make proofs` tries hundreds."""
FAULTS = (
    "none",
    "the authority is away",
    "the agent is away",
    "killed before it is written",
    "killed when half is written",
    "killed when all is written",
    "the store answers 503",
    "the store answers 503 when half is written",
    "what was written cannot be read back",
    "the key was changed",
    "the clock is an hour ahead",
)
FOLLOWERS = ("the same run again", "a new sync that day", "the next day", "a window", "a restore")


class Killed(BaseException):
    """A process that ends here."""


@dataclass(frozen=True)
class Faulty(ObjectStore):
    """A store with a fault that can be switched on, once."""

    fault: list[str] = field(default_factory=list)

    def put(self, path: str, files: Any, completed_by: str) -> None:
        """Put a bundle, or fail on the way."""
        fault = self.fault.pop() if self.fault else "none"
        if fault == "killed before it is written":
            raise Killed
        if fault == "the store answers 503":
            raise UnreadableError("503")
        if "half" in fault:
            for name in sorted(files.keys() - {completed_by})[: len(files) // 2]:
                self._files.pipe_file(f"{self._root}/{path}/{name}", files[name])
            raise Killed if "killed" in fault else UnreadableError("503")
        super().put(path, files, completed_by)
        if fault == "killed when all is written":
            raise Killed
        if fault == "what was written cannot be read back":
            self.fault.append(fault)

    def get(self, path: str) -> dict[str, bytes]:
        """Get a bundle, or fail."""
        if self.fault == ["what was written cannot be read back"]:
            self.fault.clear()
            raise UnreadableError("503")
        return super().get(path)


def unanswered(_: bytes) -> bytes:
    """An authority or an agent that is away."""
    raise EvidenceError("It does not answer.")


class Company:
    """A company that is read and sealed every day, with what goes wrong."""

    def __init__(self, folder: Path, store: Faulty) -> None:
        self.folder, self.store, self.day, self.hour, self.restored = folder, store, FIRST, 0, False
        self.warehouse = Warehouse(sqlite_url(folder / "warehouse.sqlite"))
        upgrade(self.warehouse)
        self.keys = [signer(folder / "key-0")]
        self.ahead = timedelta()
        self.entered: set[str] = set()
        self.back_up()
        self.observe()

    def sealing(self) -> Sealing:
        """What seals now."""
        return sealing(self.folder, store=self.store, signed_by=self.keys[-1], clock=self.clock)

    def clock(self) -> datetime:
        """The time now."""
        return (
            datetime(self.day.year, self.day.month, self.day.day, tzinfo=EPOCH.tzinfo)
            + timedelta(hours=self.hour)
            + self.ahead
        )

    def observe(self) -> None:
        """Read the company: somebody new is there each time."""
        self.hour += 1
        people = [f"person-{number}" for number in range((self.day - FIRST).days * 3 + self.hour)]
        world = World(
            members=dict.fromkeys(people, "Somebody"), user_permissions={people[0]: ["admin"]}
        )
        record(self.warehouse, snapshot_of(world, self.clock()), self.clock)
        derive(self.warehouse, "acme")

    def run(self, first: date, fault: str = "none") -> None:
        """Sign the head and seal a window, as a run does; what goes wrong ends it."""
        at_work = self.sealing()
        if fault == "the authority is away":
            at_work = replace(at_work, stamp=unanswered)
        elif fault == "the agent is away":
            at_work = replace(at_work, signer=replace(at_work.signer, sign_bytes=unanswered))
        elif fault == "the key was changed":
            self.keys.append(signer(self.folder / f"key-{len(self.keys)}"))
            endorse(self.sealing(), endorsed_by=self.keys[-2])
            at_work = self.sealing()
        elif fault == "the clock is an hour ahead":
            self.ahead = timedelta(hours=1)
        else:
            self.store.fault[:] = [fault] if fault != "none" else []
        try:
            sign_head(self.warehouse, at_work)
            seal(
                build(self.warehouse, "acme", Window(first, self.day)),
                at_work,
                self.warehouse,
                run_id=str(self.hour),
            )
        except (EvidenceError, Killed):
            assert fault != "none"
        finally:
            self.store.fault.clear()
            self.ahead = timedelta()
            with self.warehouse.read() as transaction:
                self.entered |= {entry.location for entry in packets.entries(transaction, "acme")}

    def back_up(self) -> None:
        """Copy the warehouse."""
        self.warehouse.close()
        shutil.copy(self.folder / "warehouse.sqlite", self.folder / "backup.sqlite")

    def follow(self, what: str) -> None:
        """Do what comes next."""
        if what == "a new sync that day":
            self.observe()
        elif what == "the next day":
            self.back_up()
            self.day, self.hour = self.day + timedelta(days=1), 0
            self.observe()
        elif what == "a restore":
            self.warehouse.close()
            shutil.copy(self.folder / "backup.sqlite", self.folder / "warehouse.sqlite")
            self.restored = True
            self.hour += 1
            self.observe()
        self.run(FIRST if what == "a window" else self.day)


@pytest.mark.waits
def test_whatever_goes_wrong_and_whatever_is_done_next_all_that_was_entered_lies_there_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    @settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=LIVES)
    @given(
        st.lists(
            st.tuples(st.sampled_from(FAULTS), st.sampled_from(FOLLOWERS)), min_size=1, max_size=3
        )
    )
    def holds(life: list[tuple[str, str]]) -> None:
        folder = tmp_path_factory.mktemp("company")
        company = Company(folder, Faulty(f"memory://{folder.name}/evidence"))
        endorse(company.sealing())
        try:
            for fault, what in life:
                company.run(company.day, fault)
                company.follow(what)
            check(company)
        finally:
            company.warehouse.close()
            shutil.rmtree(folder)

    holds()


def check(company: Company) -> None:
    """Everything that was ever entered lies in the store, is as it was sealed, and was not
    doubled.
    """
    assert publish(company.warehouse, company.sealing()).waiting == {}
    trusted = [company.keys[0].key.fingerprint]
    for location in company.entered:
        path = location.removeprefix(company.store.place(""))
        assert company.store.has(path, SUMS) or company.restored, location
        if company.store.has(path, SUMS):
            report = verify(company.store, path, fingerprints=trusted)
            assert report.own == []
            assert company.restored or report.around == []
    with company.warehouse.read() as transaction:
        rows = queries.packets(transaction, "acme")
        published = transaction.execute(select(publication.c.path)).scalars().all()
    assert all(
        company.store.has(row["location"].removeprefix(company.store.place("")), SUMS)
        for row in rows
    )
    assert len({row["digest"] for row in rows}) == len(rows)
    assert len(set(published)) == len(published)
    if not company.restored:
        assert [row["previous_digest"] for row in rows] == [
            None,
            *(row["digest"] for row in rows[:-1]),
        ]
