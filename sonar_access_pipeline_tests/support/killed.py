"""Work on a warehouse that somebody kills: `python -m sonar_access_pipeline_tests.support.killed`.

Reads lines `URL KEY` and answers each with the number of a new process, which records, derives and
now and then rebuilds, from where the warehouse is to the end. Forking from here saves the second
that importing takes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from datetime import timedelta

from sqlalchemy import select

from sonar_access_pipeline.access.snapshot import Scope, Snapshot
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import raw_snapshot
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of

DAYS = 30
PEOPLE = 150


def worlds() -> list[World]:
    """A company over some days, the same for whoever asks."""
    rng = random.Random(5)
    members = {f"user-{number}": f"Name {number}" for number in range(PEOPLE)}
    found = []
    for day in range(DAYS):
        for login in rng.sample(sorted(members), 10):
            del members[login]
        members |= {f"user-{day}-{number}": f"Name {rng.random()}" for number in range(10)}
        some = sorted(members)
        found.append(
            World(
                members=dict(members),
                groups={"1": "Members", "2": "Team"},
                group_members={"1": some, "2": rng.sample(some, 40)},
                user_permissions={login: ["scan"] for login in rng.sample(some, 30)},
                group_permissions={"2": ["admin"]},
                projects={"p": "P"},
                project_users={"p": rng.sample(some, 20)},
                emails={login: f"{login}@example.org" for login in some},
            )
        )
    return found


def snapshots(key: str) -> list[Snapshot]:
    """The snapshots of those days."""
    return [
        snapshot_of(world, EPOCH + timedelta(days=number), key=key, scopes=tuple(Scope))
        for number, world in enumerate(worlds())
    ]


def work(url: str, key: str) -> None:
    """Go on to the end; say in one sentence why that is not possible."""
    warehouse = Warehouse(url)
    with warehouse.read() as transaction:
        recorded = transaction.execute(
            select(raw_snapshot.c.snapshot_id).where(raw_snapshot.c.organization_key == key)
        ).all()
    for number, snapshot in enumerate(snapshots(key)):
        if number >= len(recorded):
            record(warehouse, snapshot, lambda: EPOCH)
        derive(warehouse, key)
        if number % 5 == 4:
            rebuild(warehouse, key)
    warehouse.close()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if pid := os.fork():
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
            continue
        try:
            work(*line.split())
        except WarehouseError as error:
            sys.stderr.write(f"said: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)


if __name__ == "__main__":
    main()
